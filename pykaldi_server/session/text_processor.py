"""What changes the text of results on their way out: numbers, punctuation, words that nobody should see."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from pykaldi_server.session.events import AdaptationState, Event, Final, Partial

__all__ = ["Result", "TextProcessor", "processed"]

Result = Partial | Final


class TextProcessor(Protocol):
    """Changes the text of results. Any number of threads may use it."""

    def process(self, result: Result, request_id: str) -> Result:
        """Returns the result with its text changed, or as it is; never raises.

        Args:
            result: a partial result, which should take no noticeable time, or a final one.
            request_id: name of the stream that the result belongs to.
        """


def processed(events: Iterable[Event], processor: TextProcessor | None, request_id: str) -> Iterator[Event]:
    """Passes events on, results by way of a processor if there is one."""
    for event in events:
        if processor is None or isinstance(event, AdaptationState):
            yield event
        else:
            yield processor.process(event, request_id)
