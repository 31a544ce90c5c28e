// The i-vectors of one stream, from its base features and the weights of its frames.
//
// Two chains of features lead to an i-vector:
//
//     CMVN -> splice -> LDA    selects the Gaussians (posteriors)
//             splice -> LDA    is what is added to the statistics
//
// A frame is added when its weight becomes known, and taken away again in part when the weight changes, so
// both chains keep frames that may still change. A block of frames is one pass through all of this.
// Source: OnlineIvectorFeature in Kaldi's online2/online-ivector-feature.cc.
#ifndef PYKALDI_SERVER_ONLINE2_ONLINE_IVECTOR_FEATURE_H_
#define PYKALDI_SERVER_ONLINE2_ONLINE_IVECTOR_FEATURE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/feat/frame-buffer.h"
#include "csrc/feat/online-cmvn.h"
#include "csrc/gmm/gaussian-posteriors.h"
#include "csrc/ivector/ivector-stats.h"
#include "csrc/matrix/packed-product.h"
#include "csrc/online2/silence-weighting.h"

namespace pykaldi {

// What all streams share; immutable. Whoever makes streams keeps the extractor's numbers for as long.
struct OnlineIvectorModel {
  std::shared_ptr<const PackedProduct> lda;  // of left_context + 1 + right_context frames
  std::shared_ptr<const GaussianPosteriors> gaussians;
  IvectorExtractorView extractor;
  int32_t left_context = 0, right_context = 0;
  bool adds_normalized = false;  // the statistics are of normalised frames, too
  WeightedFramesOptions weighting;
};

// Belongs to one stream.
class OnlineIvectorFeature {
 public:
  using Use = ConcurrentUse<DecoderError>;

  // Starts a stream.
  //   base: the features. They must keep as many frames as CMVN looks back.
  //   cmvn, stats: what is known of the speaker.
  //   history: how many frames behind the newest one may still change their weights; without a number, all.
  OnlineIvectorFeature(OnlineIvectorModel model, std::shared_ptr<FrameBuffer> base, OnlineCmvn cmvn,
                       IvectorStats stats, std::optional<int64_t> history);

  // Adds frames to the statistics.
  //   changes: the frames, in any order, and what their weights change by; none is 0.
  //   end: all chains advance to this frame, which bounds the frames of `changes`.
  //   is_finished: the base features are complete.
  // Throws std::out_of_range for a frame that is not ready or not kept, DecoderError if a sum is not finite.
  void Add(const DeltaWeights &changes, int64_t end, bool is_finished);

  // Improves the estimate of the i-vector and returns it without the prior's mean. Throws DecoderError if it
  // is not finite.
  std::vector<float> Estimate(int32_t num_cg_iters);

  // Returns what has been learned by the end of the base features.
  const OnlineCmvn &CmvnAtEnd();
  const IvectorStats &Stats() const { return stats_; }

  const FrameBuffer &Base() const { return *base_; }
  Use *Guard() const { return &use_; }

 private:
  void Fill(const FrameBuffer &source, int64_t end, int64_t num_source_frames, FrameBuffer *lda) const;
  void Normalize(int64_t end);
  std::vector<float> Take(const FrameBuffer &lda, const std::vector<int64_t> &frames) const;

  OnlineIvectorModel model_;
  std::shared_ptr<FrameBuffer> base_;
  OnlineCmvn cmvn_;
  FrameBuffer normalized_, lda_normalized_, lda_;
  IvectorStats stats_;
  std::vector<double> current_;  // the newest estimate
  mutable Use use_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_ONLINE2_ONLINE_IVECTOR_FEATURE_H_
