"""nnet2 models (``online2/online-nnet2-decoding.cc``).

Each segment has a feature pipeline of its own, which starts with what the segment before has learned of the
speaker.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet2 import AmNnet, DecodableNnet2Online, DecodableNnet2OnlineOptions
from pykaldi_server.kaldi.online2 import (
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
)
from pykaldi_server.session.acoustics.network_features import NetworkFeatures
from pykaldi_server.session.acoustics.stream import Acoustics, RestartingStream, StreamSetup
from pykaldi_server.session.adaptation import SpeakerState
from pykaldi_server.session.options import NetworkOptions

__all__ = ["Nnet2Acoustics", "Nnet2Stream"]


class Nnet2Acoustics(Acoustics):
    """An nnet2 network with its features."""

    def __init__(
        self,
        transition_model: TransitionModel,
        acoustic_model: AmNnet,
        features: OnlineNnetFeaturePipelineInfo,
        options: NetworkOptions,
    ):
        """Prepares the network.

        Raises:
            ModelFormatError: the features are not those that the network was trained with.
        """
        frame_opts = features.feature_opts.frame_opts
        super().__init__(
            transition_model,
            options.decoder,
            options.determinizer,
            sample_rate_hz=int(frame_opts.samp_freq),
            frame_shift_s=frame_opts.frame_shift_ms * 0.001,
            acoustic_scale=options.decodable.acoustic_scale,
        )
        self.acoustic_model = acoustic_model
        self.features = features
        self.options = options
        self.samples_per_frame = frame_opts.window_shift_samples()
        self.decodable_options = DecodableNnet2OnlineOptions(
            self.acoustic_scale, options.pad_input, options.max_nnet_batch_size
        )
        self.decodable(OnlineNnetFeaturePipeline(features))  # checks that the features fit

    def decodable(self, pipeline: OnlineNnetFeaturePipeline) -> DecodableNnet2Online:
        """Returns the network's computation for a stream of features."""
        return DecodableNnet2Online(
            self.acoustic_model, self.transition_model, self.decodable_options, pipeline
        )

    def _start(self, setup: StreamSetup) -> "Nnet2Stream":
        return Nnet2Stream(self, setup)


class Nnet2Stream(RestartingStream):
    """The state of one stream."""

    def __init__(self, acoustics: Nnet2Acoustics, setup: StreamSetup):
        """See `Acoustics.start`."""
        super().__init__(acoustics, acoustics.make_decoder(setup), setup, acoustics.samples_per_frame)
        self._acoustics = acoustics
        self._adapts = setup.adapts
        state = setup.adaptation_state
        self._start_features(SpeakerState() if state is None else SpeakerState.from_text(state))

    def adaptation_state(self) -> str | None:
        return self._features.state().text()

    def learned(self) -> Callable[[], str | None]:
        return self._features.state().text

    def _take(self, samples: NDArray[np.float32], last: bool) -> None:
        self._features.take(self._acoustics.sample_rate_hz, samples, last)

    def _advance(self, new_quantum: bool) -> bool:
        self._features.reweight(self.decoder, 0, new_quantum)
        loglikes = self._decodable.advance()
        if len(loglikes):
            self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0

    def _start_segment(self) -> None:
        self._start_features(self._features.state() if self._adapts else SpeakerState())
        self.decoder.init_decoding()

    def _start_features(self, state: SpeakerState) -> None:
        self._features = NetworkFeatures(self._acoustics.features, self._acoustics.transition_model)
        self._features.set_state(state)
        self._decodable = self._acoustics.decodable(self._features.pipeline)
