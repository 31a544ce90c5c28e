"""fMLLR with few parameters: a weighted sum of basis matrices (``transform/basis-fmllr-diag-gmm.cc``).

D. Povey, K. Yao: A basis representation of constrained MLLR transforms for robust adaptation, Computer
Speech and Language 26 (2012).

A little speech cannot support the dim * (dim + 1) parameters of a full transform. Here the transform is W =
W_0 + sum_n d_n B_n, with basis matrices B_n from the training data in descending order of importance. The
number of matrices used grows with the amount of speech (``size_scale`` per frame). W is found by gradient
ascent on the auxiliary function of `FmllrDiagGmmAccs`, restricted to the space of the basis:

    P     = beta [A⁻ᵀ 0] + K - S,  row d of S: G_d w_d          the gradient
    delta = sum_n tr(B_nᵀ P) B_n                                its projection
    W    <- W + k delta                                         step size k by Newton's method
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.transform.fmllr_diag_gmm import Doubles, FmllrDiagGmmAccs
from pykaldi_server.kaldi.util.finite import read_finite_matrix
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, as_float32
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["MAX_TRANSFORM_ELEMENT", "BasisFmllrEstimate", "BasisFmllrOptions", "is_credible_transform"]

# A step is halved if it lowers the auxiliary function by more than the first number per frame, until it is
# smaller than the second number.
_TOLERATED_DECREASE = 1.0e-4
_SMALLEST_STEP = 1.0e-5
# Transforms of speech are near the identity, and features below 100.
MAX_TRANSFORM_ELEMENT = 1.0e4


@dataclass
class BasisFmllrOptions(Options):
    """Options of the estimation, with Kaldi's defaults and names."""

    num_iters: int = option(10, "Number of gradient steps; more are slower and closer to the optimum.")
    size_scale: float = option(
        0.2, "Number of basis matrices per frame of speech; more adapt faster, but less reliably."
    )
    min_count: float = option(50.0, "Minimum number of frames for an estimate.", name="fmllr-min-count")
    step_size_iters: int = option(3, "Number of Newton iterations for each step size.")

    def validate(self) -> None:
        if self.num_iters < 1 or self.step_size_iters < 1:
            raise ConfigError(
                "num-iters, step-size-iters: expected at least 1, "
                f"found {self.num_iters}, {self.step_size_iters}"
            )
        if self.size_scale <= 0 or self.min_count < 0:
            raise ConfigError(
                "size-scale, fmllr-min-count: expected positive, at least 0, "
                f"found {self.size_scale}, {self.min_count}"
            )


class BasisFmllrEstimate:
    """The basis matrices of a model. Immutable, shared by all sessions."""

    def __init__(self, basis: NDArray[np.float32]):
        """Takes the matrices, (basis_size, dim, dim + 1) float32, in descending order of importance."""
        self._basis = basis

    def dim(self) -> int:
        """Returns the dimension of the features."""
        return int(self._basis.shape[1])

    def basis_size(self) -> int:
        """Returns the number of basis matrices."""
        return len(self._basis)

    def compute_transform(
        self, spk_stats: FmllrDiagGmmAccs, transform: NDArray[np.float32] | None, options: BasisFmllrOptions
    ) -> NDArray[np.float32] | None:
        """Estimates a speaker's transform.

        Args:
            spk_stats: statistics of the speaker's frames.
            transform: the current transform, from which the ascent starts; None if there is none.
            options: the options.

        Returns:
            The new transform, (dim, dim + 1) float32; ``transform`` itself if there is too little speech, or
            if the statistics lead to a transform that speech cannot have.
        """
        if spk_stats.beta < options.min_count:
            return transform
        dim = self.dim()
        start = np.eye(dim, dim + 1) if transform is None else transform.astype(np.float64)
        # Single precision, as in Kaldi, where 0.2 is slightly larger: 150 frames give 30.
        size = int(min(self.basis_size(), float(np.float32(options.size_scale)) * spk_stats.beta))
        if size == 0:
            return transform
        basis = self._basis[:size].reshape(size, -1).astype(np.float64)
        try:
            with np.errstate(all="ignore"):
                found = as_float32(_ascend(spk_stats, start, basis, options))
        except np.linalg.LinAlgError:
            return transform
        return found if is_credible_transform(found) else transform

    @classmethod
    def read(cls, reader: KaldiReader) -> "BasisFmllrEstimate":
        """Reads a basis (``fmllr.basis``).

        Raises:
            ModelFormatError: the bytes are not a basis.
        """
        reader.expect_token("<BASISFMLLRPARAM>")
        reader.expect_token("<NUMBASIS>")
        size = reader.read_count("basis matrices", at_most=reader.remaining)
        if size == 0:
            raise reader.error("basis matrices", "none")
        reader.expect_token("<BASIS>")
        matrices: list[NDArray[np.float32]] = []
        for index in range(size):
            start = reader.offset
            matrix = read_finite_matrix(reader, f"basis matrix {index}", np.float32)
            dim = len(matrices[0]) if matrices else len(matrix)
            if dim == 0 or matrix.shape != (dim, dim + 1):
                raise reader.error(
                    f"basis matrix {index} of {max(dim, 1)} x {max(dim, 1) + 1}", f"{matrix.shape}", start
                )
            matrices.append(matrix)
        reader.expect_token("</BASISFMLLRPARAM>")
        return cls(np.array(matrices))

    def write(self, writer: KaldiWriter) -> None:
        """Writes the basis."""
        writer.write_token("<BASISFMLLRPARAM>")
        writer.write_token("<NUMBASIS>")
        writer.write_int(len(self._basis))
        writer.write_token("<BASIS>")
        for matrix in self._basis:
            writer.write_matrix(matrix)
        writer.write_token("</BASISFMLLRPARAM>")


def is_credible_transform(transform: NDArray[np.float32]) -> bool:
    """True if a transform, (dim, dim + 1), is invertible and has elements that speech can have."""
    if not (np.abs(transform) <= MAX_TRANSFORM_ELEMENT).all():
        return False
    return bool(np.isfinite(np.linalg.slogdet(transform[:, :-1].astype(np.float64))[1]))


def _ascend(stats: FmllrDiagGmmAccs, start: Doubles, basis: Doubles, options: BasisFmllrOptions) -> Doubles:
    """Improves the transform ``start`` step by step; ``basis``: (size, dim * (dim + 1))."""
    W = start.copy()
    dim = len(W)
    for _ in range(options.num_iters):
        S = np.einsum("dij,dj->di", stats.G, W)
        gradient = stats.K - S
        gradient[:, :dim] += stats.beta * np.linalg.inv(W[:, :dim]).T
        delta = ((basis @ gradient.ravel()) @ basis).reshape(W.shape)
        W += _step_size(stats, delta, W[:, :dim], S, options.step_size_iters) * delta
    return W


def _step_size(stats: FmllrDiagGmmAccs, delta: Doubles, A: Doubles, S: Doubles, num_iters: int) -> float:
    """Finds the step size in the direction ``delta`` (CalBasisFmllrStepSize).

    Up to a constant, the auxiliary function in this direction is

        f(k) = beta log|det(A + k D)| + k b - 0.5 k² c,     D: delta without its last column
    """
    D = delta[:, :-1]
    b = float((delta * (stats.K - S)).sum())
    c = float(np.einsum("di,dij,dj->", delta, stats.G, delta))

    def objective(k: float) -> float:
        return stats.beta * float(np.linalg.slogdet(A + k * D)[1]) + k * b - 0.5 * k * k * c

    step, value = 0.0, objective(0.0)
    for _ in range(num_iters):
        N = np.linalg.solve(A + step * D, D)
        slope = stats.beta * float(np.trace(N)) + b - step * c
        curvature = min(-c - stats.beta * float((N * N.T).sum()), -c / 10.0)
        change = -slope / curvature
        step += change
        new_value = objective(step)
        while new_value - value < -_TOLERATED_DECREASE * stats.beta:
            change /= 2
            step -= change
            if change <= _SMALLEST_STEP:
                break
            new_value = objective(step)
        value = new_value
    return step
