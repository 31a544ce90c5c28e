#include "csrc/fst/expanded-graph.h"

#include <limits>

#include "csrc/base/error.h"
#include "csrc/fst/composed-state-table.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kMaxArcs = std::numeric_limits<uint32_t>::max();
constexpr int32_t kStatesPerReport = 1 << 14;

}  // namespace

ExpandedGraph::ExpandedGraph(const LookaheadComposition &composition, const std::string &directory,
                             const CompileProgress &progress)
    : states_(directory), arcs_(directory) {
  Expand(composition, progress);
  states_.Map();
  arcs_.Map();
  FindKept();
}

void ExpandedGraph::Expand(const LookaheadComposition &composition, const CompileProgress &progress) {
  ComposedState start;
  if (!composition.Start(&start)) throw ModelFormatError("the composition has no start state");
  ComposedStateTable table;
  table.FindOrAdd(start);
  std::vector<ComposedArc> arcs;
  for (int32_t state = 0; state < table.Size(); ++state) {
    // A copy: numbering the next states does not move it, but may well be called for every one of them.
    const ComposedState composed = table.State(state);
    composition.Expand(composed, &arcs);
    states_.Append({composition.Final(composed), static_cast<uint32_t>(arcs_.Size())});
    for (const ComposedArc &arc : arcs) {
      arcs_.Append({arc.ilabel, arc.olabel, arc.weight, table.FindOrAdd(arc.nextstate)});
    }
    if (arcs_.Size() > kMaxArcs) throw ModelFormatError("the composed graph has more than 2^32 arcs");
    if (state % kStatesPerReport == 0) progress("composing", state, table.Size());
  }
  progress("composing", table.Size(), table.Size());
}

void ExpandedGraph::FindKept() {
  is_kept_.assign(NumStates(), 0);
  // Most arcs lead to higher states, so one pass from the last state to the first finds nearly all.
  std::vector<int32_t> open;
  for (int32_t state = NumStates() - 1; state >= 0; --state) {
    is_kept_[state] = Final(state) != kInfinity || HasKeptArc(state);
    if (!is_kept_[state]) open.push_back(state);
  }
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<int32_t> still_open;
    for (const int32_t state : open) {
      is_kept_[state] = HasKeptArc(state);
      changed |= is_kept_[state] != 0;
      if (!is_kept_[state]) still_open.push_back(state);
    }
    open.swap(still_open);
  }
  if (!is_kept_[0]) throw ModelFormatError("the composed graph has no path to a final state");
}

bool ExpandedGraph::HasKeptArc(int32_t state) const {
  for (uint32_t i = states_[state].begin; i < EndOfArcs(state); ++i) {
    if (is_kept_[arcs_[i].nextstate]) return true;
  }
  return false;
}

void ExpandedGraph::KeptArcs(int32_t state, std::vector<StdArc> *arcs) const {
  arcs->clear();
  for (uint32_t i = states_[state].begin; i < EndOfArcs(state); ++i) {
    if (is_kept_[arcs_[i].nextstate]) arcs->push_back(arcs_[i]);
  }
}

}  // namespace pykaldi
