"""Speech and silence by WebRTC's voice activity detector, with a memory that keeps segments whole.

The detector judges frames of 10, 20 or 30 ms on their own. A segment of speech is made of its judgements:

    silence --(min_speech_ms of consecutive speech frames)--> speech, which began padding_ms before them
    speech  --(hangover_ms of consecutive silence frames)--> silence; speech ended padding_ms after the last
    speech frame

Pauses inside a sentence are shorter than the hang-over and do not end it; clicks are shorter than
`min_speech_ms` and do not start one.

Source: https://webrtc.org (common_audio/vad), through the module webrtcvad.
"""

from dataclasses import dataclass

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from pykaldi_server.audio.rate import RateConverter
from pykaldi_server.audio.vad_options import VadOptions

__all__ = ["SpeechEnd", "SpeechStart", "VoiceActivityDetector"]

_DETECTOR_RATES_HZ = (8_000, 16_000, 32_000, 48_000)


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
        sample_rate_hz: rate of the samples; where WebRTC's detector does not know it, it gets them at 16 kHz,
            or at 8 kHz if the rate is below 16 kHz.

    Raises:
        ConfigError: an option is invalid.
    """

    def __init__(self, options: VadOptions, sample_rate_hz: int) -> None:
        options.validate()
        self._detector = webrtcvad.Vad(options.aggressiveness)
        self._sample_rate_hz = sample_rate_hz
        self._frame_ms = options.frame_ms
        if sample_rate_hz in _DETECTOR_RATES_HZ:
            self._detector_rate_hz = sample_rate_hz
        else:
            self._detector_rate_hz = 16_000 if sample_rate_hz > 16_000 else 8_000
        self._converter = RateConverter(self._detector_rate_hz)
        self._frame_samples = self._detector_rate_hz * options.frame_ms // 1000
        self._padding_samples = sample_rate_hz * options.padding_ms // 1000
        self._min_speech_frames = -(-options.min_speech_ms // options.frame_ms)
        self._hangover_frames = -(-options.hangover_ms // options.frame_ms)
        self._incomplete_frame = np.zeros(0, np.float32)  # at the detector's rate
        self._num_samples = 0  # accepted
        self._num_frames = 0  # judged
        self._run_frames = 0  # the last frames that contradict the current state
        self._last_end = 0  # where the last segment ended
        self._in_speech = False

    @property
    def in_speech(self) -> bool:
        """True inside a segment of speech."""
        return self._in_speech

    @property
    def start_may_be_at(self) -> int:
        """The earliest sample at which a segment may yet start: older samples need not be kept."""
        run_frames = 0 if self._in_speech else self._run_frames
        return max(self._last_end, self._sample_at(self._num_frames - run_frames) - self._padding_samples)

    def accept(self, samples: NDArray[np.float32]) -> list[SpeechStart | SpeechEnd]:
        """Takes the next samples.

        Args:
            samples: float32, shape (n,), int16 range.

        Returns:
            What happened, in order.
        """
        self._num_samples += len(samples)
        converted = samples
        if self._sample_rate_hz != self._detector_rate_hz:
            converted = self._converter.convert(samples, self._sample_rate_hz)
        audio = np.concatenate([self._incomplete_frame, converted])
        num_frames = len(audio) // self._frame_samples
        self._incomplete_frame = audio[num_frames * self._frame_samples :].copy()
        pcm = np.clip(np.rint(audio[: num_frames * self._frame_samples]), -32768, 32767).astype(np.int16)
        judgements = [
            self._detector.is_speech(frame.tobytes(), self._detector_rate_hz)
            for frame in pcm.reshape(num_frames, self._frame_samples)
        ]
        return [event for is_speech in judgements for event in self._advance(is_speech)]

    def finish(self) -> list[SpeechStart | SpeechEnd]:
        """Ends the stream, and with it a segment that is still open."""
        return [self._end_speech(self._num_samples)] if self._in_speech else []

    def _advance(self, is_speech: bool) -> list[SpeechStart | SpeechEnd]:
        """Takes the judgement of the next frame."""
        self._num_frames += 1
        self._run_frames = self._run_frames + 1 if is_speech != self._in_speech else 0
        run_start = self._sample_at(self._num_frames - self._run_frames)
        if not self._in_speech and self._run_frames == self._min_speech_frames:
            self._in_speech, self._run_frames = True, 0
            return [SpeechStart(max(self._last_end, run_start - self._padding_samples))]
        if self._in_speech and self._run_frames == self._hangover_frames:
            return [self._end_speech(run_start + self._padding_samples)]
        return []

    def _sample_at(self, num_frames: int) -> int:
        """The sample of the stream at which the frame after the first `num_frames` starts."""
        return num_frames * self._frame_ms * self._sample_rate_hz // 1000

    def _end_speech(self, sample: int) -> SpeechEnd:
        self._in_speech, self._run_frames, self._last_end = False, 0, sample
        return SpeechEnd(sample)
