"""Gaussian mixtures with diagonal covariances (``gmm/diag-gmm.cc``).

The weighted log-likelihood of Gaussian g with weight w, mean m and variances v for a frame x is linear in
(x, x²):

    log w N(x; m, v) = c + sum_d (m_d / v_d) x_d - 0.5 sum_d (1 / v_d) x_d²
    c = log w - 0.5 sum_d (log 2π - log(1 / v_d) + (m_d / v_d)² / (1 / v_d))

so that scoring a block of frames with any number of Gaussians is one matrix product. Files contain m / v
(``means_invvars``), 1 / v (``inv_vars``) and w; c (``gconst``) is computed from them, as in Kaldi.
"""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.util.finite import find_not_finite, read_finite_matrix, read_finite_vector
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["DiagGmm", "FloatMatrix", "as_frames", "compute_gconsts", "log_sum_exp", "read_parameters"]

FloatMatrix = NDArray[np.float32]


class DiagGmm:
    """A mixture of diagonal Gaussians. Immutable, shared by all sessions.

    Attributes:
        weights: (num_gauss,) float32.
        means_invvars: means divided by variances, (num_gauss, dim) float32.
        inv_vars: reciprocals of the variances, (num_gauss, dim) float32.
        gconsts: constant parts of the log-likelihoods, (num_gauss,) float32; -inf switches a Gaussian off.
    """

    def __init__(self, weights: FloatMatrix, means_invvars: FloatMatrix, inv_vars: FloatMatrix):
        """Takes parameters as described for the attributes.

        Raises:
            ValueError: the shapes do not fit, or a parameter is invalid.
        """
        self.weights = np.asarray(weights, np.float32)
        self.means_invvars = np.asarray(means_invvars, np.float32)
        self.inv_vars = np.asarray(inv_vars, np.float32)
        self.gconsts = compute_gconsts(self.weights, self.means_invvars, self.inv_vars)

    def num_gauss(self) -> int:
        """Returns the number of Gaussians."""
        return len(self.weights)

    def dim(self) -> int:
        """Returns the dimension of the frames."""
        return int(self.means_invvars.shape[1])

    def log_likelihoods(self, features: FloatMatrix) -> FloatMatrix:
        """Scores each frame with each Gaussian, including the weights.

        Args:
            features: (frames, dim) float32.

        Returns:
            (frames, num_gauss) float32, natural logarithms.
        """
        features = as_frames(features, self.dim())
        with np.errstate(over="ignore", invalid="ignore"):
            scores = features @ self.means_invvars.T - 0.5 * (np.square(features) @ self.inv_vars.T)
            scores += self.gconsts
        return scores

    def log_likelihood(self, features: FloatMatrix) -> FloatMatrix:
        """Scores each frame with the whole mixture; (frames, dim) -> (frames,) float32."""
        return log_sum_exp(self.log_likelihoods(features))

    def component_posteriors(self, features: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """Computes the posteriors of the Gaussians for each frame.

        Returns:
            The log-likelihoods of the frames, (frames,) float32, and the posteriors of the Gaussians,
            (frames, num_gauss) float32; each row sums to 1.
        """
        log_likelihoods = self.log_likelihoods(features)
        total = log_sum_exp(log_likelihoods)
        with np.errstate(invalid="ignore"):
            return total, np.exp(log_likelihoods - total[:, np.newaxis])

    def gaussian_selection(
        self, features: FloatMatrix, num_gselect: int
    ) -> tuple[FloatMatrix, NDArray[np.intp]]:
        """Finds the best Gaussians for each frame.

        Args:
            features: (frames, dim) float32.
            num_gselect: number of Gaussians to keep; all if there are fewer.

        Returns:
            The log-likelihood of each frame under these Gaussians, (frames,) float32, and their indices, best
            first, (frames, min(num_gselect, num_gauss)).
        """
        log_likelihoods = self.log_likelihoods(features)
        kept = min(num_gselect, self.num_gauss())
        chosen = np.argpartition(-log_likelihoods, kept - 1, axis=1)[:, :kept]
        scores = np.take_along_axis(log_likelihoods, chosen, axis=1)
        order = np.lexsort((-chosen, -scores), axis=1)  # equal scores: the later Gaussian first, as in Kaldi
        return log_sum_exp(scores), np.take_along_axis(chosen, order, axis=1)

    @classmethod
    def read(cls, reader: KaldiReader) -> "DiagGmm":
        """Reads a mixture.

        Raises:
            ModelFormatError: the bytes are not a mixture of diagonal Gaussians.
        """
        start = reader.offset
        parameters = read_parameters(reader)
        try:
            return cls(*parameters)
        except ValueError as error:
            raise reader.error("a mixture of diagonal Gaussians", str(error), start) from error

    def write(self, writer: KaldiWriter) -> None:
        """Writes the mixture."""
        writer.write_token("<DiagGMM>")
        writer.newline()
        writer.write_token("<GCONSTS>")
        writer.write_vector(self.gconsts)
        writer.write_token("<WEIGHTS>")
        writer.write_vector(self.weights)
        writer.write_token("<MEANS_INVVARS>")
        writer.write_matrix(self.means_invvars)
        writer.write_token("<INV_VARS>")
        writer.write_matrix(self.inv_vars)
        writer.write_token("</DiagGMM>")
        writer.newline()


def as_frames(features: FloatMatrix, dim: int) -> FloatMatrix:
    """Returns the frames as float32.

    Raises:
        ValueError: their shape is not (frames, dim).
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or features.shape[1] != dim:
        raise ValueError(f"expected frames of dimension {dim}, found the shape {features.shape}")
    return features


def log_sum_exp(scores: FloatMatrix) -> FloatMatrix:
    """Adds probabilities given as logarithms, row by row; (rows, n) -> (rows,)."""
    highest = scores.max(axis=1)
    shift = np.where(np.isfinite(highest), highest, 0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        sums: FloatMatrix = shift + np.log(np.exp(scores - shift[:, np.newaxis]).sum(axis=1))
    return sums


def read_parameters(reader: KaldiReader) -> tuple[FloatMatrix, FloatMatrix, FloatMatrix]:
    """Reads the weights, means_invvars and inv_vars of a mixture; their shapes are not checked.

    Raises:
        ModelFormatError: the bytes are not a mixture, or a parameter is not finite.
    """
    reader.expect_token("<DiagGMM>", "<DiagGMMBegin>")
    if reader.expect_token("<GCONSTS>", "<WEIGHTS>") == "<GCONSTS>":
        reader.read_vector()
        reader.expect_token("<WEIGHTS>")
    weights = read_finite_vector(reader, "the weights", np.float32)
    reader.expect_token("<MEANS_INVVARS>")
    means_invvars = read_finite_matrix(reader, "the means over the variances", np.float32)
    reader.expect_token("<INV_VARS>")
    inv_vars = read_finite_matrix(reader, "the reciprocals of the variances", np.float32)
    reader.expect_token("</DiagGMM>", "<DiagGMMEnd>")
    return weights, means_invvars, inv_vars


def compute_gconsts(weights: FloatMatrix, means_invvars: FloatMatrix, inv_vars: FloatMatrix) -> FloatMatrix:
    """Computes the constant parts of the log-likelihoods, (num_gauss,) float32.

    As in Kaldi, an infinite constant of either sign switches its Gaussian off (-inf); NaN is an error.

    Raises:
        ValueError: the parameters do not fit together, or are negative or not finite.
    """
    num_gauss, dim = means_invvars.shape
    if num_gauss == 0 or weights.shape != (num_gauss,) or inv_vars.shape != (num_gauss, dim):
        raise ValueError(
            f"weights, means and variances of shapes {weights.shape}, {means_invvars.shape}, {inv_vars.shape}"
        )
    for values, what in (
        (weights, "the weights"),
        (means_invvars, "the means over the variances"),
        (inv_vars, "the reciprocals of the variances"),
    ):
        found = find_not_finite(values)
        if found is not None:
            raise ValueError(f"{found} in {what}")
    if (weights < 0).any():
        raise ValueError(f"the negative weight {weights.min()}")
    if (inv_vars < 0).any():
        raise ValueError(f"the negative reciprocal of a variance {inv_vars.min()}")
    means_invvars, inv_vars = means_invvars.astype(np.float64), inv_vars.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gconsts = (
            np.log(weights.astype(np.float64))
            - 0.5 * np.log(2 * np.pi) * dim
            + 0.5 * (np.log(inv_vars) - np.square(means_invvars) / inv_vars).sum(axis=1)
        ).astype(np.float32)
    if np.isnan(gconsts).any():
        raise ValueError(f"nan in the constants (gconsts) at [{int(np.argmax(np.isnan(gconsts)))}]")
    return np.where(np.isfinite(gconsts), gconsts, np.float32(-np.inf))
