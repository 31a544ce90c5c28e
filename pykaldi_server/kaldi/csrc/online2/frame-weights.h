// Changes of frame weights that i-vector estimation has not used yet.
//
// The weight of a frame may change several times before the frame is used: silence weighting revises what it
// has said. The changes of a frame add up; where they cancel out, the frame is left alone.
// Source: UpdateStatsUntilFrameWeighted in Kaldi's online2/online-ivector-feature.cc.
#ifndef PYKALDI_SERVER_ONLINE2_FRAME_WEIGHTS_H_
#define PYKALDI_SERVER_ONLINE2_FRAME_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "csrc/online2/silence-weighting.h"

namespace pykaldi {

// Belongs to one stream.
class FrameWeights {
 public:
  // Adds `size` changes; frames may be in any order, and repeated.
  void Add(const int64_t *frames, const float *deltas, int64_t size);

  // Removes the changes of the frames before `end`. Returns these frames in ascending order, each with the
  // sum of its changes, without those whose sum is 0.
  DeltaWeights Take(int64_t end);

 private:
  struct Change {
    int64_t frame;
    float delta;
  };

  std::vector<Change> changes_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_ONLINE2_FRAME_WEIGHTS_H_
