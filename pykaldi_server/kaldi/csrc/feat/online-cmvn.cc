#include "csrc/feat/online-cmvn.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace pykaldi {
namespace {

constexpr double kVarianceFloor = 1e-20;

}  // namespace

OnlineCmvn::OnlineCmvn(int32_t dim, OnlineCmvnOptions opts, CmvnPriors priors)
    : dim_(dim),
      opts_(std::move(opts)),
      priors_(std::move(priors)),
      window_(2 * (dim + 1)),
      total_(2 * (dim + 1)),
      filled_up_(2 * (dim + 1)) {}

int64_t OnlineCmvn::FirstLeaving() const { return std::max<int64_t>(0, num_normalized_ - opts_.window); }

int64_t OnlineCmvn::NumLeaving(int64_t num_frames) const {
  return std::max<int64_t>(0, num_normalized_ + num_frames - opts_.window) - FirstLeaving();
}

void OnlineCmvn::Normalize(const float *frames, const float *leaving, int64_t num_frames, float *out) {
  const int64_t counted = std::clamp<int64_t>(num_counted_ - num_normalized_, 0, num_frames);
  Count(frames + counted * dim_, num_frames - counted);
  for (int64_t t = 0; t < num_frames; ++t, frames += dim_, out += dim_) {
    Add(frames, 1.0, window_.data());
    if (num_normalized_ >= opts_.window) {
      Add(leaving, -1.0, window_.data());
      leaving += dim_;
    }
    ++num_normalized_;
    window_[dim_] = static_cast<double>(std::min(num_normalized_, opts_.window));
    filled_up_ = window_;
    FillUp(&filled_up_);
    Apply(filled_up_, frames, out);
  }
}

void OnlineCmvn::ApplyFrozen(const float *frames, int64_t num_frames, float *out) const {
  for (int64_t t = 0; t < num_frames; ++t) Apply(priors_.frozen, frames + t * dim_, out + t * dim_);
}

void OnlineCmvn::Freeze(const float *frames, int64_t num_frames) {
  CmvnStats stats(2 * (dim_ + 1));
  for (int64_t t = 0; t < num_frames; ++t) Add(frames + t * dim_, 1.0, stats.data());
  stats[dim_] = static_cast<double>(num_frames);
  FillUp(&stats);
  priors_.frozen = std::move(stats);
}

void OnlineCmvn::Count(const float *frames, int64_t num_frames) {
  double *sums = total_.data(), *squares = sums + dim_ + 1;
  for (int64_t t = 0; t < num_frames; ++t, frames += dim_) {
    for (int32_t d = 0; d < dim_; ++d) {
      const double value = frames[d];
      sums[d] += value;
      squares[d] += value * value;
    }
  }
  sums[dim_] += static_cast<double>(num_frames);
  num_counted_ += num_frames;
}

// Adds a frame to sums, or takes it away.
void OnlineCmvn::Add(const float *frame, double sign, double *sums) const {
  for (int32_t d = 0; d < dim_; ++d) sums[d] += sign * frame[d];
  if (!opts_.normalize_variance) return;
  double *squares = sums + dim_ + 1;
  for (int32_t d = 0; d < dim_; ++d) squares[d] += sign * (static_cast<double>(frame[d]) * frame[d]);
}

// Adds of the priors what the window misses.
void OnlineCmvn::FillUp(CmvnStats *stats) const {
  double &count = (*stats)[dim_];
  const double window = static_cast<double>(opts_.window);
  if (count >= window) return;
  // Kaldi does not fill up the squares if it does not need them and has speaker statistics.
  const int32_t num_rows = HasSpeaker() ? NumRows() : 2;
  const std::pair<const CmvnStats &, int64_t> priors[] = {{priors_.speaker, opts_.speaker_frames},
                                                          {priors_.global, opts_.global_frames}};
  for (const auto &[prior, limit] : priors) {
    if (prior.empty() || prior[dim_] <= 0) continue;
    double missing = std::min(window - count, static_cast<double>(limit));
    if (&prior == &priors_.speaker) missing = std::min(missing, prior[dim_]);
    const double scale = std::max(missing, 0.0) / prior[dim_];
    for (int32_t i = 0; i < num_rows * (dim_ + 1); ++i) (*stats)[i] += scale * prior[i];
  }
}

void OnlineCmvn::Apply(const CmvnStats &stats, const float *frame, float *out) const {
  if (!opts_.normalize_mean) {
    std::copy_n(frame, dim_, out);
    return;
  }
  const double count = stats[dim_];
  const double *sums = stats.data(), *squares = sums + dim_ + 1;
  if (!opts_.normalize_variance) {
    for (int32_t d = 0; d < dim_; ++d) out[d] = frame[d] - static_cast<float>(sums[d] / count);
  } else {
    for (int32_t d = 0; d < dim_; ++d) {
      const double mean = sums[d] / count;
      const double variance = std::max(squares[d] / count - mean * mean, kVarianceFloor);
      const double scale = 1.0 / std::sqrt(variance);
      out[d] = frame[d] * static_cast<float>(scale) - static_cast<float>(mean * scale);
    }
  }
  for (const int32_t skipped : opts_.skip_dims) out[skipped] = frame[skipped];
}

}  // namespace pykaldi
