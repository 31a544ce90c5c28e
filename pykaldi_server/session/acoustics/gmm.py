"""GMM models with basis fMLLR (``online2bin/online2-wav-gmm-latgen-faster.cc``).

Each segment has a decoder and features of its own, which start with what the segment before has learned of
the speaker. At its end a last transform is estimated and the lattice rescored with it.
"""

import io

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.online2 import EndpointDetector
from pykaldi_server.kaldi.online2.feature_pipeline import OnlineFeaturePipeline, OnlineFeaturePipelineInfo
from pykaldi_server.kaldi.online2.gmm_adaptation_state import OnlineGmmAdaptationState
from pykaldi_server.kaldi.online2.gmm_decoding import SingleUtteranceGmmDecoder
from pykaldi_server.kaldi.online2.gmm_models import OnlineGmmDecodingConfig, OnlineGmmDecodingModels
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
from pykaldi_server.session.acoustics.stream import Acoustics, RestartingStream


class GmmAcoustics(Acoustics):
    """Gaussian mixtures with their features and transforms."""

    def __init__(
        self,
        models: OnlineGmmDecodingModels,
        features: OnlineFeaturePipelineInfo,
        options: OnlineGmmDecodingConfig,
    ):
        self.models = models
        self.options = options
        self.transition_model = models.get_transition_model()
        self.prototype = OnlineFeaturePipeline(features)
        frame_opts = features.feature_opts.frame_opts
        self.sample_rate_hz = int(frame_opts.samp_freq)
        self.samples_per_frame = frame_opts.window_shift_samples()
        self.frame_shift_s = frame_opts.frame_shift_ms * 0.001
        self.acoustic_scale = options.acoustic_scale

    def start(
        self, graph: DecodingGraph, endpoint: EndpointDetector | None, adaptation_state: str | None = None
    ) -> "GmmStream":
        return GmmStream(self, graph, endpoint, adaptation_state)


class GmmStream(RestartingStream):
    """The state of one stream."""

    def __init__(
        self,
        acoustics: GmmAcoustics,
        graph: DecodingGraph,
        endpoint: EndpointDetector | None,
        adaptation_state: str | None,
    ):
        """See `Acoustics.start`."""
        super().__init__(acoustics.samples_per_frame)
        self._acoustics = acoustics
        self._graph = graph
        self._endpoint = endpoint
        state = OnlineGmmAdaptationState()
        if adaptation_state is not None:
            reader = KaldiReader(adaptation_state.encode(), "adaptation state")
            state = OnlineGmmAdaptationState.read(reader)
        self._decoder = self._make_decoder(state)

    def num_frames_decoded(self) -> int:
        return self._decoder.decoder().num_frames_decoded()

    def endpoint_detected(self) -> bool:
        return self._endpoint is not None and self._endpoint.detected(self._decoder.decoder())

    def partial_words(self) -> NDArray[np.int32]:
        return self._decoder.decoder().partial_words()

    def end_segment(self) -> CompactLatticeVectorFst:
        self._decoder.finalize_decoding()
        self._decoder.estimate_fmllr(end_of_utterance=True)
        return self._decoder.get_lattice(rescore_if_needed=True, end_of_utterance=True)

    def adaptation_state(self) -> str | None:
        file = io.BytesIO()
        self._decoder.get_adaptation_state().write(KaldiWriter(file, binary=False))
        return file.getvalue().decode()

    def _make_decoder(self, state: OnlineGmmAdaptationState) -> SingleUtteranceGmmDecoder:
        return SingleUtteranceGmmDecoder(
            self._acoustics.options, self._acoustics.models, self._acoustics.prototype, self._graph, state
        )

    def _start_segment(self) -> None:
        self._decoder = self._make_decoder(self._decoder.get_adaptation_state())

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        pipeline = self._decoder.feature_pipeline()
        pipeline.accept_waveform(self._acoustics.sample_rate_hz, samples)
        if last:
            pipeline.input_finished()

    def _advance(self, new_quantum: bool) -> bool:
        before = self.num_frames_decoded()
        self._decoder.advance_decoding()
        return self.num_frames_decoded() > before
