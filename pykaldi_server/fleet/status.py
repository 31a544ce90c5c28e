"""What masters say of the load of a model, over HTTP."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from pykaldi_server.errors import ConfigError, PykaldiServerError
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.fleet.scaling import Load
from pykaldi_server.protocols.addresses import WORKER_PATH, shown_url
from pykaldi_server.protocols.credentials import authorization, find_token, refusal_text
from pykaldi_server.protocols.trust import Trust

__all__ = ["MasterStatus", "StatusError", "read_load", "status_url"]

logger = logging.getLogger(__name__)

READINESS_PATH = "/readyz"
TIMEOUT_S = 5.0


class StatusError(PykaldiServerError):
    """A master does not say what there is to do."""


def status_url(worker_url: str) -> str:
    """The address of a master's status, made from that at which it accepts workers.

    Raises:
        ConfigError: the address for workers does not have its usual end.
    """
    parts = urlsplit(worker_url)
    if not parts.path.endswith(WORKER_PATH):
        text = f"url: expected an address that ends with {WORKER_PATH}, found {shown_url(worker_url)}"
        raise ConfigError(f"{text}; that of the master's status is made from it")
    scheme = "https" if parts.scheme == "wss" else "http"
    path = parts.path.removesuffix(WORKER_PATH) + READINESS_PATH
    return parts._replace(scheme=scheme, path=path, query="", fragment="").geturl()


class MasterStatus:
    """The status of one master.

    Args:
        worker_url: the address at which the master accepts workers.
        trust: which masters are trusted.

    Raises:
        ConfigError: see `status_url`.
    """

    def __init__(self, worker_url: str, trust: Trust) -> None:
        self._url = status_url(worker_url)
        self._trust = trust
        self._is_away = False

    async def load(self, model: str, token: str) -> Load | None:
        """What there is to do for a model; None if the master does not say so, which is logged once.

        Args:
            model: the name under which the master knows it.
            token: what is shown to the master; "" is none.
        """
        try:
            load = load_of(await self._fetch(token), model)
        except (StatusError, OSError) as error:
            level = logging.DEBUG if self._is_away else logging.WARNING
            logger.log(level, "no status from %s: %s", shown_url(self._url), error)
            self._is_away = True
            return None
        if self._is_away:
            logger.info("%s says its status again", shown_url(self._url))
            self._is_away = False
        return load

    async def _fetch(self, token: str) -> Any:
        request = HTTPRequest(
            self._url,
            headers=authorization(token),
            connect_timeout=TIMEOUT_S,
            request_timeout=TIMEOUT_S,
            **self._trust.tls_arguments(),
        )
        # A master without a worker answers with code 503, and says as much.
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        if answer.code == 599:  # Tornado's own, for all that is no answer
            raise StatusError(str(answer.error))
        if (text := refusal_text(answer.code, answer.body)) is not None:
            raise StatusError(text.replace("--token and --token-file", "--status-token-file"))
        try:
            return json.loads(answer.body)
        except ValueError:
            raise StatusError(f"expected JSON, found code {answer.code} and something else") from None


def load_of(status: Any, model: str) -> Load:
    """Reads the load of a model from the status of a master.

    Raises:
        StatusError: the status is something else.
    """
    if isinstance(status, dict) and "ready" in status and "models" not in status:
        raise StatusError("the master shows its status to administrators only; see --status-token-file")
    try:
        slots = status["models"].get(model)
        if slots is None:  # no worker is there: whoever waits may wait for this model
            return Load(busy=0, waiting=int(status["num_requests_waiting"]))
        return Load(busy=int(slots["busy"]), waiting=int(slots["waiting"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StatusError(f"expected the status of a master, found {str(status)[:80]!r}") from error


async def read_load(masters: Sequence[MasterStatus], model: str, options: FleetOptions) -> Load:
    """What there is to do for a model, summed over its masters; one that does not say so counts as idle."""
    try:
        token = find_token("", options.status_token_file, {})
    except ConfigError as error:  # checked at the start: the file has been changed since
        logger.warning("%s", error)
        token = ""
    loads = await asyncio.gather(*(each.load(model, token) for each in masters))
    known = [each for each in loads if each is not None]
    return Load(
        busy=sum(each.busy for each in known),
        waiting=sum(each.waiting for each in known),
        is_complete=len(known) == len(loads),
    )
