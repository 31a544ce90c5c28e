"""What each caller may do.

    anybody         the page, and whether the server is alive
    clients         recognition, status, corrections, telephone calls
    workers         to serve requests
    administrators  metrics, kept states, and what `--private` names

Without a file of tokens, clients are all who reach the port, and administrators are the programs of this
machine; metrics are then for clients.
"""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from tornado.httputil import HTTPServerRequest

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.access.networks import (
    Network,
    client_behind,
    is_in,
    is_local,
    is_public,
    parse_networks,
)
from pykaldi_server.master.access.origins import (
    ANY_ORIGIN,
    check_origin_setting,
    is_allowed_origin,
    origin_of,
)
from pykaldi_server.master.access.tokens import Role, Token, find_token, read_tokens
from pykaldi_server.master.files import FilesState, files_state
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.protocols.client_secrets import ClientSecrets, is_client_secret
from pykaldi_server.protocols.messages import excerpt

__all__ = ["Access", "Part", "Refusal", "Rules", "Visitor", "check_ports"]

logger = logging.getLogger(__name__)

OWN_WORKERS = "own worker"
"""The name of the token of workers that this server has started."""


class Part(StrEnum):
    """A part of what a master serves, as far as access to it differs."""

    PAGE = "page"
    HEALTH = "health"
    RECOGNITION = "recognition"
    WORKERS = "workers"
    STATES = "states"
    METRICS = "metrics"
    STATUS = "status"
    CORRECTIONS = "corrections"
    CALLS = "calls"
    TWILIO = "twilio"


class _Need(Enum):
    """Who may use a part."""

    NOTHING = auto()
    CLIENT = auto()
    CLIENT_LATER = auto()
    """A client's token, which may come after the handshake."""
    WORKER = auto()
    ADMINISTRATOR = auto()


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request says about who makes it.

    Attributes:
        caller: who it is.
        role: that of its token; None without a token that is known.
        has_token: it has one, be it known or not.
        page: the origin of the page in a browser that makes the request; None of other programs.
        is_welcome_page: that is a page which may use the server.
        cors_origin: which pages the browser is told that they may read the answer; None of none but the
            server's own.
        is_local: it comes from this machine, by a name of this machine, and not through a proxy.
    """

    caller: Caller
    role: Role | None
    has_token: bool
    page: str | None
    is_welcome_page: bool
    cors_origin: str | None
    is_local: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused.

    Attributes:
        code: HTTP's: 401 a token is missing or wrong, 403 another one would be needed.
        text: for the client.
    """

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings of a master say about access.

    Attributes:
        options: the settings.
        tokens: those of the file.
        tokens_state: that of the file just before it was read.
        proxies: whose headers are believed.
        only_loopback: no other machine reaches the master.
    """

    options: MasterOptions
    tokens: tuple[Token, ...]
    tokens_state: FilesState
    proxies: tuple[Network, ...]
    only_loopback: bool

    @classmethod
    def read(cls, options: MasterOptions) -> "Rules":
        """Reads the file of tokens, and the settings.

        Raises:
            ConfigError: they are invalid, or the file is.
        """
        for origin in options.allow_origins:
            check_origin_setting(origin)
        state = [] if options.tokens is None else files_state(options.tokens)
        tokens = () if options.tokens is None else read_tokens(options.tokens)
        if options.tokens and not options.open and not any(each.role is Role.CLIENT for each in tokens):
            raise ConfigError(
                f"tokens: {options.tokens}: expected clients, found none; --open lets clients do without"
            )
        only_loopback = not is_public(options.host) and not options.proxies
        return cls(options, tokens, state, parse_networks(options.proxies), only_loopback)


class Access:
    """Knows the tokens of a master.

    Args:
        options: settings.
        client_secrets: keys that clients have been given instead of their tokens.

    Raises:
        ConfigError: the tokens or the addresses of proxies are invalid.
    """

    def __init__(self, options: MasterOptions, client_secrets: ClientSecrets) -> None:
        self._client_secrets = client_secrets
        self._own: Token | None = None
        self._rules = Rules.read(options)
        self._seen = self._rules.tokens_state

    @property
    def needs_tokens(self) -> bool:
        """Whether clients need a token."""
        options = self._rules.options
        return options.tokens is not None and not options.open

    def make_worker_token(self) -> str:
        """Makes the token of the workers that this server starts: none but these are accepted then."""
        text = secrets.token_urlsafe(32)
        self._own = Token.from_text(OWN_WORKERS, Role.WORKER, text)
        return text

    def use(self, rules: Rules) -> None:
        """Goes by other rules from now on; what has been admitted stays so."""
        self._rules, self._seen = rules, rules.tokens_state

    def reread_tokens(self) -> None:
        """Reads the file of tokens again if it has changed. If it cannot be used, the old tokens stay."""
        options = self._rules.options
        if options.tokens is None or (state := files_state(options.tokens)) == self._seen:
            return
        self._seen = state
        try:
            self.use(Rules.read(options))
        except ConfigError as error:
            logger.error("the tokens stay as they were: %s", error)
        else:
            logger.info("tokens %s: read again", options.tokens)

    def identify(self, request: HTTPServerRequest, text: str | None) -> Visitor:
        """Finds out who makes a request.

        Args:
            request: the request, as its peer has sent it.
            text: the token in it, if any.
        """
        address, scheme, host = request.remote_ip or "", request.protocol, request.host
        if is_in(address, self._rules.proxies):
            address = client_behind(address, request.headers, self._rules.proxies)
            scheme = _last(request.headers, "X-Forwarded-Proto") or scheme
            host = _last(request.headers, "X-Forwarded-Host") or host
        page, allowed = request.headers.get("Origin"), self._rules.options.allow_origins
        is_welcome_page = page is not None and is_allowed_origin(
            page, origin_of(scheme, host), allowed, only_loopback=self._rules.only_loopback
        )
        visitor = Visitor(
            caller=Caller(address),
            role=None,
            has_token=False,
            page=page,
            is_welcome_page=is_welcome_page,
            cors_origin=ANY_ORIGIN if ANY_ORIGIN in allowed else page if is_welcome_page else None,
            is_local=is_local(address, request.host_name, request.headers),
        )
        return visitor if text is None else self.with_token(visitor, text)

    def with_token(self, visitor: Visitor, text: str) -> Visitor:
        """A visitor that has shown a token with this text."""
        token = self._find(text)
        if token is None:
            return replace(visitor, role=None, has_token=True)
        caller = Caller(visitor.caller.address, token.name, token.limits)
        return replace(visitor, caller=caller, role=token.role, has_token=True)

    def refusal(self, visitor: Visitor, part: Part) -> Refusal | None:
        """Why a part is not for a visitor; None if it is."""
        need = self._need(part)
        if need is _Need.NOTHING:
            return None
        if visitor.page is not None and not visitor.is_welcome_page:
            text = f"pages of {excerpt(visitor.page)} may not use this server; --allow-origin lets them"
            return Refusal(403, text)
        match need:
            case _Need.WORKER:
                return self._worker_refusal(visitor)
            case _Need.ADMINISTRATOR:
                return self._administrator_refusal(visitor, part)
        if self._rules.options.tokens is None:
            return None
        if not visitor.has_token and (self._rules.options.open or need is _Need.CLIENT_LATER):
            return None
        roles = (Role.CLIENT, Role.ADMINISTRATOR)
        return _role_refusal(visitor, roles, "the token of a client")

    def _find(self, text: str) -> Token | None:
        secret = self._client_secrets.find(text) if is_client_secret(text) else None
        if secret is not None:
            return next((each for each in self._rules.tokens if each.name == secret.owner), None)
        return find_token((*self._rules.tokens, *(() if self._own is None else (self._own,))), text)

    def _need(self, part: Part) -> _Need:
        options = self._rules.options
        if part in (Part.PAGE, Part.HEALTH):
            return _Need.NOTHING
        if part is Part.WORKERS:
            return _Need.WORKER
        if part is Part.TWILIO:
            return _Need.CLIENT_LATER
        has_tokens = options.tokens is not None
        is_private = part in options.private or (part is Part.METRICS and has_tokens)
        is_private = is_private or (part is Part.STATES and (has_tokens or not options.states_remote))
        return _Need.ADMINISTRATOR if is_private else _Need.CLIENT

    def _worker_refusal(self, visitor: Visitor) -> Refusal | None:
        has_any = self._own is not None or any(each.role is Role.WORKER for each in self._rules.tokens)
        if not has_any and (self._rules.options.tokens is None or self._rules.options.open):
            return None
        return _role_refusal(visitor, (Role.WORKER,), "the token of a worker")

    def _administrator_refusal(self, visitor: Visitor, part: Part) -> Refusal | None:
        if self._rules.options.tokens is not None:
            return _role_refusal(visitor, (Role.ADMINISTRATOR,), "the token of an administrator")
        if visitor.is_local:
            return None
        return Refusal(403, f"{part}: for programs of this machine only")


def check_ports(options: MasterOptions) -> None:
    """Refuses to serve other machines without having been told how to tell their callers apart.

    Raises:
        ConfigError: a port would be open to anybody; the text says what can be done.
    """
    if options.open:
        return
    if options.tokens is None and is_public(options.host):
        raise ConfigError(
            f"host: other machines can reach {options.host or 'all addresses'}, and there are no tokens: "
            "--tokens FILE names who may use the server, --open lets anybody use it, and --host 127.0.0.1 "
            "keeps it to this machine"
        )
    for name, protocol in (("wyoming", "Wyoming"), ("audiosocket", "AudioSocket")):
        is_served, host = getattr(options, f"{name}_port") is not None, getattr(options, f"{name}_host")
        if is_served and host is None and is_public(options.host):
            raise ConfigError(
                f"{name}-port: other machines can reach {options.host or 'all addresses'}, and clients of "
                f"{protocol} have no tokens: --{name}-host ADDRESS names the address on which anybody may "
                "use it, such as 127.0.0.1; --open lets anybody use everything"
            )


def _role_refusal(visitor: Visitor, roles: tuple[Role, ...], expected: str) -> Refusal | None:
    if visitor.role in roles:
        return None
    if not visitor.has_token:
        return Refusal(401, f"expected {expected}, found none")
    if visitor.role is None:
        return Refusal(401, f"expected {expected}, found an unknown token")
    return Refusal(403, f"expected {expected}, found one of {visitor.role}")


def _last(headers: Mapping[str, str], name: str) -> str:
    """What the nearest proxy has said in a header that each proxy may add to."""
    return headers.get(name, "").rpartition(",")[2].strip()
