"""WebSockets that read in bulk: the same messages however their bytes are cut, errors of handlers, writes."""

import asyncio
import base64
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from harness import until
from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import (
    WebSocketClosedError,
    WebSocketHandler,
    WebSocketProtocol,
    WebSocketProtocol13,
    websocket_connect,
)

from pykaldi_server.master.certificates import self_signed_certificate
from pykaldi_server.sockets import (
    BULK_BYTES,
    MASKS_AT_ONCE,
    MESSAGES_AT_ONCE,
    Backlog,
    QuickProtocol,
    _masks,
    connect_quickly,
)

Run = Callable[[Coroutine[Any, Any, None]], None]

LIMIT_S = 30.0
SENT_BYTES = 16 * 1024**2
"""More than the buffers of the system hold."""
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MESSAGES: tuple[str | bytes, ...] = (
    b"",
    "words",
    b"\x00" * 3200,
    b"ab" * BULK_BYTES,
    os.urandom(BULK_BYTES - 8),
    "EOS",
    bytes(70_000),
    b"x",
)
FLOOD = [bytes([number]) * (1 if number % 3 else 300_000) for number in range(60)]
"""More than the buffers of both sides can hold, and small messages in between."""


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a scenario in an event loop of either kind."""

    def run(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(scenario)

    return run


class Echo(WebSocketHandler):
    """Sends back what it gets."""

    task: "asyncio.Task[Any] | None" = None

    def initialize(self, heard: list[str | bytes]) -> None:
        self.heard = heard

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain: Any = super().get_websocket_protocol()
        return QuickProtocol(self, mask_outgoing=False, params=plain.params)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        if message == "fail at once":
            raise ValueError("a handler that fails at once")
        if message == "flood":
            self.writing = [self.write_message(each, binary=True) for each in FLOOD]
            return None
        return self.answer(message)

    async def answer(self, message: str | bytes) -> None:
        if message == "fail":
            raise ValueError("a handler that fails")
        self.task = self.task or asyncio.current_task()
        assert asyncio.current_task() is self.task  # no task per message
        self.heard.append(message)
        await asyncio.sleep(0)
        await self.write_message(message, binary=isinstance(message, bytes))


@asynccontextmanager
async def echo_server() -> AsyncIterator[tuple[int, list[str | bytes]]]:
    heard: list[str | bytes] = []
    async with serving(Echo, {"heard": heard}) as port:
        yield port, heard


@asynccontextmanager
async def serving(
    handler: type[WebSocketHandler],
    arguments: dict[str, Any] | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    listening, port = bind_unused_port()
    server = HTTPServer(Application([("/", handler, arguments or {})]), ssl_options=tls)
    server.add_socket(listening)
    try:
        async with asyncio.timeout(LIMIT_S):
            yield port
    finally:
        server.stop()
        await server.close_all_connections()


def frame(opcode: int, data: bytes, is_last: bool = True) -> bytes:
    """A masked frame, as clients send it."""
    mask = b"\x12\x34\x56\x78"
    if len(data) < 126:
        head = struct.pack("!BB", opcode | 0x80 * is_last, 0x80 | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", opcode | 0x80 * is_last, 0x80 | 126, len(data))
    else:
        head = struct.pack("!BBQ", opcode | 0x80 * is_last, 0x80 | 127, len(data))
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    masked = (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")
    return head + mask + masked


def frames(messages: Sequence[str | bytes]) -> bytes:
    """All messages, every other one in two fragments with a ping in between."""
    written = b""
    for number, message in enumerate(messages):
        opcode = TEXT if isinstance(message, str) else BINARY
        data = message.encode() if isinstance(message, str) else message
        if number % 2:
            half = len(data) // 2
            written += frame(opcode, data[:half], False) + frame(PING, b"there?") + frame(0, data[half:])
        else:
            written += frame(opcode, data)
    return written


async def open_raw(
    port: int, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    key = base64.b64encode(bytes(16)).decode()
    lines = ["GET / HTTP/1.1", "Host: here", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
    writer.write("\r\n".join(lines).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.parametrize("piece_bytes", [7, 100, 3209, BULK_BYTES, 10**6])
def test_messages_do_not_depend_on_how_their_bytes_are_cut(run: Run, piece_bytes: int) -> None:
    messages = MESSAGES if piece_bytes > 50 else MESSAGES[:3]

    async def scenario() -> None:
        async with echo_server() as (port, heard):
            reader, writer = await open_raw(port)
            data = frames(messages) + frame(CLOSE, struct.pack("!H", 1000))
            for begin in range(0, len(data), piece_bytes):
                writer.write(data[begin : begin + piece_bytes])
                await writer.drain()
                await asyncio.sleep(0)
            answer = await reader.read()
            assert heard == list(messages)
            assert answer.count(b"there?") == len(messages) // 2  # each ping is answered
            assert answer.endswith(struct.pack("!BBH", 0x80 | CLOSE, 2, 1000))
            writer.close()

    run(scenario())


def test_messages_do_not_depend_on_encryption(run: Run, tmp_path: Path) -> None:
    certificate, key = self_signed_certificate(tmp_path, ["localhost"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    client.check_hostname = False

    async def scenario() -> None:
        heard: list[str | bytes] = []
        async with serving(Echo, {"heard": heard}, server) as port:
            reader, writer = await open_raw(port, client)
            data = frames(MESSAGES) + frame(CLOSE, struct.pack("!H", 1000))
            for begin in range(0, len(data), BULK_BYTES // 3):
                writer.write(data[begin : begin + BULK_BYTES // 3])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.read()).endswith(struct.pack("!BBH", 0x80 | CLOSE, 2, 1000))
            assert heard == list(MESSAGES)
            writer.close()

    run(scenario())


class Noting(WebSocketHandler):
    """Notes in which task it is called, and has nothing to wait for."""

    def initialize(self, tasks: "list[asyncio.Task[Any] | None]") -> None:
        self.tasks = tasks

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        plain: Any = super().get_websocket_protocol()
        return QuickProtocol(self, mask_outgoing=False, params=plain.params)

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        self.tasks.append(asyncio.current_task())


def test_a_message_wakes_no_task(run: Run) -> None:
    """Not even where it comes in pieces."""

    async def scenario() -> None:
        tasks: list[asyncio.Task[Any] | None] = []
        async with serving(Noting, {"tasks": tasks}) as port:
            _, writer = await open_raw(port)
            for number, size in enumerate([5, 200, BULK_BYTES - 8, 6400, 1], start=1):
                data = frame(BINARY, bytes(size))
                for begin in range(0, len(data), 3000):
                    await asyncio.sleep(0.01)  # so that they do not all come at once
                    writer.write(data[begin : begin + 3000])
                while len(tasks) < number:
                    await asyncio.sleep(0)
            assert tasks[1:] == [None] * 4  # the first may have come before the task slept
            writer.close()

    run(scenario())


def test_others_have_their_turn_during_a_flood_of_messages(run: Run) -> None:
    async def scenario() -> None:
        tasks: list[asyncio.Task[Any] | None] = []
        async with serving(Noting, {"tasks": tasks}) as port:
            _, writer = await open_raw(port)
            num_messages = 20 * MESSAGES_AT_ONCE
            writer.write(frame(TEXT, b"") * num_messages)
            seen = [0]
            while seen[-1] < num_messages:
                await asyncio.sleep(0)
                seen.append(len(tasks))
            assert max(after - before for before, after in pairwise(seen)) <= 2 * MESSAGES_AT_ONCE
            writer.close()

    run(scenario())


class Closing(Noting):
    """Breaks the connection off, and has something to do after that."""

    async def finish_work(self) -> None:
        await asyncio.sleep(0)
        self.tasks.append(None)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:  # type: ignore[override]
        super().on_message(message)
        if message == "first":
            return None
        connection: Any = self.ws_connection
        connection.stream.close()
        return self.finish_work()


def test_what_a_message_begins_is_completed_although_the_connection_is_closed(run: Run) -> None:
    async def scenario() -> None:
        tasks: list[asyncio.Task[Any] | None] = []
        async with serving(Closing, {"tasks": tasks}) as port:
            _, writer = await open_raw(port)
            writer.write(frame(TEXT, b"first"))
            while not tasks:
                await asyncio.sleep(0)
            writer.write(frame(TEXT, b"last"))
            while len(tasks) < 3:
                await asyncio.sleep(0)
            writer.close()

    run(scenario())


def test_both_ends_understand_each_other(run: Run) -> None:
    async def scenario() -> None:
        async with echo_server() as (port, _):
            connection = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            for message in MESSAGES:
                await connection.write_message(message, binary=isinstance(message, bytes))
                assert await connection.read_message() == message
            connection.close()
            assert await connection.read_message() is None

    run(scenario())


def test_texts_are_written_by_one_call_of_the_system(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["first", "ä" * 200, "third"]
    num_bytes = (2 + 4 + 5) + (4 + 4 + 400) + (2 + 4 + 5)  # head, mask, text
    written: list[int] = []
    server: list[str | int] = []
    write = IOStream.write_to_fd

    def write_to_fd(self: IOStream, data: memoryview) -> int:
        if [*self.socket.getpeername()] == server:
            written.append(len(data))
        return write(self, data)

    async def scenario() -> None:
        async with echo_server() as (port, _):
            connection = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            server.extend(("127.0.0.1", port))
            monkeypatch.setattr(IOStream, "write_to_fd", write_to_fd)
            await connection.write_texts(texts)
            assert written == [num_bytes]
            assert [await connection.read_message() for _ in texts] == texts
            connection.close()
            with pytest.raises(WebSocketClosedError):
                connection.write_texts(texts)

    run(scenario())


def test_no_mask_comes_again() -> None:
    """Nobody may foresee the next one (RFC 6455, 5.3): they come from the system, many at a time."""
    masks = _masks()
    assert len({next(masks) for _ in range(10 * MASKS_AT_ONCE)}) > 10 * MASKS_AT_ONCE - 3


@pytest.mark.parametrize("how", ["fail", "fail at once"])
def test_a_handler_that_fails_costs_its_connection(
    run: Run, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async def scenario() -> None:
        async with echo_server() as (port, heard):
            failing = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            await failing.write_message(how)
            assert await failing.read_message() is None
            other = await websocket_connect(f"ws://127.0.0.1:{port}/")
            await other.write_message("still there")
            assert await other.read_message() == "still there"
            assert heard == ["still there"]
            for each in (failing, other):
                each.close()

    run(scenario())
    assert how.replace("fail", "a handler that fails") in caplog.text


def test_what_the_system_does_not_take_at_once_is_written_in_order(run: Run) -> None:
    async def scenario() -> None:
        async with echo_server() as (port, _):
            connection = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            await connection.write_message("flood")  # from here on as much comes as this end reads
            assert [await connection.read_message() for _ in FLOOD] == FLOOD
            connection.close()

    run(scenario())


@pytest.mark.parametrize("whole_bytes", [0, 5, 126])
def test_longer_messages_are_left_to_tornado(
    run: Run, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(QuickProtocol, "whole_bytes", whole_bytes)
    left: list[int] = []
    receive = WebSocketProtocol13._receive_frame

    async def receive_frame(self: WebSocketProtocol13) -> None:
        left.append(0)
        await receive(self)

    monkeypatch.setattr(WebSocketProtocol13, "_receive_frame", receive_frame)

    async def scenario() -> None:
        async with echo_server() as (port, heard):
            reader, writer = await open_raw(port)
            sizes = [0, 5, 6, 126, 127]
            writer.write(b"".join(frame(BINARY, b"x" * size) for size in sizes) + frame(CLOSE, b""))
            await reader.read()
            writer.close()
            assert [len(each) for each in heard] == sizes
            assert len(left) == sum(size > whole_bytes for size in sizes) + 1

    run(scenario())


def test_nothing_can_be_written_to_a_peer_that_is_gone(run: Run) -> None:
    async def scenario() -> None:
        async with echo_server() as (port, _):
            connection = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            protocol: Any = connection.protocol
            protocol.stream.close()
            with pytest.raises(WebSocketClosedError):
                await connection.write_message("lost")
            connection.close()

    run(scenario())


def test_messages_can_be_given_to_a_function_and_back(run: Run) -> None:
    """Those that came before are given first; while what it returns is not done, nothing more is read."""

    async def scenario() -> None:
        async with echo_server() as (port, _):
            connection = await connect_quickly(HTTPRequest(f"ws://127.0.0.1:{port}/"))
            numbers = [str(number) for number in range(10)]
            for number in numbers:
                await connection.write_message(number)
            while connection.read_queue.empty():
                await asyncio.sleep(0)
            given: list[str | bytes | None] = []
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def take(message: str | bytes | None) -> "asyncio.Future[None] | None":
                given.append(message)
                return room if len(given) >= 5 else None

            connection.give_to(take)
            while len(given) < 5:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert given == numbers[:5]
            connection.give_to(None)
            room.set_result(None)
            assert [await connection.read_message() for _ in range(5)] == numbers[5:]
            connection.give_to(take)
            await connection.write_message("fail")
            while given[-1] is not None:
                await asyncio.sleep(0)
            assert given == [*numbers[:5], None]
            connection.close()

    run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what has arrived")
def test_a_backlog_moves_while_the_other_end_takes_some_of_it(harness: Any) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(server.getsockname())
            stream = IOStream(server.accept()[0])
            backlog = Backlog(stream)
            assert not backlog.is_moving()  # nothing has been sent
            writing = asyncio.ensure_future(stream.write(bytes(SENT_BYTES)))
            await until(lambda: bool(peer.recv(BULK_BYTES)) and backlog.is_moving())
            while backlog.is_moving():  # until the buffers of the system are full: the peer takes no more
                await asyncio.sleep(0.1)
            await until(lambda: bool(peer.recv(BULK_BYTES)) and backlog.is_moving())
            peer.setblocking(False)
            loop = asyncio.get_running_loop()
            while not writing.done():
                await loop.sock_recv(peer, BULK_BYTES)
            stream.close()
            assert not backlog.is_moving()

    harness.run(scenario)
