"""Statistics for fMLLR with diagonal Gaussians (``transform/fmllr-diag-gmm.cc``, ``transform-common.cc``).

fMLLR finds an affine transform W = [A b] of the features, x' = W x⁺ with x⁺ = (x, 1), that increases the
likelihood of a speaker's data. With the posteriors γ_m(t) of Gaussians with means μ_m and variances v_m, it
maximises the auxiliary function

    beta log|det A| + tr(W Kᵀ) - 0.5 sum_d w_d G_d w_dᵀ,        w_d: row d of W
    beta = sum γ_m(t)
    K_d  = sum γ_m(t) (μ_md / v_md) x⁺(t)                        row d of K, (dim, dim + 1)
    G_d  = sum γ_m(t) (1 / v_md) x⁺(t) x⁺(t)ᵀ                    (dim, dim + 1, dim + 1), symmetric

The sums over m are computed first, per frame: a(t) for the means and b(t) for the variances.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError
from pykaldi_server.kaldi.feat.online_feature import MAX_SPEAKER_FRAMES, FloatFrames
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.util.finite import read_finite_float, read_finite_matrix, read_finite_packed
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, pack_symmetric, unpack_symmetric

Doubles = NDArray[np.float64]

__all__ = ["Doubles", "FmllrDiagGmmAccs"]

# Number of frames whose outer products x⁺ x⁺ᵀ are in memory at the same time.
_BLOCK_FRAMES = 128
# Kaldi compares frames for equality. Our frames come from matrix products of whole blocks, in which rounding
# may depend on the position in the block: frames are equal if they differ by less than this fraction of their
# norm.
_EQUAL_WITHIN = 1e-5
# Bounds on what audio can have: the largest feature, and rounding (files have six digits).
_MAX_FEATURE = 1e4
_ROUNDING = 1e-3


class _Frames(NamedTuple):
    """Frames with their sums over the Gaussians; (frames, dim) each, ``counts`` (frames,)."""

    features: FloatFrames
    a: FloatFrames
    b: FloatFrames
    counts: Doubles

    def take(self, part: slice | NDArray[np.bool_]) -> "_Frames":
        return _Frames(self.features[part], self.a[part], self.b[part], self.counts[part])

    def followed_by(self, others: "_Frames") -> "_Frames":
        return _Frames(
            np.concatenate([self.features, others.features]),
            np.concatenate([self.a, others.a]),
            np.concatenate([self.b, others.b]),
            np.concatenate([self.counts, others.counts]),
        )

    def last_run(self) -> int:
        """Returns the number of frames at the end that are equal to the last one."""
        last = self.features[-1]
        distances = np.linalg.norm(self.features - last, axis=1)
        different = np.flatnonzero(distances > _EQUAL_WITHIN * np.linalg.norm(last))
        return len(distances) - (int(different[-1]) + 1 if len(different) else 0)


@dataclass
class FmllrDiagGmmAccs:
    """What fMLLR needs to know about a speaker's frames.

    Kaldi adds a frame to the sums only when a different one follows. Its transforms and the states that it
    writes therefore lack the last frame and all frames before it that are equal to it, as in digital silence.
    `accumulate` holds the same frames back.

    Attributes:
        beta: number of frames, weighted by their posteriors.
        K: (dim, dim + 1) float64.
        G: (dim, dim + 1, dim + 1) float64.
    """

    beta: float
    K: Doubles
    G: Doubles
    _held_back: _Frames | None = field(default=None, repr=False)

    @classmethod
    def zero(cls, dim: int) -> "FmllrDiagGmmAccs":
        """Returns the statistics of no frames."""
        return cls(0.0, np.zeros((dim, dim + 1)), np.zeros((dim, dim + 1, dim + 1)))

    def dim(self) -> int:
        """Returns the dimension of the features."""
        return len(self.K)

    def copy(self) -> "FmllrDiagGmmAccs":
        """Returns an independent copy."""
        return FmllrDiagGmmAccs(self.beta, self.K.copy(), self.G.copy(), self._held_back)

    def accumulate(
        self,
        features: FloatFrames,
        weighted_means_invvars: FloatFrames,
        weighted_inv_vars: FloatFrames,
        counts: NDArray[np.floating],
    ) -> None:
        """Adds frames in order, except those with a count of 0.

        Args:
            features: the frames without any fMLLR transform, (frames, dim).
            weighted_means_invvars: sums over Gaussians of posterior * mean / variance, (frames, dim).
            weighted_inv_vars: sums over Gaussians of posterior / variance, (frames, dim).
            counts: sums of the posteriors, (frames,).
        """
        used = counts != 0
        if not used.any():
            return
        frames = _Frames(features, weighted_means_invvars, weighted_inv_vars, counts.astype(np.float64)).take(
            used
        )
        if self._held_back is not None:
            frames = self._held_back.followed_by(frames)
        known = len(frames.counts) - frames.last_run()
        self._commit(frames.take(slice(known)))
        self._held_back = frames.take(slice(known, None))

    def _commit(self, frames: _Frames) -> None:
        extended = np.hstack([frames.features, np.ones((len(frames.features), 1))], dtype=np.float64)
        self.beta += float(frames.counts.sum())
        self.K += frames.a.T.astype(np.float64) @ extended
        for begin in range(0, len(extended), _BLOCK_FRAMES):
            block = extended[begin : begin + _BLOCK_FRAMES]
            outer = (block[:, :, np.newaxis] * block[:, np.newaxis, :]).reshape(len(block), -1)
            weights = frames.b[begin : begin + _BLOCK_FRAMES].T.astype(np.float64)
            self.G += (weights @ outer).reshape(self.G.shape)

    def check(self, model: AmDiagGmm) -> None:
        """Checks that audio can have these statistics with this model; the bounds follow from their formulas.

        Raises:
            AdaptationStateError: they have another dimension, or cannot come from audio.
        """
        if self.dim() != model.dim():
            raise AdaptationStateError(
                f"adaptation state: expected statistics of dimension {model.dim()}, found {self.dim()}"
            )
        if not 0 <= self.beta <= MAX_SPEAKER_FRAMES:
            raise AdaptationStateError(
                f"adaptation state: expected a count from 0 to {MAX_SPEAKER_FRAMES:g}, found {self.beta:g}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            self._check_sums(model)

    def _check_sums(self, model: AmDiagGmm) -> None:
        # sum γ / v: the reciprocals of the variances, weighted by the posteriors.
        least, greatest = model.inv_var_range
        weights = self.G[:, -1, -1]
        low, high = (1 - _ROUNDING) * self.beta * least, (1 + _ROUNDING) * self.beta * greatest
        self._refuse((weights < low) | (weights > high), "sums of inverse variances", weights)
        squares = np.diagonal(self.G, axis1=1, axis2=2)
        largest = _MAX_FEATURE**2 * weights[:, np.newaxis]
        self._refuse((squares < 0) | (squares > largest), "squares of features", squares)
        products = squares[:, :, np.newaxis] * squares[:, np.newaxis]
        floor = np.square(_ROUNDING**2 * squares.max(axis=1))[:, np.newaxis, np.newaxis]
        self._refuse(np.square(self.G) > (1 + _ROUNDING) * products + floor, "products of features", self.G)
        means = (1 + _ROUNDING) * self.beta * model.max_scaled_mean_squares[:, np.newaxis] * squares
        self._refuse(np.square(self.K) > means, "products of means and features", self.K)

    @staticmethod
    def _refuse(impossible: NDArray[np.bool_], what: str, values: Doubles) -> None:
        if impossible.any():
            index = np.unravel_index(int(np.argmax(impossible)), impossible.shape)
            raise AdaptationStateError(
                f"adaptation state: expected {what} that audio can have, found {values[index]:g} at index "
                f"{[int(i) for i in index]}"
            )

    def auxiliary_function(self, transform: Doubles) -> float:
        """Returns the value that fMLLR maximises, for a transform (dim, dim + 1)."""
        log_determinant = float(np.linalg.slogdet(transform[:, :-1])[1])
        quadratic = float(np.einsum("di,dij,dj->", transform, self.G, transform))
        return self.beta * log_determinant + float((transform * self.K).sum()) - 0.5 * quadratic

    @classmethod
    def read(cls, reader: KaldiReader) -> "FmllrDiagGmmAccs":
        """Reads statistics.

        Raises:
            ModelFormatError: the bytes are not fMLLR statistics, or not finite.
        """
        start = reader.offset
        reader.expect_token("<DIMENSION>")
        dim = reader.read_count("dimensions")
        reader.expect_token("<BETA>")
        beta = read_finite_float(reader, "the count (beta)")
        if beta < 0:
            raise reader.error("fMLLR statistics with a count (beta) of 0 or more", str(beta), start)
        reader.expect_token("<K>")
        K = read_finite_matrix(reader, "K", np.float64)
        if K.shape != ((dim, dim + 1) if dim else (0, 0)):
            raise reader.error(f"a matrix K of {dim} x {dim + 1}", f"{K.shape}", start)
        reader.expect_token("<G>")
        count = reader.read_count("matrices G")
        if count != dim:
            raise reader.error(f"{dim} matrices G", str(count), start)
        matrices = []
        for d in range(dim):
            matrix = unpack_symmetric(read_finite_packed(reader, f"G of dimension {d}", np.float64))
            if len(matrix) != dim + 1:
                raise reader.error(f"a matrix G of {dim + 1} rows", f"{len(matrix)}", start)
            matrices.append(matrix)
        return cls(beta, K, np.array(matrices)) if dim else cls.zero(0)

    def write(self, writer: KaldiWriter) -> None:
        """Writes the statistics; matrices are in single precision, as in Kaldi."""
        writer.write_token("<DIMENSION>")
        writer.write_int(self.dim())
        writer.newline()
        writer.write_token("<BETA>")
        writer.write_float(self.beta, double=True)
        writer.newline()
        writer.write_token("<K>")
        writer.write_matrix(self.K.astype(np.float32) if self.dim() else np.zeros((0, 0), np.float32))
        writer.write_token("<G>")
        writer.write_int(self.dim())
        writer.newline()
        for matrix in self.G:
            writer.write_packed(pack_symmetric(matrix).astype(np.float32))
