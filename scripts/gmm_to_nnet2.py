"""Writes a GMM with an LDA matrix as an nnet2 network that gives the same likelihoods.

Usage: gmm_to_nnet2.py final.oalimdl final.mat LEFT_CONTEXT RIGHT_CONTEXT final.mdl

The logarithm of a diagonal Gaussian, weighted by w, is a linear function of x and x^2:

    log w N(x; m, v) = g + sum_d (m_d / v_d) x_d - (1/2) sum_d x_d^2 / v_d

With a shift s, both come from two squares, which a PowerComponent computes:

    x = ((x + s)^2 - (x - s)^2) / 4s        x^2 = ((x + s)^2 + (x - s)^2) / 2 - s^2

So the network is: splice -> LDA, twice, shifted by s and -s -> square -> one output per Gaussian -> softmax
-> sum over the Gaussians of each pdf. The softmax divides all likelihoods of a frame by the same number,
which changes no path, and the priors are all alike. Kaldi's floor under the softmax, 1e-20, is the only
difference.

The result is for people who want to try nnet2 models, and for tests: it recognises what the GMM recognises,
without adaptation. A network that was trained is better.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.feat.online_feature import read_transform
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

SHIFT = 4.0  # of the size of the features, so that no term is much larger than the sum

FloatMatrix = NDArray[np.float32]


def affine_of_gaussians(model: AmDiagGmm) -> tuple[FloatMatrix, FloatMatrix]:
    """Weights (num_gauss, 2 dim) and bias (num_gauss,) from the squares of x + s and x - s to likelihoods."""
    pdfs = [model.get_pdf(pdf) for pdf in range(model.num_pdfs())]
    linear = np.concatenate([pdf.means_invvars for pdf in pdfs]).astype(np.float64) / (4 * SHIFT)
    square = np.concatenate([pdf.inv_vars for pdf in pdfs]).astype(np.float64) / 4
    bias = np.concatenate([pdf.gconsts for pdf in pdfs]) + 2 * SHIFT**2 * square.sum(axis=1)
    weights = np.concatenate([linear - square, -linear - square], axis=1)
    return weights.astype(np.float32), bias.astype(np.float32)


def affine_of_lda(lda: FloatMatrix, spliced_dim: int) -> tuple[FloatMatrix, FloatMatrix]:
    """Weights (2 dim, spliced_dim) and bias (2 dim,) from spliced frames to x + s and x - s."""
    if lda.shape[1] not in (spliced_dim, spliced_dim + 1):
        raise SystemExit(
            f"expected an LDA matrix of {spliced_dim} or {spliced_dim + 1} columns, found {lda.shape[1]}"
        )
    offset = lda[:, -1] if lda.shape[1] > spliced_dim else np.zeros(len(lda), np.float32)
    weights = np.concatenate([lda[:, :spliced_dim]] * 2)
    return weights, np.concatenate([offset + SHIFT, offset - SHIFT]).astype(np.float32)


class NetworkWriter:
    """Writes the layers of a network in Kaldi's binary form."""

    def __init__(self, writer: KaldiWriter, num_components: int):
        self._writer = writer
        writer.write_token("<Nnet>")
        writer.write_token("<NumComponents>")
        writer.write_int(num_components)
        writer.write_token("<Components>")

    def component(self, kind: str, **fields: int | float | list[int] | FloatMatrix) -> None:
        """Writes a layer and its fields, in the order in which Kaldi reads them."""
        self._writer.write_token(f"<{kind}>")
        for name, value in fields.items():
            self._writer.write_token(f"<{name}>")
            if isinstance(value, int):
                self._writer.write_int(value)
            elif isinstance(value, float):
                self._writer.write_float(value)
            elif isinstance(value, list):
                self._writer.write_int_vector(np.array(value))
            elif value.ndim == 1:
                self._writer.write_vector(value)
            else:
                self._writer.write_matrix(value)
        self._writer.write_token(f"</{kind}>")

    def end(self, priors: FloatMatrix) -> None:
        """Writes what follows the layers: the end of the network, and the priors."""
        self._writer.write_token("</Components>")
        self._writer.write_token("</Nnet>")
        self._writer.write_vector(priors)


def convert(gmm: Path, lda_mat: Path, left_context: int, right_context: int, output: Path) -> None:
    """Writes transition model, network and priors.

    Args:
        gmm: transition model and GMM, such as ``final.mdl`` or ``final.oalimdl``.
        lda_mat: the transform of spliced frames.
        left_context: frames before, as in ``splice.conf``.
        right_context: frames after.
        output: the file to be written.
    """
    reader = KaldiReader.open(gmm)
    TransitionModel.read(reader)
    transition_model = bytes(reader.data[: reader.offset])  # with the mark of binary files
    model = AmDiagGmm.read(reader)
    lda = read_transform(KaldiReader.open(lda_mat))
    width = left_context + right_context + 1
    input_dim = lda.shape[1] // width
    lda_weights, lda_bias = affine_of_lda(lda, width * input_dim)
    weights, bias = affine_of_gaussians(model)
    sizes = [model.num_gauss_in_pdf(pdf) for pdf in range(model.num_pdfs())]
    nothing = np.zeros(0, np.float32)
    with output.open("wb") as file:
        file.write(transition_model)
        network = NetworkWriter(KaldiWriter(file, mark=False), 6)
        context = list(range(-left_context, right_context + 1))
        network.component("SpliceComponent", InputDim=input_dim, Context=context, ConstComponentDim=0)
        network.component("FixedAffineComponent", LinearParams=lda_weights, BiasParams=lda_bias)
        dim = len(lda_bias)
        network.component("PowerComponent", InputDim=dim, OutputDim=dim, Power=2.0)
        network.component("FixedAffineComponent", LinearParams=weights, BiasParams=bias)
        network.component("SoftmaxComponent", Dim=len(bias), ValueSum=nothing, DerivSum=nothing, Count=0.0)
        network.component("SumGroupComponent", Sizes=sizes)
        network.end(np.full(model.num_pdfs(), 1 / model.num_pdfs(), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gmm", type=Path, help="transition model and GMM")
    parser.add_argument("lda_mat", type=Path, help="LDA matrix")
    parser.add_argument("left_context", type=int, help="frames before that are spliced")
    parser.add_argument("right_context", type=int, help="frames after that are spliced")
    parser.add_argument("output", type=Path, help="the nnet2 model")
    arguments = parser.parse_args()
    convert(**vars(arguments))


if __name__ == "__main__":
    main()
