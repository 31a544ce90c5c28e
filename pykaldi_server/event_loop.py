"""The event loop of masters and workers: libuv's, where uvloop is installed.

A packet of a live stream takes several turns of the loop of its master, and of that of its worker. The turns
of asyncio's own loop are Python.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end in an event loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(main)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it is not for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
