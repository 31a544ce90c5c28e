"""The acoustic model of a GMM system: a diagonal Gaussian mixture for each pdf (``gmm/am-diag-gmm.cc``).

All Gaussians of all pdfs lie in one matrix, so that a block of frames is scored with every pdf at once: a
matrix product of (x, x²) with (m / v, -1 / 2v), then the log-sum-exp over the columns of each pdf.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.gmm.diag_gmm import (
    DiagGmm,
    FloatMatrix,
    as_frames,
    compute_gconsts,
    read_parameters,
)
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

# Frames scored at a time, so that the scores of all Gaussians stay in the processor's cache.
_BLOCK_FRAMES = 32


class AmDiagGmm:
    """Mixtures of diagonal Gaussians for all pdfs. Immutable, shared by all sessions."""

    def __init__(
        self,
        weights: FloatMatrix,
        means_invvars: FloatMatrix,
        inv_vars: FloatMatrix,
        num_gauss_in_pdf: NDArray[np.integer],
    ):
        """Takes the parameters of all Gaussians, ordered by pdf.

        Args:
            weights: (num_gauss,) float32.
            means_invvars: means divided by variances, (num_gauss, dim) float32.
            inv_vars: reciprocals of the variances, (num_gauss, dim) float32.
            num_gauss_in_pdf: (num_pdfs,), each at least 1, with the sum num_gauss.

        Raises:
            ValueError: the shapes do not fit, or a parameter makes no sense.
        """
        if num_gauss_in_pdf.min() < 1 or num_gauss_in_pdf.sum() != len(weights):
            raise ValueError("expected at least one Gaussian in each pdf and all of them in some pdf")
        self._weights = weights
        self._gconsts = compute_gconsts(weights, means_invvars, inv_vars)
        self._num_gauss_in_pdf = num_gauss_in_pdf
        self._first_gauss = np.cumsum(num_gauss_in_pdf) - num_gauss_in_pdf
        self._linear_and_square = np.ascontiguousarray(np.hstack([means_invvars, -0.5 * inv_vars]).T)

    def num_pdfs(self) -> int:
        """Returns the number of pdfs."""
        return len(self._first_gauss)

    def num_gauss(self) -> int:
        """Returns the number of Gaussians of all pdfs."""
        return len(self._weights)

    def num_gauss_in_pdf(self, pdf: int) -> int:
        """Returns the number of Gaussians of one pdf."""
        return int(self._num_gauss_in_pdf[pdf])

    def dim(self) -> int:
        """Returns the dimension of the frames."""
        return len(self._linear_and_square) // 2

    def get_pdf(self, pdf: int) -> DiagGmm:
        """Returns the mixture of one pdf."""
        first = self._first_gauss[pdf]
        own = slice(first, first + self._num_gauss_in_pdf[pdf])
        dim = self.dim()
        means_invvars, inv_vars = (
            self._linear_and_square[:dim, own].T,
            -2 * self._linear_and_square[dim:, own].T,
        )
        return DiagGmm(self._weights[own], means_invvars, inv_vars)

    def log_likelihoods(self, features: FloatMatrix) -> FloatMatrix:
        """Scores each frame with each pdf.

        Args:
            features: (frames, dim) float32.

        Returns:
            (frames, num_pdfs) float32, natural logarithms.

        Raises:
            ValueError: the frames have another dimension.
        """
        features = as_frames(features, self.dim())
        scores = np.empty((len(features), self.num_pdfs()), np.float32)
        for begin in range(0, len(features), _BLOCK_FRAMES):
            block = features[begin : begin + _BLOCK_FRAMES]
            gaussians = np.hstack([block, np.square(block)]) @ self._linear_and_square
            gaussians += self._gconsts
            scores[begin : begin + _BLOCK_FRAMES] = self._log_sum_exp_by_pdf(gaussians)
        return scores

    def _log_sum_exp_by_pdf(self, gaussians: FloatMatrix) -> FloatMatrix:
        """Adds the probabilities of each pdf's Gaussians; overwrites its argument."""
        highest = np.maximum.reduceat(gaussians, self._first_gauss, axis=1)
        np.maximum(
            highest, np.finfo(np.float32).min, out=highest
        )  # no -inf - -inf where all are switched off
        gaussians -= np.repeat(highest, self._num_gauss_in_pdf, axis=1)
        np.exp(gaussians, out=gaussians)
        with np.errstate(divide="ignore"):
            return highest + np.log(np.add.reduceat(gaussians, self._first_gauss, axis=1))

    @classmethod
    def read(cls, reader: KaldiReader) -> "AmDiagGmm":
        """Reads an acoustic model; in ``final.mdl`` it follows the transition model.

        Raises:
            ModelFormatError: the bytes are not an acoustic model of diagonal Gaussians.
        """
        start = reader.offset
        reader.expect_token("<DIMENSION>")
        dim = reader.read_count("dimensions")
        reader.expect_token("<NUMPDFS>")
        num_pdfs = reader.read_count("pdfs", at_most=reader.remaining)
        if num_pdfs == 0:
            raise reader.error("pdfs", "none")
        mixtures = []
        for pdf in range(num_pdfs):
            pdf_start = reader.offset
            mixture = read_parameters(reader)
            shape = (len(mixture[0]), dim)
            if mixture[1].shape != shape or mixture[2].shape != shape:
                raise reader.error(
                    f"means and variances of the shape {shape} for pdf {pdf}",
                    f"{mixture[1].shape} and {mixture[2].shape}",
                    pdf_start,
                )
            mixtures.append(mixture)
        weights, means_invvars, inv_vars = (np.concatenate(part) for part in zip(*mixtures, strict=True))
        try:
            return cls(weights, means_invvars, inv_vars, np.array([len(m[0]) for m in mixtures]))
        except ValueError as error:
            raise reader.error("mixtures of diagonal Gaussians", str(error), start) from error

    def write(self, writer: KaldiWriter) -> None:
        """Writes the acoustic model in the writer's form."""
        writer.write_token("<DIMENSION>")
        writer.write_int(self.dim())
        writer.write_token("<NUMPDFS>")
        writer.write_int(self.num_pdfs())
        writer.newline()
        for pdf in range(self.num_pdfs()):
            self.get_pdf(pdf).write(writer)
