#include "csrc/feat/pitch-viterbi.h"

#include <algorithm>
#include <vector>

namespace pykaldi {
namespace {

// One step from frame to frame.
struct Step {
  const float *previous_cost;
  float factor;
  float *cost;
  int16_t *backpointers;

  // Finds the predecessors of the states [begin, end), all of which are in [first, last].
  void FindPredecessors(int32_t begin, int32_t end, int32_t first, int32_t last) const {
    if (begin == end) return;
    const int32_t middle = begin + (end - begin) / 2;
    int32_t best = first;
    float best_cost = Cost(middle, first);
    for (int32_t j = first + 1; j <= last; ++j) {
      const float this_cost = Cost(middle, j);
      if (this_cost < best_cost) {
        best_cost = this_cost;
        best = j;
      }
    }
    cost[middle] = best_cost;
    backpointers[middle] = static_cast<int16_t>(best);
    FindPredecessors(begin, middle, first, best);
    FindPredecessors(middle + 1, end, best, last);
  }

  float Cost(int32_t i, int32_t j) const {
    return static_cast<float>((j - i) * (j - i)) * factor + previous_cost[j];
  }
};

}  // namespace

void PitchViterbi(const float *local_cost, int32_t num_frames, int32_t num_states, float factor,
                  float *forward_cost, int16_t *backpointers) {
  std::vector<float> cost(num_states);
  for (int32_t frame = 0; frame < num_frames; ++frame) {
    Step{forward_cost, factor, cost.data(), backpointers}.FindPredecessors(0, num_states, 0, num_states - 1);
    for (int32_t i = 0; i < num_states; ++i) cost[i] += local_cost[i];
    const float lowest = *std::min_element(cost.begin(), cost.end());
    for (int32_t i = 0; i < num_states; ++i) forward_cost[i] = cost[i] - lowest;
    local_cost += num_states;
    backpointers += num_states;
  }
}

}  // namespace pykaldi
