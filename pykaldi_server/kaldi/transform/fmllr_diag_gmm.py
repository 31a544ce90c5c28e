"""Statistics for fMLLR with diagonal Gaussians (``transform/fmllr-diag-gmm.cc``, ``transform-common.cc``).

fMLLR finds an affine transform W = [A b] of the features, x' = W x⁺ with x⁺ = (x, 1), that makes the
data of a speaker likelier under the model. With the posteriors γ_m(t) of the Gaussians with means μ_m and
variances v_m, the auxiliary function that it maximises is

    beta log|det A| + tr(W Kᵀ) - 0.5 sum_d w_d G_d w_dᵀ,        w_d: row d of W
    beta = sum γ_m(t)
    K_d  = sum γ_m(t) (μ_md / v_md) x⁺(t)                        row d of K, (dim, dim + 1)
    G_d  = sum γ_m(t) (1 / v_md) x⁺(t) x⁺(t)ᵀ                    (dim, dim + 1, dim + 1), symmetric

The sums over m come first, frame by frame: a(t) for the means and b(t) for the variances.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter, as_float64, pack_symmetric

Doubles = NDArray[np.float64]
FloatFrames = NDArray[np.float32]

# Frames whose outer products x⁺ x⁺ᵀ are held at the same time.
_BLOCK_FRAMES = 128


@dataclass
class FmllrDiagGmmAccs:
    """What fMLLR needs to know of a speaker's frames.

    Kaldi adds a frame to the sums only when the next one comes, so that its transforms and the states
    that it writes lack the last frame. This is done here, too: `accumulate` holds the last frame back.

    Attributes:
        beta: number of frames, weighted by their posteriors.
        K: (dim, dim + 1) float64.
        G: (dim, dim + 1, dim + 1) float64.
    """

    beta: float
    K: Doubles
    G: Doubles
    _held_back: tuple[FloatFrames, FloatFrames, FloatFrames, NDArray[np.float64]] | None = field(
        default=None, repr=False
    )

    @classmethod
    def zero(cls, dim: int) -> "FmllrDiagGmmAccs":
        """Returns the statistics of no frames."""
        return cls(0.0, np.zeros((dim, dim + 1)), np.zeros((dim, dim + 1, dim + 1)))

    def dim(self) -> int:
        """Returns the dimension of the features."""
        return len(self.K)

    def copy(self) -> "FmllrDiagGmmAccs":
        """Returns a copy that shares nothing with this one."""
        return FmllrDiagGmmAccs(self.beta, self.K.copy(), self.G.copy(), self._held_back)

    def accumulate(
        self,
        features: FloatFrames,
        weighted_means_invvars: FloatFrames,
        weighted_inv_vars: FloatFrames,
        counts: NDArray[np.floating],
    ) -> None:
        """Adds frames, all but those with the count 0.

        Args:
            features: the frames without any fMLLR transform, (frames, dim).
            weighted_means_invvars: sums over Gaussians of posterior * mean / variance, (frames, dim).
            weighted_inv_vars: sums over Gaussians of posterior / variance, (frames, dim).
            counts: sums of the posteriors, (frames,).
        """
        used = counts != 0
        if not used.any():
            return
        rows = (
            features[used],
            weighted_means_invvars[used],
            weighted_inv_vars[used],
            counts[used].astype(np.float64),
        )
        if self._held_back is not None:
            self._commit(*self._held_back)
        x, a, b, count = rows
        self._commit(x[:-1], a[:-1], b[:-1], count[:-1])
        self._held_back = (x[-1:], a[-1:], b[-1:], count[-1:])

    def _commit(
        self, features: FloatFrames, a: FloatFrames, b: FloatFrames, counts: NDArray[np.float64]
    ) -> None:
        extended = np.hstack([features, np.ones((len(features), 1))], dtype=np.float64)
        self.beta += float(counts.sum())
        self.K += a.T.astype(np.float64) @ extended
        for begin in range(0, len(extended), _BLOCK_FRAMES):
            block = extended[begin : begin + _BLOCK_FRAMES]
            outer = (block[:, :, np.newaxis] * block[:, np.newaxis, :]).reshape(len(block), -1)
            weights = b[begin : begin + _BLOCK_FRAMES].T.astype(np.float64)
            self.G += (weights @ outer).reshape(self.G.shape)

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
        beta = reader.read_float()
        reader.expect_token("<K>")
        K = as_float64(reader.read_matrix())
        if K.shape != ((dim, dim + 1) if dim else (0, 0)):
            raise reader.error(f"a matrix K of {dim} x {dim + 1}", f"{K.shape}", start)
        reader.expect_token("<G>")
        if reader.read_count("matrices G") != dim:
            raise reader.error(f"{dim} matrices G", "another number", start)
        matrices = []
        for _ in range(dim):
            matrix = as_float64(reader.read_symmetric())
            if len(matrix) != dim + 1:
                raise reader.error(f"a matrix G of {dim + 1} rows", f"{len(matrix)}", start)
            matrices.append(matrix)
        if not dim:
            return cls.zero(0)
        accs = cls(beta, K, np.array(matrices))
        if not (np.isfinite(beta) and beta >= 0 and np.isfinite(K).all() and np.isfinite(accs.G).all()):
            raise reader.error("finite statistics with a count of 0 or more", "others", start)
        return accs

    def write(self, writer: KaldiWriter) -> None:
        """Writes the statistics in the writer's form, matrices in single precision as Kaldi does."""
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
