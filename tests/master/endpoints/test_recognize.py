"""The master's HTTP side on real sockets; the workers follow a script."""

import asyncio
import gzip
import json
import logging
import shutil
import subprocess
from typing import Any

import pytest

from pykaldi_server.master.endpoints import upload
from pykaldi_server.protocols.worker import Position

RECOGNIZE = "/client/dynamic/recognize"
REFERENCE = "/client/dynamic/reference"


def final(transcript: str) -> dict[str, Any]:
    return {"status": 0, "result": {"hypotheses": [{"transcript": transcript}], "final": True}}


async def read_until_eos(worker: Any) -> bytes:
    audio = b""
    while (message := await worker.read()) != "EOS":
        audio += message
    return audio


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_upload(harness: Any, method: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            headers = {"Content-Type": "audio/x-raw-int; rate=8000", "device-id": "phone", "content-id": "42"}
            body = bytes(range(256)) * 1000
            fetching = asyncio.ensure_future(
                harness.fetch(master, RECOGNIZE, method=method, headers=headers, body=body)
            )
            init = await worker.read_json()
            assert init == {
                "id": init["id"],
                "content_type": "audio/x-raw, layout=interleaved, rate=8000, format=S16LE, channels=1",
                "user_id": "phone",
                "content_id": "42",
            }
            assert await read_until_eos(worker) == body
            await worker.send(final("one two"))
            await worker.send(final("three"))
            await worker.send({"status": 0, "adaptation_state": {"value": "abc"}})
            worker.close()
            response = await fetching
            assert response.code == 200
            assert response.headers["Content-Type"].startswith("application/json")
            assert "Access-Control-Allow-Origin" not in response.headers
            answer = {"status": 0, "id": init["id"], "hypotheses": [{"utterance": "one two three"}]}
            assert json.loads(response.body) == answer

    harness.run(scenario)


def test_chunked_upload_is_passed_on_as_it_comes(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            reader, writer = await connect(master)
            writer.write(
                b"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            await worker.read_json()
            for piece in (b"first", b"second"):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                assert await worker.read() == piece  # before the next is sent
            writer.write(b"0\r\n\r\n")
            assert await worker.read() == "EOS"
            await worker.send(final("one"))
            worker.close()
            assert b"200 OK" in await reader.readline()
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


@pytest.mark.parametrize(
    ("head", "before"),
    [
        (b"PUT /client/dynamic/recognize HTTP/1.1", b"first"),
        (
            b"POST /client/dynamic/recognize HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nfirst',
        ),
    ],
)
def test_a_piece_of_audio_that_reads_like_the_end_of_another_protocol(
    harness: Any, head: bytes, before: bytes
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            _, writer = await connect(master)
            writer.write(head + b"\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for sent, found in ((before, [b"first"]), (b"EOS", [b"E", b"OS"]), (b"last", [b"last"])):
                writer.write(b"%x\r\n%s\r\n" % (len(sent), sent))
                if sent is before:
                    await worker.read_json()
                assert [await worker.read() for _ in found] == found
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


async def connect(master: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", master.port)


def test_form_type_of_curl_counts_as_none(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            fetching = asyncio.ensure_future(
                harness.fetch(master, RECOGNIZE, method="POST", headers=headers, body=b"RIFF")
            )
            assert (await worker.read_json())["content_type"] is None
            assert await read_until_eos(worker) == b"RIFF"
            worker.close()
            assert json.loads((await fetching).body)["hypotheses"] == [{"utterance": ""}]

    harness.run(scenario)


def test_without_a_free_worker_the_answer_is_503(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.05) as master:
            response = await harness.fetch(master, RECOGNIZE, method="PUT", body=b"audio")
            assert (response.code, response.body) == (503, b"No workers available")

    harness.run(scenario)


def test_errors_of_recognition_are_answers(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            fetching = asyncio.ensure_future(harness.fetch(master, RECOGNIZE, method="PUT", body=b"audio"))
            init = await worker.read_json()
            await worker.send(final("one"))
            await worker.send({"status": 3, "message": "not audio"})
            worker.close()
            response = await fetching
            assert response.code == 200
            assert json.loads(response.body) == {
                "status": 3,
                "id": init["id"],
                "message": "not audio",
                "hypotheses": [{"utterance": "one"}],
            }

    harness.run(scenario)


def test_a_worker_that_dies_is_an_error_of_recognition(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            fetching = asyncio.ensure_future(harness.fetch(master, RECOGNIZE, method="PUT", body=b"audio"))
            await worker.read_json()
            worker.vanish()
            response = await fetching
            assert response.code == 200
            assert json.loads(response.body)["status"] == 2

    harness.run(scenario)


@pytest.mark.parametrize("body_complete", [True, False])
def test_an_uploader_that_vanishes_frees_its_worker(harness: Any, body_complete: bool) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            _, writer = await connect(master)
            length = 5 if body_complete else 1000
            writer.write(b"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\n")
            writer.write(b"Content-Length: %d\r\n\r\naudio" % length)
            await worker.read_json()
            assert await worker.read() == b"audio"
            if body_complete:
                assert await worker.read() == "EOS"
            writer.transport.abort()
            assert await worker.read() is None
            status = await harness.status(master)
            await status.until(lambda each: each["num_requests_processed"] == 1)

    harness.run(scenario)


@pytest.mark.parametrize("file_type", ["audio/x-raw; rate=8000", ""])
def test_the_first_file_of_a_form_is_the_audio(harness: Any, file_type: str) -> None:
    audio = bytes(range(256)) * 1000
    disposition = 'Content-Disposition: form-data; name="file"; filename="x.raw"'
    headers = f"{disposition}\r\nContent-Type: {file_type}" if file_type else disposition
    field = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    body = field + f"--xyz\r\n{headers}\r\n\r\n".encode() + audio + b"\r\n" + field + b"--xyz--\r\n"

    async def scenario() -> None:
        async with harness.master(queue_s=0) as master:
            worker = await harness.worker(master)
            form = {"Content-Type": "multipart/form-data; boundary=xyz"}
            fetching = asyncio.ensure_future(
                harness.fetch(master, RECOGNIZE, method="POST", headers=form, body=body)
            )
            caps = "audio/x-raw, layout=interleaved, rate=8000, format=S16LE, channels=1"
            assert (await worker.read_json())["content_type"] == (caps if file_type else None)
            assert await read_until_eos(worker) == audio
            await worker.send(final("one"))
            worker.close()
            assert json.loads((await fetching).body)["hypotheses"] == [{"utterance": "one"}]

            for damaged, text in (
                (body[:-20], b"expected a closing boundary"),
                (field + b"--xyz--\r\n", b"expected a part with a file name, found only a"),
                (b"RIFF", b"the form is damaged"),
            ):
                worker = await harness.worker(master)
                response = await harness.fetch(master, RECOGNIZE, method="POST", headers=form, body=damaged)
                assert response.code == 400
                assert text in response.body
                worker.dispose()

    harness.run(scenario)


def test_an_answer_may_be_subtitles(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, "protocol=2")
            fetching = asyncio.ensure_future(
                harness.fetch(master, f"{RECOGNIZE}?format=vtt&nbest=2", method="PUT", body=b"audio")
            )
            assert (await worker.read_json())["options"] == {"num-nbest": 2}
            assert await read_until_eos(worker) == b"audio"
            await worker.send({**final("one"), "segment-start": 1.0, "total-length": 2.5})
            await worker.send(Position(8, 2.5, end=True).text())
            response = await fetching
            assert response.headers["Content-Type"] == "text/vtt; charset=UTF-8"
            assert response.body == b"WEBVTT\n\n00:00:01.000 --> 00:00:02.500\none\n"

            response = await harness.fetch(master, f"{RECOGNIZE}?format=doc", method="PUT", body=b"audio")
            assert (response.code, response.body) == (
                400,
                b"format: expected one of json, text, srt, vtt, ttml, found 'doc'",
            )

    harness.run(scenario)


@pytest.mark.parametrize("body_complete", [True, False])
def test_a_refused_upload_says_whether_the_connection_can_be_used_again(
    harness: Any, body_complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "REFUSED_BODY_S", 0.1)
    request = b"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"

    async def scenario() -> None:
        async with harness.master(queue_s=0.01) as master:
            reader, writer = await connect(master)
            writer.write(request + (b"audio" if body_complete else b"au"))
            answer = await reader.readuntil(b"No workers available")
            assert answer.startswith(b"HTTP/1.1 503")
            assert (b"Connection: close" in answer) == (not body_complete)
            if body_complete:
                writer.write(request + b"audio")
                assert (await reader.readline()).startswith(b"HTTP/1.1 503")
            else:
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


def test_a_misspelt_model_is_told_what_there_is(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master, "model=english")
            await master.wait_until_ready()
            response = await harness.fetch(master, f"{RECOGNIZE}?model=x", method="PUT", body=b"audio")
            assert response.code == 404
            assert response.body == b"there is no model 'x'; those that there are: english"

    harness.run(scenario)


def test_gzip_is_undone_and_other_encodings_are_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            body = bytes(range(256)) * 9000  # more than may be held in memory
            fetching = asyncio.ensure_future(
                harness.fetch(
                    master,
                    RECOGNIZE,
                    method="PUT",
                    headers={"Content-Encoding": "gzip"},
                    body=gzip.compress(body),
                )
            )
            await worker.read_json()
            assert await read_until_eos(worker) == body
            worker.close()
            assert (await fetching).code == 200
            for encoding in ("br", "deflate", "gzip, gzip"):
                response = await harness.fetch(
                    master, RECOGNIZE, method="PUT", headers={"Content-Encoding": encoding}, body=b"x"
                )
                assert response.code == 415
                assert encoding in response.body.decode()

    harness.run(scenario)


def test_an_upload_that_stands_still_is_given_up(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(upload_idle_s=0.1) as master:
            worker = await harness.worker(master)
            reader, writer = await connect(master)
            writer.write(b"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
            await worker.read_json()
            writer.write(b"audio")
            assert [await worker.read(), await worker.read()] == [b"audio", "EOS"]
            await worker.send(final("one"))
            worker.close()
            answer = (await reader.read()).decode()
            assert "Connection: close" in answer
            body = json.loads(answer.partition("\r\n\r\n")[2])
            assert (body["status"], body["message"]) == (2, "the upload stood still for 0.1 s")
            assert body["hypotheses"] == [{"utterance": "one"}]
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


@pytest.mark.parametrize("chunked", [True, False])
def test_too_large_an_upload_is_refused(
    harness: Any, chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(max_upload_bytes=1000) as master:
            worker = await harness.worker(master)
            reader, writer = await connect(master)
            length = "Transfer-Encoding: chunked\r\n\r\n3e9" if chunked else "Content-Length: 1001\r\n"
            writer.write(f"PUT {RECOGNIZE} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
            writer.write(bytes(1001) + (b"\r\n0\r\n\r\n" if chunked else b""))
            answer = await reader.readuntil(b"found more")
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"expected at most 1000 bytes of audio" in answer
            if chunked:
                await worker.read_json()
                while await worker.read() is not None:
                    pass
            writer.close()
            await writer.wait_closed()

    with caplog.at_level(logging.INFO):
        harness.run(scenario)
    assert "left by the client" not in caplog.text  # it is the server that ended the request


def test_uploads_larger_than_memory_limits_of_other_requests_pass(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            body = bytes(3 * 1024 * 1024)
            fetching = asyncio.ensure_future(harness.fetch(master, RECOGNIZE, method="PUT", body=body))
            await worker.read_json()
            assert len(await read_until_eos(worker)) == len(body)
            worker.close()
            assert (await fetching).code == 200

    harness.run(scenario)


@pytest.mark.parametrize(
    ("path", "methods"), [(RECOGNIZE, "POST, PUT, OPTIONS"), (REFERENCE, "POST, OPTIONS")]
)
def test_preflight_requests_of_browsers(harness: Any, path: str, methods: str) -> None:
    async def scenario() -> None:
        async with harness.master(allow_origins=("*",)) as master:
            response = await harness.fetch(master, path, method="OPTIONS")
            assert response.code == 200
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Access-Control-Allow-Methods"] == methods
            assert response.headers["Access-Control-Max-Age"] == "1000"
            allowed = response.headers["Access-Control-Allow-Headers"]
            assert {"origin", "content-type", "accept", "User-Id", "Content-Id"} <= set(allowed.split(", "))

    harness.run(scenario)


def test_references_are_appended(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            for content, user in (("esimene ö\nrida", "anna"), ("teine", "")):
                headers = {"Content-Id": "42", "User-Id": user}
                response = await harness.fetch(
                    master, REFERENCE, method="POST", headers=headers, body=content.encode()
                )
                assert (response.code, response.body) == (200, b"")

    harness.run(scenario)
    lines = (harness.directory / "references.jsonl").read_text().splitlines()
    stored = [json.loads(line) for line in lines]
    assert [(each["content_id"], each["user_id"], each["content"]) for each in stored] == [
        ("42", "anna", "esimene ö\nrida"),
        ("42", "none", "teine"),
    ]
    assert all(each["time"] for each in stored)


@pytest.mark.parametrize(("headers", "body"), [({}, b"text"), ({"Content-Id": "42"}, b"\xff")])
def test_references_without_an_id_or_text_are_refused(
    harness: Any, headers: dict[str, str], body: bytes
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            response = await harness.fetch(master, REFERENCE, method="POST", headers=headers, body=body)
            assert response.code == 400

    harness.run(scenario)
    assert not (harness.directory / "references.jsonl").exists()


def test_health_readiness_and_metrics(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0) as master:
            for method in ("GET", "HEAD"):
                assert (await harness.fetch(master, "/healthz", method=method)).code == 200
            assert (await harness.fetch(master, "/readyz")).code == 503
            await harness.fetch(master, RECOGNIZE, method="PUT", body=b"")
            worker = await harness.worker(master, "model=english")
            assert (await harness.fetch(master, "/readyz")).code == 200
            await harness.client(master)
            await worker.read_json()
            ready = json.loads((await harness.fetch(master, "/readyz")).body)  # busy is ready, too
            assert ready["models"] == {"english": {"available": 0, "busy": 1, "waiting": 0}}
            metrics = (await harness.fetch(master, "/metrics")).body.decode()
            assert 'pykaldi_server_slots{model="english",state="free"} 0.0' in metrics
            assert 'pykaldi_server_slots{model="english",state="busy"} 1.0' in metrics

            master.hub.pool.accepting = False
            assert (await harness.fetch(master, "/readyz")).code == 503

    harness.run(scenario)


def test_tls(harness: Any) -> None:
    cert, key = harness.directory / "cert.pem", harness.directory / "key.pem"
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    make = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out {cert} -keyout {key}"
    subprocess.run([openssl, *make.split()], check=True, capture_output=True)

    async def scenario() -> None:
        async with harness.master(certfile=cert, keyfile=key) as master:
            assert master.url.startswith("https://")
            assert (await harness.fetch(master, "/healthz", validate_cert=False)).code == 200

    harness.run(scenario)


def test_files_outside_the_web_folder_are_not_served(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            for path in (
                "/client/static/../errors.py",
                "/client/static/%2e%2e/errors.py",
                "/client/static//etc/passwd",
            ):
                assert (await harness.fetch(master, path)).code in (403, 404)

    harness.run(scenario)
