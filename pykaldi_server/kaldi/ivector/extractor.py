"""The i-vector extractor and the statistics for one speaker (``ivector/ivector-extractor.cc``).

The mean of Gaussian g, as this speaker pronounces it, is M_g v, with v the speaker's i-vector. With the
posteriors gamma_tg of frames x_t and the prior v ~ N([prior_offset, 0, ...], I), the estimate solves

    Q v = l    with    Q = I + sum_tg gamma_tg U_g,          U_g = M_g' Sigma_g^-1 M_g
                       l = [prior_offset, 0, ...] + sum_tg gamma_tg (Sigma_g^-1 M_g)' x_t

Kaldi takes a fixed number of conjugate-gradient steps from the previous estimate, and so do we: an exact
solution would be another i-vector. Everything is in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi._core import linear_cgd
from pykaldi_server.kaldi.util.io import (
    FloatArray,
    KaldiReader,
    KaldiWriter,
    pack_symmetric,
    unpack_symmetric,
)

Doubles = NDArray[np.float64]

_MAX_GAUSSIANS = 1 << 20


class IvectorExtractor:
    """The model of how speakers differ; immutable."""

    def __init__(
        self,
        projections: Sequence[FloatArray],
        inverse_variances: Sequence[FloatArray],
        prior_offset: float,
        weights: FloatArray | None = None,
    ):
        """Computes what estimation needs.

        Args:
            projections: M_g of each Gaussian, (feat_dim, ivector_dim).
            inverse_variances: lower triangle of Sigma_g^-1 of each Gaussian, (feat_dim (feat_dim + 1) / 2,).
            prior_offset: mean of the first element of i-vectors.
            weights: of the Gaussians, (gaussians,); not used in estimation.

        Raises:
            ValueError: there are no Gaussians, shapes do not fit together, or numbers are not finite.
        """
        if not projections or len(projections) != len(inverse_variances):
            raise ValueError(f"{len(projections)} projections and {len(inverse_variances)} variances")
        feat_dim, ivector_dim = projections[0].shape
        if not feat_dim or any(m.shape != (feat_dim, ivector_dim) for m in projections):
            raise ValueError("projections of different shapes")
        if any(len(triangle) != feat_dim * (feat_dim + 1) // 2 for triangle in inverse_variances):
            raise ValueError(f"inverse variances that are not of dimension {feat_dim}")
        everything = (*projections, *inverse_variances, np.array([prior_offset]))
        if not all(np.isfinite(part).all() for part in everything):
            raise ValueError("NaN or infinity")
        self._projections = projections
        self._inverse_variances = inverse_variances
        self._prior_offset = prior_offset
        self._weights = np.full(len(projections), 1 / len(projections)) if weights is None else weights
        # Row g of `linear` is (Sigma_g^-1 M_g), of `quadratic` the lower triangle of U_g.
        self.linear = np.empty((len(projections), feat_dim, ivector_dim))
        self.quadratic = np.empty((len(projections), ivector_dim * (ivector_dim + 1) // 2))
        for g, (m, triangle) in enumerate(zip(projections, inverse_variances, strict=True)):
            self.linear[g] = unpack_symmetric(triangle.astype(np.float64)) @ m
            self.quadratic[g] = pack_symmetric(m.T @ self.linear[g])

    def feat_dim(self) -> int:
        """Dimension of the features."""
        return self.linear.shape[1]

    def ivector_dim(self) -> int:
        """Dimension of the i-vectors."""
        return self.linear.shape[2]

    def num_gauss(self) -> int:
        """Number of Gaussians."""
        return len(self.linear)

    def prior_offset(self) -> float:
        """Mean of the first element of i-vectors; the others have mean 0."""
        return self._prior_offset

    @classmethod
    def read(cls, reader: KaldiReader) -> "IvectorExtractor":
        """Reads ``final.ie``.

        Raises:
            ModelFormatError: the file is damaged, or its weights depend on the i-vector, which Kaldi's
                online estimation does not know either.
        """
        reader.expect_token("<IvectorExtractor>")
        reader.expect_token("<w>")
        start = reader.offset
        if reader.read_matrix().size:
            raise reader.error("weights that do not depend on the i-vector", "a weight projection", start)
        reader.expect_token("<w_vec>")
        weights = reader.read_vector()
        reader.expect_token("<M>")
        size = reader.read_count("Gaussians", at_most=_MAX_GAUSSIANS)
        start = reader.offset
        projections = [reader.read_matrix() for _ in range(size)]
        reader.expect_token("<SigmaInv>")
        inverse_variances = [reader.read_packed() for _ in range(size)]
        reader.expect_token("<IvectorOffset>")
        prior_offset = reader.read_float()
        reader.expect_token("</IvectorExtractor>")
        try:
            return cls(projections, inverse_variances, prior_offset, weights)
        except ValueError as error:
            raise reader.error("an i-vector extractor", str(error), start) from None

    def write(self, writer: KaldiWriter) -> None:
        """Writes ``final.ie``."""
        writer.write_token("<IvectorExtractor>")
        writer.write_token("<w>")
        writer.write_matrix(np.zeros((0, 0)))
        writer.write_token("<w_vec>")
        writer.write_vector(self._weights)
        writer.write_token("<M>")
        writer.write_int(len(self._projections))
        for m in self._projections:
            writer.write_matrix(m)
        writer.write_token("<SigmaInv>")
        for triangle in self._inverse_variances:
            writer.write_packed(triangle)
        writer.write_token("<IvectorOffset>")
        writer.write_float(self._prior_offset, double=True)
        writer.write_token("</IvectorExtractor>")


@dataclass
class OnlineIvectorEstimationStats:
    """Sums from which a speaker's i-vector is estimated; owned by one stream.

    Attributes:
        prior_offset: see `IvectorExtractor.prior_offset`.
        max_count: when more (scaled) frames than this have come, the prior grows with them, so that it
            keeps its influence; 0 for never.
        num_frames: sum of the posteriors so far.
        quadratic_term: Q, lower triangle by rows, (dim (dim + 1) / 2,), float64.
        linear_term: l, (dim,), float64.
    """

    prior_offset: float
    max_count: float
    num_frames: float
    quadratic_term: Doubles
    linear_term: Doubles

    @classmethod
    def from_prior(
        cls, ivector_dim: int, prior_offset: float, max_count: float
    ) -> "OnlineIvectorEstimationStats":
        """Statistics of a speaker of whom nothing is known."""
        linear = np.zeros(ivector_dim)
        linear[0] = prior_offset
        return cls(prior_offset, max_count, 0.0, pack_symmetric(np.eye(ivector_dim)), linear)

    def ivector_dim(self) -> int:
        """Dimension of the i-vectors."""
        return len(self.linear_term)

    def acc_stats(self, extractor: IvectorExtractor, features: Doubles, posteriors: Doubles) -> None:
        """Adds frames.

        Args:
            extractor: the model.
            features: (frames, feat_dim).
            posteriors: (frames, gaussians), scaled and weighted; negative ones take frames back.
        """
        active = np.flatnonzero(posteriors.any(axis=0))
        posteriors = posteriors[:, active]
        first_order = posteriors.T @ features
        self.linear_term += first_order.reshape(-1) @ extractor.linear[active].reshape(
            -1, extractor.ivector_dim()
        )
        self.quadratic_term += posteriors.sum(axis=0) @ extractor.quadratic[active]
        old_scale = self._prior_scale()
        self.num_frames += float(posteriors.sum())
        if self.max_count > 0.0:
            self._add_prior(self._prior_scale() - old_scale)

    def scale(self, factor: float) -> None:
        """Forgets a part (0 <= factor <= 1) of the frames; the prior stays whole."""
        old_scale = factor * self._prior_scale()
        self.num_frames *= factor
        self.quadratic_term *= factor
        self.linear_term *= factor
        self._add_prior(self._prior_scale() - old_scale)

    def get_ivector(self, num_cg_iters: int, ivector: Doubles) -> Doubles:
        """Improves an estimate by steps of conjugate gradient; returns the new one, (dim,), float64."""
        if self.num_frames <= 0.0:
            default = np.zeros_like(self.linear_term)
            default[0] = self.prior_offset
            return default
        start = ivector.copy()
        if start[0] == 0.0:
            start[0] = self.prior_offset
        return linear_cgd(self.quadratic_term, self.linear_term, start, num_cg_iters)

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineIvectorEstimationStats":
        """Reads Kaldi's form, also the older one without ``<MaxCount>``.

        Raises:
            ModelFormatError: the statistics are damaged or not finite.
        """
        reader.expect_token("<OnlineIvectorEstimationStats>")
        reader.expect_token("<PriorOffset>")
        prior_offset = reader.read_float()
        max_count = 0.0
        if reader.expect_token("<MaxCount>", "<NumFrames>") == "<MaxCount>":
            max_count = reader.read_float()
            reader.expect_token("<NumFrames>")
        num_frames = reader.read_float()
        reader.expect_token("<QuadraticTerm>")
        start = reader.offset
        quadratic = reader.read_packed().astype(np.float64)
        reader.expect_token("<LinearTerm>")
        linear = reader.read_vector().astype(np.float64)
        reader.expect_token("</OnlineIvectorEstimationStats>")
        dim = len(linear)
        if dim == 0 or len(quadratic) != dim * (dim + 1) // 2:
            raise reader.error("a square and a linear term of one dimension", "others", start)
        scalars = (prior_offset, max_count, num_frames)
        if not (np.isfinite(quadratic).all() and np.isfinite(linear).all() and np.isfinite(scalars).all()):
            raise reader.error("finite statistics", "NaN or infinity", start)
        return cls(prior_offset, max_count, num_frames, quadratic, linear)

    def write(self, writer: KaldiWriter) -> None:
        """Writes Kaldi's form."""
        writer.write_token("<OnlineIvectorEstimationStats>")
        writer.write_token("<PriorOffset>")
        writer.write_float(self.prior_offset, double=True)
        writer.write_token("<MaxCount>")
        writer.write_float(self.max_count, double=True)
        writer.write_token("<NumFrames>")
        writer.write_float(self.num_frames, double=True)
        writer.write_token("<QuadraticTerm>")
        writer.write_packed(self.quadratic_term)
        writer.write_token("<LinearTerm>")
        writer.write_vector(self.linear_term)
        writer.write_token("</OnlineIvectorEstimationStats>")

    def copy(self) -> "OnlineIvectorEstimationStats":
        """Returns an independent copy."""
        return OnlineIvectorEstimationStats(
            self.prior_offset,
            self.max_count,
            self.num_frames,
            self.quadratic_term.copy(),
            self.linear_term.copy(),
        )

    def _prior_scale(self) -> float:
        return max(self.num_frames, self.max_count) / self.max_count if self.max_count > 0.0 else 1.0

    def _add_prior(self, factor: float) -> None:
        if factor == 0.0:
            return
        self.linear_term[0] += self.prior_offset * factor
        rows = np.arange(1, self.ivector_dim() + 1)
        self.quadratic_term[rows * (rows + 1) // 2 - 1] += factor
