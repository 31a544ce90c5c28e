"""Clients that speak silence and workers that recognise nothing: thousands of them, at little cost.

They use the real protocols on real connections, but make each packet once and read no more of an answer than
they need, so that the processor is left to the master.

    clients: connect, wait for all, send packets at a pace, say the end, wait for the last result
    workers: report positions as the master asks for them, and a small partial result after some packets

`run_clients` and `run_workers` are the main functions of processes of their own; they count what they do in
an array that those processes share with the one that measures.
"""

import asyncio
import json
import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from pykaldi_server.master.connections import allow_many_files
from pykaldi_server.protocols.gstreamer import raw_audio_caps
from pykaldi_server.protocols.worker import POSITION_PROTOCOL, Position, WorkerInfo

__all__ = [
    "BINARY",
    "RATE_HZ",
    "TEXT",
    "Count",
    "Counts",
    "NullClient",
    "Pace",
    "client_path",
    "connect",
    "run_clients",
    "run_workers",
]

RATE_HZ = 16_000
BYTES_PER_S = 2 * RATE_HZ
TICK_S = 0.005
CONNECTING_AT_ONCE = 50
RECONNECT_S = 0.2
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CAPS = raw_audio_caps("S16LE", RATE_HZ)
WORDS = "how much does it cost to pass a packet on"
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Count(IntEnum):
    """What the processes count, by its place in the array."""

    OPEN = 0  # clients that are connected
    RELAYED = 1  # packets that have come to a worker
    ENDED = 2  # streams whose last result has come
    FAILED = 3  # streams that ended without
    LATE_MS = 4  # by how much a packet was sent too late, at most
    SLOTS = 5  # of workers that are connected


Counts = MutableSequence[int]


@dataclass(frozen=True)
class Pace:
    """What each client does.

    Attributes:
        protocol: kaldi or vosk.
        packets: how many each sends.
        packet_s: seconds of audio in a packet.
        every_s: seconds between packets.
        hold_s: seconds between the last packet and the end.
    """

    protocol: str
    packets: int
    packet_s: float
    every_s: float
    hold_s: float = 0.0


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame of a client. Its mask is zero: the other end takes it off all the same."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BBI", 0x80 | opcode, 0x80 | size, 0) + payload
    if size < 2**16:
        return struct.pack("!BBHI", 0x80 | opcode, 0x80 | 126, size, 0) + payload
    return struct.pack("!BBQI", 0x80 | opcode, 0x80 | 127, size, 0) + payload


class Peer(asyncio.Protocol, ABC):
    """The end of a WebSocket that has connected to the master. Messages of the master come whole.

    Attributes:
        opened: done when the handshake is.
        closed: done when the connection is.
    """

    transport: asyncio.Transport

    def __init__(self, path: str) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._path = path
        self._rest = b""

    @abstractmethod
    def received(self, opcode: int, payload: bytes) -> None:
        """A message has come."""

    def send(self, opcode: int, payload: bytes) -> None:
        self.transport.write(masked(opcode, payload))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE.format(path=self._path).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection broke before it was open"))
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        begin = 0
        if not self.opened.done():
            head, end, _ = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = data
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self.opened.set_exception(ConnectionError(head.decode(errors="replace")))
                self.transport.abort()
                return
            begin = len(head) + len(end)
            self.opened.set_result(None)
        while len(data) - begin >= 2:
            size, header = data[begin + 1], 2
            if size == 126:
                header = 4
                size = int.from_bytes(data[begin + 2 : begin + 4], "big")
            elif size == 127:
                header = 10
                size = int.from_bytes(data[begin + 2 : begin + 10], "big")
            if len(data) - begin < header + size:
                break
            opcode = data[begin] & 0xF
            payload = data[begin + header : begin + header + size]
            begin += header + size
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                self.send(CLOSE, payload[:2])
                self.transport.close()
            else:
                self.received(opcode, payload)
        self._rest = data[begin:]


class Slot(Peer):
    """A worker's connection, for one request.

    Args:
        path: where it connects, with what it says of itself.
        counts: what is counted.
        partial_every: after how many packets a partial result is due.
    """

    def __init__(self, path: str, counts: Counts, partial_every: int) -> None:
        super().__init__(path)
        self._counts, self._partial_every = counts, partial_every
        self._id = ""
        self._num_packets = self._num_bytes = self._reported_bytes = self._position_bytes = 0

    def received(self, opcode: int, payload: bytes) -> None:
        if not self._id:
            request = json.loads(payload)
            self._id, self._position_bytes = request["id"], request["position_bytes"]
            return
        self._num_bytes += len(payload)
        if opcode == TEXT and payload == b"EOS":
            self._result({"transcript": WORDS, "likelihood": 1.0}, is_final=True)
            self._position(is_end=True)
            return
        self._counts[Count.RELAYED] += 1
        self._num_packets += 1
        if self._num_packets % self._partial_every == 0:
            self._result({"transcript": WORDS}, is_final=False)
        if self._num_bytes - self._reported_bytes > self._position_bytes or not self._position_bytes:
            self._position(is_end=False)

    def _result(self, hypothesis: dict[str, object], *, is_final: bool) -> None:
        event: dict[str, object] = {"status": 0, "segment": 0, "id": self._id}
        event["result"] = {"hypotheses": [hypothesis], "final": is_final}
        if is_final:
            event.update({"segment-start": 0.0, "segment-length": 1.0, "total-length": 1.0})
        self.send(TEXT, json.dumps(event).encode())

    def _position(self, *, is_end: bool) -> None:
        self._reported_bytes = self._num_bytes
        self.send(TEXT, Position(self._num_bytes, self._num_bytes / BYTES_PER_S, is_end).text().encode())


class NullClient(Peer):
    """A client, for one stream."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.last = b""
        self.num_sent = 0

    def received(self, opcode: int, payload: bytes) -> None:
        self.last = payload


P = TypeVar("P", bound=Peer)


async def connect(master: str, make: Callable[[], P]) -> P:
    """Opens a connection to the master.

    Raises:
        OSError: it could not be opened.
    """
    parts = urlsplit(master)
    _, peer = await asyncio.get_running_loop().create_connection(make, parts.hostname, parts.port)
    await peer.opened
    return peer


def run_workers(master: str, slots: int, partial_every: int, counts: Counts) -> None:
    """The main function of workers, which serve until their process is ended.

    Args:
        master: its address.
        slots: how many requests they serve at once.
        partial_every: after how many packets a partial result is due.
        counts: what is counted.
    """
    info = WorkerInfo("none", protocol=POSITION_PROTOCOL, sample_rate_hz=RATE_HZ)
    path = info.url("/worker/ws/speech")

    async def serve(connecting: asyncio.Semaphore) -> None:
        while True:
            try:
                async with connecting:
                    slot = await connect(master, lambda: Slot(path, counts, partial_every))
                counts[Count.SLOTS] += 1
                await slot.closed
                counts[Count.SLOTS] -= 1
            except OSError:
                await asyncio.sleep(RECONNECT_S)

    async def serve_all() -> None:
        connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        await asyncio.gather(*(serve(connecting) for _ in range(slots)))

    allow_many_files()
    asyncio.run(serve_all())


def run_clients(master: str, streams: int, pace: Pace, counts: Counts) -> None:
    """The main function of clients, which returns when all streams have ended.

    Args:
        master: its address.
        streams: how many clients there are.
        pace: what each does.
        counts: what is counted.
    """
    allow_many_files()
    asyncio.run(speak_all(master, streams, pace, counts))


def client_path(protocol: str) -> str:
    """Where clients of a protocol connect."""
    return "/" if protocol == "vosk" else f"/client/ws/speech?{urlencode({'content-type': CAPS})}"


def begin(client: NullClient, protocol: str) -> None:
    """Says what comes before the audio."""
    if protocol == "vosk":
        client.send(TEXT, json.dumps({"config": {"sample_rate": RATE_HZ}}).encode())


async def finish(client: NullClient, protocol: str, counts: Counts) -> None:
    """Says that this was all, and waits for the last result."""
    client.send(TEXT, b'{"eof" : 1}' if protocol == "vosk" else b"EOS")
    await client.closed
    has_ended = b'"text"' in client.last if protocol == "vosk" else b'"final": true' in client.last
    counts[Count.ENDED if has_ended else Count.FAILED] += 1


async def speak_all(master: str, streams: int, pace: Pace, counts: Counts) -> None:
    """Opens all connections, then sends packets on all, each in a phase of its own."""
    connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
    path = client_path(pace.protocol)

    async def open_one() -> NullClient:
        async with connecting:
            client = await connect(master, lambda: NullClient(path))
        begin(client, pace.protocol)
        counts[Count.OPEN] += 1
        return client

    clients = await asyncio.gather(*(open_one() for _ in range(streams)))
    await send_packets(list(clients), pace, counts)
    await asyncio.sleep(pace.hold_s)
    await asyncio.gather(*(finish(client, pace.protocol, counts) for client in clients))


async def send_packets(clients: list[NullClient], pace: Pace, counts: Counts) -> None:
    """Sends what is due, again and again: one timer for all of them."""
    loop = asyncio.get_running_loop()
    packet = masked(BINARY, bytes(2 * round(pace.packet_s * RATE_HZ)))
    begin_s = loop.time()
    random.shuffle(clients)
    due = [
        (begin_s + (number + place / len(clients)) * pace.every_s, client)
        for number in range(pace.packets)
        for place, client in enumerate(clients)
    ]
    for due_s, client in due:
        now_s = loop.time()
        if due_s > now_s:
            await asyncio.sleep(max(TICK_S, due_s - now_s))
        else:
            counts[Count.LATE_MS] = max(counts[Count.LATE_MS], round(1000 * (now_s - due_s)))
        if not client.transport.is_closing():
            client.transport.write(packet)
