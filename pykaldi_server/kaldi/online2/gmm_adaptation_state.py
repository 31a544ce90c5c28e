"""What online GMM decoding knows of a speaker (class in ``online2/online-gmm-decoding.cc``)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnState
from pykaldi_server.kaldi.transform import FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, as_float32


@dataclass
class OnlineGmmAdaptationState:
    """A speaker's transform and the statistics it was made from.

    Attributes:
        transform: fMLLR transform, (dim, dim + 1) float32; None before there is one.
        cmvn_state: of the last utterance. Kaldi carries it in the state but starts each utterance with
            the global statistics alone; so do we.
        spk_stats: statistics of all utterances so far; None stands for none.
    """

    transform: NDArray[np.float32] | None = None
    cmvn_state: OnlineCmvnState = field(default_factory=OnlineCmvnState)
    spk_stats: FmllrDiagGmmAccs | None = None

    def check(self, dim: int) -> None:
        """Raises `AdaptationStateError` when the state is not for features of this dimension."""
        if self.transform is not None and self.transform.shape != (dim, dim + 1):
            raise AdaptationStateError(
                f"adaptation state: expected a transform of {dim} x {dim + 1}, found {self.transform.shape}"
            )
        if self.spk_stats is not None and self.spk_stats.dim() != dim:
            raise AdaptationStateError(
                f"adaptation state: expected statistics of dimension {dim}, found {self.spk_stats.dim()}"
            )

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineGmmAdaptationState":
        """Reads a state that Kaldi or `write` wrote, binary or text.

        Raises:
            ModelFormatError: the bytes are not an adaptation state that makes sense.
        """
        reader.expect_token("<ONLINEGMMADAPTATIONSTATE>")
        reader.expect_token("<TRANSFORM>")
        start = reader.offset
        transform = as_float32(reader.read_matrix())
        rows, columns = transform.shape
        if columns != (rows + 1 if rows else 0):
            raise reader.error("a transform with one more column than rows", f"{transform.shape}", start)
        if not np.isfinite(transform).all():
            raise reader.error("a transform of finite numbers", "others", start)
        if rows and not np.isfinite(np.linalg.slogdet(transform[:, :-1].astype(np.float64))[1]):
            raise reader.error("a transform that can be inverted", "another one", start)
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
