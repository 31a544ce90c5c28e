// All states and arcs of a composition, in temporary files, and which of them are worth keeping.
//
// States are numbered in the order in which they are found, level by level from the start, which is state 0.
// In memory are only the composed states while they are numbered (about 30 bytes each), and later one byte
// per state.
#ifndef PYKALDI_SERVER_FST_EXPANDED_GRAPH_H_
#define PYKALDI_SERVER_FST_EXPANDED_GRAPH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/base/spilled-array.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

// Called every now and then: the current step, how much of it is done, and how much there is, as far
// as is known. May throw to stop the work.
using CompileProgress = std::function<void(const char *what, int64_t done, int64_t total)>;

class ExpandedGraph {
 public:
  // Composes everything. The files are made in `directory`. Throws FileError, or ModelFormatError when no
  // path leads from the start to a final state.
  ExpandedGraph(const LookaheadComposition &composition, const std::string &directory,
                const CompileProgress &progress);

  int32_t NumStates() const { return static_cast<int32_t>(states_.Size()); }
  int64_t NumArcs() const { return arcs_.Size(); }
  // Any arc, kept or not.
  const StdArc &Arc(int64_t i) const { return arcs_[i]; }

  // Whether a state can come to a final state. Only these states, and arcs to them, are to be kept.
  bool IsKept(int32_t state) const { return is_kept_[state]; }
  float Final(int32_t state) const { return states_[state].final_weight; }
  // Replaces `arcs` by the arcs of a state that are to be kept.
  void KeptArcs(int32_t state, std::vector<StdArc> *arcs) const;

 private:
  struct State {
    float final_weight;
    uint32_t begin;  // of its arcs
  };

  void Expand(const LookaheadComposition &composition, const CompileProgress &progress);
  void FindKept();
  bool HasKeptArc(int32_t state) const;
  uint32_t EndOfArcs(int32_t state) const {
    return state + 1 < NumStates() ? states_[state + 1].begin : static_cast<uint32_t>(arcs_.Size());
  }

  SpilledArray<State> states_;
  SpilledArray<StdArc> arcs_;
  std::vector<uint8_t> is_kept_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_EXPANDED_GRAPH_H_
