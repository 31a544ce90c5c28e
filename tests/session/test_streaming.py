"""Sessions in an event loop: the same events, a free loop, and a cancel at any time."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.errors import AudioError, DecoderError
from pykaldi_server.session import Event, Final, Model, Partial, Session
from pykaldi_server.session.streaming import pieces, stream_events
from pykaldi_server.session.text_processor import Result

Recording = Callable[[str], NDArray[np.float32]]

NAME = "ps-tidigits-2934z"
CHUNK = 4000


@pytest.fixture
def samples(recording: Recording) -> NDArray[np.float32]:
    return recording(NAME)


@pytest.fixture
def expected(digits: Model, samples: NDArray[np.float32]) -> list[Event]:
    session = digits.session()
    return session.accept(samples) + session.finish()


def chunks_of(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for begin in range(0, len(samples), CHUNK):
        yield samples[begin : begin + CHUNK]


async def async_chunks_of(samples: NDArray[np.float32]) -> AsyncIterator[NDArray[np.float32]]:
    for chunk in chunks_of(samples):
        await asyncio.sleep(0)
        yield chunk


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await scenario()

    return asyncio.run(main())


@pytest.mark.parametrize(
    "source_of",
    [
        async_chunks_of,
        chunks_of,
        lambda samples: list(chunks_of(samples)),
        lambda samples: samples,
        lambda samples: samples.astype("<i2").tobytes(),
        lambda samples: [samples.astype("<i2").tobytes()[:777], samples.astype("<i2").tobytes()[777:]],
    ],
    ids=["async", "iterator", "list", "array", "bytes", "odd bytes"],
)
def test_events_are_those_of_a_session(
    digits: Model, samples: NDArray[np.float32], expected: list[Event], source_of: Callable[..., Any]
) -> None:
    async def scenario() -> list[Event]:
        return [event async for event in digits.stream(source_of(samples))]

    assert run(scenario) == expected


def test_events_come_before_the_audio_has_ended(digits: Model, samples: NDArray[np.float32]) -> None:
    async def scenario() -> None:
        more = asyncio.Event()

        async def source() -> AsyncIterator[NDArray[np.float32]]:
            yield samples
            await more.wait()

        events = digits.stream(source())
        await anext(events)  # would wait for ever if the source had to end first
        more.set()
        assert [event async for event in events]

    run(scenario)


def test_work_is_not_done_in_the_loop(digits: Model, samples: NDArray[np.float32]) -> None:
    threads = set()

    def source() -> Iterator[NDArray[np.float32]]:
        for chunk in chunks_of(samples):
            threads.add(threading.current_thread())
            yield chunk

    class Processor:
        def process(self, result: Result, request_id: str) -> Result:
            threads.add(threading.current_thread())
            return replace(result, transcript="changed") if isinstance(result, Partial) else result

    async def scenario() -> list[Event]:
        with ThreadPoolExecutor(1, "recogniser") as executor:
            stream = digits.stream(source(), text_processor=Processor(), executor=executor)
            return [event async for event in stream]

    events = run(scenario)
    assert {thread.name.partition("_")[0] for thread in threads} == {"recogniser"}
    assert {event.transcript for event in events if isinstance(event, Partial)} == {"changed"}


def test_options_and_rates(digits: Model, samples: NDArray[np.float32]) -> None:
    async def scenario() -> list[Event]:
        options = {"do-adaptation": False}
        stream = digits.stream(samples / 32768, sample_rate_hz=16000.0, full_scale=1, options=options)
        return [event async for event in stream]

    assert isinstance(run(scenario)[-1], Final)


class SlowAudio:
    """An array that a session has to wait for while it reads it."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.may_go_on = threading.Event()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:
        self.is_read.set()
        assert self.may_go_on.wait(60)
        return np.zeros(1600, np.float32)


def test_a_cancel_waits_for_the_thread_and_closes(digits: Model) -> None:
    session, audio = digits.session(), SlowAudio()

    async def recognise() -> None:
        async with aclosing(stream_events(lambda: session, [audio])) as events:  # type: ignore[list-item]
            async for _ in events:
                pass

    async def scenario() -> None:
        task = asyncio.create_task(recognise())
        assert await asyncio.to_thread(audio.is_read.wait, 60)
        for _ in range(3):  # one cancel is enough; more do no harm
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        audio.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario)
    assert is_closed(session)


def test_a_cancel_does_not_wait_for_the_source(digits: Model) -> None:
    session, waiting, release = digits.session(), threading.Event(), threading.Event()

    def microphone() -> Iterator[bytes]:
        waiting.set()
        release.wait(60)
        yield b""

    async def recognise() -> None:
        async with aclosing(stream_events(lambda: session, microphone())) as events:
            async for _ in events:
                pass

    async def scenario() -> None:
        task = asyncio.create_task(recognise())
        assert await asyncio.to_thread(waiting.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_closed(session)
        release.set()

    run(scenario)


def test_leaving_the_loop_early_closes(digits: Model, samples: NDArray[np.float32]) -> None:
    session = digits.session()

    async def scenario() -> None:
        async with aclosing(stream_events(lambda: session, async_chunks_of(samples))) as events:
            async for _ in events:
                break

    run(scenario)
    assert is_closed(session)


def test_errors_come_out(digits: Model) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"\0\0"
        raise OSError("the microphone was pulled out")

    async def read(source: Any) -> list[Event]:
        return [event async for event in digits.stream(source)]

    with pytest.raises(OSError, match="pulled out"):
        run(lambda: read(broken()))
    with pytest.raises(AudioError, match="found int64"):
        run(lambda: read([np.zeros(3, np.int64)]))
    for source in (np.array(1.0), [np.array(1.0)]):
        with pytest.raises(AudioError, match=r"found \(\)"):
            run(functools.partial(read, source))


def test_no_chunk_ends_the_audio_unseen(digits: Model, samples: NDArray[np.float32]) -> None:
    async def asynchronous() -> AsyncIterator[Any]:
        yield samples[:CHUNK]
        yield None

    async def read(source: Any) -> list[Event]:
        return [event async for event in digits.stream(source)]

    for source in ([samples[:CHUNK], None, samples[CHUNK:]], asynchronous()):
        with pytest.raises(AudioError, match="found object \\(NoneType\\)"):
            run(functools.partial(read, source))


def is_closed(session: Session) -> bool:
    with pytest.raises(DecoderError, match="closed"):
        session.accept(b"")
    return True


def test_pieces_are_of_a_second_at_most() -> None:
    assert [len(piece) for piece in pieces(np.zeros(20000, np.float32), 8000)] == [8000, 8000, 4000]
    assert [len(piece) for piece in pieces(bytes(20001), 8000)] == [16000, 4001]
    assert [len(piece) for piece in pieces(b"", 8000)] == [0]
    assert list(pieces([1.0] * 3, 1)) == [[1.0] * 3]  # type: ignore[arg-type]
