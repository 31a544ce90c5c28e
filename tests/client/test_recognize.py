"""The client against a real master; the workers follow a script."""

import asyncio
import io
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from pykaldi_server.client.recognize import (
    natural_bytes_per_s,
    paced,
    read_pieces,
    recognize_file,
    request_url,
)
from pykaldi_server.errors import AudioError, ConfigError

FINAL = {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": True}}


def wav(rate_hz: int, data: bytes) -> bytes:
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVE"
        + header
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )


def test_url_keeps_what_it_has() -> None:
    url = request_url(
        "ws://h/client/ws/speech?token=a%26b", content_type="audio/x-raw, rate=(int)8000", model=None
    )
    assert url == "ws://h/client/ws/speech?token=a%26b&content-type=audio%2Fx-raw%2C+rate%3D%28int%298000"


@pytest.mark.parametrize(
    ("head", "content_type", "rate"),
    [
        (wav(8000, b"")[:4096], None, 16000.0),
        (b"\0" * 100, "audio/x-raw, rate=(int)8000, format=(string)S16LE, channels=(int)2", 32000.0),
        (b"\0" * 100, None, None),
        (b"OggS" + bytes(100), None, None),
        (b"RIFF", None, None),
        (b"", None, None),
    ],
)
def test_natural_rate(head: bytes, content_type: str | None, rate: float | None) -> None:
    assert natural_bytes_per_s(head, content_type) == rate


def test_natural_rate_of_nonsense() -> None:
    with pytest.raises(AudioError):
        natural_bytes_per_s(b"", "audio/x-raw, rate=(int)many")


def test_paced_audio_keeps_time(run_in_fake_time: Any) -> None:
    """Each piece goes out when it would have been spoken, and a late one does not shift those after it."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield bytes(1000)
        await asyncio.sleep(10)
        yield bytes(1000)

    async def scenario() -> list[float]:
        now_s = asyncio.get_running_loop().time
        return [now_s() async for _ in paced(pieces(), 1000)]

    assert run_in_fake_time(scenario) == [1, 2, 3, 4, 5, 15]


def test_files_are_read_whole_in_small_pieces() -> None:
    async def scenario() -> list[bytes]:
        return [piece async for piece in read_pieces(b"abcde", io.BytesIO(b"fghij"), 2)]

    assert asyncio.run(scenario()) == [b"ab", b"cd", b"e", b"fg", b"hi", b"j"]


def test_a_file_is_sent_and_results_come_back(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            audio = wav(16000, bytes(range(256)) * 50)
            url = master.url.replace("http", "ws") + "/client/ws/speech"
            state = {"type": "string+gzip+base64", "value": "abc"}
            messages = recognize_file(url, io.BytesIO(audio), None, 0, [state])
            first = asyncio.ensure_future(anext(messages))
            await worker.read_json()
            assert json.loads(await worker.read()) == {"adaptation_state": state}
            received = b""
            while (message := await worker.read()) != "EOS":
                received += message
            assert received == audio
            await worker.send(FINAL)
            assert (await first)["result"] == FINAL["result"]
            worker.close()
            assert [message async for message in messages] == []

    harness.run(scenario)


def test_an_early_end_is_heard_while_sending(harness: Any) -> None:
    """The server refuses at once; the client must not first send an hour of audio."""

    async def scenario() -> None:
        async with harness.master() as master:
            url = master.url.replace("http", "ws") + "/client/ws/speech"
            file = io.BytesIO(bytes(1_000_000))
            messages = [message async for message in recognize_file(url, file, None, 1000)]
            assert [message["status"] for message in messages] == [9]

    harness.run(scenario)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/no/such/path", "expected a WebSocket, found HTTP 404: Not Found"),
        ("/healthz", "expected a WebSocket, found an ordinary HTTP answer"),
    ],
)
def test_an_address_where_no_speech_is_served_is_named(harness: Any, path: str, reason: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            url = f"ws://user:secret@localhost:{master.port}{path}"
            with pytest.raises(ConnectionError) as caught:
                await anext(recognize_file(f"{url}?user-id=1", io.BytesIO(b"")))
            assert str(caught.value) == f"ws://localhost:{master.port}{path}: {reason}"

    harness.run(scenario)


def test_a_server_that_is_not_there_is_named() -> None:
    url = "ws://127.0.0.1:1/client/ws/speech"
    with pytest.raises(ConnectionError) as caught:
        asyncio.run(anext(recognize_file(url, io.BytesIO(b""))))
    assert str(caught.value) == f"{url}: cannot connect: Connection refused"


def test_an_address_that_is_not_one_of_a_websocket_is_refused() -> None:
    with pytest.raises(ConfigError, match="address: expected ws://localhost:8888/client/ws/speech, found"):
        asyncio.run(anext(recognize_file("localhost:8888", io.BytesIO(b""))))


class ScriptedServer(WebSocketHandler):
    """Sends messages after the first piece of audio, or after its end, and closes in some way."""

    def initialize(self, wait_for_end: bool, messages: list[dict[str, Any]], code: int | None) -> None:
        self._wait_for_end = wait_for_end
        self._messages = messages
        self._code = code

    async def on_message(self, message: str | bytes) -> None:
        if self._wait_for_end and message != "EOS":
            return
        for each in self._messages:
            await self.write_message(json.dumps(each))
        self.close(self._code, "because" if self._code else None)


async def results_of(wait_for_end: bool, messages: list[dict[str, Any]], code: int | None) -> list[Any]:
    """What the client yields for a scripted server."""
    script = {"wait_for_end": wait_for_end, "messages": messages, "code": code}
    server = HTTPServer(Application([("/client/ws/speech", ScriptedServer, script)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"ws://127.0.0.1:{sockets[0].getsockname()[1]}/client/ws/speech"
    try:
        audio = io.BytesIO(bytes(100_000))
        return [message async for message in recognize_file(url, audio, None, 0 if wait_for_end else 1000)]
    finally:
        server.stop()
        await server.close_all_connections()


REFUSED = {"status": 9, "message": "no worker"}


@pytest.mark.parametrize(
    ("wait_for_end", "messages", "code"),
    [
        (True, [FINAL], 1000),
        (True, [FINAL], None),  # as the original server closes
        (False, [REFUSED], 1000),
        (False, [REFUSED], None),
    ],
)
def test_an_orderly_end_is_not_an_error(wait_for_end: bool, messages: list[Any], code: int | None) -> None:
    assert asyncio.run(results_of(wait_for_end, messages, code)) == messages


@pytest.mark.parametrize(
    ("wait_for_end", "code", "reason"),
    [
        (False, None, "without a reason"),  # in the middle of the audio
        (True, 1001, "code 1001 because"),
        (False, 1008, "code 1008 because"),
    ],
)
def test_an_end_before_the_end_is_an_error(wait_for_end: bool, code: int | None, reason: str) -> None:
    with pytest.raises(ConnectionError, match=f"closed before the end of the results: {reason}"):
        asyncio.run(results_of(wait_for_end, [FINAL], code))
