"""The i-vector extractor and the statistics for one speaker (``ivector/ivector-extractor.cc``).

The mean of Gaussian g, as this speaker pronounces it, is M_g v, with v the speaker's i-vector. With the
posteriors gamma_tg of frames x_t and the prior v ~ N([prior_offset, 0, ...], I), the estimate solves

    Q v = l    with    Q = I + sum_tg gamma_tg U_g,          U_g = M_g' Sigma_g^-1 M_g
                       l = [prior_offset, 0, ...] + sum_tg gamma_tg (Sigma_g^-1 M_g)' x_t

As in Kaldi, each estimate takes a fixed number of conjugate-gradient steps from the previous one; the exact
solution would be a different i-vector. All computation is in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.errors import AdaptationStateError, DecoderError
from pykaldi_server.kaldi._core import acc_ivector_stats, linear_cgd
from pykaldi_server.kaldi.feat.online_feature import MAX_SPEAKER_FRAMES
from pykaldi_server.kaldi.util.finite import (
    read_finite_float,
    read_finite_packed,
    read_finite_vector,
    require_finite,
)
from pykaldi_server.kaldi.util.io import (
    FloatArray,
    KaldiReader,
    KaldiWriter,
    unpack_symmetric,
)

__all__ = ["IvectorExtractor", "OnlineIvectorEstimationStats"]

_Doubles = NDArray[np.float64]
_Floats = NDArray[np.float32]

_MAX_GAUSSIANS = 1 << 20
# Bounds on what audio can have: the distance of an i-vector from its prior in standard deviations, and the
# count of frames, which rounding makes slightly negative when weights are added and subtracted again.
_MAX_STANDARD_DEVIATIONS = 1000.0
_LEAST_COUNT = -1.0
_LEAST_MAX_COUNT = 1e-3


class IvectorExtractor:
    """A model of how speakers differ; immutable."""

    def __init__(
        self,
        projections: Sequence[FloatArray],
        inverse_variances: Sequence[FloatArray],
        prior_offset: float,
        weights: FloatArray | None = None,
    ):
        """Computes the products that estimation needs.

        Args:
            projections: M_g of each Gaussian, (feat_dim, ivector_dim).
            inverse_variances: lower triangle of Sigma_g^-1 of each Gaussian, (feat_dim (feat_dim + 1) / 2,).
            prior_offset: mean of the first element of i-vectors.
            weights: weights of the Gaussians, (gaussians,); not used in estimation.

        Raises:
            ValueError: there are no Gaussians, shapes do not fit together, or numbers or their products are
                not finite.
        """
        if not projections or len(projections) != len(inverse_variances):
            raise ValueError(f"{len(projections)} projections and {len(inverse_variances)} variances")
        feat_dim, ivector_dim = projections[0].shape
        if not feat_dim or any(m.shape != (feat_dim, ivector_dim) for m in projections):
            raise ValueError(f"projections of the shapes {sorted({m.shape for m in projections})}")
        if any(len(triangle) != feat_dim * (feat_dim + 1) // 2 for triangle in inverse_variances):
            raise ValueError(f"inverse variances that are not of dimension {feat_dim}")
        self._projections = [
            require_finite(m, f"the projection of Gaussian {g}", np.float64)
            for g, m in enumerate(projections)
        ]
        self._inverse_variances = [
            require_finite(triangle, f"the inverse variance of Gaussian {g}", np.float64)
            for g, triangle in enumerate(inverse_variances)
        ]
        self._prior_offset = float(require_finite(np.array(prior_offset), "the prior offset", np.float64))
        self._weights = np.full(len(projections), 1 / len(projections)) if weights is None else weights
        # Row g of `linear` is (Sigma_g^-1 M_g), of `quadratic` the lower triangle of U_g.
        self.linear = np.empty((len(projections), feat_dim, ivector_dim))
        self.quadratic = np.empty((len(projections), ivector_dim * (ivector_dim + 1) // 2))
        variance, triangle_of = np.empty((feat_dim, feat_dim)), np.tril_indices(feat_dim)
        packed = np.tril_indices(ivector_dim)
        with np.errstate(over="ignore", invalid="ignore"):
            for g, (m, triangle) in enumerate(zip(self._projections, self._inverse_variances, strict=True)):
                variance[triangle_of] = variance.T[triangle_of] = triangle
                np.matmul(variance, m, out=self.linear[g])
                self.quadratic[g] = (m.T @ self.linear[g])[packed]
        require_finite(self.linear, "the products of inverse variances and projections", np.float64)
        require_finite(self.quadratic, "the products of projections and inverse variances", np.float64)
        self._largest_quadratic = float(np.abs(self.quadratic).max())

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

    def largest_quadratic(self) -> float:
        """Largest element of all U_g."""
        return self._largest_quadratic

    @classmethod
    def read(cls, reader: KaldiReader) -> "IvectorExtractor":
        """Reads ``final.ie``.

        Raises:
            ModelFormatError: the file is damaged, or its weights depend on the i-vector, which Kaldi's online
                estimation does not support either.
        """
        reader.expect_token("<IvectorExtractor>")
        reader.expect_token("<w>")
        start = reader.offset
        if reader.read_matrix().size:
            raise reader.error("weights that do not depend on the i-vector", "a weight projection", start)
        reader.expect_token("<w_vec>")
        weights = read_finite_vector(reader, "the weights", np.float64)
        reader.expect_token("<M>")
        size = reader.read_count("Gaussians", at_most=_MAX_GAUSSIANS)
        start = reader.offset
        projections = [reader.read_matrix() for _ in range(size)]
        reader.expect_token("<SigmaInv>")
        inverse_variances = [reader.read_packed() for _ in range(size)]
        reader.expect_token("<IvectorOffset>")
        prior_offset = read_finite_float(reader, "the prior offset")
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
        max_count: above this number of (scaled) frames, the prior grows in proportion, so that it keeps its
            influence; 0 for never.
        num_frames: sum of the posteriors so far.
        quadratic_term: Q, lower triangle by rows, (dim (dim + 1) / 2,), float64.
        linear_term: l, (dim,), float64.
    """

    prior_offset: float
    max_count: float
    num_frames: float
    quadratic_term: _Doubles
    linear_term: _Doubles

    @classmethod
    def from_prior(
        cls, ivector_dim: int, prior_offset: float, max_count: float
    ) -> "OnlineIvectorEstimationStats":
        """Returns the statistics of an unknown speaker."""
        linear = np.zeros(ivector_dim)
        linear[0] = prior_offset
        quadratic = np.zeros(ivector_dim * (ivector_dim + 1) // 2)
        quadratic[_diagonal(ivector_dim)] = 1.0
        return cls(prior_offset, max_count, 0.0, quadratic, linear)

    def ivector_dim(self) -> int:
        """Dimension of the i-vectors."""
        return len(self.linear_term)

    def check(self, extractor: IvectorExtractor) -> None:
        """Checks that audio can have these statistics with this extractor.

        Raises:
            AdaptationStateError: they belong to another extractor, or cannot come from audio.
        """
        if self.ivector_dim() != extractor.ivector_dim():
            raise AdaptationStateError(
                f"adaptation state: expected i-vectors of {extractor.ivector_dim()}, "
                f"found {self.ivector_dim()}"
            )
        offset = extractor.prior_offset()
        if abs(self.prior_offset - offset) > 1e-3 * max(1.0, abs(offset)):
            raise AdaptationStateError(
                f"adaptation state: expected the prior offset {offset:g}, found "
                f"{self.prior_offset:g}: it belongs "
                "to another extractor"
            )
        if not _LEAST_COUNT <= self.num_frames <= MAX_SPEAKER_FRAMES:
            raise AdaptationStateError(
                f"adaptation state: expected 0 to {MAX_SPEAKER_FRAMES:g} frames, found {self.num_frames:g}"
            )
        if self.max_count != 0 and not _LEAST_MAX_COUNT <= self.max_count <= MAX_SPEAKER_FRAMES:
            raise AdaptationStateError(
                f"adaptation state: expected a maximum count of 0 or at least {_LEAST_MAX_COUNT:g}, "
                f"found {self.max_count:g}"
            )
        self._check_estimate(MAX_SPEAKER_FRAMES * (1 + extractor.largest_quadratic()))

    def _check_estimate(self, largest_quadratic: float) -> None:
        found = float(np.abs(self.quadratic_term).max())
        if found > largest_quadratic:
            raise AdaptationStateError(
                f"adaptation state: expected a quadratic term up to {largest_quadratic:g}, found {found:g}"
            )
        quadratic = unpack_symmetric(self.quadratic_term)
        try:
            np.linalg.cholesky(quadratic)
            ivector = np.linalg.solve(quadratic, self.linear_term)
        except np.linalg.LinAlgError:
            raise AdaptationStateError(
                "adaptation state: expected a positive definite quadratic term, found one that is not"
            ) from None
        ivector[0] -= self.prior_offset
        furthest = float(np.abs(ivector).max())
        if not furthest <= _MAX_STANDARD_DEVIATIONS:
            raise AdaptationStateError(
                f"adaptation state: expected an i-vector within {_MAX_STANDARD_DEVIATIONS:g} standard "
                f"deviations of its prior, found {furthest:g}"
            )

    def acc_stats(self, extractor: IvectorExtractor, features: _Floats, posteriors: _Floats) -> None:
        """Adds frames.

        Args:
            extractor: the model.
            features: (frames, feat_dim), float32.
            posteriors: (frames, gaussians), float32, scaled and weighted; negative ones take frames away
                again.

        Raises:
            DecoderError: a sum is not finite, because features or parameters are too large.
        """
        self.linear_term, self.quadratic_term, num_frames = acc_ivector_stats(
            features,
            posteriors,
            extractor.linear,
            extractor.quadratic,
            self.linear_term,
            self.quadratic_term,
        )
        old_scale = self._prior_scale()
        self.num_frames += num_frames
        if self.max_count > 0.0:
            self._add_prior(self._prior_scale() - old_scale)

    def scale(self, factor: float) -> None:
        """Scales the frames by ``factor``, which is not negative; the prior is not scaled."""
        old_scale = factor * self._prior_scale()
        self.num_frames *= factor
        self.quadratic_term *= factor
        self.linear_term *= factor
        self._add_prior(self._prior_scale() - old_scale)

    def get_ivector(self, num_cg_iters: int, ivector: _Doubles) -> _Doubles:
        """Improves an estimate by conjugate-gradient steps and returns the new one, (dim,) float64.

        Raises:
            DecoderError: the estimate is not finite in single precision.
        """
        if self.num_frames <= 0.0:
            default = np.zeros_like(self.linear_term)
            default[0] = self.prior_offset
            return default
        start = ivector.copy()
        if start[0] == 0.0:
            start[0] = self.prior_offset
        estimate = linear_cgd(self.quadratic_term, self.linear_term, start, num_cg_iters)
        try:
            require_finite(estimate, "an i-vector", np.float32)
        except ValueError as error:
            raise DecoderError(f"i-vector estimation: expected finite numbers, found {error}") from None
        return estimate

    @classmethod
    def read(cls, reader: KaldiReader) -> "OnlineIvectorEstimationStats":
        """Reads Kaldi's form, including the older one without ``<MaxCount>``.

        Raises:
            ModelFormatError: the statistics are damaged or not finite.
        """
        reader.expect_token("<OnlineIvectorEstimationStats>")
        reader.expect_token("<PriorOffset>")
        prior_offset = read_finite_float(reader, "the prior offset")
        max_count = 0.0
        if reader.expect_token("<MaxCount>", "<NumFrames>") == "<MaxCount>":
            max_count = read_finite_float(reader, "the maximum count")
            reader.expect_token("<NumFrames>")
        num_frames = read_finite_float(reader, "the number of frames")
        reader.expect_token("<QuadraticTerm>")
        start = reader.offset
        # Copies, because arrays that were read are read-only.
        quadratic = read_finite_packed(reader, "the quadratic term", np.float64).copy()
        reader.expect_token("<LinearTerm>")
        linear = read_finite_vector(reader, "the linear term", np.float64).copy()
        reader.expect_token("</OnlineIvectorEstimationStats>")
        dim = len(linear)
        if dim == 0 or len(quadratic) != dim * (dim + 1) // 2:
            raise reader.error(
                f"{dim * (dim + 1) // 2} numbers in the quadratic term of {dim} dimensions",
                str(len(quadratic)),
                start,
            )
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
        self.quadratic_term[_diagonal(self.ivector_dim())] += factor


def _diagonal(dim: int) -> NDArray[np.intp]:
    """Where a lower triangle by rows has the diagonal of its matrix, (dim,)."""
    rows = np.arange(1, dim + 1)
    return rows * (rows + 1) // 2 - 1
