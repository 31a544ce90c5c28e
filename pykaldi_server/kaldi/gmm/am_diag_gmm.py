"""The acoustic model of a GMM system: one diagonal Gaussian mixture per pdf (``gmm/am-diag-gmm.cc``).

The Gaussians of all pdfs are in one matrix, so that a block of frames is scored with all pdfs at once: a
matrix product of (x, x²) with (m / v, -1 / 2v), then the log-sum-exp over the columns of each pdf.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import PackedProduct
from pykaldi_server.kaldi.gmm.diag_gmm import (
    DiagGmm,
    FloatMatrix,
    as_frames,
    compute_gconsts,
    read_parameters,
)
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["AmDiagGmm"]

# Frames scored at a time; the scores of all Gaussians should stay in the processor's cache.
_BLOCK_FRAMES = 32
_TINY = np.finfo(np.float32).tiny


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
            num_gauss_in_pdf: (num_pdfs,), each at least 1; their sum is num_gauss.

        Raises:
            ValueError: the shapes do not fit, or a parameter is invalid.
        """
        if num_gauss_in_pdf.min() < 1 or num_gauss_in_pdf.sum() != len(weights):
            raise ValueError(
                f"expected pdfs of at least one Gaussian and {len(weights)} in all, found "
                f"{num_gauss_in_pdf.min()} and {num_gauss_in_pdf.sum()}"
            )
        self._weights = weights
        self._gconsts = compute_gconsts(weights, means_invvars, inv_vars)
        self._num_gauss_in_pdf = num_gauss_in_pdf
        self._first_gauss = np.cumsum(num_gauss_in_pdf) - num_gauss_in_pdf
        self._means_invvars = np.ascontiguousarray(means_invvars, np.float32)
        self._inv_vars = np.ascontiguousarray(inv_vars, np.float32)
        self._scores = PackedProduct(
            self._linear_and_square(), np.ascontiguousarray(self._gconsts, np.float32)
        )

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
        return int(self._means_invvars.shape[1])

    def get_pdf(self, pdf: int) -> DiagGmm:
        """Returns the mixture of one pdf."""
        first = self._first_gauss[pdf]
        own = slice(first, first + self._num_gauss_in_pdf[pdf])
        return DiagGmm(self._weights[own], self._means_invvars[own], self._inv_vars[own])

    def log_likelihoods(self, features: FloatMatrix) -> FloatMatrix:
        """Scores each frame with each pdf.

        Args:
            features: (frames, dim) float32.

        Returns:
            (frames, num_pdfs) float32, natural logarithms.

        Raises:
            ValueError: the frames have a different dimension.
        """
        features = as_frames(features, self.dim())
        scores = np.empty((len(features), self.num_pdfs()), np.float32)
        for begin in range(0, len(features), _BLOCK_FRAMES):
            block = slice(begin, begin + _BLOCK_FRAMES)
            _, sums, highest = self._relative_probabilities(features[block])
            with np.errstate(divide="ignore", invalid="ignore"):
                scores[block] = highest + np.log(sums)
        return scores

    def gaussian_posteriors(self, features: FloatMatrix, pdf_posteriors: FloatMatrix) -> FloatMatrix:
        """Distributes the posteriors of pdfs among their Gaussians.

        Args:
            features: (frames, dim) float32.
            pdf_posteriors: (frames, num_pdfs) float32.

        Returns:
            (frames, num_gauss) float32.
        """
        probabilities, sums, _ = self._relative_probabilities(as_frames(features, self.dim()))
        shares = pdf_posteriors / np.maximum(sums, _TINY)
        probabilities *= np.repeat(shares, self._num_gauss_in_pdf, axis=1)
        return probabilities

    def weighted_parameters(self, gaussian_posteriors: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Sums means_invvars and inv_vars over all Gaussians, weighted by the posteriors of each frame.

        Args:
            gaussian_posteriors: (frames, num_gauss) float32.

        Returns:
            Two arrays (frames, dim) float32.
        """
        both = self._sums.multiply(np.ascontiguousarray(gaussian_posteriors, np.float32))
        return both[:, : self.dim()], -2 * both[:, self.dim() :]

    @cached_property
    def _sums(self) -> PackedProduct:
        """The parameters as a product with posteriors; only models that estimate transforms need it."""
        return PackedProduct(np.ascontiguousarray(self._linear_and_square().T))

    def _linear_and_square(self) -> FloatMatrix:
        """What each Gaussian multiplies a frame and its squares by, (num_gauss, 2 dim) float32."""
        return np.hstack([self._means_invvars, np.float32(-0.5) * self._inv_vars])

    @cached_property
    def inv_var_range(self) -> tuple[FloatMatrix, FloatMatrix]:
        """Least and greatest reciprocal of a variance of each dimension, (dim,) float32 each."""
        return self._inv_vars.min(axis=0), self._inv_vars.max(axis=0)

    @cached_property
    def max_scaled_mean_squares(self) -> NDArray[np.float64]:
        """Greatest mean² / variance of each dimension, (dim,) float64."""
        means_invvars, inv_vars = (each.astype(np.float64) for each in (self._means_invvars, self._inv_vars))
        scaled = np.divide(
            np.square(means_invvars), inv_vars, out=np.zeros_like(inv_vars), where=inv_vars > 0
        )
        greatest: NDArray[np.float64] = scaled.max(axis=0)
        return greatest

    def has_same_gaussians(self, other: "AmDiagGmm") -> bool:
        """True if the pdfs of both models have the same numbers of Gaussians and dimensions."""
        return self.dim() == other.dim() and np.array_equal(self._num_gauss_in_pdf, other._num_gauss_in_pdf)

    def _relative_probabilities(self, features: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
        """Scores frames with all Gaussians, each relative to the best one of its pdf.

        Returns:
            The probabilities of the Gaussians divided by that of the best one, (frames, num_gauss); their
            sums over each pdf; and the logarithms of the divisors, both (frames, num_pdfs).
        """
        # Scores that overflow become NaN or infinite; the decoder refuses them.
        with np.errstate(over="ignore", invalid="ignore"):
            gaussians = self._scores.multiply(np.hstack([features, np.square(features)]))
            highest = np.maximum.reduceat(gaussians, self._first_gauss, axis=1)
            # Avoids -inf - -inf if all Gaussians of a pdf are switched off.
            np.maximum(highest, np.finfo(np.float32).min, out=highest)
            gaussians -= np.repeat(highest, self._num_gauss_in_pdf, axis=1)
            np.exp(gaussians, out=gaussians)
        return gaussians, np.add.reduceat(gaussians, self._first_gauss, axis=1), highest

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
        """Writes the acoustic model."""
        writer.write_token("<DIMENSION>")
        writer.write_int(self.dim())
        writer.write_token("<NUMPDFS>")
        writer.write_int(self.num_pdfs())
        writer.newline()
        for pdf in range(self.num_pdfs()):
            self.get_pdf(pdf).write(writer)
