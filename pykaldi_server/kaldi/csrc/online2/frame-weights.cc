#include "csrc/online2/frame-weights.h"

#include <algorithm>

namespace pykaldi {

void FrameWeights::Add(const int64_t *frames, const float *deltas, int64_t size) {
  for (int64_t i = 0; i < size; ++i) changes_.push_back({frames[i], deltas[i]});
}

DeltaWeights FrameWeights::Take(int64_t end) {
  const auto later = std::stable_partition(changes_.begin(), changes_.end(),
                                           [end](const Change &change) { return change.frame < end; });
  // Changes of one frame stay in their order, in which they are added up.
  std::stable_sort(changes_.begin(), later,
                   [](const Change &a, const Change &b) { return a.frame < b.frame; });
  DeltaWeights taken;
  for (auto change = changes_.begin(); change != later;) {
    const int64_t frame = change->frame;
    double sum = 0.0;
    for (; change != later && change->frame == frame; ++change) sum += change->delta;
    const float delta = static_cast<float>(sum);
    if (delta == 0.0f) continue;
    taken.frames.push_back(frame);
    taken.deltas.push_back(delta);
  }
  changes_.erase(changes_.begin(), later);
  return taken;
}

}  // namespace pykaldi
