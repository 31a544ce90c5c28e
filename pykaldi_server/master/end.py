"""How a request ends, before that is said in a client's protocol."""

from typing import NamedTuple

from pykaldi_server.protocols.messages import (
    INTERNAL_ERROR,
    INVALID_DATA,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Status,
)

__all__ = ["SHUTTING_DOWN", "End"]

SHUTTING_DOWN = "the server is shutting down"

_CLOSE_CODES = {
    Status.SUCCESS: NORMAL_CLOSURE,
    Status.NO_SPEECH: POLICY_VIOLATION,
    Status.AUDIO_CAPTURE: INVALID_DATA,
    Status.NOT_ALLOWED: POLICY_VIOLATION,
    Status.NOT_AVAILABLE: TRY_AGAIN_LATER,
}


class End(NamedTuple):
    """How a request has ended.

    Attributes:
        status: SUCCESS, or what went wrong.
        message: describes what went wrong.
        is_unknown_model: no worker serves the model that the client asked for.
        error: the kind of error, where the status does not say enough.
        is_own_limit: the client itself has too many requests; others may well be served.
        retry_after_s: of a refusal, after how many seconds it is worth trying again; 0 for every other end.
    """

    status: Status
    message: str = ""
    is_unknown_model: bool = False
    error: str = ""
    is_own_limit: bool = False
    retry_after_s: int = 0

    @property
    def error_kind(self) -> str:
        """What metrics call the error; "" if there is none."""
        if self.status is Status.SUCCESS:
            return ""
        return self.error or ("unknown_model" if self.is_unknown_model else self.status.name.lower())

    @property
    def close_code(self) -> int:
        """The code with which a WebSocket is closed whose protocol has no errors of its own."""
        return POLICY_VIOLATION if self.is_unknown_model else _CLOSE_CODES.get(self.status, INTERNAL_ERROR)

    @property
    def refusal_code(self) -> int:
        """The HTTP status of a request that is not served at all."""
        return 404 if self.is_unknown_model else 429 if self.is_own_limit else 503
