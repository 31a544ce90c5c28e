"""Which programs follow which telephone calls, and what they hear.

A program may begin to follow a call before the call begins, or while it runs; then it first hears what has
been said so far. Ids are those of the telephone system: of several calls with the same id, all are heard.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from pykaldi_server.protocols.calls import is_partial
from pykaldi_server.protocols.messages import Message

__all__ = ["Listener", "Listeners", "Topic"]

MOST_REMEMBERED = 100
"""Messages of a running call for listeners who come late: the latest ones, without partial results."""


class Listener(Protocol):
    """A program that follows a call."""

    def hear(self, message: Message) -> None:
        """Takes a message. Returns at once."""

    def call_over(self) -> None:
        """No call of the id runs any more; nothing more comes."""


class Topic:
    """A running call, as those see it who follow it; from `Listeners.begin` to `end`."""

    def __init__(self, listeners: "Listeners", call: str) -> None:
        self.remembered: deque[Message] = deque(maxlen=MOST_REMEMBERED)
        self._listeners = listeners
        self._call = call

    def publish(self, message: Message) -> None:
        """Passes a message on to all who follow the call."""
        if not is_partial(message):
            self.remembered.append(message)
        for listener in self._listeners.of(self._call):
            listener.hear(message)

    def end(self) -> None:
        """The call is over. Called once."""
        self._listeners.remove(self._call, self)


class Listeners:
    """Everybody who follows a call. It lives as long as the master and belongs to its event loop."""

    def __init__(self) -> None:
        self._topics: dict[str, list[Topic]] = {}
        self._listeners: dict[str, list[Listener]] = {}

    def begin(self, call: str) -> Topic:
        """A call begins."""
        topic = Topic(self, call)
        self._topics.setdefault(call, []).append(topic)
        return topic

    def follow(self, call: str, listener: Listener) -> Callable[[], None]:
        """Adds a listener, who hears what there is to hear; the function that this returns removes it."""
        followers = self._listeners.setdefault(call, [])
        followers.append(listener)
        for topic in self._topics.get(call, ()):
            for message in topic.remembered:
                listener.hear(message)

        def leave() -> None:
            if listener in followers:
                followers.remove(listener)
            if not followers:
                self._listeners.pop(call, None)

        return leave

    def of(self, call: str) -> tuple[Listener, ...]:
        """Those who follow a call."""
        return tuple(self._listeners.get(call, ()))

    def remove(self, call: str, topic: Topic) -> None:
        """Forgets a call; see `Topic.end`."""
        self._topics[call].remove(topic)
        if not self._topics[call]:
            del self._topics[call]
            for listener in self.of(call):
                listener.call_over()
