// Cepstral mean and variance normalisation of a stream of frames.
//
// The mean of frame t comes from the last `window` frames up to t. Near the start of a stream, where there
// are fewer, statistics of the speaker's earlier streams and then of many speakers fill the window up:
//
//     S_t = sum of the window + a S_speaker + b S_global,    y_t = x_t - S_t / count
//
// where a and b scale the others to the frames that are missing, within limits. A row of statistics has the
// sums of the dimensions and then the count of frames; a second row has the sums of squares and then 0.
// Source: OnlineCmvn in Kaldi's feat/online-feature.cc.
#ifndef PYKALDI_SERVER_FEAT_ONLINE_CMVN_H_
#define PYKALDI_SERVER_FEAT_ONLINE_CMVN_H_

#include <cstdint>
#include <vector>

namespace pykaldi {

struct OnlineCmvnOptions {
  int64_t window = 600;          // frames
  int64_t speaker_frames = 600;  // at most, from the speaker's statistics
  int64_t global_frames = 200;   // at most, from the global statistics
  bool normalize_mean = true;
  bool normalize_variance = false;
  std::vector<int32_t> skip_dims;  // left as they are
};

// Two rows of dim + 1 elements, or nothing.
using CmvnStats = std::vector<double>;

// What is known when a stream begins.
struct CmvnPriors {
  CmvnStats speaker;
  CmvnStats global;  // never empty; its count is above 0
  CmvnStats frozen;  // replace the window, unless they are empty
};

// The state of one stream. It keeps no frames: whoever has them gives those that enter the window, and those
// that leave it.
class OnlineCmvn {
 public:
  OnlineCmvn(int32_t dim, OnlineCmvnOptions opts, CmvnPriors priors);

  int32_t Dim() const { return dim_; }
  // Number of frames that Normalize has had.
  int64_t NumNormalized() const { return num_normalized_; }
  // Number of the first frame that leaves the window when the next ones are normalised.
  int64_t FirstLeaving() const;
  // Number of the frames that leave it when `num_frames` are.
  int64_t NumLeaving(int64_t num_frames) const;

  // Normalises the next frames.
  //   frames: (num_frames, Dim()), by rows.
  //   leaving: (NumLeaving(num_frames), Dim()): those from FirstLeaving() on.
  //   out: receives (num_frames, Dim()).
  void Normalize(const float *frames, const float *leaving, int64_t num_frames, float *out);

  // Normalises any frames with the frozen statistics, which there must be.
  void ApplyFrozen(const float *frames, int64_t num_frames, float *out) const;

  // Freezes the statistics as they are at the end of these frames, which are a window.
  void Freeze(const float *frames, int64_t num_frames);

  // Sums over all frames of the stream: those that were normalised, and others that Count has had before
  // them.
  int64_t NumCounted() const { return num_counted_; }
  void Count(const float *frames, int64_t num_frames);
  const CmvnStats &Total() const { return total_; }

  const CmvnStats &Frozen() const { return priors_.frozen; }
  bool HasSpeaker() const { return !priors_.speaker.empty(); }

 private:
  int32_t NumRows() const { return opts_.normalize_variance ? 2 : 1; }
  void Add(const float *frame, double sign, double *sums) const;
  void FillUp(CmvnStats *stats) const;
  void Apply(const CmvnStats &stats, const float *frame, float *out) const;

  int32_t dim_;
  OnlineCmvnOptions opts_;
  CmvnPriors priors_;
  CmvnStats window_;  // sums over the window of the newest normalised frame; squares only if they are needed
  CmvnStats total_;
  CmvnStats filled_up_;  // space for Normalize
  int64_t num_normalized_ = 0;
  int64_t num_counted_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_ONLINE_CMVN_H_
