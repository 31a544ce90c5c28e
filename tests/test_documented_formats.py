"""Everything in the documents that is not a command is read by what reads such files."""

import io
import json
import logging
import re
import subprocess
import uuid
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import psycopg
import pytest
import yaml
from documented import ROOT, SHELL, all_blocks, blocks, code_blocks, documents
from harness import Harness
from postgresql import PostgresqlServer

from pykaldi_server.cli.settings import SECTIONS, read_config
from pykaldi_server.master.access.tokens import read_tokens
from pykaldi_server.session.formats.gstreamer_yaml import MODEL_KEYS
from pykaldi_server.worker.settings import WORKER_KEYS, WorkerSettings

HERE = "tests/test_documented_formats.py"
CHECKED_BY = {
    ("README.md", "python"): "tests/test_library_docs.py",
    ("docs/library.md", "python"): "tests/test_library_docs.py",
    ("docs/porting.md", "python"): "tests/test_library_docs.py",
    ("docs/models.md", "python"): "tests/test_python_examples.py",
    ("docs/openai.md", "python"): "tests/test_python_examples.py",
    ("docs/postprocessors.md", "python"): "tests/test_python_examples.py",
    ("docs/pykaldi.md", "python"): "tests/test_python_examples.py",
    ("docs/telephony.md", "python"): "tests/test_python_examples.py",
    ("scripts/clients/README.md", "python"): "tests/scripts/test_client_examples.py",
    ("scripts/clients/README.md", "js"): "tests/scripts/test_client_examples.py",
    ("scripts/clients/README.md", "java"): "tests/scripts/test_client_examples.py",
    ("scripts/clients/README.md", "haskell"): "tests/scripts/test_client_examples.py",
    ("docs/security.md", "nginx"): "tests/nginx.py",
    ("docs/security.md", "caddy"): "tests/caddy.py",
    ("docs/operations.md", "ini"): HERE,
    ("docs/telephony.md", "xml"): HERE,
    ("docs/wyoming.md", "text"): HERE,
    ("docs/running.md", "text"): HERE,
}
"""Which file checks blocks of a language in a document; JSON and YAML are checked here in all of them."""


def test_somebody_checks_every_block() -> None:
    found = {
        (block.document, block.language)
        for document in documents()
        for block in all_blocks(document)
        if block.language not in (*SHELL, "json", "yaml") and not block.mark.startswith("not run: ")
    }
    assert found == CHECKED_BY.keys()
    for (document, language), checker in CHECKED_BY.items():
        text = (ROOT / checker).read_text(encoding="utf-8")
        assert Path(document).name in text, (document, language)
        assert language in text, (document, language)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_json_is_json(document: Path) -> None:
    """Each block has one value or more."""
    for text in code_blocks(document, "json"):
        rest = text.strip()
        while rest:
            _, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].strip()


def test_configuration_files_are_understood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each YAML file in the documents is read by what reads such files, without a warning."""
    found: list[str] = []
    for document in documents():
        for text in code_blocks(document, "yaml"):
            file = tmp_path / f"{len(found)}.yaml"
            file.write_text(text, encoding="utf-8")
            file.chmod(0o600)  # as a file of tokens has to be
            keys = set(yaml.safe_load(text))
            if keys <= SECTIONS.keys():
                assert read_config(file).keys() == keys
                found.append("settings")
            elif "clients" in keys:
                assert len(read_tokens(file)) > 3
                found.append("tokens")
            else:
                assert keys <= {*WORKER_KEYS, *MODEL_KEYS}
                with caplog.at_level(logging.WARNING):
                    WorkerSettings.read(str(file))
                found.append("model")
    assert set(found) == {"settings", "tokens", "model"}
    assert caplog.messages == []


def test_a_service_of_postgresql(
    postgresql: PostgresqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file names a server for its own client library, which connects to the one of the tests."""
    (text,) = code_blocks(ROOT / "docs" / "operations.md", "ini")
    service = re.findall(r"\[(.*)\]", text)[0]
    with psycopg.connect(postgresql.url, autocommit=True) as owner:
        owner.execute('CREATE ROLE "pykaldi-server" LOGIN')
        owner.execute('CREATE DATABASE "pykaldi-server" OWNER "pykaldi-server"')
        try:
            folder = owner.info.host
            assert "host=postgresql\n" in text
            (tmp_path / "pg_service.conf").write_text(text.replace("host=postgresql", f"host={folder}"))
            monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "pg_service.conf"))
            with psycopg.connect(f"service={service}") as connection:
                assert connection.info.user == connection.info.dbname == "pykaldi-server"
                assert connection.info.password == "..."
        finally:
            owner.execute('DROP DATABASE "pykaldi-server"')
            owner.execute('DROP ROLE "pykaldi-server"')


def test_the_answer_to_twilio(harness: Harness) -> None:
    """It starts a stream to an address that there is, with parameters that the server knows."""
    (text,) = code_blocks(ROOT / "docs" / "telephony.md", "xml")
    response = ElementTree.fromstring(text)
    (stream,) = response.iterfind("Start/Stream")
    url = urlsplit(stream.get("url", ""))
    assert (response.tag, url.scheme) == ("Response", "wss")
    assert [each.get("name") for each in stream] == ["model"]

    async def scenario() -> None:
        async with harness.master() as master:
            found = await harness.fetch(master, url.path)
            assert found.code == HTTPStatus.BAD_REQUEST, "there is a WebSocket"

    harness.run(scenario)


def test_the_dialplan() -> None:
    """As far as that can be said without Asterisk: its form, the id, and the port."""
    page = ROOT / "docs" / "telephony.md"
    (plan,) = (block.code for block in all_blocks(page) if "needs Asterisk" in block.mark)
    first, *others = plan.splitlines()
    assert re.fullmatch(r"exten => \d+,1,\w+\(.*\)", first)
    assert all(re.fullmatch(r" same => n,\w+\(.*\)", line) for line in others)
    (command,) = re.findall(r"\$\{SHELL\((.*)\)\}", plan)
    made = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True)
    assert str(uuid.UUID(made.stdout)) == made.stdout
    (port,) = re.findall(r"AudioSocket\(\$\{CALL\},\S+:(\d+)\)", plan)
    assert any(f"--audiosocket-port {port}" in block.code for block in blocks(page))


def test_events_of_wyoming() -> None:
    """Its own package reads them."""
    event = pytest.importorskip("wyoming.event", reason="needs the package wyoming")
    asr = pytest.importorskip("wyoming.asr")
    chunk, transcript = code_blocks(ROOT / "docs" / "wyoming.md", "text")
    lines = chunk.replace("...2048 bytes of samples\n", "").encode() + bytes(2048)
    read = event.read_event(io.BytesIO(lines))
    assert (read.type, read.data) == ("audio-chunk", {"rate": 16000, "width": 2, "channels": 1})
    assert read.payload == bytes(2048)
    said, whole = [], ""
    for line in transcript.splitlines():
        kind, _, data = line.partition(" ")
        one = event.Event(kind, json.loads(data or "{}"))
        kinds = (asr.TranscriptStart, asr.TranscriptChunk, asr.Transcript, asr.TranscriptStop)
        (reader,) = (each for each in kinds if each.is_type(one.type))
        made = reader.from_event(one)
        assert made.event().data.items() >= one.data.items()
        said += [made.text] if reader is asr.TranscriptChunk else []
        whole = made.text if reader is asr.Transcript else whole
    assert "".join(said) == whole


def test_the_list_of_commands() -> None:
    """It names commands that there are, each once."""
    from pykaldi_server.cli import main

    (text,) = code_blocks(ROOT / "docs" / "running.md", "text")
    names = re.findall(r"^pykaldi-server (\S+) {2,}\S", text, re.MULTILINE)
    assert len(names) == len(set(names)) == len(text.splitlines())
    assert set(names) <= main.commands.keys()
