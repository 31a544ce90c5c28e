"""What one process of a batch does: load a model, then recognise recordings, or parts of them, one by one."""

import functools
import os
import select
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.batch.hearing import Hearing, Report
from pykaldi_server.batch.locations import Location, opened
from pykaldi_server.batch.parts import WHOLE, Heard, Part
from pykaldi_server.batch.sources import STANDARD_INPUT
from pykaldi_server.batch.tasks import ProcessTexts, Recognize, RecognizerOptions, Task
from pykaldi_server.errors import AudioError
from pykaldi_server.session import Model
from pykaldi_server.session.channels import CHANNELS, AudioSession, parse_channels, start_session
from pykaldi_server.session.events import Event, Final
from pykaldi_server.session.learning import SpeakerLearner
from pykaldi_server.session.samples import INT16_SCALE
from pykaldi_server.session.text_processor import processed
from pykaldi_server.worker.post_processor import PostProcessor
from pykaldi_server.worker.settings import WorkerSettings

__all__ = ["Recognizer"]

_READ_BYTES = 1 << 16
_LONGEST_WAIT_MS = 200


class Recognizer:
    """Recognises recordings with one model; a context manager, which ends the post-processors.

    Args:
        options: the model, and how recordings are recognised.

    Raises:
        FileNotFoundError, ConfigError, ModelFormatError: as for `Model.load`.
    """

    def __init__(self, options: RecognizerOptions) -> None:
        self._channels, _ = parse_channels({CHANNELS: options.channels})
        self._content_type = options.content_type
        with ExitStack() as stack:
            settings = WorkerSettings.read(options.model)
            programs = settings.complete(options.post_processing)
            self._post_processor = PostProcessor.start(programs, settings.directory)
            if self._post_processor is not None:
                stack.enter_context(self._post_processor)
            self._model = Model.load(settings.model, **options.model_options)
            if self._post_processor is not None:
                self._post_processor.check()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def sample_rate_hz(self) -> int:
        """The model's sample rate."""
        return self._model.sample_rate_hz

    @property
    def can_cut(self) -> bool:
        """Whether long recordings may be cut: segments end at pauses."""
        return self._model.options.do_endpointing

    @functools.cached_property
    def learns_all(self) -> bool:
        """Whether all that is before a part teaches the speaker, not only the last minute."""
        return self._start_learner(self.sample_rate_hz) is not None

    @property
    def processes_texts(self) -> bool:
        """Whether there are post-processors."""
        return self._post_processor is not None

    def run(self, task: Task, report: Report) -> tuple[Event, ...] | Heard:
        """Does a task.

        Returns:
            The events of a whole recording or of processed texts; what was heard of a part.

        Raises:
            AudioError: the audio cannot be decoded; the text names the file.
            OSError: the file cannot be read.
        """
        match task:
            case ProcessTexts():
                return tuple(processed(task.finals, self._post_processor, str(task.path)))
            case Recognize(part=part) if part is WHOLE or part == WHOLE:
                events = self.events(task.path, report)
                return tuple(event for event in events if task.with_all_events or isinstance(event, Final))
            case _:
                return self._hear(task.path, task.part, report)

    def events(self, path: Location, report: Report) -> Iterator[Event]:
        """Yields the events of a whole recording as they become known; raises as `run`."""
        yield from self.stream(_chunks(path), str(path), self._content_type, report)

    def stream(
        self, chunks: Iterable[bytes], name: str, content_type: str | None, report: Report
    ) -> Iterator[Event]:
        """Yields the events of bytes that are arriving.

        Args:
            chunks: the bytes of a file, or raw audio, cut anywhere.
            name: what errors call it.
            content_type: how it is encoded, see `AudioDecoder`.
            report: is told how far recognition has come.

        Raises:
            AudioError: the audio cannot be decoded; the text has the name.
        """
        yield from processed(self._raw_events(chunks, name, content_type, report), self._post_processor, name)

    def _raw_events(
        self, chunks: Iterable[bytes], name: str, content_type: str | None, report: Report
    ) -> Iterator[Event]:
        with _naming(name), Hearing(self._start, WHOLE, report) as hearing:
            for samples, rate_hz in self._samples(chunks, content_type):
                yield from hearing.accept(samples, rate_hz)
            yield from hearing.finish()

    def _hear(self, path: Location, part: Part, report: Report) -> Heard:
        finals: list[Final] = []
        with _naming(str(path)), Hearing(self._start, part, report, self._start_learner) as hearing:
            for samples, rate_hz in self._samples(_chunks(path), self._content_type):
                finals += (event for event in hearing.accept(samples, rate_hz) if isinstance(event, Final))
                if hearing.is_over(finals):
                    break
            finals += (event for event in hearing.finish() if isinstance(event, Final))
            return Heard(tuple(finals), hearing.position_s)

    def _start(self, rate_hz: int | None, states: Mapping[int, str] | None = None) -> AudioSession:
        scale = None if rate_hz is None else INT16_SCALE
        # What was learned of the same stream is no adaptation from one stream to the next, which may be off.
        options = {"do_adaptation": True} if states and self.learns_all else None
        return start_session(
            lambda state: self._model.session(state, rate_hz, options, scale), self._channels, states
        )

    def _start_learner(self, rate_hz: int) -> SpeakerLearner | None:
        return self._model.learner(rate_hz, INT16_SCALE)

    def _samples(
        self, chunks: Iterable[bytes], content_type: str | None
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Decodes audio; yields samples with their rate."""
        with AudioDecoder(content_type, None, self._channels) as decoder:
            for samples in _decoded(chunks, decoder):
                if decoder.sample_rate_hz is not None:
                    yield samples, decoder.sample_rate_hz


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the name of a recording into the text of errors."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error


def _chunks(path: Location) -> Iterator[bytes]:
    """Reads a file, or standard input, of which it takes what there is."""
    if str(path) == STANDARD_INPUT:
        yield from _standard_input()
        return
    try:
        with opened(path) as file:
            while data := file.read(_READ_BYTES):
                yield data
    except IsADirectoryError:
        raise AudioError("expected an audio file, found a directory") from None


def _standard_input() -> Iterator[bytes]:
    """Reads without waiting for long: a Ctrl-C that comes just before a wait does not end it."""
    descriptor = sys.stdin.fileno()
    there_is_some = select.poll()
    there_is_some.register(descriptor, select.POLLIN)
    while True:
        if there_is_some.poll(_LONGEST_WAIT_MS):
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                return
            yield data


def _decoded(chunks: Iterable[bytes], decoder: AudioDecoder) -> Iterator[NDArray[np.float32]]:
    for data in chunks:
        yield from decoder.decode(data)
    yield from decoder.decode_rest()
