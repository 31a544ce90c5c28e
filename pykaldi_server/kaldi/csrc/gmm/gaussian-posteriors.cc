#include "csrc/gmm/gaussian-posteriors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pykaldi {
namespace {

struct ScoredGaussian {
  float score;
  int32_t gaussian;
};

// W of the product: means_invvars, then -1/2 inv_vars.
std::vector<float> LinearAndSquare(const float *means_invvars, const float *inv_vars, int32_t num_gauss,
                                   int32_t dim) {
  std::vector<float> weight;
  weight.reserve(2 * static_cast<size_t>(num_gauss) * dim);
  for (int64_t g = 0; g < num_gauss; ++g) {
    weight.insert(weight.end(), means_invvars + g * dim, means_invvars + (g + 1) * dim);
    for (int64_t d = 0; d < dim; ++d) weight.push_back(-0.5f * inv_vars[g * dim + d]);
  }
  return weight;
}

ProductEpilogue Bias(const float *bias) {
  ProductEpilogue epilogue;
  epilogue.bias = bias;
  return epilogue;
}

// Finds up to `size` best ones, the best one first; of equal ones the later, as Kaldi does. A score that is
// not a number comes before all others.
void FindBest(const float *scores, int32_t num_gauss, int32_t size, std::vector<ScoredGaussian> *best) {
  best->clear();
  for (int32_t g = 0; g < num_gauss; ++g) {
    const float score = scores[g];
    const bool is_number = score == score;
    if (static_cast<int32_t>(best->size()) == size) {
      if (is_number && !(score >= best->back().score)) continue;
      best->pop_back();
    }
    auto place = best->end();
    while (place != best->begin() && (!is_number || score >= (place - 1)->score)) --place;
    best->insert(place, {score, g});
  }
}

}  // namespace

GaussianPosteriors::GaussianPosteriors(const float *means_invvars, const float *inv_vars,
                                       const float *gconsts, int32_t num_gauss, int32_t dim,
                                       CpuKernels kernels)
    : dim_(dim),
      product_(LinearAndSquare(means_invvars, inv_vars, num_gauss, dim).data(), 2 * dim, num_gauss, 2 * dim,
               Bias(gconsts), kernels) {}

void GaussianPosteriors::Compute(const float *features, int64_t num_frames, int32_t num_gselect,
                                 const float *min_post, float *posteriors) const {
  const int64_t num_gauss = NumGauss();
  std::vector<float> inputs(2 * num_frames * dim_);
  for (int64_t frame = 0; frame < num_frames; ++frame) {
    const float *x = features + frame * dim_;
    float *input = inputs.data() + frame * 2 * dim_;
    for (int32_t d = 0; d < dim_; ++d) {
      input[d] = x[d];
      input[dim_ + d] = x[d] * x[d];
    }
  }
  product_.Multiply(inputs.data(), 2 * dim_, num_frames, posteriors, num_gauss);

  std::vector<ScoredGaussian> best;
  for (int64_t frame = 0; frame < num_frames; ++frame, posteriors += num_gauss) {
    FindBest(posteriors, static_cast<int32_t>(num_gauss), num_gselect, &best);
    const float highest = best.front().score;
    if (!std::isfinite(highest)) {
      std::fill_n(posteriors, num_gauss, std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    std::fill_n(posteriors, num_gauss, 0.0f);
    const float floor = min_post[frame];
    float total = 0.0f;
    for (ScoredGaussian &each : best) {
      each.score = std::exp(each.score - highest);
      if (each.score <= floor) each.score = 0.0f;
      total += each.score;
    }
    // The best one has the value 1, so it always survives.
    const float least = std::min(floor * total, 1.0f);
    total = 0.0f;
    for (ScoredGaussian &each : best) {
      if (each.score < least) each.score = 0.0f;
      total += each.score;
    }
    for (const ScoredGaussian &each : best) posteriors[each.gaussian] = each.score / total;
  }
}

}  // namespace pykaldi
