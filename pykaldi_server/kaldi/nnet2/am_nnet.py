"""The acoustic model of an nnet2 system: a network and the priors of the pdfs (``nnet2/am-nnet.cc``)."""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet2.nnet import Nnet
from pykaldi_server.kaldi.util.finite import read_finite_vector
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = ["AmNnet"]


class AmNnet:
    """A network whose outputs are probabilities of pdfs, with the priors of the pdfs.

    Attributes:
        nnet: the network.
        priors: (num_pdfs,) float32, or empty if the file has none.
    """

    def __init__(self, nnet: Nnet, priors: NDArray[np.float32]):
        self.nnet = nnet
        self.priors = priors

    def num_pdfs(self) -> int:
        """Returns the number of pdfs."""
        return self.nnet.output_dim()

    @classmethod
    def read(cls, reader: KaldiReader) -> "AmNnet":
        """Reads an acoustic model; in ``final.mdl`` it follows the transition model.

        Raises:
            ModelFormatError: the bytes are not an nnet2 acoustic model.
        """
        nnet = Nnet.read(reader)
        start = reader.offset
        priors = read_finite_vector(reader, "the priors", np.float32)
        if len(priors) not in (0, nnet.output_dim()):
            raise reader.error(f"{nnet.output_dim()} priors or none", str(len(priors)), start)
        if (priors <= 0).any():
            raise reader.error("priors above 0", str(priors.min()), start)
        return cls(nnet, priors)
