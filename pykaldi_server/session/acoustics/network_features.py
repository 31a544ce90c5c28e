"""The features of a neural network in a stream, with silence kept out of its i-vectors."""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.online2 import (
    OnlineNnetFeaturePipeline,
    OnlineNnetFeaturePipelineInfo,
    OnlineSilenceWeighting,
)
from pykaldi_server.session.adaptation import SpeakerState

__all__ = ["NetworkFeatures"]


class NetworkFeatures:
    """A feature pipeline whose i-vectors count frames as the search finds them: speech or silence.

    Attributes:
        pipeline: the features, for the network to read.
    """

    def __init__(
        self,
        info: OnlineNnetFeaturePipelineInfo,
        transition_model: TransitionModel,
        frame_subsampling_factor: int = 1,
    ):
        """Starts a stream of features.

        Args:
            info: what all streams of the model share.
            transition_model: which transition-ids are silence.
            frame_subsampling_factor: feature frames per decoder frame.
        """
        self.pipeline = OnlineNnetFeaturePipeline(info)
        self._info = info
        self._transition_model = transition_model
        self._frame_subsampling_factor = frame_subsampling_factor
        self.start_segment()

    def take(self, sample_rate_hz: int, samples: NDArray[np.float32], last: bool) -> None:
        """Takes samples; ``last`` says that no more will come."""
        self.pipeline.accept_waveform(sample_rate_hz, samples)
        if last:
            self.pipeline.input_finished()

    def start_segment(self) -> None:
        """Forgets how the search has weighted the frames so far; call it when the search starts again."""
        self._weighting = OnlineSilenceWeighting(
            self._transition_model, self._info.silence_weighting_config, self._frame_subsampling_factor
        )

    def reweight(self, decoder: LatticeFasterOnlineDecoder, first_frame: int, new_quantum: bool) -> None:
        """Gives the frames the weights that follow from the best path of the search so far.

        Args:
            decoder: the search.
            first_frame: the decoder frame, counted from the start of these features, where it started.
            new_quantum: False to keep the best path of the last call, as `Stream.finish` explains.
        """
        if not self._weighting.active() or self.pipeline.ivector_feature() is None:
            return
        if new_quantum:
            self._weighting.compute_current_traceback(decoder)
        self.pipeline.update_frame_weights(
            self._weighting.get_delta_weights(
                self.pipeline.num_frames_ready(), first_frame * self._frame_subsampling_factor
            )
        )

    def set_state(self, state: SpeakerState) -> None:
        """Starts with what is known of the speaker; call it before the first samples."""
        if state.ivector is not None:
            self.pipeline.set_adaptation_state(state.ivector)
        if state.cmvn is not None:
            self.pipeline.set_cmvn_state(state.cmvn)

    def state(self) -> SpeakerState:
        """What has been learned of the speaker so far."""
        return SpeakerState(self.pipeline.get_adaptation_state(), self.pipeline.get_cmvn_state())
