"""Who makes a request, as the master knows it."""

from dataclasses import dataclass

__all__ = ["Caller", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a caller may use at most. None leaves it to the settings of the server.

    Attributes:
        sessions: requests at the same time.
        messages_per_s: messages that a connection may send per second.
        session_s: length of a request in seconds.
    """

    sessions: int | None = None
    messages_per_s: float | None = None
    session_s: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        address: the IP address, behind a proxy that of the proxy's client; "" where there is none.
        name: that of the token; "" of a caller without one.
        limits: those of the token.
    """

    address: str
    name: str = ""
    limits: Limits = Limits()

    def __str__(self) -> str:
        """As logs show it."""
        return f"{self.name} at {self.address}" if self.name else self.address
