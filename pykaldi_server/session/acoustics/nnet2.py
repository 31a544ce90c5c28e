"""nnet2 models (``online2/online-nnet2-decoding.cc``).

Each segment has a feature pipeline of its own, which starts with what the one before has learned of the
speaker.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import transition_information
from pykaldi_server.kaldi.nnet2 import AmNnet, DecodableNnet2Online, DecodableNnet2OnlineOptions
from pykaldi_server.kaldi.online2 import (
    EndpointDetector,
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
    OnlineSilenceWeighting,
)
from pykaldi_server.session.acoustics.stream import Acoustics, RestartingStream, complete_search
from pykaldi_server.session.adaptation import state_from_text, state_to_text
from pykaldi_server.session.options import NetworkOptions


class Nnet2Acoustics(Acoustics):
    """An nnet2 network with its features."""

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmNnet,
        features: OnlineNnetFeaturePipelineInfo,
        options: NetworkOptions,
    ):
        self.transition_model = transition_model
        self.acoustic_model = acoustic_model
        self.features = features
        self.options = options
        self.transitions = transition_information(transition_model)
        frame_opts = features.feature_opts.frame_opts
        self.sample_rate_hz = int(frame_opts.samp_freq)
        self.samples_per_frame = frame_opts.window_shift_samples()
        self.frame_shift_s = frame_opts.frame_shift_ms * 0.001
        self.acoustic_scale = options.decodable.acoustic_scale
        self.decodable_options = DecodableNnet2OnlineOptions(
            self.acoustic_scale, options.pad_input, options.max_nnet_batch_size
        )
        self.decodable(OnlineNnetFeaturePipeline(features))  # checks that the features fit

    def decodable(self, pipeline: OnlineNnetFeaturePipeline) -> DecodableNnet2Online:
        """The network's computation for a stream of features."""
        return DecodableNnet2Online(
            self.acoustic_model, self.transition_model, self.decodable_options, pipeline
        )

    def start(
        self, graph: DecodingGraph, endpoint: EndpointDetector | None, adaptation_state: str | None = None
    ) -> "Nnet2Stream":
        return Nnet2Stream(self, graph, endpoint, adaptation_state)


class Nnet2Stream(RestartingStream):
    """The state of one stream."""

    def __init__(
        self,
        acoustics: Nnet2Acoustics,
        graph: DecodingGraph,
        endpoint: EndpointDetector | None,
        adaptation_state: str | None,
    ):
        """See `Acoustics.start`."""
        super().__init__(acoustics.samples_per_frame)
        self._acoustics = acoustics
        self._endpoint = endpoint
        self._decoder = LatticeFasterOnlineDecoder(
            graph, acoustics.options.decoder, acoustics.transition_model.id2pdf
        )
        self._state = None if adaptation_state is None else state_from_text(adaptation_state)
        self._make_segment()

    def num_frames_decoded(self) -> int:
        return self._decoder.num_frames_decoded()

    def endpoint_detected(self) -> bool:
        return self._endpoint is not None and self._endpoint.detected(self._decoder)

    def partial_words(self) -> NDArray[np.int32]:
        return self._decoder.partial_words()

    def end_segment(self) -> CompactLatticeVectorFst:
        options = self._acoustics.options
        return complete_search(self._decoder, self._acoustics.transitions, options.determinizer)

    def adaptation_state(self) -> str | None:
        state = self._pipeline.get_adaptation_state()
        return None if state is None else state_to_text(state)

    def _start_segment(self) -> None:
        self._state = self._pipeline.get_adaptation_state()
        self._make_segment()

    def _make_segment(self) -> None:
        self._pipeline = OnlineNnetFeaturePipeline(self._acoustics.features)
        if self._state is not None:
            self._pipeline.set_adaptation_state(self._state)
        self._silence_weighting = OnlineSilenceWeighting(
            self._acoustics.transition_model, self._acoustics.features.silence_weighting_config
        )
        self._decodable = self._acoustics.decodable(self._pipeline)
        self._decoder.init_decoding()

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        self._pipeline.accept_waveform(self._acoustics.sample_rate_hz, samples)
        if last:
            self._pipeline.input_finished()

    def _advance(self, new_quantum: bool) -> bool:
        if self._silence_weighting.active() and self._pipeline.ivector_feature() is not None:
            if new_quantum:
                self._silence_weighting.compute_current_traceback(self._decoder)
            self._pipeline.update_frame_weights(
                self._silence_weighting.get_delta_weights(self._pipeline.num_frames_ready())
            )
        loglikes = self._decodable.advance()
        self._decoder.advance_decoding(loglikes)
        return len(loglikes) > 0
