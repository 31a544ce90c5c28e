"""Learning a speaker from audio that is not recognised, for a session that goes on after it."""

import sys

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.session.acoustics.stream import Learner
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.samples import Quanta, SampleReader, check_rate
from pykaldi_server.session.session import make_gate, make_resampler

__all__ = ["SpeakerLearner"]

# Longer quanta cost less, but find silence later than a session would.
_QUANTUM_S = 0.5


class SpeakerLearner:
    """Hears audio as a `Session` would, and learns what that would have learned of the speaker.

    It searches just enough to find silence, and has no results. With the English demo model it takes a fifth
    to a quarter of a session's time, most of it in the network. One thread at a time may use it.

    Args:
        parts: the model.
        learner: what learns, see `Acoustics.start_learning`.
        sample_rate_hz: rate of the audio.
        full_scale: see `Model.session`.
    """

    def __init__(
        self, parts: ModelParts, learner: Learner, sample_rate_hz: float, full_scale: float | None = None
    ) -> None:
        rate_hz = check_rate(sample_rate_hz)
        self._learner = learner
        self._reader = SampleReader(rate_hz, full_scale)
        self._quanta = Quanta(max(1, round(_QUANTUM_S * rate_hz)))
        self._resampler = make_resampler(rate_hz, parts.sample_rate_hz)
        self._gate = make_gate(parts, parts.options.vad) if parts.options.use_vad else None

    def accept(self, audio: NDArray[np.float32]) -> None:
        """Takes audio, such as `Session.accept` takes."""
        for quantum in self._quanta.add(self._reader.read(audio)):
            self._learn(quantum, last=False)

    def adaptation_state(self) -> str | None:
        """Ends learning.

        Returns:
            All that has been learned of the speaker, as text for `Model.session`. Unlike
            `AdaptationState.value` it is not limited to ``max-remembered-frames``, so that a session that
            starts with it goes on as the one would that has heard all the audio.
        """
        self._learn(self._quanta.rest(), last=True)
        return self._learner.adaptation_state()

    def _learn(self, samples: NDArray[np.float32], last: bool) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample(samples, flush=last)
        if self._gate is not None:
            samples = self._gate.accept(samples)
        if len(samples):
            self._learner.learn(samples)
        if self._gate is not None and self._gate.may_close(sys.maxsize):  # all speech has passed it
            self._gate.close()
