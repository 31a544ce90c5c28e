"""The master: accepts clients and workers, joins each client with a free worker, and moves bytes between."""

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from pykaldi_server.master.endpoints.recognize import RecognizeHandler
from pykaldi_server.master.endpoints.reference import ReferenceHandler
from pykaldi_server.master.endpoints.speech import ClientSocket
from pykaldi_server.master.endpoints.status import (
    HealthHandler,
    MetricsHandler,
    ReadinessHandler,
    StatusSocket,
)
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.worker_socket import WorkerSocket
from pykaldi_server.protocols.gstreamer import GOING_AWAY

logger = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parent.parent / "web"
EVERYWHERE_OR_HERE = ("", "0.0.0.0", "::", "127.0.0.1", "::1")
IDLE_CONNECTION_S = 60.0  # for the headers of a request to come, too
MAX_SMALL_BODY_BYTES = 1024 * 1024
# Small buffers in the kernel bound how much audio is under way between a fast uploader and its worker to a
# fraction of a second's work, so that memory stays small and a cancel arrives soon.
SOCKET_BUFFER_BYTES = 128 * 1024


def make_application(hub: Hub) -> Application:
    """All addresses that a master serves."""
    shared = {"hub": hub}
    return Application(
        [
            (r"/client/ws/speech", ClientSocket, shared),
            (r"/client/ws/status", StatusSocket, shared),
            (r"/worker/ws/speech", WorkerSocket, shared),
            (r"/client/dynamic/recognize", RecognizeHandler, shared),
            (r"/client/dynamic/reference", ReferenceHandler, {"path": hub.options.references}),
            (r"/client/static/(.*)", StaticFileHandler, {"path": WEB}),
            (r"/healthz", HealthHandler),
            (r"/readyz", ReadinessHandler, shared),
            (r"/metrics", MetricsHandler, shared),
            (r"/()", StaticFileHandler, {"path": WEB, "default_filename": "index.html"}),
        ],
        log_function=_log_http,
    )


def _log_http(handler: RequestHandler) -> None:
    request = handler.request
    logger.debug(
        "%s %s %d, %.0f ms", request.method, request.path, handler.get_status(), 1000 * request.request_time()
    )


class Master:
    """A master's server, from `start` to `stop`, in the running asyncio loop."""

    def __init__(self, options: MasterOptions) -> None:
        options.validate()
        self.hub = Hub(options)
        self.port = 0
        self._server: HTTPServer | None = None

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = self.hub.options.host
        scheme = "https" if self.hub.options.certfile else "http"
        return f"{scheme}://{'localhost' if host in EVERYWHERE_OR_HERE else host}:{self.port}"

    @property
    def worker_url(self) -> str:
        """Where a worker on this machine connects."""
        return self.url.replace("http", "ws", 1) + "/worker/ws/speech"

    def start(self) -> None:
        """Listens.

        Raises:
            OSError: the address cannot be had.
        """
        options = self.hub.options
        sockets = bind_sockets(options.port, address=options.host or None)
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        self._server = HTTPServer(
            make_application(self.hub),
            max_body_size=MAX_SMALL_BODY_BYTES,
            idle_connection_timeout=IDLE_CONNECTION_S,
            ssl_options=_tls(options),
        )
        self._server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        logger.info("listening on %s", self.url)

    async def wait_until_ready(self) -> None:
        """Returns when a request could be served."""
        await self.until(lambda: self.hub.pool.status().can_serve)

    async def drain(self, patience_s: float) -> None:
        """Refuses new requests and gives running ones `patience_s` seconds to end."""
        self.hub.pool.accepting = False
        busy = self.hub.pool.status().busy
        if not busy or patience_s <= 0:
            return
        logger.info("waiting up to %g s for %d running requests", patience_s, busy)
        try:
            async with asyncio.timeout(patience_s):
                await self.until(lambda: self.hub.pool.status().busy == 0)
        except TimeoutError:
            logger.warning("%d requests cut off", self.hub.pool.status().busy)

    async def stop(self) -> None:
        """Refuses new requests and closes everything."""
        self.hub.pool.accepting = False
        if self._server is not None:
            self._server.stop()
            await self._close_sockets()
            await self._server.close_all_connections()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a state of the pool."""
        changed = asyncio.Event()
        unlisten = self.hub.pool.listen(changed.set)
        try:
            while not condition():
                changed.clear()
                await changed.wait()
        finally:
            unlisten()

    async def _close_sockets(self) -> None:
        sockets = tuple(self.hub.sockets)
        for each in sockets:
            each.close(GOING_AWAY, "the server is shutting down")
        # Tornado breaks off a connection whose peer does not answer a close within 5 s.
        await asyncio.gather(*(each.closed.wait() for each in sockets))


def run_master(options: MasterOptions) -> None:
    """Runs a master until SIGINT or SIGTERM, in an event loop of its own."""

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        master = Master(options)
        master.start()
        await stop.wait()
        await master.drain(options.drain_s)
        await master.stop()

    asyncio.run(run())


def _tls(options: MasterOptions) -> ssl.SSLContext | None:
    if options.certfile is None or options.keyfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certfile, options.keyfile)
    return context
