// The Viterbi search over pitch lags.
//
// State i of a frame is a lag; lags are spaced evenly on a log scale. With the local cost l(i) of each frame,
//
//     forward(i) = l(i) + min_j [ factor (i - j)^2 + previous_forward(j) ]
//
// The best predecessor j never decreases as i grows, because the cost of a step is convex. So the predecessor
// of the middle state bounds those on either side, and a frame takes O(n log n) instead of O(n^2).
// Source: PitchFrameInfo::ComputeBacktraces in Kaldi's feat/pitch-functions.cc, which finds the same minima.
#ifndef PYKALDI_SERVER_FEAT_PITCH_VITERBI_H_
#define PYKALDI_SERVER_FEAT_PITCH_VITERBI_H_

#include <cstdint>

namespace pykaldi {

// Extends the search by some frames.
//   local_cost: (num_frames, num_states), by rows.
//   factor: cost of a step to the next state.
//   forward_cost: (num_states), of the last frame so far; becomes that of the new last frame. After each
//       frame the lowest cost is subtracted from all.
//   backpointers: (num_frames, num_states), receives the best predecessors; the lower one of equals.
void PitchViterbi(const float *local_cost, int32_t num_frames, int32_t num_states, float factor,
                  float *forward_cost, int16_t *backpointers);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_PITCH_VITERBI_H_
