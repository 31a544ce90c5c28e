"""GMM models with basis fMLLR (``online2bin/online2-wav-gmm-latgen-faster.cc``).

Each segment has a search and features of its own, which start with what the segment before has learned of
the speaker. At its end a last transform is estimated, and the lattice is rescored with it.
"""

import io
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.online2.feature_pipeline import OnlineFeaturePipeline, OnlineFeaturePipelineInfo
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.online2.gmm_decoding import SingleUtteranceGmmDecoder
from pykaldi_server.kaldi.online2.gmm_models import (
    OnlineGmmDecodingAdaptationPolicyConfig,
    OnlineGmmDecodingConfig,
    OnlineGmmDecodingModels,
)
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.session.acoustics.stream import Acoustics, RestartingStream, StreamSetup
from pykaldi_server.session.adaptation import state_bytes

__all__ = ["GmmAcoustics", "GmmStream"]

_NEVER_ADAPT = OnlineGmmDecodingAdaptationPolicyConfig(
    adaptation_first_utt_delay=math.inf, adaptation_delay=math.inf
)


class GmmAcoustics(Acoustics):
    """Gaussian mixtures with their features and transforms."""

    rescores_segments = True

    def __init__(
        self,
        models: OnlineGmmDecodingModels,
        features: OnlineFeaturePipelineInfo,
        options: OnlineGmmDecodingConfig,
    ):
        """Prepares what all streams share."""
        frame_opts = features.feature_opts.frame_opts
        super().__init__(
            models.get_transition_model(),
            options.faster_decoder_opts,
            options.det_opts,
            sample_rate_hz=int(frame_opts.samp_freq),
            frame_shift_s=frame_opts.frame_shift_ms * 0.001,
            acoustic_scale=options.acoustic_scale,
        )
        self.models = models
        self.options = options
        self.prototype = OnlineFeaturePipeline(features)
        self.samples_per_frame = frame_opts.window_shift_samples()

    def _start(self, setup: StreamSetup) -> "GmmStream":
        return GmmStream(self, setup)

    def make_utterance(
        self, setup: StreamSetup, state: OnlineGmmAdaptationState
    ) -> SingleUtteranceGmmDecoder:
        """Makes features and search of a segment; ``state`` is what is known of the speaker."""
        options = replace(self.options, faster_decoder_opts=setup.search_options)
        if not setup.adapts:
            options.adaptation_policy_opts = _NEVER_ADAPT
        return SingleUtteranceGmmDecoder(options, self.models, self.prototype, setup.graph, state)


class GmmStream(RestartingStream):
    """The state of one stream."""

    def __init__(self, acoustics: GmmAcoustics, setup: StreamSetup):
        """See `Acoustics.start`."""
        state = OnlineGmmAdaptationState()
        if setup.adaptation_state is not None:
            reader = KaldiReader(state_bytes(setup.adaptation_state), "adaptation state")
            state = OnlineGmmAdaptationState.read(reader)
        self._acoustics = acoustics
        self._setup = setup
        self._utterance = acoustics.make_utterance(setup, state)
        super().__init__(acoustics, self._utterance.decoder(), setup, acoustics.samples_per_frame)

    def end_segment(self) -> CompactLatticeVectorFst:
        self._utterance.finalize_decoding()
        if self._setup.adapts and self._acoustics.models.get_fmllr_basis() is not None:
            self._utterance.estimate_fmllr(end_of_utterance=True)
        return self._utterance.get_lattice(rescore_if_needed=True, end_of_utterance=True)

    def adaptation_state(self) -> str | None:
        file = io.BytesIO()
        self._utterance.get_adaptation_state().write(KaldiWriter(file, binary=False))
        return file.getvalue().decode()

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        pipeline = self._utterance.feature_pipeline()
        pipeline.accept_waveform(self._acoustics.sample_rate_hz, samples)
        if last:
            pipeline.input_finished()

    def _advance(self, new_quantum: bool) -> bool:
        before = self.num_frames_decoded()
        self._utterance.advance_decoding()
        return self.num_frames_decoded() > before

    def _start_segment(self) -> None:
        known = self._utterance.get_adaptation_state() if self._setup.adapts else OnlineGmmAdaptationState()
        self._utterance = self._acoustics.make_utterance(self._setup, known)
        self.decoder = self._utterance.decoder()
