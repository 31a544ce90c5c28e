"""Results for people at a terminal, and for scripts."""

import shutil
from typing import TextIO

from pykaldi_server.protocols.gstreamer import channel_of, is_final, transcript_of
from pykaldi_server.protocols.messages import Message, dumps
from pykaldi_server.protocols.transcript import labelled

__all__ = ["ResultPrinter", "ordinal"]

CLEAR_LINE = "\r\033[K"


def ordinal(number: int) -> str:
    """A number as it counts in a row: 1st, 2nd, 3rd, 4th."""
    is_teen = number // 10 % 10 == 1
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


class ResultPrinter:
    """Prints results as they come: finals, a line each, to `out`; partials to `live`.

    On a terminal a partial overwrites the one before; elsewhere each has a line that starts with three dots.
    So does the place in line of a request that has to wait.
    Where each channel is recognised by itself, lines begin with the channel's name.

    Args:
        out: takes the final results.
        live: takes the partial results.
        prefix: stands before each final result.
        as_json: print every message as JSON to `out` instead.
    """

    def __init__(self, out: TextIO, live: TextIO, *, prefix: str = "", as_json: bool = False) -> None:
        self._out = out
        self._live = live
        self._prefix = prefix
        self._as_json = as_json
        self._overwrites = live.isatty()

    def show(self, message: Message) -> None:
        """Prints one message of a server or a session."""
        if self._as_json:
            print(dumps(message), file=self._out, flush=True)
            return
        place = message.get("queue")
        if isinstance(place, int):
            self._show_live(f"waiting: {ordinal(place)} in line" if place else "")
            return
        transcript = transcript_of(message)
        if transcript is None:
            return
        line = labelled(transcript.replace("\n", "\\n"), channel_of(message))
        if is_final(message):
            if self._overwrites:
                print(CLEAR_LINE, end="", file=self._live, flush=True)
            print(self._prefix + line, file=self._out, flush=True)
        else:
            self._show_live(line)

    def _show_live(self, line: str) -> None:
        """Shows what the next line will take the place of; "" only takes the last one away."""
        if self._overwrites:
            width = shutil.get_terminal_size().columns - 1
            tail = line if len(line) <= width else "... " + line[-(width - 4) :]
            print(CLEAR_LINE + tail, end="", file=self._live, flush=True)
        elif line:
            print("... " + line, file=self._live, flush=True)
