"""Ephemeral keys of OpenAI's realtime API (``ek_...``), with which browsers connect: they see no other keys.

A key is made on request, comes with the settings of the sessions that it opens, and expires. Keys are kept in
memory only, those that have expired until others are made.

Source: the types of OpenAI's Python client (``client_secret_create_params``); for the subprotocols by which
browsers, which cannot set headers, pass a key, OpenAI's guide "Realtime API with WebSocket".
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pykaldi_server.protocols.messages import Message, excerpt
from pykaldi_server.protocols.openai import RequestError
from pykaldi_server.protocols.realtime_settings import Settings

__all__ = ["KEY_PROTOCOL", "ClientSecret", "ClientSecrets", "api_key", "is_client_secret", "lifetime_s"]

KEY_PROTOCOL = "openai-insecure-api-key."
PREFIX = "ek_"
LIFETIME_S = 600
MIN_LIFETIME_S, MAX_LIFETIME_S = 10, 7200
MAX_SECRETS = 10_000


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A key.

    Attributes:
        value: what the client says.
        expires_at_s: when it stops opening sessions, in seconds since the epoch.
        settings: what its sessions begin with.
        owner: the name of the token with which it was made; "" if it was made without.
    """

    value: str
    expires_at_s: int
    settings: Settings
    owner: str = ""


class ClientSecrets:
    """The keys of a master.

    Args:
        now_s: the time, in seconds since the epoch.
    """

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._secrets: dict[str, ClientSecret] = {}

    def create(self, settings: Settings, for_s: int = LIFETIME_S, owner: str = "") -> ClientSecret:
        """Makes a key.

        Args:
            settings: what its sessions begin with.
            for_s: how long it is valid, in seconds.
            owner: see `ClientSecret`.

        Raises:
            RequestError: there are too many valid keys.
        """
        now_s = self._now_s()
        self._secrets = {value: each for value, each in self._secrets.items() if each.expires_at_s > now_s}
        if len(self._secrets) >= MAX_SECRETS:
            text = f"expected at most {MAX_SECRETS} client secrets that are valid at the same time"
            raise RequestError(text, None, "rate_limit_exceeded")
        secret = ClientSecret(PREFIX + secrets.token_hex(24), int(now_s) + for_s, settings, owner)
        self._secrets[secret.value] = secret
        return secret

    def find(self, value: str) -> ClientSecret | None:
        """The key of this value; None where there is none or it has expired."""
        secret = self._secrets.get(value)
        return secret if secret is not None and secret.expires_at_s > self._now_s() else None


def is_client_secret(key: str) -> bool:
    """Whether an API key is an ephemeral one, which has to be known."""
    return key.startswith(PREFIX)


def api_key(authorization: str, subprotocols: Iterable[str]) -> str:
    """The API key of a request, by its Authorization header or its subprotocols; "" without one."""
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return next(
        (each.removeprefix(KEY_PROTOCOL) for each in subprotocols if each.startswith(KEY_PROTOCOL)), ""
    )


def lifetime_s(expiry: object, where: str) -> int:
    """How long a key is to be valid, in seconds.

    Args:
        expiry: the client's object with ``anchor`` and ``seconds``; None for the default.
        where: the name of the field, for errors.

    Raises:
        RequestError: a field is invalid.
    """
    fields: object = {} if expiry is None else expiry
    if not isinstance(fields, dict):
        raise RequestError(f"{where}: expected an object, found {excerpt(fields)}", where, "invalid_type")
    given: Message = fields
    if given.get("anchor", "created_at") != "created_at":
        text = f"{where}.anchor: expected created_at, found {excerpt(given['anchor'])}"
        raise RequestError(text, f"{where}.anchor", "invalid_value")
    seconds = given.get("seconds", LIFETIME_S)
    is_whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_whole or not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        expected = f"a whole number from {MIN_LIFETIME_S} to {MAX_LIFETIME_S}"
        text = f"{where}.seconds: expected {expected}, found {excerpt(seconds)}"
        raise RequestError(text, f"{where}.seconds", "invalid_value")
    return int(seconds)
