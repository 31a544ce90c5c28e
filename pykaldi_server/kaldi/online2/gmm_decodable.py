"""Log-likelihoods from a GMM while the audio comes (``online2/online-gmm-decodable.cc``)."""

import numpy as np

from pykaldi_server.errors import DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineFeatureInterface
from pykaldi_server.kaldi.gmm import AmDiagGmm

__all__ = ["DecodableDiagGmmScaledOnline"]


class DecodableDiagGmmScaledOnline:
    """Scores the frames of one stream of features; any frame as often as one likes."""

    def __init__(self, am: AmDiagGmm, scale: float, input_feats: OnlineFeatureInterface):
        """Takes the acoustic model, the scale of its scores, and the features.

        Raises:
            ModelFormatError: the features are of another dimension than the model.
        """
        if input_feats.dim() != am.dim():
            raise ModelFormatError(f"expected features of dimension {am.dim()}, found {input_feats.dim()}")
        self._am = am
        self._scale = np.float32(scale)
        self._features = input_feats

    def num_frames_ready(self) -> int:
        """Returns the number of frames that can be scored by now, from the start of the stream."""
        return self._features.num_frames_ready()

    def is_last_frame(self, frame: int) -> bool:
        """True when the input has finished and ``frame`` is the last one."""
        return self._features.is_last_frame(frame)

    def log_likelihoods(self, begin: int, end: int) -> FloatFrames:
        """Scores the frames from ``begin`` to before ``end``; (end - begin, num_pdfs) float32, scaled.

        Raises:
            DecoderError: not all of these frames are ready.
        """
        if not 0 <= begin <= end <= self.num_frames_ready():
            raise DecoderError(f"expected frames up to {self.num_frames_ready()}, found {begin} to {end}")
        log_likelihoods = self._am.log_likelihoods(self._features.get_frames(begin, end))
        with np.errstate(over="ignore"):
            log_likelihoods *= self._scale
        return log_likelihoods
