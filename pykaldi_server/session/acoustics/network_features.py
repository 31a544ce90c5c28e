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

    @property
    def weighs_frames(self) -> bool:
        """Whether there are i-vectors in which silence weighs less than speech."""
        return self._weighting.active() and self.pipeline.ivector_feature() is not None

    def reweight(self, decoder: LatticeFasterOnlineDecoder, first_frame: int, new_quantum: bool) -> None:
        """Gives the frames the weights that follow from the best path of the search so far.

        Args:
            decoder: the search.
            first_frame: the decoder frame, counted from the start of these features, where it started.
            new_quantum: False to keep the best path of the last call, as `Stream.finish` explains.
        """
        if not self.weighs_frames:
            return
        if new_quantum:
            self._weighting.compute_current_traceback(decoder)
        self._update_weights(self.pipeline.num_frames_ready(), first_frame)

    def weigh_decoded(self, decoder: LatticeFasterOnlineDecoder, first_frame: int) -> None:
        """Weights as `reweight` does, but only frames that the search has reached.

        No frame is then weighted by a guess, and none by two segments. Silence between segments weighs next
        to nothing, so the statistics are those of `reweight` but for a trifle, however long quanta are.
        """
        self._weighting.compute_current_traceback(decoder)
        decoded_frames = first_frame + decoder.num_frames_decoded()
        self._update_weights(decoded_frames * self._frame_subsampling_factor, first_frame)

    def _update_weights(self, num_frames_ready: int, first_frame: int) -> None:
        first_input_frame = first_frame * self._frame_subsampling_factor
        self.pipeline.update_frame_weights(
            self._weighting.get_delta_weights(num_frames_ready, first_input_frame)
        )

    def set_state(self, state: SpeakerState) -> None:
        """Starts with what is known of the speaker; call it before the first samples."""
        if state.ivector is not None:
            self.pipeline.set_adaptation_state(state.ivector)
        if state.cmvn is not None:
            self.pipeline.set_cmvn_state(state.cmvn)

    def state(self) -> SpeakerState:
        """What has been learned of the speaker so far, as much as is remembered for the next stream."""
        return SpeakerState(self.pipeline.get_adaptation_state(), self.pipeline.get_cmvn_state())

    def whole_state(self) -> SpeakerState:
        """All that has been learned of the speaker so far."""
        state, ivectors = self.state(), self.pipeline.ivector_feature()
        if state.ivector is not None and ivectors is not None:
            state.ivector.ivector_stats = ivectors.all_stats()
        return state
