"""Acoustic models: a network with features, i-vectors and one output (``nnet3/am-nnet-simple.cc``)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet3.nnet import SIMPLE_INTERFACE, Nnet
from pykaldi_server.kaldi.util.finite import read_finite_vector
from pykaldi_server.kaldi.util.io import KaldiReader

__all__ = ["AmNnetSimple"]

_MAX_CONTEXT = 100_000


@dataclass(frozen=True)
class AmNnetSimple:
    """A network and what a decoder needs to know about it.

    Attributes:
        nnet: the network.
        left_context, right_context: input frames that an output frame needs before and after its own.
        priors: prior probability of each output, (pdfs,) float32; empty for chain models, whose output is
            not divided by priors.
    """

    nnet: Nnet
    left_context: int
    right_context: int
    priors: NDArray[np.float32]

    @property
    def log_priors(self) -> NDArray[np.float32] | None:
        """Logarithms of the priors, (pdfs,) float32, or None if there are none."""
        if len(self.priors) == 0:
            return None
        log_priors: NDArray[np.float32] = np.log(self.priors)
        return log_priors

    @classmethod
    def read(cls, reader: KaldiReader) -> "AmNnetSimple":
        """Reads what follows the transition model in ``final.mdl``.

        Raises:
            ModelFormatError: the file is damaged, or the network is not of this simple kind.
        """
        start = reader.offset
        nnet = Nnet.read(reader)
        if not nnet.is_simple():
            found = nnet.summary()
            raise reader.error(SIMPLE_INTERFACE, f"{sorted(found.inputs)} and {sorted(found.outputs)}", start)
        reader.expect_token("<LeftContext>")
        left = reader.read_count("frames", _MAX_CONTEXT)
        reader.expect_token("<RightContext>")
        right = reader.read_count("frames", _MAX_CONTEXT)
        reader.expect_token("<Priors>")
        place = reader.offset
        priors = read_finite_vector(reader, "the priors", np.float32)
        if len(priors) not in (0, nnet.output_dim("output")):
            raise reader.error(f"{nnet.output_dim('output')} priors, or none", str(len(priors)), place)
        if (priors <= 0).any():
            raise reader.error("priors above 0", str(priors.min()), place)
        return cls(nnet, left, right, priors)
