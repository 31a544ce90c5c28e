"""Compiles a graph that comes in two parts, in a process of its own: ``python -m ... FOLDER FILE``.

`graph.compile_in_background` starts it. It has low priority, and it ends when the process that started it has
ended: that one holds the other end of its standard input and never writes.
"""

import os
import sys
import threading

from pykaldi_server.kaldi.fstext import compile_graph

__all__ = ["main"]

LESS_PRIORITY = 10


def main(folder: str, out: str) -> None:
    """Compiles the graph of a folder into a file."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(LESS_PRIORITY)
    compile_graph(folder, out)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(os.EX_UNAVAILABLE)


if __name__ == "__main__":
    main(*sys.argv[1:])
