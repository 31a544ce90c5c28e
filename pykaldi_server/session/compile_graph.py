"""Compiles a graph that comes in two parts, in a process of its own: ``python -m ... FOLDER FILE``.

`graph.compile_in_background` starts it. It has low priority, and it ends when the process that started it has
ended: that one holds the other end of its standard input and never writes. However it ends, what it has
written by then is deleted.
"""

import os
import signal
import sys
import threading

from pykaldi_server.kaldi.fstext import compile_graph
from pykaldi_server.session.graph_cache import prune_cache

__all__ = ["main"]

LESS_PRIORITY = 10


def main(folder: str, out: str) -> None:
    """Compiles the graph of a folder into a file."""
    # As an exception, which the next report of progress raises, it lets the work be cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.EX_UNAVAILABLE))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(LESS_PRIORITY)
    compile_graph(folder, out, _go_on)
    prune_cache()


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _go_on(_what: str, _done: int, _total: int) -> None:
    """Does nothing, but is a place where signals are seen."""


if __name__ == "__main__":
    main(*sys.argv[1:])
