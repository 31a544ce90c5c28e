"""Certificates: read again when they change, made for this machine, and trusted by those who are told to."""

import asyncio
import datetime
import ipaddress
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from live_worker import running_worker
from serve_process import ENGLISH, running_serve

from pykaldi_server.client.recognize import recognize_file
from pykaldi_server.errors import ConfigError
from pykaldi_server.master import certificates, server
from pykaldi_server.master.certificates import Certificate, own_names, self_signed_certificate
from pykaldi_server.protocols.trust import Trust
from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker

LOCALHOST = ["localhost", ipaddress.ip_address("127.0.0.1")]


def made(directory: Path, *more: str) -> tuple[Path, Path]:
    return self_signed_certificate(directory, [*LOCALHOST, *more])


def read(certfile: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certfile.read_bytes())


def test_it_is_for_all_names_and_addresses(tmp_path: Path) -> None:
    certfile, keyfile = self_signed_certificate(tmp_path / "tls", own_names())
    certificate = read(certfile)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    days = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days
    assert days == certificates.VALID_DAYS
    assert keyfile.stat().st_mode & 0o077 == 0
    assert (tmp_path / "tls").stat().st_mode & 0o077 == 0


def test_ciphers_encrypt_and_authenticate_in_one(tmp_path: Path) -> None:
    certificate = Certificate(*made(tmp_path))
    found = certificate.context.get_ciphers()
    assert {each["protocol"] for each in found} == {"TLSv1.2", "TLSv1.3"}
    assert all(each["aead"] for each in found)
    assert certificate.context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_it_is_kept_while_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(made(tmp_path)[0])
    assert read(made(tmp_path)[0]) == first
    second = read(made(tmp_path, "other.example")[0])
    assert second != first
    assert read(made(tmp_path)[0]) == second  # it has more names than are needed

    monkeypatch.setattr(certificates, "RENEWED_DAYS_BEFORE", certificates.VALID_DAYS)
    third = read(made(tmp_path)[0])
    assert third.not_valid_after_utc - third.not_valid_before_utc > datetime.timedelta(days=300)
    assert third != second


@pytest.mark.parametrize("damaged", ["certificate.pem", "key.pem"])
def test_one_that_is_damaged_is_made_anew(tmp_path: Path, damaged: str) -> None:
    made(tmp_path)
    if damaged == "key.pem":
        (tmp_path / damaged).unlink()
    else:
        (tmp_path / damaged).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    Certificate(*made(tmp_path))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^self-signed: .*file/tls: "):
        made(tmp_path / "file" / "tls")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    certfile, keyfile = made(tmp_path / "a")[0], made(tmp_path / "b")[1]
    with pytest.raises(ConfigError, match=f"^certfile {certfile}, keyfile {keyfile}: expected both"):
        Certificate(certfile, keyfile)


def test_it_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, others = made(tmp_path / "served"), made(tmp_path / "new")
    certificate = Certificate(*files)
    caplog.set_level(logging.INFO)
    certificate.reload()
    assert not caplog.messages
    for served, new in zip(files, others, strict=True):
        served.write_bytes(new.read_bytes())
    certificate.reload()
    assert caplog.messages == [f"certfile {files[0]}, keyfile {files[1]}: read again"]

    files[1].write_text("nothing")
    caplog.clear()
    certificate.reload()
    certificate.reload()
    (complaint,) = caplog.messages  # once
    assert complaint.startswith(f"the certificate stays as it was: certfile {files[0]}, keyfile {files[1]}: ")


def test_new_connections_get_the_new_certificate(
    harness: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server, "REREAD_S", 0.05)
    (certfile, keyfile), others = made(tmp_path / "served"), made(tmp_path / "new")

    async def scenario() -> None:
        async with harness.master(certfile=certfile, keyfile=keyfile) as master:

            async def served() -> str:
                return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", master.port))

            assert await served() == certfile.read_text()
            keyfile.write_bytes(others[1].read_bytes())
            certfile.write_bytes(others[0].read_bytes())
            while await served() != others[0].read_text():
                await asyncio.sleep(0.01)

    harness.run(scenario)


def test_one_that_expires_soon_is_renewed_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "VALID_DAYS", 5)
        files = made(tmp_path)
        certificate = Certificate(*files, renew=lambda: made(tmp_path))
    assert f"certfile {files[0]}: expires on " in caplog.text
    old = read(files[0])
    caplog.clear()
    certificate.reload()
    assert read(files[0]).not_valid_after_utc - old.not_valid_after_utc > datetime.timedelta(days=300)
    assert "expires" not in caplog.text
    certificate.reload()


def test_one_that_has_expired_is_refused_and_named_until_another_one_is_there(
    harness: Any, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "REREAD_S", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "VALID_DAYS", 0.5)  # since yesterday
        certfile, keyfile = made(harness.directory / "old")
    others = made(harness.directory / "new")
    cafile = harness.directory / "trusted.pem"
    cafile.write_bytes(certfile.read_bytes())
    model = Model.load(models / "english:graph-digits")

    async def scenario() -> None:
        async with harness.master(certfile=certfile, keyfile=keyfile) as master:
            assert f"certfile {certfile}: has expired on " in caplog.text
            url = f"{master.url.replace('https', 'wss')}/client/ws/speech"
            with pytest.raises(ConnectionError, match="not trusted, see --cafile: certificate has expired"):
                await words(url, models / "english" / "README.md", Trust(cafile))
            worker = Worker(model, WorkerOptions(url=(master.worker_url,), sessions=1, cafile=cafile))
            running = asyncio.create_task(worker.run())
            while "no connection to the master" not in caplog.text:
                await asyncio.sleep(0.01)
            assert "certificate has expired" in caplog.text
            keyfile.write_bytes(others[1].read_bytes())
            certfile.write_bytes(others[0].read_bytes())
            cafile.write_bytes(others[0].read_bytes())
            await master.until(lambda: master.hub.pool.status().available == 1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    harness.run(scenario)


@pytest.fixture
def wav(golden: Path) -> Path:
    return golden / "wav" / "ps-tidigits-2934z.wav"


async def words(url: str, wav: Path, trust: Trust) -> str:
    with wav.open("rb") as file:
        messages = [message async for message in recognize_file(url, file, bytes_per_s=0, trust=trust)]
    return " ".join(
        message["result"]["hypotheses"][0]["transcript"]
        for message in messages
        if message.get("result", {}).get("final")
    )


def test_whom_clients_and_workers_trust(
    harness: Any, models: Path, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(harness.directory))
    model = Model.load(models / "english:graph-digits")
    cafile = harness.directory / "pykaldi-server" / "tls" / "certificate.pem"

    async def scenario() -> None:
        async with (
            harness.master(self_signed=True) as master,
            running_worker(model, master, sessions=1, cafile=cafile),
        ):
            url = f"{master.url.replace('https', 'wss')}/client/ws/speech"
            for trust in (Trust(cafile=cafile), Trust(insecure=True)):
                assert await words(url, wav, trust) == "two nine three four zero"
            with pytest.raises(
                ConnectionError, match=r"^wss://.*: the server is not trusted, see --cafile: "
            ):
                await words(url, wav, Trust())

    harness.run(scenario)


def test_serve_with_a_certificate_of_its_own(
    tmp_path: Path, wav: Path, monkeypatch: pytest.MonkeyPatch, harness: Any
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with running_serve(tmp_path, ENGLISH, "--self-signed") as serve:
        assert serve.url.startswith("https://")
        assert f"curl --cacert {tmp_path}/pykaldi-server/tls/certificate.pem -T" in serve.line()
        trust = Trust(tmp_path / "pykaldi-server" / "tls" / "certificate.pem")

        async def scenario() -> None:
            url = f"{serve.url.replace('https', 'wss')}/client/ws/speech"
            assert await words(url, wav, trust) == "two nine three four zero"

        harness.run(scenario)


@pytest.mark.parametrize("text", ["", "nothing"])
def test_certificates_to_trust_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^cafile {path}: expected certificates in PEM form, found "):
        Trust(path)
    with pytest.raises(ConfigError, match="found both"):
        Trust(path, insecure=True)
    with pytest.raises(ConfigError, match="No such file"):
        Trust(tmp_path / "missing.pem")
