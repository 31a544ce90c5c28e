"""Several channels as several speakers: one session per channel, and their events in the order of time.

    samples of shape (n, channels) --> session of channel 0 --\\
                                   --> session of channel 1 ---+--> events with `channel`, merged

Sessions take the same audio, step by step. After each step the events of all channels come out, in the
order of time; the events of one channel keep their order. So no channel waits for another one:
while audio comes, a final result may follow one that starts later. Callers that want a transcript in the
order of time sort the final results at the end of the stream.

Segments are numbered per channel. The cost is that of as many sessions.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from heapq import merge
from types import TracebackType
from typing import Any, Protocol, Self, get_args

import numpy as np

from pykaldi_server.audio.channels import Channels
from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.session.events import AdaptationState, Event, time_s
from pykaldi_server.session.samples import AudioChunk
from pykaldi_server.session.session import Session

__all__ = [
    "CHANNELS",
    "MOST_CHANNELS",
    "AudioSession",
    "SplitSession",
    "parse_channels",
    "selected_channel",
    "start_session",
]

MOST_CHANNELS = 16
"""Each channel costs a session, so audio with more of them is refused."""

CHANNELS = "channels"  # the option's name
_MIXED = "mixed"  # the word of requests for what is ``mix`` elsewhere


class AudioSession(Protocol):
    """What a `Session` and a `SplitSession` have in common: see there."""

    @property
    def sample_rate_hz(self) -> int: ...

    def accept(self, audio: AudioChunk) -> list[Event]: ...

    def finalize_segment(self) -> list[Event]: ...

    def reset(self) -> list[Event]: ...

    def finish(self) -> list[Event]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class SplitSession:
    """Recognises each channel of a stream by itself; one thread at a time may use it, as a `Session`.

    The first audio decides how many channels there are; mono audio has one, with the number 0.

    Args:
        start: starts the session of the channel whose number it is given.
    """

    def __init__(self, start: Callable[[int], Session]) -> None:
        self._start = start
        # That of channel 0 exists from the start: it checks options, and knows the rate.
        self._sessions = [start(0)]
        self._has_audio = False

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the session takes."""
        return self._sessions[0].sample_rate_hz

    def accept(self, audio: AudioChunk) -> list[Event]:
        """Takes audio of all channels.

        Args:
            audio: an array of shape (n, channels) whose columns are such as `Session.accept` takes, or what
                that takes, which is one channel.

        Returns:
            What became known, with the channel of each event.

        Raises:
            AudioError: the audio is not such an array, its number of channels has changed, or there are more
                than `MOST_CHANNELS`; and as for `Session.accept`.
            DecoderError: as for `Session.accept`.
        """
        if isinstance(audio, np.ndarray) and audio.size == 0:  # nobody knows yet how many channels there are
            return []
        columns = _columns(audio)
        self._have_channels(len(columns))
        return self._merged(
            [each.accept(column) for each, column in zip(self._sessions, columns, strict=True)]
        )

    def finalize_segment(self) -> list[Event]:
        """Ends the current segment of each channel now; see `Session.finalize_segment`."""
        return self._merged([each.finalize_segment() for each in self._sessions])

    def reset(self) -> list[Event]:
        """Decodes what has been taken to its end, and begins again; see `Session.reset`."""
        return self._merged([each.reset() for each in self._sessions])

    def finish(self) -> list[Event]:
        """Ends the stream.

        Returns:
            The last results of all channels, then their adaptation states, in the order of channels.
        """
        results: list[list[Event]] = []
        states: list[Event] = []
        for channel, session in enumerate(self._sessions):
            events = session.finish()
            states += [replace(each, channel=channel) for each in events if isinstance(each, AdaptationState)]
            results.append([each for each in events if not isinstance(each, AdaptationState)])
        return self._merged(results) + states

    def close(self) -> None:
        """Ends all sessions without results."""
        for each in self._sessions:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _have_channels(self, num_channels: int) -> None:
        """Starts the sessions, at the first audio."""
        if not self._has_audio:
            if num_channels > MOST_CHANNELS:
                raise AudioError(
                    f"channels=split: expected at most {MOST_CHANNELS} channels, found {num_channels}"
                )
            self._sessions += [self._start(channel) for channel in range(1, num_channels)]
            self._has_audio = True
        if num_channels != len(self._sessions):
            expected = len(self._sessions)
            raise AudioError(f"channels=split: expected {expected} channels as before, found {num_channels}")

    @staticmethod
    def _merged(events: list[list[Event]]) -> list[Event]:
        """The events of the channels, each list in the order of time, as one list in that order."""
        numbered = [[replace(each, channel=i) for each in channel] for i, channel in enumerate(events)]
        return list(merge(*numbered, key=time_s))


def start_session(
    start: Callable[[str | None], Session],
    channels: Channels,
    adaptation_state: str | Mapping[int, str] | None = None,
) -> AudioSession:
    """Starts what recognises a stream: one session, or one per channel.

    Args:
        start: starts a session, with what is known of its speaker.
        channels: which channels are recognised.
        adaptation_state: what is known of the speakers, by the numbers of their channels, or of that of
            channel 0, which is also the only one where channels are not split.
    """
    known = adaptation_state or {}
    states = {0: known} if isinstance(known, str) else known
    if channels == "split":
        return SplitSession(lambda channel: start(states.get(channel)))
    return start(states.get(0))


def parse_channels(options: Mapping[str, Any]) -> tuple[Channels, dict[str, Any]]:
    """Takes the option ``channels`` of a request from the others, which are for its session.

    Args:
        options: options by their names.

    Returns:
        Which channels are recognised, and the others. Where nothing is said, or ``mixed``, it is ``mix``.

    Raises:
        ConfigError: the value is invalid.
    """
    others = {name: value for name, value in options.items() if name != CHANNELS}
    value = options.get(CHANNELS)
    if value is None or value == _MIXED:
        return "mix", others
    for known in get_args(Channels):
        if value == known:
            return known, others
    raise ConfigError(f"channels: expected one of mixed, left, right, split, found {value!r}")


def selected_channel(audio: AudioChunk, channels: Channels) -> AudioChunk:
    """The channel of an array that ``left`` or ``right`` asks for; otherwise the array itself.

    Audio with one channel is that channel, whichever is asked for.

    Raises:
        AudioError: the array has no channel.
    """
    if channels not in ("left", "right") or not isinstance(audio, np.ndarray) or audio.ndim != 2:
        return audio
    if audio.shape[1] == 0:
        raise AudioError(
            f"channels={channels}: expected an array of shape (n, channels), found shape {audio.shape}"
        )
    index = 1 if channels == "right" and audio.shape[1] > 1 else 0
    return audio[:, index]


def _columns(audio: AudioChunk) -> list[AudioChunk]:
    """The channels of an array; bytes are mono."""
    if not isinstance(audio, np.ndarray) or audio.ndim == 1:
        return [audio]
    if audio.ndim != 2 or audio.shape[1] == 0:
        raise AudioError(
            f"channels=split: expected an array of shape (n, channels), found shape {audio.shape}"
        )
    return [np.ascontiguousarray(audio[:, channel]) for channel in range(audio.shape[1])]
