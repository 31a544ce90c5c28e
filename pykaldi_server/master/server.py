"""The master: accepts clients and workers, joins each client with a free worker, and moves bytes between."""

import asyncio
import gc
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.ioloop import PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from pykaldi_server import event_loop
from pykaldi_server.master.access.access import Rules, check_ports
from pykaldi_server.master.bodies import NO_LIMIT
from pykaldi_server.master.certificates import (
    Certificate,
    own_directory,
    own_names,
    self_signed_certificate,
)
from pykaldi_server.master.connections import CountingServer, allow_many_files
from pykaldi_server.master.end import SHUTTING_DOWN
from pykaldi_server.master.endpoints.audiosocket import AudioSocketConnection
from pykaldi_server.master.endpoints.listen import ListenSocket
from pykaldi_server.master.endpoints.openai import ModelsHandler, TranscriptionsHandler, TranslationsHandler
from pykaldi_server.master.endpoints.realtime import (
    ClientSecretsHandler,
    ConversationSessionsHandler,
    RealtimeSocket,
    TranscriptionSessionsHandler,
)
from pykaldi_server.master.endpoints.recognize import RecognizeHandler
from pykaldi_server.master.endpoints.reference import ReferenceHandler, check_writable
from pykaldi_server.master.endpoints.speech import SpeechSocket
from pykaldi_server.master.endpoints.states import StateHandler, StatesHandler
from pykaldi_server.master.endpoints.status import (
    HealthHandler,
    MetricsHandler,
    ReadinessHandler,
    StatusSocket,
)
from pykaldi_server.master.endpoints.subtitles import SubtitlesHandler
from pykaldi_server.master.endpoints.twilio import TwilioSocket
from pykaldi_server.master.endpoints.vosk import UpgradeMatches, VoskSocket
from pykaldi_server.master.endpoints.wyoming import WyomingConnection
from pykaldi_server.master.gate import GuardedApplication, PageHandler, StatusPageHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.tcp import TcpConnection, TcpServer
from pykaldi_server.master.worker_socket import WorkerSocket
from pykaldi_server.memory import return_free_memory
from pykaldi_server.options import take_over
from pykaldi_server.protocols.addresses import WORKER_PATH
from pykaldi_server.protocols.messages import GOING_AWAY
from pykaldi_server.service import Service

if TYPE_CHECKING:  # SQLAlchemy is loaded only by masters that keep states
    from pykaldi_server.database.thread import DatabaseThread

__all__ = ["Endpoint", "Master", "make_application", "run_master", "wind_down"]

logger = logging.getLogger(__name__)

Endpoint = tuple[str, type[RequestHandler]]
"""A pattern of paths and the handler that serves them, whose `initialize` takes the hub."""

WEB = Path(__file__).resolve().parent.parent / "web"
LOOPBACK = "127.0.0.1"
REREAD_S = 10.0
"""How often it is looked whether the certificate or the tokens have changed."""
MEMORY_PERIOD_S = 30.0
"""How often free memory is given back: after a rush of clients, that may be most of what there is."""
FEW_CONNECTIONS = 100
"""With so many connections, to look for objects that nobody uses any more takes some 20 milliseconds."""
IDLE_CONNECTION_S = 60.0  # for the headers of a request to come, too
REQUEST_LOG_S = 3.0
"""How long the master waits at its end for what has not been written to the request log."""
LAST_WORDS_S = 5.0
"""How long workers may take at the end for what they have been sent."""
# Small buffers in the kernel bound how much audio is under way between a fast uploader and its worker to a
# fraction of a second's work, so that memory stays small and a cancel arrives soon.
SOCKET_BUFFER_BYTES = 128 * 1024


def make_application(hub: Hub, endpoints: Iterable[Endpoint] = ()) -> Application:
    """Makes all addresses that a master serves.

    Args:
        hub: what the handlers share.
        endpoints: addresses in addition to the master's own, which win over those.
    """
    shared = {"hub": hub}
    return GuardedApplication(
        hub,
        [
            *((pattern, handler, shared) for pattern, handler in endpoints),
            (r"/vosk", VoskSocket, shared),
            (UpgradeMatches(r"/"), VoskSocket, _as_vosk_server(hub)),
            (r"/client/ws/speech", SpeechSocket, shared),
            (r"/client/ws/status", StatusSocket, shared),
            (r"/client/ws/listen", ListenSocket, shared),
            (r"/twilio", TwilioSocket, shared),
            (WORKER_PATH, WorkerSocket, shared),
            (r"/client/dynamic/recognize", RecognizeHandler, shared),
            (r"/client/dynamic/reference", ReferenceHandler, shared),
            (r"/client/dynamic/subtitles", SubtitlesHandler, shared),
            (r"/v1/audio/transcriptions", TranscriptionsHandler, shared),
            (r"/v1/audio/translations", TranslationsHandler, shared),
            (r"/v1/realtime", RealtimeSocket, shared),
            (r"/v1/realtime/client_secrets", ClientSecretsHandler, shared),
            (r"/v1/realtime/transcription_sessions", TranscriptionSessionsHandler, shared),
            (r"/v1/realtime/sessions", ConversationSessionsHandler, shared),
            (r"/v1/models", ModelsHandler, shared),
            (r"/v1/models/(.+)", ModelsHandler, shared),
            (r"/states", StatesHandler, shared),
            (r"/states/([^/]+)/([^/]+)", StateHandler, shared),
            (r"/client/static/(.*)", PageHandler, {**shared, "path": WEB}),
            (r"/healthz", HealthHandler, shared),
            (r"/readyz", ReadinessHandler, shared),
            (r"/metrics", MetricsHandler, shared),
            (r"/()", PageHandler, {**shared, "path": WEB, "default_filename": "index.html"}),
            (r"/status", StatusPageHandler),
        ],
        _log_http,
    )


def make_vosk_application(hub: Hub) -> Application:
    """Makes the addresses of a port for Vosk's clients: whatever path they ask for."""
    return GuardedApplication(hub, [(r".*", VoskSocket, _as_vosk_server(hub))], _log_http)


def _as_vosk_server(hub: Hub) -> dict[str, Any]:
    return {"hub": hub, "as_vosk_server": True}


def _log_http(handler: RequestHandler) -> None:
    request = handler.request
    logger.debug(
        "%s %s %d, %.0f ms", request.method, request.path, handler.get_status(), 1000 * request.request_time()
    )


class Master:
    """A master's server, from `start` to `stop`, in the running asyncio loop.

    Args:
        options: settings.
        endpoints: addresses in addition to the master's own, such as those of another client protocol.

    Raises:
        ConfigError: an option is invalid.
    """

    def __init__(self, options: MasterOptions, endpoints: Iterable[Endpoint] = ()) -> None:
        options.validate()
        self.hub = Hub(options)
        self._endpoints = tuple(endpoints)
        self.port = 0
        self.vosk_port: int | None = None
        self.wyoming_port: int | None = None
        self.audiosocket_port: int | None = None
        self._own_workers_port = 0
        self._certificate: Certificate | None = None
        self._rereading: PeriodicCallback | None = None
        self._returning = PeriodicCallback(self._return_memory, 1000 * MEMORY_PERIOD_S)
        self._servers: list[CountingServer] = []
        self._tcp_servers: list[TcpServer] = []
        self._database: DatabaseThread | None = None

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        return f"{'https' if self.hub.options.uses_tls else 'http'}://{self._shown_host()}:{self.port}"

    @property
    def vosk_url(self) -> str:
        """Where a Vosk client on this machine finds it: the port of its own, or else the main one."""
        scheme = "wss" if self.hub.options.uses_tls else "ws"
        return f"{scheme}://{self._shown_host()}:{self.vosk_port or self.port}"

    @property
    def worker_url(self) -> str:
        """Where a worker on this machine connects."""
        if self._own_workers_port:
            return f"ws://{LOOPBACK}:{self._own_workers_port}{WORKER_PATH}"
        scheme = "wss" if self.hub.options.uses_tls else "ws"
        return f"{scheme}://{self._own_host()}:{self.port}{WORKER_PATH}"

    def _shown_host(self) -> str:
        return "localhost" if self.hub.options.host in ("", "0.0.0.0", "127.0.0.1") else self._own_host()

    def _own_host(self) -> str:
        """The address on which this machine reaches the master, as it is written in a URL."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            self.hub.options.host, self.hub.options.host
        )
        return f"[{host}]" if ":" in host else host

    def start(self) -> None:
        """Listens.

        Raises:
            OSError: the address cannot be had; the text names it.
            ConfigError: a port would be open to anybody, the certificate cannot be used, or corrections could
                not be stored; the text names the option or the file.
        """
        options = self.hub.options
        check_ports(options)
        tls = self._tls_context()
        self._watch_files()
        check_writable(options.references)
        if options.states is not None:
            self._open_states(options.states)
        if options.request_log is not None:
            self._open_request_log(options.request_log)
        self.port = self._listen(options.port, make_application(self.hub, self._endpoints), tls)
        logger.info("listening on %s", self.url)
        if options.vosk_port is not None:
            self.vosk_port = self._listen(options.vosk_port, make_vosk_application(self.hub), tls)
            logger.info("listening for Vosk's clients on %s", self.vosk_url)
        if options.wyoming_port is not None:
            self.wyoming_port = self._listen_tcp(
                options.wyoming_host, options.wyoming_port, WyomingConnection
            )
            logger.info("listening for Wyoming's clients on port %d", self.wyoming_port)
        if options.audiosocket_port is not None:
            self.audiosocket_port = self._listen_tcp(
                options.audiosocket_host, options.audiosocket_port, AudioSocketConnection
            )
            logger.info("listening for calls of Asterisk on port %d", self.audiosocket_port)
        self._returning.start()

    def listen_for_own_workers(self) -> None:
        """Lets workers on this machine connect on a port that no other machine reaches.

        It has no TLS, and no limit of connections: clients can keep no worker away.
        """
        workers = GuardedApplication(self.hub, [(WORKER_PATH, WorkerSocket, {"hub": self.hub})], _log_http)
        self._own_workers_port = self._listen(0, workers, None, LOOPBACK, is_counted=False)

    def _tls_context(self) -> ssl.SSLContext | None:
        if not self.hub.options.uses_tls:
            return None
        self._certificate = Certificate(
            *_certificate_files(self.hub.options), renew=lambda: _certificate_files(self.hub.options)
        )
        return self._certificate.context

    def _watch_files(self) -> None:
        """Has the certificate and the tokens read again when their files change, from now on."""
        has_files = self._certificate is not None or self.hub.options.tokens is not None
        if has_files and self._rereading is None:
            self._rereading = PeriodicCallback(self._reread_files, 1000 * REREAD_S)
            self._rereading.start()

    def _reread_files(self) -> None:
        if self._certificate is not None:
            self._certificate.reload()
        self.hub.access.reread_tokens()

    def _open_states(self, name: str) -> None:
        """Starts to keep states; a database that is down is no reason not to serve.

        Raises:
            ConfigError: the name is invalid, or the driver of the database is not installed.
        """
        from pykaldi_server.database.database import Database
        from pykaldi_server.database.thread import DatabaseThread
        from pykaldi_server.master.states import StateKeeper

        options = self.hub.options
        self._database = DatabaseThread(Database(name), options.states_timeout_s)
        self.hub.states = StateKeeper(lambda: self.hub.options, self._database)
        self.hub.states.start()
        logger.info("keeping the adaptation to users in %s", self._database)

    def _open_request_log(self, name: str) -> None:
        """Starts to write requests down; a database that is down is no reason not to serve.

        Raises:
            ConfigError: the name is invalid, or the driver of the database is not installed.
        """
        from pykaldi_server.database.database import Database
        from pykaldi_server.database.thread import DatabaseThread
        from pykaldi_server.master.request_log import RequestLog

        # A thread of its own: what is slow to be written down keeps no request waiting for its state.
        thread = DatabaseThread(Database(name, "request-log"), REQUEST_LOG_S)
        self.hub.request_log = RequestLog(lambda: self.hub.options, thread)
        self.hub.request_log.start()
        logger.info("writing requests down in %s", self.hub.request_log)

    def _listen_tcp(self, host: str | None, port: int, connection: type[TcpConnection]) -> int:
        """Serves a protocol without HTTP; returns the port, which the system picks for port 0."""
        sockets = _bind(self.hub.options.host if host is None else host, port)
        self._tcp_servers.append(TcpServer(sockets, connection, self.hub))
        return int(sockets[0].getsockname()[1])

    def _listen(
        self,
        port: int,
        application: Application,
        tls: ssl.SSLContext | None,
        host: str | None = None,
        *,
        is_counted: bool = True,
    ) -> int:
        """Serves an application; returns the port, which the system picks for port 0."""
        sockets = _bind(self.hub.options.host if host is None else host, port)
        server = CountingServer(
            application,
            max_body_size=NO_LIMIT,
            idle_connection_timeout=IDLE_CONNECTION_S,
            decompress_request=True,
            ssl_options=tls,
        )
        server.connections = self.hub.connections if is_counted else None
        server.add_sockets(sockets)
        self._servers.append(server)
        return int(sockets[0].getsockname()[1])

    def reload(self, options: MasterOptions) -> None:
        """Changes the options, for what comes from now on, and reads certificate and tokens again.

        What cannot change while the master runs stays as it is, and is named in the log.

        Raises:
            ConfigError: an option is invalid, or certificate or tokens cannot be used; nothing has changed.
        """
        options.validate()
        old = self.hub.options
        options, fixed = take_over(old, options)
        if options.uses_tls != old.uses_tls:
            fixed.append("certfile, self_signed")
            options = replace(
                options, certfile=old.certfile, keyfile=old.keyfile, self_signed=old.self_signed
            )
        check_writable(options.references)
        check_ports(options)
        rules = Rules.read(options)
        if self._certificate is not None:
            self._certificate.use(*_certificate_files(options))
        self.hub.use(options)
        self.hub.access.use(rules)
        self._watch_files()
        if self._database is not None:
            self._database.timeout_s = options.states_timeout_s
        if fixed:
            logger.warning("a restart is needed for the new value of %s", ", ".join(fixed))

    async def wait_until_ready(self) -> None:
        """Returns when a request could be served."""
        await self.until(lambda: self.hub.pool.status().can_serve)

    async def drain(self, patience_s: float) -> None:
        """Refuses new requests and those that wait, and gives running ones `patience_s` seconds to end.

        Free workers may leave.
        """
        self.hub.pool.end(SHUTTING_DOWN)
        self.hub.is_ending = True
        for each in tuple(self.hub.sockets):
            if isinstance(each, WorkerSocket):
                each.dismiss()
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
        """Refuses new requests, ends running ones with what has been said, and closes everything."""
        self.hub.pool.accepting = False
        self._returning.stop()
        if self._rereading is not None:
            self._rereading.stop()
        for server in self._servers:
            server.stop()
        for tcp_server in self._tcp_servers:
            tcp_server.stop()
        requests = tuple(self.hub.requests)
        await asyncio.gather(*(each.cut_off(SHUTTING_DOWN, LAST_WORDS_S) for each in requests))
        await self._close_sockets()
        for server in self._servers:
            await server.close_all_connections()
        if self.hub.request_log is not None:
            await self.hub.request_log.close()
        if self._database is not None:
            await self._database.close()

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

    def _return_memory(self) -> None:
        """Gives free memory back, also that of closed connections, whose parts refer to each other.

        Python itself looks for such objects when a quarter as many have been made as there are: those of some
        150 connections. It takes time in proportion to all objects, so that a busy master leaves it to that.
        """
        if len(self.hub.connections) <= FEW_CONNECTIONS:
            gc.collect()
        return_free_memory()

    async def _close_sockets(self) -> None:
        sockets = tuple(self.hub.sockets)
        for each in sockets:
            each.close(GOING_AWAY, SHUTTING_DOWN)
        # Tornado breaks off a connection whose peer does not answer a close within 5 s.
        await asyncio.gather(*(each.closed.wait() for each in sockets))


def run_master(options: MasterOptions, reread: Callable[[], MasterOptions]) -> None:
    """Runs a master until SIGINT or SIGTERM, in an event loop of its own.

    Args:
        options: settings.
        reread: reads them again, upon SIGHUP; raises `ConfigError` if they are invalid.
    """

    async def run() -> None:
        allow_many_files()
        master = Master(options)

        async def reload() -> None:
            master.reload(reread())

        async with Service(reload) as service:
            master.start()
            service.ready()
            await service.stopping.wait()
            await wind_down(master, service)
            await master.stop()

    event_loop.run(run())


async def wind_down(master: Master, service: Service) -> None:
    """Refuses new requests and lets running ones end, unless a second signal comes."""
    draining = asyncio.create_task(master.drain(master.hub.options.drain_s))
    hurrying = asyncio.create_task(service.hurrying.wait())
    await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
    for task in (draining, hurrying):
        task.cancel()


def _certificate_files(options: MasterOptions) -> tuple[Path, Path]:
    """The files of the certificate and its key; one that the server makes for itself is made, if need be."""
    if options.certfile is None or options.keyfile is None:
        return self_signed_certificate(own_directory(), own_names())
    return options.certfile, options.keyfile


def _bind(host: str, port: int) -> list[socket.socket]:
    try:
        sockets = bind_sockets(port, address=host or None)
    except OSError as error:
        where = f"{host or '(all addresses)'}, port {port}"
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    return sockets
