"""Sessions in an event loop: chunks of audio in, events out, the heavy work in threads.

The loop never waits for recognition. A chunk is taken only when the one before has been recognised, so a
source that is faster than the machine is held back.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import ParamSpec, TypeVar

import numpy as np

from pykaldi_server.audio.channels import Channels
from pykaldi_server.session.channels import AudioSession, selected_channel
from pykaldi_server.session.events import Event
from pykaldi_server.session.samples import AudioChunk
from pykaldi_server.session.text_processor import TextProcessor, processed

__all__ = ["AudioChunks", "pieces", "stream_events"]

AudioChunks = AsyncIterable[AudioChunk] | Iterable[AudioChunk] | AudioChunk
"""Chunks of audio that come from an asynchronous source, or from any iterable; or all audio at once."""

_NAME = "stream"  # what text processors call it in logs

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def stream_events(
    start: Callable[[], AudioSession],
    chunks: AudioChunks,
    text_processor: TextProcessor | None = None,
    executor: Executor | None = None,
    channels: Channels = "mix",
) -> AsyncGenerator[Event]:
    """Recognises chunks of audio as they come; see `Model.stream`.

    Args:
        start: starts the session.
        chunks: the audio.
        text_processor: changes the text of results.
        executor: where the work is done; None for the loop's default threads.
        channels: which channels of arrays the session takes.
    """
    session = await _run(executor, start)

    def accept(piece: AudioChunk) -> list[Event]:
        events = session.accept(selected_channel(piece, channels))
        return list(processed(events, text_processor, _NAME))

    def finish() -> list[Event]:
        return list(processed(session.finish(), text_processor, _NAME))

    try:
        async with aclosing(_chunks(chunks, executor)) as source:
            async for chunk in source:
                for piece in pieces(chunk, session.sample_rate_hz):
                    for event in await _run(executor, accept, piece):
                        yield event
        for event in await _run(executor, finish):
            yield event
    finally:
        session.close()  # no thread is in it: `_run` has waited


def pieces(chunk: AudioChunk, rate_hz: int) -> Iterator[AudioChunk]:
    """Cuts a chunk into pieces of at most a second, so that results come, and a cancel works, in between."""
    size = rate_hz * (1 if isinstance(chunk, np.ndarray) else 2)
    has_length = chunk.ndim > 0 if isinstance(chunk, np.ndarray) else isinstance(chunk, bytes | bytearray)
    if not has_length or len(chunk) <= size:  # the session refuses what is not audio
        yield chunk
        return
    for begin in range(0, len(chunk), size):
        yield chunk[begin : begin + size]


async def _run(executor: Executor | None, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Does some work in a thread.

    When it is cancelled, it ends only after the work has: no thread may be using a session that is about to
    be closed.
    """
    running = asyncio.get_running_loop().run_in_executor(executor, lambda: work(*args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue  # one cancel is enough
        if not running.cancelled():
            running.exception()  # the cancel is what the caller hears of
        raise


async def _chunks(chunks: AudioChunks, executor: Executor | None) -> AsyncGenerator[AudioChunk]:
    """Yields chunks; an iterable may wait for its next one, so it is asked in a thread."""
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            yield chunk
        return
    if isinstance(chunks, np.ndarray | bytes | bytearray | memoryview):
        yield chunks
        return
    iterator, loop = iter(chunks), asyncio.get_running_loop()

    def next_chunk() -> tuple[AudioChunk, ...]:
        return tuple(itertools.islice(iterator, 1))  # empty at the end, which no chunk means, not even None

    # A cancel need not wait here: the thread uses the source, not the session.
    while following := await loop.run_in_executor(executor, next_chunk):
        yield following[0]
