"""Clients that leave at any moment, in any protocol: no slot is lost, and nothing fails unseen."""

import asyncio
import logging
import random
import wave
from pathlib import Path
from typing import Any

import pytest
from live_worker import running_worker

from pykaldi_server.session import Model

CLIENTS = 60
SESSIONS = 3
SEED = 7
WEBSOCKET = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
UPLOAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: {type}\r\n\r\n"
FORM = (
    "--xyz\r\nContent-Disposition: form-data; name=model\r\n\r\nwhisper-1\r\n"
    "--xyz\r\nContent-Disposition: form-data; name=file; filename=a.raw\r\n\r\n"
)


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame of a WebSocket (RFC 6455, 5.2); the mask is zero."""
    return bytes([0x80 | opcode, 0x80 | 126, *len(payload).to_bytes(2, "big"), 0, 0, 0, 0]) + payload


def conversations(audio: bytes) -> list[bytes]:
    """Everything that a client of each protocol sends, from its first byte to the end."""
    pieces = [audio[begin : begin + 8000] for begin in range(0, len(audio), 8000)]
    binary = b"".join(frame(2, piece) for piece in pieces)
    form = FORM.encode() + audio + b"\r\n--xyz--\r\n"
    length, multipart = len(form), "multipart/form-data; boundary=xyz"
    return [
        WEBSOCKET.format(path="/client/ws/speech").encode() + binary + frame(1, b"EOS"),
        WEBSOCKET.format(path="/vosk").encode() + binary + frame(1, b'{"eof" : 1}'),
        UPLOAD.format(path="/client/dynamic/recognize", length=len(audio), type="").encode() + audio,
        UPLOAD.format(path="/v1/audio/transcriptions", length=length, type=multipart).encode() + form,
        WEBSOCKET.format(path="/client/ws/status").encode(),
        WEBSOCKET.format(path="/worker/ws/speech").encode() + binary,
    ]


async def leave_early(port: int, conversation: bytes, choice: random.Random) -> None:
    """Sends a part, perhaps waits for an answer, and breaks the connection off in one of several ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(conversation[: choice.randrange(len(conversation) + 1)])
        if choice.random() < 0.5:
            await asyncio.wait([asyncio.ensure_future(reader.read(choice.randrange(1, 400)))], timeout=0.3)
        if choice.random() < 0.5:
            writer.transport.abort()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def test_leaving_at_any_moment_frees_the_slot_and_fails_silently_nowhere(
    harness: Any, models: Path, golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        audio = file.readframes(file.getnframes())
    model = Model.load(models / "english:graph-digits")
    choice = random.Random(SEED)

    async def scenario() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        async with harness.master(queue_s=0.5) as master, running_worker(model, master, sessions=SESSIONS):
            talks = conversations(audio)
            for _ in range(CLIENTS // 6):
                await asyncio.gather(*(leave_early(master.port, talk, choice) for talk in talks))
            await master.until(lambda: master.hub.pool.status().available == SESSIONS)
            assert master.hub.pool.status().waiting == 0

            client = await harness.client(master)
            await client.send(audio)
            await client.send("EOS")
            assert (await client.read_all())[-1]["status"] == 0
        assert not failures

    with caplog.at_level(logging.DEBUG):
        harness.run(scenario)
    failed = [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert not failed, [record.getMessage() for record in failed]
