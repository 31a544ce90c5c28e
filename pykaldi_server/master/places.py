"""Telling a client its place in line, without waiting for a client that does not read."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["PlaceTeller"]


class PlaceTeller:
    """Tells one client its place, the newest one when it has taken the last.

    Args:
        tell: sends a place; 0 says that the client is being served.
    """

    def __init__(self, tell: Callable[[int], Coroutine[Any, Any, object]]) -> None:
        self._tell = tell
        self._newest = self._told = 0
        self._task: asyncio.Task[None] | None = None

    def __call__(self, place: int) -> None:
        """The client has a new place."""
        self._newest = place
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell_newest())

    async def served(self) -> None:
        """The client is being served; returns when it knows that, if it had been told a place."""
        if self._task is not None:
            self(0)
            await asyncio.wait([self._task])

    def stop(self) -> None:
        """Nothing more is told. May be called again."""
        if self._task is not None:
            self._task.cancel()

    async def _tell_newest(self) -> None:
        while self._told != self._newest:
            self._told = self._newest
            await self._tell(self._told)
