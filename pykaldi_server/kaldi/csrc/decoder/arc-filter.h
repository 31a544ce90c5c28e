// The first half of a frame of the search: which arcs lead to tokens within the beam?
//
// A frame looks at some twenty thousand arcs and takes a tenth of them. So the arcs of a state are in columns
// (fst/compiled-graph.h), of which a vector is looked at at once:
//
//     cost(arc) = cost(token) + cost of the frame(label) + cost(arc)
//
// and those below the cutoff become candidates. The cutoff is the cost of the best candidate so far plus the
// beam; what exceeds the final cutoff is left to the caller, who thus gets the same arcs in the same order
// whatever kernels are used. Arcs are sorted by cost: where the cost of the token, the least cost of any
// label and the cost of an arc exceed the cutoff, no later arc of the state can be below it. (Sums of floats
// are monotonic, so this is exact.)
#ifndef PYKALDI_SERVER_DECODER_ARC_FILTER_H_
#define PYKALDI_SERVER_DECODER_ARC_FILTER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/base/uninitialized-vector.h"
#include "csrc/fst/compiled-graph.h"

namespace pykaldi {

// A token whose arcs are looked at.
struct ActiveToken {
  EmittingArcs arcs;
  float cost;
  int32_t token;
};
using ActiveTokens = UninitializedVector<ActiveToken>;

// What the arcs of all tokens are compared with.
struct FrameCosts {
  const float *label_costs;  // of the positions in columns; readable for any position of 16 bits
  float least_label_cost;
  float beam;
};

// Arcs below the cutoff, in columns of their own.
class ArcCandidates {
 public:
  size_t Size() const { return size_; }
  float Cost(size_t i) const { return costs_[i]; }
  int32_t NextState(size_t i) const { return next_states_[i]; }
  uint32_t Arc(size_t i) const { return arcs_[i]; }       // its place among the arcs of its token
  uint32_t Active(size_t i) const { return active_[i]; }  // the position of its token

  void Clear() { size_ = 0; }
  // The memory that is kept, whatever is in it.
  size_t NumBytes() const {
    return CapacityBytes(costs_) + CapacityBytes(next_states_) + CapacityBytes(arcs_) +
           CapacityBytes(active_);
  }
  // Makes room for so many more, and for a vector that is stored behind them.
  void Reserve(size_t num_more) {
    if (size_ + num_more + kLanes > costs_.size()) Grow(size_ + num_more + kLanes);
  }
  // Adds one, for which there must be room, or leaves it out; which of both can hardly be predicted.
  void AddIf(bool is_wanted, float cost, int32_t next_state, uint32_t arc, uint32_t active) {
    costs_[size_] = cost;
    next_states_[size_] = next_state;
    arcs_[size_] = arc;
    active_[size_] = active;
    size_ += is_wanted;
  }

 private:
  friend class ArcFilter;
  static constexpr uint32_t kLanes = 8;  // of a vector

  void Grow(size_t size);

  size_t size_ = 0;
  std::vector<float> costs_;
  std::vector<int32_t> next_states_;
  std::vector<uint32_t> arcs_, active_;
};

// Appends the arcs of all tokens that are below the cutoff, and lowers it. `words` are those of the records
// of the graph. `num_visited` counts arcs looked at.
void FilterArcs(CpuKernels kernels, const uint32_t *words, const ActiveTokens &active,
                const FrameCosts &costs, float *cutoff, ArcCandidates *candidates, int64_t *num_visited);

// Gives each label the cost of its pdf; returns the least of them (+infinity when there are no labels).
float SetLabelCosts(CpuKernels kernels, const float *pdf_costs, const std::vector<int32_t> &pdfs,
                    float *label_costs);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_ARC_FILTER_H_
