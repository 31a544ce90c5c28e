"""One stream of audio through features, network and search.

Features and network run on through the whole stream; at an endpoint the search alone starts anew at the
next frame, so every frame belongs to exactly one segment. For each quantum of audio the order is Kaldi's:
accept, traceback, frame weights, advance (``online2bin/online2-wav-nnet3-latgen-faster.cc``).
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.nnet3 import DecodableNnetLoopedOnline
from pykaldi_server.kaldi.online2 import (
    OnlineIvectorExtractorAdaptationState,
    OnlineNnetFeaturePipeline,
    OnlineSilenceWeighting,
)
from pykaldi_server.session.model import Model


class Nnet3Stream:
    """The state of one stream; used by one thread at a time.

    Attributes:
        decoder: the search of the present segment.
        first_frame: the decoder frame of the stream at which the present segment starts.
    """

    def __init__(self, model: Model, adaptation_state: OnlineIvectorExtractorAdaptationState | None = None):
        """Raises `AdaptationStateError` where the state does not fit the model."""
        self._model = model
        self._pipeline = OnlineNnetFeaturePipeline(model.features)
        if adaptation_state is not None:
            self._pipeline.set_adaptation_state(adaptation_state)
        self._decodable = DecodableNnetLoopedOnline(
            model.network, self._pipeline.input_feature(), self._pipeline.ivector_feature()
        )
        self._subsampling = model.options.decodable.frame_subsampling_factor
        self.decoder = LatticeFasterOnlineDecoder(
            model.graph, model.options.decoder, model.transition_model.id2pdf
        )
        self.first_frame = 0
        self._start_segment()

    def accept(self, samples: NDArray[np.float32]) -> bool:
        """Takes one quantum of audio; tells whether frames were decoded."""
        self._pipeline.accept_waveform(self._model.sample_rate_hz, samples)
        return self._advance()

    def finish(self, samples: NDArray[np.float32]) -> bool:
        """Takes the last samples (there may be none); tells whether frames were decoded."""
        self._pipeline.accept_waveform(self._model.sample_rate_hz, samples)
        self._pipeline.input_finished()
        return self._advance()

    def num_frames_decoded(self) -> int:
        """Frames of the present segment."""
        return self.decoder.num_frames_decoded()

    def endpoint_detected(self) -> bool:
        """True when the model's endpoint rules, if it has any, say that the segment is over."""
        return self._model.endpoint is not None and self._model.endpoint.detected(self.decoder)

    def next_segment(self) -> None:
        """Starts a new segment at the next frame."""
        self.first_frame += self.num_frames_decoded()
        self._start_segment()

    def adaptation_state(self) -> OnlineIvectorExtractorAdaptationState | None:
        """What is known of the speaker by now; None where the model does not adapt."""
        return self._pipeline.get_adaptation_state()

    def _start_segment(self) -> None:
        self.decoder.init_decoding()
        self._silence_weighting = OnlineSilenceWeighting(
            self._model.transition_model, self._model.features.silence_weighting_config, self._subsampling
        )

    def _advance(self) -> bool:
        if self._silence_weighting.active() and self._pipeline.ivector_feature() is not None:
            self._silence_weighting.compute_current_traceback(self.decoder)
            self._pipeline.update_frame_weights(
                self._silence_weighting.get_delta_weights(
                    self._pipeline.num_frames_ready(), self.first_frame * self._subsampling
                )
            )
        loglikes = self._decodable.advance()
        self.decoder.advance_decoding(loglikes)
        return len(loglikes) > 0
