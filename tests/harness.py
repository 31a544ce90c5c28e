"""A master on a real socket, workers that follow a script over the real worker protocol, and watchers."""

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.server import Endpoint, Master

TIMEOUT_S = 200


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that no message announces; fails rather than hangs."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


class ImpatientSelector(selectors.DefaultSelector):
    """Instead of waiting, puts its clock forward by the time that it should have waited."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now_s += timeout or 0.0
        return super().select(0)


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when there is nothing else to do."""

    def __init__(self) -> None:
        self._impatient = ImpatientSelector()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.now_s


class Socket:
    """A WebSocket of a test, as a worker, a client or a listener."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.connection = connection
        assert connection.protocol is not None
        assert connection.protocol.stream is not None
        self._stream = connection.protocol.stream

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        text = json.dumps(message) if isinstance(message, dict) else message
        await self.connection.write_message(text, binary=isinstance(text, bytes))

    async def read(self) -> str | bytes | None:
        """The next message; None when the other side has closed."""
        return await self.connection.read_message()

    async def read_json(self) -> dict[str, Any]:
        message = await self.read()
        assert message is not None, "closed"
        content: dict[str, Any] = json.loads(message)
        return content

    async def read_all(self) -> list[dict[str, Any]]:
        """Every message until the other side closes."""
        messages = []
        while (message := await self.read()) is not None:
            messages.append(json.loads(message))
        return messages

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Reads until a message fulfils the condition."""
        while not condition(message := await self.read_json()):
            pass
        return message

    def close(self, code: int | None = 1000) -> None:
        self.connection.close(code)

    def vanish(self) -> None:
        """Breaks the connection without a word, as a killed process does."""
        self._stream.close()

    def dispose(self) -> None:
        """Leaves nothing behind."""
        self._stream.close()
        self.connection.close()


class Harness:
    """Makes the parties of a test and closes what is left of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sockets: list[Socket] = []

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a scenario, which fails rather than hangs, and when a task fails unseen."""
        unseen: list[dict[str, Any]] = []

        def notice(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if not isinstance(
                context.get("exception"), asyncio.CancelledError
            ):  # what the test itself gave up
                unseen.append(context)

        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(notice)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await scenario()
            finally:
                self.dispose()

        asyncio.run(limited())
        assert not unseen, unseen

    @asynccontextmanager
    async def master(
        self, default_model: str | None = None, endpoints: Iterable[Endpoint] = (), **options: Any
    ) -> AsyncIterator[Master]:
        """A master on a free port."""
        settings = {"port": 0, "references": self.directory / "references.jsonl", "states_timeout_s": 30.0}
        master = Master(MasterOptions(**{**settings, **options}), endpoints)
        master.hub.pool.default_model = default_model
        master.start()
        try:
            yield master
        finally:
            self.dispose()
            await master.stop()

    def dispose(self) -> None:
        """Closes all sockets of the test."""
        for each in self._sockets:
            each.dispose()
        self._sockets.clear()

    async def connect(self, url: str | HTTPRequest) -> Socket:
        socket = Socket(await websocket_connect(url))
        self._sockets.append(socket)
        return socket

    async def connect_when_there(self, url: str) -> Socket:
        """Connects to a server that is starting up."""
        while True:
            try:
                return await self.connect(url)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)

    async def worker(self, master: Master, query: str = "") -> Socket:
        """A worker that the test speaks for."""
        return await self.connect(f"{master.worker_url}?{query}")

    async def client(self, master: Master, query: str = "") -> Socket:
        return await self.connect(f"{master.url.replace('http', 'ws')}/client/ws/speech?{query}")

    async def status(self, master: Master) -> Socket:
        return await self.connect(f"{master.url.replace('http', 'ws')}/client/ws/status")

    async def fetch(self, master: Master, path: str, **arguments: Any) -> HTTPResponse:
        """One HTTP request, whatever its answer's code."""
        return await AsyncHTTPClient().fetch(master.url + path, raise_error=False, **arguments)
