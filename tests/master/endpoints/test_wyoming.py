"""The Wyoming protocol on real sockets; the workers follow a script."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from harness import until

from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import Position
from pykaldi_server.protocols.wyoming import Event, EventReader

CAPS = "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)8000"
FORMAT: dict[str, Any] = {"rate": 8000, "width": 2, "channels": 1}
WORKER = "protocol=2&model=english&language=en&version=1.2"


class Client:
    """Speaks the protocol byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._events = EventReader(10**6)
        self._waiting: list[Event] = []

    async def send(self, event_type: str, payload: bytes = b"", **data: Any) -> None:
        self.writer.write(Event(event_type, data, payload).encode())
        await self.writer.drain()

    async def chunk(self, samples: bytes) -> None:
        await self.send("audio-chunk", samples, **FORMAT)

    async def read(self) -> tuple[str, Message] | None:
        """Type and data of the next event; None when the server has closed."""
        while not self._waiting:
            data = await self.reader.read(1000)
            if not data:
                return None
            self._waiting += self._events.feed(data)
        event = self._waiting.pop(0)
        return event.type, event.data

    async def read_all(self) -> list[tuple[str, Message]]:
        events = []
        while (event := await self.read()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def connected(master: Any) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", master.wyoming_port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def final(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": True}}


async def end(worker: Any) -> None:
    await worker.send(Position(0, 0.0, end=True).text())


def test_a_conversation_from_end_to_end(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            for name in ("two nine", "three"):
                worker = await harness.worker(master, WORKER)
                await client.send("transcribe", language="en-GB")
                await client.send("audio-start", **FORMAT, timestamp=0)
                await client.chunk(b"1234")
                init = await worker.read_json()
                assert init["content_type"] == CAPS
                assert await worker.read() == b"1234"
                await worker.send(final(name))
                assert await client.read() == ("transcript-start", {"language": "en"})
                assert await client.read() == ("transcript-chunk", {"text": name})
                await client.send("audio-stop")
                assert await worker.read() == "EOS"
                await worker.send(final("four"))
                await end(worker)
                assert await client.read() == ("transcript-chunk", {"text": " four"})
                assert await client.read() == ("transcript", {"text": f"{name} four", "language": "en"})
                assert await client.read() == ("transcript-stop", {})

    harness.run(scenario)


def test_models_and_pings_while_an_utterance_is_recognised(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.chunk(b"12")  # without audio-start
            await client.send("audio-stop")
            assert [await worker.read() for _ in range(3)][1:] == [b"12", "EOS"]
            await client.send("ping", text="hello")
            assert await client.read() == ("pong", {"text": "hello"})
            await client.send("describe")
            event_type, info = await client.read() or ("", {})
            assert event_type == "info"
            (model,) = info["asr"][0]["models"]
            assert (model["name"], model["languages"], model["version"]) == ("english", ["en"], "1.2")
            await end(worker)
            assert [await client.read() for _ in range(3)] == [
                ("transcript-start", {}),
                ("transcript", {"text": ""}),
                ("transcript-stop", {}),
            ]

    harness.run(scenario)


def test_an_utterance_waits_for_the_one_before(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0, queue_s=60) as master, connected(master) as client:
            first = await harness.worker(master, WORKER)
            for _ in range(2):
                await client.send("audio-start", **FORMAT)
                await client.chunk(b"EOS")  # samples, although they read like the end of another protocol
                await client.send("audio-stop")
            assert [await first.read() for _ in range(4)][1:] == [b"E", b"OS", "EOS"]
            second = await harness.worker(master, WORKER)
            await first.send(final("one"))
            await end(first)
            assert [await second.read() for _ in range(4)][1:] == [b"E", b"OS", "EOS"]
            await second.send(final("two"))
            await end(second)
            transcripts: list[str] = []
            while len(transcripts) < 2:
                event_type, data = await client.read() or ("closed", {})
                assert event_type != "closed"
                transcripts += [data["text"]] if event_type == "transcript" else []
            assert transcripts == ["one", "two"]

    harness.run(scenario)


def test_no_audio_needs_no_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            await client.send("audio-stop")  # of nothing
            await client.send("audio-start", **FORMAT)
            await client.send("audio-stop")
            assert await client.read() == ("transcript-start", {})
            assert await client.read() == ("transcript", {"text": ""})

    harness.run(scenario)


def test_what_to_transcribe_may_come_after_the_start(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.send("audio-start", **FORMAT)
            await client.send("transcribe", name="english", context={"user_id": "anna"})
            await client.chunk(b"12")
            assert (await worker.read_json())["user_id"] == "anna"
            await client.send("audio-stop")
            assert [await worker.read() for _ in range(2)] == [b"12", "EOS"]
            await end(worker)
            assert await client.read() == ("transcript-start", {"language": "en"})

    harness.run(scenario)


def test_a_second_start_before_any_audio_is_no_utterance(harness: Any) -> None:
    """Home Assistant takes the first transcript for that of what it sends."""

    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.send("audio-start", **{**FORMAT, "rate": 16000})
            await client.send("audio-start", **FORMAT)
            await client.chunk(b"12")
            await client.send("audio-stop")
            assert (await worker.read_json())["content_type"] == CAPS
            assert [await worker.read() for _ in range(2)] == [b"12", "EOS"]
            await worker.send(final("two"))
            await end(worker)
            assert [await client.read() for _ in range(3)] == [
                ("transcript-start", {}),
                ("transcript-chunk", {"text": "two"}),
                ("transcript", {"text": "two"}),
            ]

    harness.run(scenario)


def test_a_client_that_ends_its_direction_still_gets_its_transcript(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.chunk(b"12")
            await client.send("audio-stop")
            client.writer.write_eof()
            assert [await worker.read() for _ in range(3)][2] == "EOS"
            await worker.send(final("two"))
            await end(worker)
            assert (await client.read_all())[-2:] == [
                ("transcript", {"text": "two"}),
                ("transcript-stop", {}),
            ]

    harness.run(scenario)


async def fails(client: Client) -> Message:
    """The error, after which the server closes."""
    (event_type, data), *rest = [event for event in await client.read_all() if event[0] != "transcript-start"]
    assert (event_type, rest) == ("error", [])
    return data


def test_no_free_worker_and_models_that_there_are_not(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0, queue_s=0.05) as master:
            async with connected(master) as client:
                await client.chunk(b"12")
                assert await fails(client) == {
                    "text": "No decoder available, try again later",
                    "code": "not-available",
                }
            await harness.worker(master, WORKER)
            async with connected(master) as client:
                await client.send("transcribe", name="latin")
                await client.chunk(b"12")
                error = await fails(client)
                assert error["text"] == "there is no model 'latin'; those that there are: english"
            async with connected(master) as client:
                await client.send("transcribe", language="la")
                await client.send("audio-start", **FORMAT)
                error = await fails(client)
                assert error["text"] == "there is no model for language 'la'; those that there are: en"

    harness.run(scenario)


def test_a_lost_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.chunk(b"12")
            await worker.read()
            await worker.send({"status": 0, "result": {"hypotheses": [{"transcript": "t"}], "final": False}})
            worker.vanish()
            error = await fails(client)
            assert error["code"] == "aborted"
            assert "lost" in error["text"]

    harness.run(scenario)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"hello\n", "the line of an event: expected JSON, found b'hello'"),
        (
            Event("audio-chunk", {**FORMAT, "rate": 16000}, b"12").encode(),
            "an audio-chunk: expected AudioFormat(rate_hz=8000, width_bytes=2, channels=1) as before, "
            "found AudioFormat(rate_hz=16000, width_bytes=2, channels=1)",
        ),
    ],
)
def test_what_is_not_understood_is_an_error_and_frees_the_worker(
    harness: Any, data: bytes, text: str
) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.chunk(b"12")
            assert [await worker.read() for _ in range(2)][1] == b"12"
            client.writer.write(data)
            for _ in range(100):  # the client talks on, and reads the error all the same
                await client.chunk(bytes(1000))
            assert await fails(client) == {"text": text, "code": "not-allowed"}
            assert await worker.read() is None
            await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_a_client_that_leaves_frees_its_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master:
            for leave in (asyncio.StreamWriter.close, lambda writer: writer.transport.abort()):
                worker = await harness.worker(master, WORKER)
                async with connected(master) as client:
                    await client.chunk(b"12")
                    assert [await worker.read() for _ in range(2)][1] == b"12"
                    leave(client.writer)
                    assert await worker.read() is None
                    await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_a_client_that_reads_nothing_is_left(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0, write_timeout_s=0.2) as master, connected(master) as client:
            worker = await harness.worker(master, WORKER)
            await client.chunk(b"12")
            await worker.read()
            text = json.dumps(final("word " * 10_000))
            while master.hub.pool.status().busy:
                await worker.send(text)
                await asyncio.sleep(0)

    harness.run(scenario)


def test_shutdown_tells_its_clients(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(wyoming_port=0) as master, connected(master) as client:
            await client.send("ping")
            assert await client.read() == ("pong", {"text": None})
            stopping = asyncio.create_task(master.stop())
            assert await client.read() == (
                "error",
                {"text": "the server is shutting down", "code": "aborted"},
            )
            assert await client.read() is None
            client.writer.close()
            await stopping

    harness.run(scenario)


def test_large_events_that_arrive_at_the_same_time_share_a_bounded_memory(harness: Any) -> None:
    header = {"type": "audio-chunk", "data": FORMAT, "payload_length": 3_000_000}
    head = json.dumps(header).encode() + b"\n"

    async def scenario() -> None:
        async with harness.master(wyoming_port=0, max_message_bytes=3_000_000, queue_s=60) as master:
            clients = [await asyncio.open_connection("127.0.0.1", master.wyoming_port) for _ in range(3)]
            for _, writer in clients:
                writer.write(head + bytes(2_900_000))
            reading = [asyncio.create_task(reader.read()) for reader, _ in clients]
            closed, others = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            assert all(b"too many large events" in each.result() for each in closed)
            assert master.hub.arriving.held_bytes <= 6_000_000
            for _, writer in clients:
                writer.transport.abort()
            await asyncio.wait(others)
            await until(lambda: master.hub.arriving.held_bytes == 0)

    harness.run(scenario)
