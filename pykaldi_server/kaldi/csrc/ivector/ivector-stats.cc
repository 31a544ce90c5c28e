#include "csrc/ivector/ivector-stats.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "csrc/base/error.h"
#include "csrc/base/finite.h"

namespace pykaldi {
namespace {

// y += factor x; compilers turn this into the widest vectors that the caller may use.
KERNEL_INLINE void AddScaled(double factor, const double *x, int64_t size, double *__restrict y) {
  for (int64_t i = 0; i < size; ++i) y[i] += factor * x[i];
}

struct Terms {
  double *linear, *quadratic;
};

KERNEL_INLINE double AccStats(const IvectorExtractorView &extractor, const float *features,
                              const float *posteriors, int64_t num_frames, const Terms &terms) {
  const int64_t feat_dim = extractor.feat_dim, ivector_dim = extractor.ivector_dim;
  double total = 0.0;
  std::vector<double> first_order(feat_dim);
  for (int64_t g = 0; g < extractor.num_gauss; ++g) {
    double count = 0.0;
    bool is_used = false;
    for (int64_t frame = 0; frame < num_frames; ++frame) {
      const double posterior = posteriors[frame * extractor.num_gauss + g];
      if (posterior == 0.0) continue;
      if (!is_used) std::fill(first_order.begin(), first_order.end(), 0.0);
      is_used = true;
      count += posterior;
      const float *x = features + frame * feat_dim;
      for (int64_t d = 0; d < feat_dim; ++d) first_order[d] += posterior * x[d];
    }
    if (!is_used) continue;
    total += count;
    const double *linear = extractor.linear + g * feat_dim * ivector_dim;
    for (int64_t d = 0; d < feat_dim; ++d, linear += ivector_dim) {
      AddScaled(first_order[d], linear, ivector_dim, terms.linear);
    }
    AddScaled(count, extractor.quadratic + g * extractor.Triangle(), extractor.Triangle(), terms.quadratic);
  }
  return total;
}

struct Accumulation {
  const IvectorExtractorView &extractor;
  const float *features, *posteriors;
  int64_t num_frames;
  Terms terms;
  double *total;

  template <class Vector>
  KERNEL_INLINE void Run() const {
    *total = AccStats(extractor, features, posteriors, num_frames, terms);
  }
};

void CheckFinite(const double *sums, int64_t size) {
  if (AllFinite(sums, size)) return;
  int64_t i = 0;
  while (std::isfinite(sums[i])) ++i;
  throw DecoderError("i-vector statistics: expected finite sums, found " + std::to_string(sums[i]) + " at [" +
                     std::to_string(i) + "]");
}

double PriorScale(const IvectorStats &stats) {
  return stats.max_count > 0.0 ? std::max(stats.num_frames, stats.max_count) / stats.max_count : 1.0;
}

void AddPrior(double factor, IvectorStats *stats) {
  if (factor == 0.0) return;
  stats->linear_term[0] += stats->prior_offset * factor;
  size_t diagonal = 0;
  for (size_t row = 0; row < stats->linear_term.size(); diagonal += ++row + 1) {
    stats->quadratic_term[diagonal] += factor;
  }
}

}  // namespace

double AccIvectorStats(const IvectorExtractorView &extractor, const float *features, const float *posteriors,
                       int64_t num_frames, double *linear_term, double *quadratic_term, CpuKernels kernels) {
  double total = 0.0;
  RunFor(kernels,
         Accumulation{extractor, features, posteriors, num_frames, {linear_term, quadratic_term}, &total});
  CheckFinite(linear_term, extractor.ivector_dim);
  CheckFinite(quadratic_term, extractor.Triangle());
  return total;
}

void AddWeightedFrames(const IvectorExtractorView &extractor, const GaussianPosteriors &gaussians,
                       const WeightedFrames &frames, const WeightedFramesOptions &opts, IvectorStats *stats) {
  constexpr float kMaxMinPost = 0.99f;  // of a frame with a tiny weight
  const int64_t num_frames = frames.num_frames, num_gauss = extractor.num_gauss;
  std::vector<float> min_post(num_frames), posteriors(num_frames * num_gauss);
  for (int64_t frame = 0; frame < num_frames; ++frame) {
    min_post[frame] = std::min(opts.min_post / std::abs(frames.weights[frame]), kMaxMinPost);
  }
  gaussians.Compute(frames.selecting, num_frames, opts.num_gselect, min_post.data(), posteriors.data());
  for (int64_t frame = 0; frame < num_frames; ++frame) {
    const float weight = opts.posterior_scale * frames.weights[frame];
    float *row = posteriors.data() + frame * num_gauss;
    for (int64_t g = 0; g < num_gauss; ++g) row[g] *= weight;
  }
  const double old_scale = PriorScale(*stats);
  stats->num_frames +=
      AccIvectorStats(extractor, frames.features, posteriors.data(), num_frames, stats->linear_term.data(),
                      stats->quadratic_term.data(), gaussians.Kernels());
  AddPrior(PriorScale(*stats) - old_scale, stats);
}

}  // namespace pykaldi
