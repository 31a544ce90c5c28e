"""Speech and silence by WebRTC's voice activity detector, with a memory that keeps segments whole.

The detector judges frames of 10, 20 or 30 ms on their own; a segment of speech is made of its judgements so:

    silence --(min_speech_ms of consecutive speech frames)--> speech, which began padding_ms before them
    speech  --(hangover_ms of consecutive silence frames)--> silence; speech ended padding_ms after the last
    speech frame

Short pauses inside a sentence are shorter than the hang-over and do not end it; clicks are shorter than
`min_speech_ms` and do not start one.

Source: https://webrtc.org (common_audio/vad), through the module webrtcvad.
"""

from dataclasses import dataclass, field

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError

__all__ = ["SpeechEnd", "SpeechStart", "VadOptions", "VoiceActivityDetector"]

SAMPLE_RATES_HZ = (8_000, 16_000, 32_000, 48_000)
FRAMES_MS = (10, 20, 30)


def _option(default: int, help: str) -> int:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class VadOptions:
    """How speech is told from silence."""

    aggressiveness: int = _option(2, "How readily frames count as silence: 0 (least) to 3 (most).")
    frame_ms: int = _option(30, "Length of the frames that are judged: 10, 20 or 30 ms.")
    min_speech_ms: int = _option(90, "Speech must last this long to start a segment.")
    hangover_ms: int = _option(600, "Silence must last this long to end a segment.")
    padding_ms: int = _option(300, "Audio kept before and after the speech of a segment.")

    def validate(self) -> None:
        """Raises ConfigError if a value makes no sense."""
        if self.aggressiveness not in range(4):
            raise ConfigError(f"aggressiveness: expected 0 to 3, found {self.aggressiveness}")
        if self.frame_ms not in FRAMES_MS:
            raise ConfigError(f"frame_ms: expected 10, 20 or 30, found {self.frame_ms}")
        if self.min_speech_ms < self.frame_ms:
            raise ConfigError(f"min_speech_ms: expected at least {self.frame_ms}, found {self.min_speech_ms}")
        if self.hangover_ms < self.frame_ms:
            raise ConfigError(f"hangover_ms: expected at least {self.frame_ms}, found {self.hangover_ms}")
        if not 0 <= self.padding_ms <= self.hangover_ms:
            raise ConfigError(f"padding_ms: expected 0 to hangover_ms, found {self.padding_ms}")


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """A segment of speech starts.

    Attributes:
        sample: its first sample, counted from the start of the stream; it lies in the past.
    """

    sample: int


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """The segment of speech has ended.

    Attributes:
        sample: one past its last sample, counted from the start of the stream; it lies in the past.
    """

    sample: int


class VoiceActivityDetector:
    """Finds the segments of speech in one stream; the result does not depend on how the stream is cut.

    Args:
        options: see `VadOptions`.
        sample_rate_hz: rate of the samples.

    Raises:
        ConfigError: an option makes no sense, or WebRTC's detector does not know the rate.
    """

    def __init__(self, options: VadOptions, sample_rate_hz: int) -> None:
        options.validate()
        if sample_rate_hz not in SAMPLE_RATES_HZ:
            rates = ", ".join(map(str, SAMPLE_RATES_HZ))
            raise ConfigError(f"voice activity detection: expected {rates} Hz, found {sample_rate_hz}")
        self._detector = webrtcvad.Vad(options.aggressiveness)
        self._sample_rate_hz = sample_rate_hz
        self._frame_samples = sample_rate_hz * options.frame_ms // 1000
        self._padding_samples = sample_rate_hz * options.padding_ms // 1000
        self._min_speech_frames = -(-options.min_speech_ms // options.frame_ms)
        self._hangover_frames = -(-options.hangover_ms // options.frame_ms)
        self._incomplete_frame = np.zeros(0, np.float32)
        self._position = 0  # samples judged
        self._run_frames = 0  # consecutive frames that speak against the present state
        self._last_end = 0  # where the last segment ended
        self._in_speech = False

    @property
    def in_speech(self) -> bool:
        """True inside a segment of speech."""
        return self._in_speech

    @property
    def start_may_be_at(self) -> int:
        """The earliest sample at which a segment may yet start: older samples need not be kept."""
        pending = self._position - (0 if self._in_speech else self._run_frames * self._frame_samples)
        return max(self._last_end, pending - self._padding_samples)

    def accept(self, samples: NDArray[np.float32]) -> list[SpeechStart | SpeechEnd]:
        """Takes the next samples.

        Args:
            samples: float32, shape (n,), int16 range.

        Returns:
            What happened, in order.
        """
        audio = np.concatenate([self._incomplete_frame, samples])
        num_frames = len(audio) // self._frame_samples
        self._incomplete_frame = audio[num_frames * self._frame_samples :].copy()
        pcm = np.clip(np.rint(audio[: num_frames * self._frame_samples]), -32768, 32767).astype(np.int16)
        judgements = [
            self._detector.is_speech(frame.tobytes(), self._sample_rate_hz)
            for frame in pcm.reshape(num_frames, self._frame_samples)
        ]
        return [event for is_speech in judgements for event in self._advance(is_speech)]

    def finish(self) -> list[SpeechStart | SpeechEnd]:
        """Ends the stream, and with it a segment that is still open."""
        self._position += len(self._incomplete_frame)
        self._incomplete_frame = self._incomplete_frame[:0]
        return [self._end_speech(self._position)] if self._in_speech else []

    def _advance(self, is_speech: bool) -> list[SpeechStart | SpeechEnd]:
        """Takes the judgement of the next frame."""
        self._position += self._frame_samples
        self._run_frames = self._run_frames + 1 if is_speech != self._in_speech else 0
        run_start = self._position - self._run_frames * self._frame_samples
        if not self._in_speech and self._run_frames == self._min_speech_frames:
            self._in_speech, self._run_frames = True, 0
            return [SpeechStart(max(self._last_end, run_start - self._padding_samples))]
        if self._in_speech and self._run_frames == self._hangover_frames:
            return [self._end_speech(run_start + self._padding_samples)]
        return []

    def _end_speech(self, sample: int) -> SpeechEnd:
        self._in_speech, self._run_frames, self._last_end = False, 0, sample
        return SpeechEnd(sample)
