"""nnet3 models.

Features and network run on through the whole stream; at an endpoint the search alone starts anew at the
next frame, so every frame belongs to exactly one segment. For each quantum of audio the order is Kaldi's:
accept, traceback, frame weights, advance (``online2bin/online2-wav-nnet3-latgen-faster.cc``).
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.functions import transition_information
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, DecodableNnetLoopedOnline, DecodableNnetSimpleLoopedInfo
from pykaldi_server.kaldi.online2 import (
    EndpointDetector,
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
    OnlineSilenceWeighting,
)
from pykaldi_server.session.acoustics.stream import Acoustics, Stream, complete_search
from pykaldi_server.session.adaptation import state_from_text, state_to_text
from pykaldi_server.session.options import NetworkOptions


class Nnet3Acoustics(Acoustics):
    """An nnet3 network with its features."""

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmNnetSimple,
        features: OnlineNnetFeaturePipelineInfo,
        options: NetworkOptions,
    ):
        """Compiles the network.

        Raises:
            ConfigError: the network cannot be computed online, or does not fit the options.
            ModelFormatError: the features are not those that the network was trained with.
        """
        self.transition_model = transition_model
        self.features = features
        self.options = options
        self.network = DecodableNnetSimpleLoopedInfo(options.decodable, acoustic_model)
        self.transitions = transition_information(transition_model)
        frame_opts = features.feature_opts.frame_opts
        self.sample_rate_hz = int(frame_opts.samp_freq)
        self.subsampling_factor = options.decodable.frame_subsampling_factor
        self.frame_shift_s = frame_opts.frame_shift_ms * 0.001 * self.subsampling_factor
        self.acoustic_scale = options.decodable.acoustic_scale
        self.decodable(OnlineNnetFeaturePipeline(features))  # checks that the features fit

    def decodable(self, pipeline: OnlineNnetFeaturePipeline) -> DecodableNnetLoopedOnline:
        """The network's computation for a stream of features."""
        return DecodableNnetLoopedOnline(self.network, pipeline.input_feature(), pipeline.ivector_feature())

    def start(
        self, graph: DecodingGraph, endpoint: EndpointDetector | None, adaptation_state: str | None = None
    ) -> "Nnet3Stream":
        return Nnet3Stream(self, graph, endpoint, adaptation_state)


class Nnet3Stream(Stream):
    """The state of one stream.

    Attributes:
        decoder: the search of the present segment.
    """

    def __init__(
        self,
        acoustics: Nnet3Acoustics,
        graph: DecodingGraph,
        endpoint: EndpointDetector | None,
        adaptation_state: str | None,
    ):
        """See `Acoustics.start`."""
        self._acoustics = acoustics
        self._endpoint = endpoint
        self._pipeline = OnlineNnetFeaturePipeline(acoustics.features)
        if adaptation_state is not None:
            self._pipeline.set_adaptation_state(state_from_text(adaptation_state))
        self._decodable = acoustics.decodable(self._pipeline)
        self.decoder = LatticeFasterOnlineDecoder(
            graph, acoustics.options.decoder, acoustics.transition_model.id2pdf
        )
        self._start_segment()

    def accept(self, samples: NDArray[np.float32]) -> bool:
        self._pipeline.accept_waveform(self._acoustics.sample_rate_hz, samples)
        return self._advance(new_quantum=True)

    def finish(self, samples: NDArray[np.float32], new_quantum: bool = True) -> bool:
        self._pipeline.accept_waveform(self._acoustics.sample_rate_hz, samples)
        self._pipeline.input_finished()
        return self._advance(new_quantum)

    def num_frames_decoded(self) -> int:
        return self.decoder.num_frames_decoded()

    def endpoint_detected(self) -> bool:
        return self._endpoint is not None and self._endpoint.detected(self.decoder)

    def partial_words(self) -> NDArray[np.int32]:
        return self.decoder.partial_words()

    def end_segment(self) -> CompactLatticeVectorFst:
        options = self._acoustics.options
        return complete_search(self.decoder, self._acoustics.transitions, options.determinizer)

    def next_segment(self) -> None:
        self.first_frame += self.num_frames_decoded()
        self._start_segment()

    def adaptation_state(self) -> str | None:
        state = self._pipeline.get_adaptation_state()
        return None if state is None else state_to_text(state)

    def _start_segment(self) -> None:
        self.decoder.init_decoding()
        self._silence_weighting = OnlineSilenceWeighting(
            self._acoustics.transition_model,
            self._acoustics.features.silence_weighting_config,
            self._acoustics.subsampling_factor,
        )

    def _advance(self, new_quantum: bool) -> bool:
        if self._silence_weighting.active() and self._pipeline.ivector_feature() is not None:
            if new_quantum:
                self._silence_weighting.compute_current_traceback(self.decoder)
            self._pipeline.update_frame_weights(
                self._silence_weighting.get_delta_weights(
                    self._pipeline.num_frames_ready(), self.first_frame * self._acoustics.subsampling_factor
                )
            )
        loglikes = self._decodable.advance()
        self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0
