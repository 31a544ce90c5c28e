#include "csrc/lm/lattice-lmrescore.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "csrc/base/error.h"
#include "csrc/lat/determinize-lattice-pruned.h"
#include "csrc/lat/lattice-functions.h"
#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

// Far more than a lattice of an hour gives with any model.
constexpr int32_t kMaxComposedStates = 20000000;

// The states of a composed lattice: pairs of a lattice state and a state of the model.
class StatePairs {
 public:
  explicit StatePairs(CompactLattice *composed) : composed_(composed) {}

  // The composed state of a pair; a new one is queued.
  int32_t StateFor(int32_t lattice_state, int32_t lm_state) {
    const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(lattice_state)) << 32) |
                         static_cast<uint32_t>(lm_state);
    const auto [entry, is_new] = states_.try_emplace(key, composed_->NumStates());
    if (is_new) {
      if (composed_->NumStates() >= kMaxComposedStates) {
        throw LatticeError("expected at most " + std::to_string(kMaxComposedStates) +
                           " states of a lattice with a language model, found more");
      }
      composed_->AddState();
      pairs_.emplace_back(lattice_state, lm_state);
    }
    return entry->second;
  }

  // Takes the next composed state, in the order in which they came; false when all were taken.
  bool Next(int32_t *composed_state, int32_t *lattice_state, int32_t *lm_state) {
    if (next_ == static_cast<int32_t>(pairs_.size())) return false;
    *composed_state = next_;
    *lattice_state = pairs_[next_].first;
    *lm_state = pairs_[next_].second;
    ++next_;
    return true;
  }

 private:
  CompactLattice *composed_;
  std::unordered_map<uint64_t, int32_t> states_;
  std::vector<std::pair<int32_t, int32_t>> pairs_;  // by composed state
  int32_t next_ = 0;
};

CompactLatticeWeight AddGraphCost(CompactLatticeWeight weight, float cost) {
  weight.weight.graph_cost += cost;
  return weight;
}

void RequireAcyclic(const CompactLattice &lattice) { TopologicalOrder(lattice); }

bool IsPossible(float cost) { return cost != std::numeric_limits<float>::infinity(); }

// Divides by the scale, composes, determinises and multiplies again.
template <class Compose>
CompactLattice Rescore(const CompactLattice &lattice, float lm_scale, Compose compose) {
  if (!std::isfinite(lm_scale)) {
    throw ConfigError("expected a finite scale of the language model, found " + std::to_string(lm_scale));
  }
  if (lm_scale == 0) return lattice;
  CompactLattice scaled(lattice);
  ScaleLattice(1 / lm_scale, 1, &scaled);
  CompactLattice result;
  DeterminizeLatticePruned(compose(scaled), std::numeric_limits<double>::infinity(),
                           DeterminizeLatticePrunedOptions(), &result);
  ScaleLattice(lm_scale, 1, &result);
  return result;
}

}  // namespace

CompactLattice ComposeCompactLatticeDeterministic(const CompactLattice &lattice,
                                                  DeterministicOnDemandFst *lm) {
  CompactLattice composed;
  if (lattice.Start() == kNoLatticeState) return composed;
  RequireAcyclic(lattice);
  StatePairs pairs(&composed);
  composed.SetStart(pairs.StateFor(lattice.Start(), lm->Start()));
  int32_t state, lattice_state, lm_state;
  while (pairs.Next(&state, &lattice_state, &lm_state)) {
    if (lattice.IsFinal(lattice_state)) {
      const float cost = lm->Final(lm_state);
      if (IsPossible(cost)) composed.SetFinal(state, AddGraphCost(lattice.Final(lattice_state), cost));
    }
    for (const CompactLatticeArc &arc : lattice.Arcs(lattice_state)) {
      DeterministicOnDemandFst::Arc lm_arc{0, lm_state};
      if (arc.label != 0 && !lm->GetArc(lm_state, arc.label, &lm_arc)) continue;
      if (!IsPossible(lm_arc.cost)) continue;
      composed.AddArc(state, {arc.label, AddGraphCost(arc.weight, lm_arc.cost),
                              pairs.StateFor(arc.nextstate, lm_arc.nextstate)});
    }
  }
  Connect(&composed);
  return composed;
}

CompactLattice ComposeCompactLatticeBackoff(const CompactLattice &lattice, const BackoffLm &lm) {
  CompactLattice composed;
  if (lattice.Start() == kNoLatticeState) return composed;
  RequireAcyclic(lattice);
  StatePairs pairs(&composed);
  composed.SetStart(pairs.StateFor(lattice.Start(), lm.Start()));
  int32_t state, lattice_state, lm_state;
  while (pairs.Next(&state, &lattice_state, &lm_state)) {
    if (lattice.IsFinal(lattice_state) && IsPossible(lm.Final(lm_state))) {
      composed.SetFinal(state, AddGraphCost(lattice.Final(lattice_state), lm.Final(lm_state)));
    }
    const auto add = [&](int32_t word, const CompactLatticeWeight &weight, float cost, int32_t lattice_next,
                         int32_t lm_next) {
      if (!IsPossible(cost)) return;
      composed.AddArc(state, {word, AddGraphCost(weight, cost), pairs.StateFor(lattice_next, lm_next)});
    };
    for (const BackoffLm::Arc &arc : lm.Find(lm_state, 0)) {
      add(0, CompactLatticeWeight::One(), arc.cost, lattice_state, arc.nextstate);
    }
    for (const CompactLatticeArc &arc : lattice.Arcs(lattice_state)) {
      if (arc.label == 0) {
        add(0, arc.weight, 0, arc.nextstate, lm_state);
        continue;
      }
      for (const BackoffLm::Arc &lm_arc : lm.Find(lm_state, arc.label)) {
        add(arc.label, arc.weight, lm_arc.cost, arc.nextstate, lm_arc.nextstate);
      }
    }
  }
  Connect(&composed);
  return composed;
}

CompactLattice LatticeLmRescore(const CompactLattice &lattice, const BackoffLm &lm, float lm_scale) {
  return Rescore(lattice, lm_scale,
                 [&lm](const CompactLattice &scaled) { return ComposeCompactLatticeBackoff(scaled, lm); });
}

CompactLattice LatticeLmRescoreConstArpa(const CompactLattice &lattice,
                                         std::shared_ptr<const ConstArpaLm> lm, float lm_scale) {
  return Rescore(lattice, lm_scale, [&lm](const CompactLattice &scaled) {
    ConstArpaLmDeterministicFst automaton(lm);
    return ComposeCompactLatticeDeterministic(scaled, &automaton);
  });
}

}  // namespace pykaldi
