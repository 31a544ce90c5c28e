"""A gate in front of the decoder: it opens when somebody speaks, and what is silent does not get through.

    audio --gate--> stream --> segments, of which one ends whenever the gate closes

WebRTC's voice activity detector finds the speech (`pykaldi_server.audio.vad`). While the gate is closed, the
audio that may still turn out to be the beginning of speech is held; when it opens, that is passed on first.
It closes when the decoder has seen all of the speech, which is some time after its end: a network looks
ahead, and computes several frames at once. Until then silence gets through.

Only whole frames of the decoder are left out, so that frames cover the same samples as without a gate, and
words have the same times. What the decoder has not seen when the gate closes, moments of silence, counts
as if it came right before the speech that opens the gate again.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.vad import SpeechStart, VoiceActivityDetector
from pykaldi_server.audio.vad_options import VadOptions

__all__ = ["VoiceGate"]

_NO_SAMPLES = np.zeros(0, np.float32)


class VoiceGate:
    """The gate of one stream, which starts closed.

    Args:
        options: how speech is distinguished from silence.
        sample_rate_hz: rate of the audio.
        frame_samples: number of samples from one frame of the decoder to the next.
    """

    def __init__(self, options: VadOptions, sample_rate_hz: int, frame_samples: int):
        self._detector = VoiceActivityDetector(options, sample_rate_hz)
        self._sample_rate_hz = sample_rate_hz
        self._frame_samples = frame_samples
        self._is_open = False
        self._speech_end: int | None = None  # sample at which the last speech ended; None during speech
        self._num_samples = 0  # accepted
        self._num_skipped = 0
        self._held = _NO_SAMPLES  # accepted, and neither passed on nor left out; the last ones

    @property
    def skipped_s(self) -> float:
        """Length of the audio that has been left out so far."""
        return self._num_skipped / self._sample_rate_hz

    def accept(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes the next samples, float32 of shape (n,) in int16 range, and returns those to decode now."""
        was_open, start = self._is_open, 0
        for event in self._detector.accept(samples):
            if isinstance(event, SpeechStart):
                start = start if self._is_open else event.sample
                self._is_open, self._speech_end = True, None
            else:
                self._speech_end = event.sample
        self._num_samples += len(samples)
        if was_open:
            return samples
        self._held = np.concatenate([self._held, samples])
        self._skip_to(start if self._is_open else self._detector.start_may_be_at)
        if not self._is_open:
            return _NO_SAMPLES
        held, self._held = self._held, _NO_SAMPLES
        return held

    def may_close(self, num_frames: int) -> bool:
        """Whether the gate is open although the decoder has seen all of the speech.

        Args:
            num_frames: number of frames of the stream that have been decoded.
        """
        if self._speech_end is None or not self._is_open:
            return False
        return num_frames * self._frame_samples + self._num_skipped >= self._speech_end

    def close(self) -> None:
        """Holds back what comes, until there is speech again."""
        self._is_open, self._speech_end = False, None

    def _skip_to(self, sample: int) -> None:
        """Leaves out whole frames of what is held, up to a sample of the stream."""
        held_from = self._num_samples - len(self._held)
        num_frames = max(0, sample - held_from) // self._frame_samples
        self._num_skipped += num_frames * self._frame_samples
        self._held = self._held[num_frames * self._frame_samples :].copy()
