"""nnet3 models in looped computation (``online2bin/online2-wav-nnet3-latgen-faster.cc``).

One feature pipeline and one computation of the network run through the whole stream; only the search starts
again with each segment.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, DecodableNnetLoopedOnline, DecodableNnetSimpleLoopedInfo
from pykaldi_server.kaldi.online2 import (
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.session.acoustics.network_features import NetworkFeatures
from pykaldi_server.session.acoustics.stream import Acoustics, Endpoint, Stream, StreamSetup
from pykaldi_server.session.adaptation import SpeakerState
from pykaldi_server.session.options import NetworkOptions

__all__ = ["Nnet3Acoustics", "Nnet3Learner", "Nnet3Stream"]

# Enough of a search to find silence as the search of a stream does.
_LEARNING_BEAM = 6.0
_LEARNING_LATTICE_BEAM = 0.5
_LEARNING_MAX_ACTIVE = 200
_LEARNING_MIN_ACTIVE = 20


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
        frame_opts = features.feature_opts.frame_opts
        self.subsampling_factor = options.decodable.frame_subsampling_factor
        super().__init__(
            transition_model,
            options.decoder,
            options.determinizer,
            sample_rate_hz=int(frame_opts.samp_freq),
            frame_shift_s=frame_opts.frame_shift_ms * 0.001 * self.subsampling_factor,
            acoustic_scale=options.decodable.acoustic_scale,
        )
        self.features = features
        self.options = options
        self.network = DecodableNnetSimpleLoopedInfo(options.decodable, acoustic_model)
        self.decodable(OnlineNnetFeaturePipeline(features))  # checks that the features fit

    def decodable(self, pipeline: OnlineNnetFeaturePipeline) -> DecodableNnetLoopedOnline:
        """Returns the network's computation for a stream of features."""
        return DecodableNnetLoopedOnline(self.network, pipeline.input_feature(), pipeline.ivector_feature())

    def start_learning(self, graph: DecodingGraph, endpoint: Endpoint | None) -> "Nnet3Learner | None":
        if self.features.ivector_extractor_info is None:
            return None
        options = self.search_options
        narrow = replace(
            options,
            beam=min(options.beam, _LEARNING_BEAM),
            lattice_beam=min(options.lattice_beam, _LEARNING_LATTICE_BEAM),
            max_active=min(options.max_active, _LEARNING_MAX_ACTIVE),
            min_active=min(options.min_active, _LEARNING_MIN_ACTIVE),
        )
        return Nnet3Learner(self, StreamSetup(graph, narrow, endpoint))

    def _start(self, setup: StreamSetup) -> "Nnet3Stream":
        return Nnet3Stream(self, setup)


class Nnet3Stream(Stream):
    """The state of one stream."""

    def __init__(self, acoustics: Nnet3Acoustics, setup: StreamSetup):
        """See `Acoustics.start`."""
        super().__init__(acoustics, acoustics.make_decoder(setup), setup)
        self._sample_rate_hz = acoustics.sample_rate_hz
        self._features = NetworkFeatures(
            acoustics.features, acoustics.transition_model, acoustics.subsampling_factor
        )
        if setup.adaptation_state is not None:
            self._features.set_state(SpeakerState.from_text(setup.adaptation_state))
        self._decodable = acoustics.decodable(self._features.pipeline)

    def adaptation_state(self) -> str | None:
        return self._features.state().text()

    def learned(self) -> Callable[[], str | None]:
        return self._features.state().text

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        self._features.take(self._sample_rate_hz, samples, last)

    def _advance(self, new_quantum: bool) -> bool:
        self._features.reweight(self.decoder, self.first_frame, new_quantum)
        loglikes = self._decodable.advance()
        if len(loglikes):
            self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0

    def _start_segment(self) -> None:
        self.decoder.init_decoding()
        self._features.start_segment()


class Nnet3Learner(Nnet3Stream):
    """A stream that only gathers the statistics of i-vectors.

    They need little of recognition: which frames are silence, which a narrow search finds as well as a wide
    one. Where silence weighs as much as speech, they need neither network nor search.
    """

    def learn(self, samples: NDArray[np.float32]) -> None:
        """See `Learner`."""
        if self.accept(samples) and self.endpoint_detected():
            self.next_segment()

    def adaptation_state(self) -> str | None:
        """See `Learner`."""
        if self._features.weighs_frames:
            self._features.weigh_decoded(self.decoder, self.first_frame)
        return self._features.whole_state().text()

    def _advance(self, new_quantum: bool) -> bool:
        if not self._features.weighs_frames:
            self._features.whole_state()  # which takes the frames that are ready
            return False
        self._features.weigh_decoded(self.decoder, self.first_frame)
        loglikes = self._decodable.advance()
        if len(loglikes):
            self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0
