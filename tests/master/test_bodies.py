"""Bodies that are held in memory are bounded, packed or not."""

import asyncio
import gzip
import logging
from typing import Any

import pytest

from pykaldi_server.master.bodies import MAX_SMALL_BODY_BYTES

BODY = b" " * MAX_SMALL_BODY_BYTES + b"x"
PATHS = ("/client/dynamic/reference", "/v1/realtime/client_secrets", "/v1/realtime/transcription_sessions")


async def chunks(body: bytes, produce: Any) -> None:
    for start in range(0, len(body), 2**16):
        await produce(body[start : start + 2**16])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length_is_known", [False, True])
def test_a_long_body_is_refused(harness: Any, path: str, packed: bool, length_is_known: bool) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            body = gzip.compress(BODY) if packed else BODY
            headers = {"Content-Encoding": "gzip"} if packed else {}
            sent: dict[str, Any] = {"body": body}
            if not length_is_known:
                sent = {"body_producer": lambda produce: chunks(body, produce)}
            response = await harness.fetch(master, path, method="POST", headers=headers, **sent)
            assert response.code == 400
            assert response.body == b""
            assert (await harness.fetch(master, "/healthz")).code == 200

    harness.run(scenario)


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_of_the_longest_length_arrives(harness: Any, packed: bool) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            body = b" " * (MAX_SMALL_BODY_BYTES - 2) + b"{}"
            headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if packed else {})
            sent = gzip.compress(body) if packed else body
            path = "/v1/realtime/client_secrets"
            response = await harness.fetch(master, path, method="POST", headers=headers, body=sent)
            assert response.code == 200

    harness.run(scenario)


@pytest.mark.parametrize(
    "length",
    ["99999999999999999999", "1" * 5000, "-1", "+1", "0x10", "1, 2", "3, 3", "²", "", "5 5", "1e400"],
)
@pytest.mark.parametrize(
    "path", [*PATHS, "/client/dynamic/recognize", "/v1/audio/transcriptions", "/healthz"]
)
def test_a_length_that_is_not_a_number_is_refused(
    harness: Any, path: str, length: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
            writer.write(head + b"abc")
            answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 400 "), answer
            assert not master.hub.requests

    harness.run(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", ["%00", "index.html%00.png", "x" * 5000, "%ff", "a/" * 300, "%2e%2e%2f%00"])
def test_names_of_files_that_cannot_be_are_not_found(
    harness: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            response = await harness.fetch(master, f"/client/static/{name}")
            assert response.code in (400, 403, 404), response.code

    harness.run(scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
