"""Log-likelihoods of a GMM on a stream of features (``online2/online-gmm-decodable.cc``)."""

import numpy as np

from pykaldi_server.errors import DecoderError, ModelFormatError
from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineFeatureInterface
from pykaldi_server.kaldi.gmm import AmDiagGmm

__all__ = ["DecodableDiagGmmScaledOnline"]


class DecodableDiagGmmScaledOnline:
    """Scores the frames of one stream of features, in any order and repeatedly."""

    def __init__(self, am: AmDiagGmm, scale: float, input_feats: OnlineFeatureInterface):
        """Takes the acoustic model, the scale of its scores, and the features.

        Raises:
            ModelFormatError: features and model have different dimensions.
        """
        if input_feats.dim() != am.dim():
            raise ModelFormatError(f"expected features of dimension {am.dim()}, found {input_feats.dim()}")
        self._am = am
        self._scale = np.float32(scale)
        self._features = input_feats

    def num_frames_ready(self) -> int:
        """Returns the number of frames that can be scored so far, counted from the start of the stream."""
        return self._features.num_frames_ready()

    def is_last_frame(self, frame: int) -> bool:
        """True if the input has finished and ``frame`` is the last frame."""
        return self._features.is_last_frame(frame)

    def log_likelihoods(self, begin: int, end: int) -> FloatFrames:
        """Scores the frames from ``begin`` up to, but not including, ``end``.

        Returns:
            (end - begin, num_pdfs) float32, scaled.

        Raises:
            DecoderError: not all of these frames are ready.
        """
        if not 0 <= begin <= end <= self.num_frames_ready():
            raise DecoderError(
                f"expected frames up to {self.num_frames_ready()}, which are ready, found {begin} to {end}"
            )
        log_likelihoods = self._am.log_likelihoods(self._features.get_frames(begin, end))
        with np.errstate(over="ignore"):
            log_likelihoods *= self._scale
        return log_likelihoods
