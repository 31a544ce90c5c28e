"""What online GMM decoding learns about a speaker (``online2/online-gmm-decoding.h``)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnState
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.transform import FmllrDiagGmmAccs
from pykaldi_server.kaldi.transform.basis_fmllr_diag_gmm import MAX_TRANSFORM_ELEMENT, is_credible_transform
from pykaldi_server.kaldi.util.finite import read_finite_matrix
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["OnlineGmmAdaptationState"]


@dataclass
class OnlineGmmAdaptationState:
    """A speaker's transform and the statistics it was estimated from.

    Attributes:
        transform: fMLLR transform, (dim, dim + 1) float32; None if there is none yet.
        cmvn_state: state of CMVN after the last utterance. As in Kaldi, it is part of the state, but each
            utterance starts with the global statistics alone.
        spk_stats: statistics of all utterances so far; None if there are none.
    """

    transform: NDArray[np.float32] | None = None
    cmvn_state: OnlineCmvnState = field(default_factory=OnlineCmvnState)
    spk_stats: FmllrDiagGmmAccs | None = None

    def check(self, model: AmDiagGmm) -> None:
        """Checks that the state fits the model, and that audio can have its statistics.

        Args:
            model: the model that is used to estimate transforms.

        Raises:
            AdaptationStateError: it does not fit, or its statistics cannot come from audio.
        """
        if self.transform is not None:
            if self.transform.shape != (model.dim(), model.dim() + 1):
                raise AdaptationStateError(
                    f"adaptation state: expected a transform of {model.dim()} x {model.dim() + 1}, "
                    f"found {self.transform.shape}"
                )
            if not is_credible_transform(self.transform):
                raise AdaptationStateError(
                    f"adaptation state: expected a transform with elements up to {MAX_TRANSFORM_ELEMENT:g} "
                    f"that can be inverted, found elements up to {np.abs(self.transform).max():g}"
                )
        if self.spk_stats is not None:
            self.spk_stats.check(model)

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineGmmAdaptationState":
        """Reads Kaldi's form, binary or text.

        Raises:
            ModelFormatError: the bytes are not an adaptation state, or a number is not finite.
        """
        reader.expect_token("<ONLINEGMMADAPTATIONSTATE>")
        reader.expect_token("<TRANSFORM>")
        start = reader.offset
        transform = read_finite_matrix(reader, "the transform", np.float32)
        rows, columns = transform.shape
        if columns != (rows + 1 if rows else 0):
            raise reader.error("a transform with one more column than rows", f"{transform.shape}", start)
        reader.expect_token("<CMVNSTATS>")
        cmvn_state = OnlineCmvnState.read(reader)
        reader.expect_token("<SPKSTATS>")
        spk_stats = FmllrDiagGmmAccs.read(reader)
        reader.expect_token("</ONLINEGMMADAPTATIONSTATE>")
        return cls(transform if rows else None, cmvn_state, spk_stats if spk_stats.dim() else None)

    def write(self, writer: KaldiWriter) -> None:
        """Writes Kaldi's form."""
        writer.write_token("<ONLINEGMMADAPTATIONSTATE>")
        writer.write_token("<TRANSFORM>")
        writer.write_matrix(np.zeros((0, 0), np.float32) if self.transform is None else self.transform)
        writer.write_token("<CMVNSTATS>")
        self.cmvn_state.write(writer)
        writer.write_token("<SPKSTATS>")
        (FmllrDiagGmmAccs.zero(0) if self.spk_stats is None else self.spk_stats).write(writer)
        writer.write_token("</ONLINEGMMADAPTATIONSTATE>")
