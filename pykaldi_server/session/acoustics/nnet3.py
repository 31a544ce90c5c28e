"""nnet3 models in looped computation (``online2bin/online2-wav-nnet3-latgen-faster.cc``).

One feature pipeline and one computation of the network run through the whole stream; only the search starts
again with each segment.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import AmNnetSimple, DecodableNnetLoopedOnline, DecodableNnetSimpleLoopedInfo
from pykaldi_server.kaldi.online2 import (
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.session.acoustics.network_features import NetworkFeatures
from pykaldi_server.session.acoustics.stream import Acoustics, Stream, StreamSetup
from pykaldi_server.session.adaptation import SpeakerState
from pykaldi_server.session.options import NetworkOptions

__all__ = ["Nnet3Acoustics", "Nnet3Stream"]


class Nnet3Acoustics(Acoustics):
    """An nnet3 network with its features."""

    remembers_all = True

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

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        self._features.take(self._sample_rate_hz, samples, last)

    def _advance(self, new_quantum: bool) -> bool:
        self._features.reweight(self.decoder, self.first_frame, new_quantum)
        loglikes = self._decodable.advance()
        self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0

    def _start_segment(self) -> None:
        self.decoder.init_decoding()
        self._features.start_segment()
