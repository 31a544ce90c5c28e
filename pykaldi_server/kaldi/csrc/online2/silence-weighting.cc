#include "csrc/online2/silence-weighting.h"

#include <algorithm>
#include <string>
#include <utility>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr int32_t kNoTraceback = -1;
constexpr int32_t kMaxSubsampling = 1000;

}  // namespace

SilenceWeighting::SilenceWeighting(std::vector<uint8_t> is_silence, const SilenceWeightingOptions &opts)
    : is_silence_(std::move(is_silence)), opts_(opts) {
  if (opts.subsampling < 1 || opts.subsampling > kMaxSubsampling) {
    throw ConfigError("frame-subsampling-factor: expected 1 to " + std::to_string(kMaxSubsampling) +
                      ", found " + std::to_string(opts.subsampling));
  }
}

void SilenceWeighting::SetTraceback(int64_t num_frames_decoded, int64_t first, const int32_t *transition_ids,
                                    int64_t size) {
  if (num_frames_decoded < 0 || num_frames_decoded > kMaxFrames || first < 0 || first > num_frames_decoded ||
      size > num_frames_decoded - first) {
    throw DecoderError("silence weighting: expected a path within 0 to " + std::to_string(kMaxFrames) +
                       " frames, found " + std::to_string(size) + " frames from " + std::to_string(first) +
                       " of " + std::to_string(num_frames_decoded));
  }
  for (int64_t i = 0; i < size; ++i) {
    if (transition_ids[i] < 0 || transition_ids[i] >= static_cast<int64_t>(is_silence_.size())) {
      throw DecoderError("silence weighting: expected transition-ids below " +
                         std::to_string(is_silence_.size()) + ", found " + std::to_string(transition_ids[i]));
    }
  }
  Grow(num_frames_decoded);
  std::copy_n(transition_ids, size, transition_ids_.begin() + first);
}

DeltaWeights SilenceWeighting::GetDeltaWeights(int64_t num_frames_ready, int64_t first_input_frame) {
  if (first_input_frame < 0 || num_frames_ready < 0 || first_input_frame > kMaxFrames * kMaxSubsampling ||
      num_frames_ready - first_input_frame > kMaxFrames) {
    throw DecoderError("silence weighting: expected up to " + std::to_string(kMaxFrames) +
                       " frames of a segment, found " + std::to_string(num_frames_ready) + " from " +
                       std::to_string(first_input_frame));
  }
  const int64_t factor = opts_.subsampling;
  const int64_t begin = std::max<int64_t>(0, Size() - kRevisedFrames);
  const int64_t num_input_frames = std::max<int64_t>(0, num_frames_ready - first_input_frame);
  Grow((num_input_frames + factor - 1) / factor);
  DeltaWeights changes;
  const std::vector<float> weights = NewWeights(begin);
  for (int64_t frame = begin; frame < Size(); ++frame) {
    const float delta = weights[frame - begin] - weights_[frame];
    weights_[frame] = weights[frame - begin];
    // i-vector estimation must know the newest frame that has a weight.
    if (delta == 0.0f && frame != Size() - 1) continue;
    for (int64_t i = 0; i < factor; ++i) {
      changes.frames.push_back(first_input_frame + frame * factor + i);
      changes.deltas.push_back(delta);
    }
  }
  return changes;
}

void SilenceWeighting::Grow(int64_t size) {
  if (size <= Size()) return;
  transition_ids_.resize(size, kNoTraceback);
  weights_.resize(size, 0.0f);
}

std::vector<float> SilenceWeighting::NewWeights(int64_t begin) const {
  std::vector<float> weights;
  weights.reserve(Size() - begin);
  int64_t run_begin = begin;
  int64_t frame = begin;
  for (; frame < Size() && transition_ids_[frame] != kNoTraceback; ++frame) {
    const int32_t id = transition_ids_[frame];
    weights.push_back(is_silence_[id] ? opts_.silence_weight : 1.0f);
    const bool is_end = frame + 1 == Size() || transition_ids_[frame + 1] != id;
    if (!is_end) continue;
    const int64_t length = frame + 1 - run_begin;
    if (opts_.max_state_duration > 0 && static_cast<float>(length) >= opts_.max_state_duration) {
      std::fill(weights.end() - length, weights.end(), opts_.silence_weight);
    }
    run_begin = frame + 1;
  }
  float last = opts_.silence_weight;
  if (!weights.empty()) {
    last = weights.back();
  } else if (begin > 0) {
    last = weights_[begin - 1];
  }
  weights.resize(Size() - begin, last);
  return weights;
}

}  // namespace pykaldi
