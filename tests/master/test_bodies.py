"""Bodies that are held in memory are bounded, packed or not."""

import gzip
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
