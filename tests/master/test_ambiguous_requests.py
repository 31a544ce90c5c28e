"""Requests that two programs may understand differently: with a proxy in front, each could be two requests.

A master answers them once, with an error, and does not look at what follows.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

CLOSE = b"Connection: close"
HOST = b"Host: localhost"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOKEN = "client-token-0123456789"
BEARER = f"Authorization: Bearer {TOKEN}".encode()


def request(
    *lines: bytes, method: bytes = b"POST", host: bytes = b"Host: localhost", body: bytes = b""
) -> bytes:
    return b"\r\n".join([method + b" /v1/models HTTP/1.1", host, *lines, b"", body])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + NEXT), 400),
        (request(b"Content-Length: 5", b"Content-Length: 6", body=b"abcdef" + NEXT), 400),
        (request(b"Content-Length: -5", body=NEXT), 400),
        (request(b"Content-Length: +5", body=b"abcde" + NEXT), 400),
        (request(b"Content-Length: 5_0", body=NEXT), 400),
        (request(b"Transfer-Encoding: chunked", body=b"zz\r\n" + NEXT), 400),
        (request(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + NEXT), 400),
        (request(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + NEXT), 400),
        (request(b"Host: other", method=b"GET"), 400),
        (request(method=b"GET", host=b"X: y"), 400),
        (request(b"X: a", b" b", method=b"GET"), 400),
        (request(b"X: a\x00b", method=b"GET"), 400),
        (request(b"Authorization: Bearer x", BEARER, CLOSE, method=b"GET"), 401),
        (request(BEARER, b"Authorization: Bearer x", CLOSE, method=b"GET"), 401),
        (request(BEARER + b", Bearer x", CLOSE, method=b"GET"), 401),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET http://elsewhere/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_a_request_that_may_be_two_is_none(harness: Any, tmp_path: Path, data: bytes, code: int) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"clients: {{anna: {TOKEN}}}")

    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
            writer.write(data)
            answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
            writer.close()
            assert [int(answer.split()[0]) for answer in answers] == [code]

    harness.run(scenario)
