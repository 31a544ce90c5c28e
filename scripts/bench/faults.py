"""What goes wrong while `soak.py` runs: one fault after the other, on purpose.

A fault is a coroutine that does the damage and returns when it has been done: when a worker that was hit has
gone, for example. It raises if the damage cannot be done. Nothing here judges the server: the soak test
checks afterwards that it is whole again, and that every client got its words or was told.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress
from dataclasses import dataclass

from live_clients import Address, Failure, KaldiClient, connect
from recordings import Recording
from servers import ServerProcess
from speaking import PROTOCOLS, speak
from tornado.websocket import WebSocketClosedError

__all__ = ["FAULTS", "RELOAD", "Scene"]

RELOAD = "SIGHUP"
STORM_CONNECTIONS = 200
STORM_HANDSHAKES = 50
SLOW_READER_S = 20.0
SLOW_READER_REPEATS = 20
HANG_S = 5.0
ENDED_S = 60.0
"""How long a worker that is to end may take, with the requests that it has."""
GARBAGE_BYTES = 4096
GARBAGE_CLIENTS = 20
UPLOAD_BYTES = 8 * 2**20
VANISH_S = (0.3, 1.0, 2.0)
PACKET_S = 0.1


@dataclass(frozen=True)
class Scene:
    """What a fault can act on."""

    server: ServerProcess
    address: Address
    recordings: tuple[Recording, ...]
    rng: random.Random

    def youngest_worker(self) -> int:
        """The worker that is always hit, so that the others live as long as the test."""
        return int(max(self.server.workers(), key=lambda worker: worker.create_time()).pid)


async def gone(scene: Scene, pids: Container[int]) -> None:
    """Waits until none of these worker processes is left."""
    async with asyncio.timeout(ENDED_S):
        while any(each.pid in pids for each in scene.server.workers()):
            await asyncio.sleep(0.05)


async def kill_worker(scene: Scene) -> None:
    worker = scene.youngest_worker()
    os.kill(worker, signal.SIGKILL)
    await gone(scene, {worker})


async def end_worker(scene: Scene) -> None:
    worker = scene.youngest_worker()
    os.kill(worker, signal.SIGTERM)
    await gone(scene, {worker})


async def suspend_worker(scene: Scene) -> None:
    """A worker gets no CPU for a while, as on a machine that swaps."""
    worker = scene.youngest_worker()
    os.kill(worker, signal.SIGSTOP)
    await asyncio.sleep(HANG_S)
    os.kill(worker, signal.SIGCONT)


async def reload_server(scene: Scene) -> None:
    workers = {each.pid for each in scene.server.workers()}
    os.kill(scene.server.process.pid, signal.SIGHUP)
    await gone(scene, workers)


async def vanish(scene: Scene) -> None:
    """Clients of each protocol break their connections in the middle of a word."""
    deadlines = [(kind, after_s) for kind in PROTOCOLS.values() for after_s in VANISH_S]
    now_s = asyncio.get_running_loop().time()
    await asyncio.gather(
        *(
            speak(kind, scene.address, scene.rng.choice(scene.recordings), PACKET_S, now_s + after_s)
            for kind, after_s in deadlines
        )
    )


async def read_slowly(scene: Scene) -> None:
    """A client sends as fast as it can and reads nothing."""
    recording = max(scene.recordings, key=lambda each: each.length_s)
    data, rate_hz, _ = KaldiClient.form.encode(recording)
    client = KaldiClient(scene.address, rate_hz)
    with suppress(Failure, TimeoutError):
        async with asyncio.timeout(SLOW_READER_S):
            await client.open()
            client.read_nothing()
            for _ in range(SLOW_READER_REPEATS):
                await client.send(data)
            await client.finish()
            await asyncio.sleep(SLOW_READER_S)
    client.vanish()


async def send_garbage(scene: Scene) -> None:
    """Random bytes on every port, and after a handshake."""
    address = scene.address
    ports = (address.port, address.vosk_port, address.wyoming_port, address.audiosocket_port)

    async def shout(port: int) -> None:
        reader, writer = await asyncio.open_connection(scene.address.host, port)
        with suppress(ConnectionError):
            writer.write(scene.rng.randbytes(GARBAGE_BYTES))
            await writer.drain()
            writer.write_eof()
            await reader.read()
        writer.close()

    await asyncio.gather(*(shout(port) for port in ports if port for _ in range(GARBAGE_CLIENTS)))
    for path in ("/client/ws/speech", "/", "/twilio", "/v1/realtime?intent=transcription"):
        socket = await connect(f"ws://{scene.address.host}:{scene.address.port}{path}")
        with suppress(WebSocketClosedError):  # it is thrown out
            await socket.write_message(json.dumps([[[scene.rng.random()]]]))
            await socket.write_message(scene.rng.randbytes(GARBAGE_BYTES), binary=True)
        socket.close()


async def storm(scene: Scene) -> None:
    """Many connections at once: some say nothing, others open a WebSocket and say nothing then."""
    opened = await asyncio.gather(
        *(asyncio.open_connection(scene.address.host, scene.address.port) for _ in range(STORM_CONNECTIONS)),
        return_exceptions=True,
    )
    url = f"ws://{scene.address.host}:{scene.address.port}/client/ws/speech"
    sockets = await asyncio.gather(*(connect(url) for _ in range(STORM_HANDSHAKES)), return_exceptions=True)
    for each in opened:
        if not isinstance(each, BaseException):
            each[1].transport.abort()
    for socket in sockets:
        if not isinstance(socket, BaseException):
            socket.close()


async def abort_upload(scene: Scene) -> None:
    """A long upload ends in the middle."""
    _, writer = await asyncio.open_connection(scene.address.host, scene.address.port)
    head = f"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: {UPLOAD_BYTES}\r\n"
    writer.write(f"{head}Content-Type: audio/x-raw\r\n\r\n".encode())
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(SLOW_READER_S):
            for _ in range(3):
                writer.write(bytes(UPLOAD_BYTES // 10))
                await writer.drain()
    writer.transport.abort()


FAULTS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "kill -9 of a worker": kill_worker,
    "clients vanish": vanish,
    RELOAD: reload_server,
    "storm of connections": storm,
    "SIGTERM to a worker": end_worker,
    "garbage on every port": send_garbage,
    "slow reader": read_slowly,
    "worker suspended": suspend_worker,
    "long upload aborted": abort_upload,
}
"""By name, in the order in which they come, over and over."""
