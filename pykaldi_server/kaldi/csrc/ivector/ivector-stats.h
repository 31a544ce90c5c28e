// Adds frames to the statistics from which an i-vector is estimated.
//
// With posteriors gamma_tg of frames x_t, and the extractor's constants A_g (linear) and U_g (quadratic),
//
//     l += sum_tg gamma_tg A_g' x_t,   Q += sum_tg gamma_tg U_g
//
// Frames are summed up for each Gaussian first, so that A_g and U_g are read once for a block.
// Source: OnlineIvectorEstimationStats::AccStats in Kaldi's ivector/ivector-extractor.cc.
#ifndef PYKALDI_SERVER_IVECTOR_IVECTOR_STATS_H_
#define PYKALDI_SERVER_IVECTOR_IVECTOR_STATS_H_

#include <cstdint>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/gmm/gaussian-posteriors.h"

namespace pykaldi {

struct IvectorExtractorView {
  const double *linear;     // (num_gauss, feat_dim, ivector_dim)
  const double *quadratic;  // (num_gauss, triangle), lower triangles by rows
  int32_t num_gauss, feat_dim, ivector_dim;

  int64_t Triangle() const { return static_cast<int64_t>(ivector_dim) * (ivector_dim + 1) / 2; }
};

// Adds a block of frames and returns the sum of the posteriors. Throws DecoderError if a sum is not finite.
//   features: (num_frames, feat_dim), by rows.
//   posteriors: (num_frames, num_gauss), by rows; 0 for most. Negative ones take frames away again.
//   linear_term: l, (ivector_dim).
//   quadratic_term: Q, lower triangle by rows.
double AccIvectorStats(const IvectorExtractorView &extractor, const float *features, const float *posteriors,
                       int64_t num_frames, double *linear_term, double *quadratic_term, CpuKernels kernels);

// The sums of one speaker. Above `max_count` frames, the prior grows in proportion, so that it keeps its
// influence.
struct IvectorStats {
  double prior_offset = 0;  // mean of the first element of i-vectors
  double max_count = 0;     // 0 for never
  double num_frames = 0;    // sum of the posteriors so far
  std::vector<double> quadratic_term;
  std::vector<double> linear_term;
};

struct WeightedFramesOptions {
  int32_t num_gselect = 5;  // Gaussians per frame
  float min_post = 0;       // posteriors below it, divided by the frame's weight, are dropped
  float posterior_scale = 1;
};

// Frames, and the weights with which they are added; negative ones take them away again.
struct WeightedFrames {
  const float *selecting;  // (num_frames, feat_dim), by rows: what posteriors are computed from
  const float *features;   // (num_frames, feat_dim), by rows: what is added
  const float *weights;    // (num_frames), none of them 0
  int64_t num_frames;
};

// Computes the posteriors of a block of frames, adds it, and lets the prior grow. Throws DecoderError if a
// sum is not finite.
void AddWeightedFrames(const IvectorExtractorView &extractor, const GaussianPosteriors &gaussians,
                       const WeightedFrames &frames, const WeightedFramesOptions &opts, IvectorStats *stats);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_IVECTOR_IVECTOR_STATS_H_
