"""Long messages on the master's WebSockets: whole recordings, slow lines, and more than is allowed."""

import asyncio
import random
import struct
from contextlib import suppress
from typing import Any

import pytest
import websockets
from harness import until

from pykaldi_server.master.live_socket import MAX_TEXT_BYTES
from pykaldi_server.master.socket_protocol import PIECE_BYTES
from pykaldi_server.protocols.worker import Position

FINAL = {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": True}}


def test_too_large_messages_end_the_request(harness: Any) -> None:
    """The client is told why, even if it is still sending; its worker is free at once."""

    async def scenario() -> None:
        async with harness.master(max_message_bytes=1000) as master:
            worker = await harness.worker(master)
            url = master.url.replace("http", "ws")
            async with websockets.connect(f"{url}/client/ws/speech") as client:
                await worker.read_json()
                await client.send(bytes(1000))
                assert await worker.read() == bytes(1000)
                with suppress(websockets.ConnectionClosed):
                    await client.send(bytes(20_000_000))
                await client.wait_closed()
                assert client.close_code == 1009
                assert client.close_reason == "expected at most 1000 bytes in a message"
                assert await worker.read() is None

    harness.run(scenario)


def test_too_large_messages_in_fragments(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(max_message_bytes=1000) as master:
            worker = await harness.worker(master)
            url = master.url.replace("http", "ws")
            async with websockets.connect(f"{url}/client/ws/speech") as client:
                await worker.read_json()
                await client.send([bytes(400), bytes(400), bytes(200)])
                assert await worker.read() == bytes(1000)
                with suppress(websockets.ConnectionClosed):
                    await client.send([bytes(400)] * 50_000)
                await client.wait_closed()
                assert client.close_code == 1009

    harness.run(scenario)


def test_too_large_text_messages(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await client.send("x" * (MAX_TEXT_BYTES + 1))
            assert await client.read() is None
            assert client.connection.close_code == 1009
            assert await worker.read() is None

    harness.run(scenario)


@pytest.mark.parametrize("in_fragments", [False, True])
def test_text_messages_that_are_not_utf_8(harness: Any, in_fragments: bool) -> None:
    """Libraries that send audio as text unless they are told otherwise."""
    audio = bytes(range(100, 200))

    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            url = master.url.replace("http", "ws")
            async with websockets.connect(f"{url}/client/ws/speech") as client:
                await worker.read_json()
                message = [audio[:50], audio[50:]] if in_fragments else audio
                await client.send(message, text=True)
                await client.wait_closed()
                assert client.close_code == 1007
                expected = (
                    "expected UTF-8 in a text message, found other bytes; audio belongs in binary messages"
                )
                assert client.close_reason == expected
            assert await worker.read() is None

    harness.run(scenario)


def test_a_whole_recording_in_one_message(harness: Any) -> None:
    """20 MB; the message is on disk while the worker takes its time."""

    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master)
            await worker.read_json()
            recording = random.Random(1).randbytes(20_000_000)
            await client.send(recording)
            await client.send("EOS")
            received = bytearray()
            while (message := await worker.read()) != "EOS":
                received += message
                await worker.send(Position(len(received), 0.0).text())
            assert received == recording
            await worker.send(FINAL)
            await worker.send(Position(len(received) + 3, 0.0, end=True).text())
            assert (await client.read_json())["result"] == FINAL["result"]
            assert await client.read() is None

    harness.run(scenario)


def test_a_message_that_takes_long_to_send_is_a_sign_of_life(harness: Any) -> None:
    """Between two pieces of the message the client waits for a ping, which it cannot answer."""
    piece = bytes(PIECE_BYTES)

    async def scenario() -> None:
        async with harness.master(ping_interval_s=0.5, silence_timeout_s=2.0) as master:
            worker = await harness.worker(master)
            url = master.url.replace("http://localhost", "127.0.0.1")
            reader, writer = await asyncio.open_connection(*url.split(":"))
            handshake = "GET /client/ws/speech HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            handshake += "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            handshake += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            writer.write(handshake.encode())
            await reader.readuntil(b"\r\n\r\n")
            await worker.read_json()
            writer.write(b"\x82\xff" + struct.pack("!Q", 6 * len(piece)) + bytes(4))
            for _ in range(6):
                assert await reader.readexactly(2) == b"\x89\x00"  # a ping
                writer.write(piece)
            message = await worker.read()
            assert piece.startswith(message)
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


def masked_frame(num_bytes: int, *, is_last: bool = True, opcode: int = 2) -> bytes:
    """The head of a binary frame of a client with this much content."""
    return struct.pack("!BBQ", (0x80 if is_last else 0) | opcode, 0xFF, num_bytes) + bytes(4)


@pytest.mark.parametrize("in_fragments", [False, True])
def test_messages_that_arrive_at_the_same_time_share_a_bounded_memory(
    harness: Any, in_fragments: bool
) -> None:
    """Some clients begin large messages and never end them; ordinary ones go on, the greediest is closed."""
    piece = bytes(PIECE_BYTES // 2 if in_fragments else PIECE_BYTES)

    async def scenario() -> None:
        async with harness.master(max_message_bytes=6 * PIECE_BYTES, queue_s=60) as master:
            worker = await harness.worker(master)
            live = await harness.client(master)
            await worker.read_json()
            arriving = master.hub.arriving
            assert arriving.limit_bytes == 12 * PIECE_BYTES
            greedy = [await harness.client(master) for _ in range(3)]
            for client in greedy:
                stream = client.connection.protocol.stream
                if in_fragments:
                    for number in range(11):
                        opcode = 0 if number else 2
                        await stream.write(masked_frame(len(piece), is_last=False, opcode=opcode) + piece)
                else:
                    await stream.write(masked_frame(6 * PIECE_BYTES))
                    await stream.write(piece * 5 + bytes(1000))
            reading = [asyncio.create_task(read_to_the_end(client)) for client in greedy]
            closed, others = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result() for each in closed] == [1013]
            for task in others:
                task.cancel()
            await until(lambda: arriving.num_holding == 2)
            assert arriving.held_bytes <= arriving.limit_bytes
            await live.send(b"audio")
            assert await worker.read() == b"audio"
            for client in greedy:
                client.vanish()
            await until(lambda: (arriving.held_bytes, arriving.num_holding) == (0, 0))

    harness.run(scenario)


async def read_to_the_end(client: Any) -> int | None:
    while await client.read() is not None:
        pass
    code: int | None = client.connection.close_code
    return code
