#include "csrc/online2/online-ivector-feature.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "csrc/matrix/linear-cgd.h"

namespace pykaldi {

OnlineIvectorFeature::OnlineIvectorFeature(OnlineIvectorModel model, std::shared_ptr<FrameBuffer> base,
                                           OnlineCmvn cmvn, IvectorStats stats,
                                           std::optional<int64_t> history)
    : model_(std::move(model)),
      base_(std::move(base)),
      cmvn_(std::move(cmvn)),
      // LDA reads these once, in order.
      normalized_(base_->Dim(), model_.left_context + model_.right_context),
      lda_normalized_(model_.lda->OutputDim(), history),
      lda_(model_.lda->OutputDim(), history),
      stats_(std::move(stats)),
      current_(model_.extractor.ivector_dim) {
  current_[0] = stats_.prior_offset;
}

void OnlineIvectorFeature::Add(const DeltaWeights &changes, int64_t end, bool is_finished) {
  const int64_t available = base_->End();
  const int64_t ready = is_finished ? available : std::max<int64_t>(0, available - model_.right_context);
  if (end > ready) {
    throw std::out_of_range("expected frames up to " + std::to_string(ready) + ", which are ready, found " +
                            std::to_string(end));
  }
  // Frames without weights go through as well: what they come from is not kept for ever.
  Normalize(std::min(available, end + model_.right_context));
  Fill(normalized_, end, available, &lda_normalized_);
  if (!model_.adds_normalized) Fill(*base_, end, available, &lda_);
  if (changes.frames.empty()) return;
  const std::vector<float> selecting = Take(lda_normalized_, changes.frames);
  std::vector<float> others;
  if (!model_.adds_normalized) others = Take(lda_, changes.frames);
  const WeightedFrames frames{selecting.data(), model_.adds_normalized ? selecting.data() : others.data(),
                              changes.deltas.data(), static_cast<int64_t>(changes.frames.size())};
  AddWeightedFrames(model_.extractor, *model_.gaussians, frames, model_.weighting, &stats_);
}

std::vector<float> OnlineIvectorFeature::Estimate(int32_t num_cg_iters) {
  const double prior_offset = stats_.prior_offset;
  if (stats_.num_frames <= 0.0) {
    std::fill(current_.begin(), current_.end(), 0.0);
    current_[0] = prior_offset;
  } else {
    if (current_[0] == 0.0) current_[0] = prior_offset;
    current_ = LinearCgd(stats_.quadratic_term.data(), stats_.linear_term.data(), current_.data(),
                         model_.extractor.ivector_dim, num_cg_iters);
  }
  std::vector<float> ivector(current_.begin(), current_.end());
  for (size_t i = 0; i < ivector.size(); ++i) {
    if (std::isfinite(ivector[i])) continue;
    throw DecoderError("i-vector estimation: expected finite numbers, found " + std::to_string(current_[i]) +
                       " at [" + std::to_string(i) + "] of an i-vector");
  }
  ivector[0] -= static_cast<float>(prior_offset);
  return ivector;
}

const OnlineCmvn &OnlineIvectorFeature::CmvnAtEnd() {
  const int64_t counted = cmvn_.NumCounted(), end = base_->End();
  if (end > counted) cmvn_.Count(base_->Rows(counted, end), end - counted);
  return cmvn_;
}

// Normalises the frames before `end` that have not been.
void OnlineIvectorFeature::Normalize(int64_t end) {
  const int64_t begin = normalized_.End(), num_frames = end - begin;
  if (num_frames <= 0) return;
  const float *frames = base_->Rows(begin, end);
  if (!cmvn_.Frozen().empty()) {
    cmvn_.ApplyFrozen(frames, num_frames, normalized_.Append(num_frames));
    return;
  }
  const int64_t leaving = cmvn_.FirstLeaving(), num_leaving = cmvn_.NumLeaving(num_frames);
  const float *left = num_leaving > 0 ? base_->Rows(leaving, leaving + num_leaving) : nullptr;
  cmvn_.Normalize(frames, left, num_frames, normalized_.Append(num_frames));
}

// Adds to `lda` the transforms of the frames before `end`. Beyond both ends of the stream the outermost frame
// is repeated.
void OnlineIvectorFeature::Fill(const FrameBuffer &source, int64_t end, int64_t num_source_frames,
                                FrameBuffer *lda) const {
  const int64_t begin = lda->End(), num_frames = end - begin;
  if (num_frames <= 0) return;
  const int64_t first = begin - model_.left_context, last = end + model_.right_context;
  const int32_t dim = source.Dim();
  const int64_t num_missing_before = std::max<int64_t>(0, -first);
  const int64_t num_missing_after = std::max<int64_t>(0, last - num_source_frames);
  const int64_t num_there = last - first - num_missing_before - num_missing_after;
  const float *frames = source.Rows(std::max<int64_t>(0, first), std::min(last, num_source_frames));
  std::vector<float> padded;
  if (num_missing_before + num_missing_after > 0) {
    padded.reserve((last - first) * dim);
    for (int64_t i = 0; i < num_missing_before; ++i) padded.insert(padded.end(), frames, frames + dim);
    padded.insert(padded.end(), frames, frames + num_there * dim);
    const float *outermost = frames + (num_there - 1) * dim;
    for (int64_t i = 0; i < num_missing_after; ++i) padded.insert(padded.end(), outermost, outermost + dim);
    frames = padded.data();
  }
  model_.lda->Multiply(frames, dim, num_frames, lda->Append(num_frames), lda->Dim());
}

std::vector<float> OnlineIvectorFeature::Take(const FrameBuffer &lda,
                                              const std::vector<int64_t> &frames) const {
  const int32_t dim = lda.Dim();
  std::vector<float> rows;
  rows.reserve(frames.size() * dim);
  for (const int64_t frame : frames) {
    const float *row = lda.Rows(frame, frame + 1);
    rows.insert(rows.end(), row, row + dim);
  }
  return rows;
}

}  // namespace pykaldi
