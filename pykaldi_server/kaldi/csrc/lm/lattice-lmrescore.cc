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

// A state of a composed lattice.
struct ComposedState {
  int32_t lattice_state;
  int32_t lm_state;
  bool has_backed_off;  // see SequenceFilter; always false for models without epsilon arcs
};

// Numbers the states of a composed lattice and queues those whose arcs are still to come.
class ComposedStates {
 public:
  explicit ComposedStates(CompactLattice *composed) : composed_(composed) {}

  // The number of a state; a new one is queued.
  int32_t Number(const ComposedState &state) {
    const uint64_t lm_half = (static_cast<uint64_t>(state.lm_state) << 1) | (state.has_backed_off ? 1 : 0);
    const uint64_t key = (static_cast<uint64_t>(state.lattice_state) << 32) | lm_half;
    const auto [entry, is_new] = numbers_.try_emplace(key, composed_->NumStates());
    if (is_new) {
      if (composed_->NumStates() >= kMaxComposedStates) {
        throw LatticeError("expected at most " + std::to_string(kMaxComposedStates) +
                           " states of a lattice composed with a language model, found more");
      }
      composed_->AddState();
      states_.push_back(state);
    }
    return entry->second;
  }

  // Takes the next state, in the order in which they were numbered; false when all were taken.
  bool Next(int32_t *number, ComposedState *state) {
    if (next_ == static_cast<int32_t>(states_.size())) return false;
    *number = next_;
    *state = states_[next_];
    ++next_;
    return true;
  }

 private:
  CompactLattice *composed_;
  std::unordered_map<uint64_t, int32_t> numbers_;
  std::vector<ComposedState> states_;  // by number
  int32_t next_ = 0;
};

// Decides in which order arcs without a word (of the lattice) and arcs that back off (of the model) are taken
// where both are possible: those of the lattice first. Otherwise each order would be a path of its own, and
// states that Kaldi keeps apart would be the same.
// Source: SequenceComposeFilter of OpenFst (fst/compose-filter.h), the filter of lattice-lmrescore.
class SequenceFilter {
 public:
  explicit SequenceFilter(const CompactLattice &lattice) : kinds_(lattice.NumStates()) {
    for (int32_t s = 0; s < lattice.NumStates(); ++s) {
      size_t num_without_word = 0;
      for (const CompactLatticeArc &arc : lattice.Arcs(s)) num_without_word += arc.label == 0 ? 1 : 0;
      const bool are_all = num_without_word == lattice.Arcs(s).size() && !lattice.IsFinal(s);
      kinds_[s] = are_all ? Kind::kOnlyWithoutWord : num_without_word == 0 ? Kind::kOnlyWords : Kind::kMixed;
    }
  }

  bool MayBackOff(const ComposedState &state) const {
    return kinds_[state.lattice_state] != Kind::kOnlyWithoutWord;
  }
  // Where the model is after it has backed off.
  ComposedState BackedOff(const ComposedState &state, int32_t lm_state) const {
    return {state.lattice_state, lm_state, kinds_[state.lattice_state] == Kind::kMixed};
  }
  bool MayGoOnWithoutWord(const ComposedState &state) const { return !state.has_backed_off; }

 private:
  enum class Kind : uint8_t { kOnlyWords, kMixed, kOnlyWithoutWord };

  std::vector<Kind> kinds_;  // what leaves each state of the lattice; an end counts as a word
};

CompactLatticeWeight AddGraphCost(CompactLatticeWeight weight, float cost) {
  weight.weight.graph_cost += cost;
  return weight;
}

// The lattice with the transition-ids of its final weights on arcs without a word to new final states, as
// Kaldi's state-level lattices have them: the model may back off before them and after them.
CompactLattice WithFinalStringsOnArcs(const CompactLattice &lattice) {
  CompactLattice result(lattice);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    if (lattice.Final(s).string.empty()) continue;
    const int32_t end = result.AddState();
    result.SetFinal(end, CompactLatticeWeight::One());
    result.AddArc(s, {0, lattice.Final(s), end});
    result.SetFinal(s, CompactLatticeWeight::Zero());
  }
  return result;
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
  ComposedStates states(&composed);
  composed.SetStart(states.Number({lattice.Start(), lm->Start(), false}));
  int32_t number;
  ComposedState state;
  while (states.Next(&number, &state)) {
    if (lattice.IsFinal(state.lattice_state)) {
      const float cost = lm->Final(state.lm_state);
      if (IsPossible(cost)) composed.SetFinal(number, AddGraphCost(lattice.Final(state.lattice_state), cost));
    }
    for (const CompactLatticeArc &arc : lattice.Arcs(state.lattice_state)) {
      DeterministicOnDemandFst::Arc lm_arc{0, state.lm_state};
      if (arc.label != 0 && !lm->GetArc(state.lm_state, arc.label, &lm_arc)) continue;
      if (!IsPossible(lm_arc.cost)) continue;
      composed.AddArc(number, {arc.label, AddGraphCost(arc.weight, lm_arc.cost),
                               states.Number({arc.nextstate, lm_arc.nextstate, false})});
    }
  }
  Connect(&composed);
  return composed;
}

CompactLattice ComposeCompactLatticeBackoff(const CompactLattice &original, const BackoffLm &lm) {
  CompactLattice composed;
  if (original.Start() == kNoLatticeState) return composed;
  RequireAcyclic(original);
  const CompactLattice lattice = WithFinalStringsOnArcs(original);
  const SequenceFilter filter(lattice);
  ComposedStates states(&composed);
  composed.SetStart(states.Number({lattice.Start(), lm.Start(), false}));
  int32_t number;
  ComposedState state;
  const auto add = [&](int32_t word, const CompactLatticeWeight &weight, float cost,
                       const ComposedState &next) {
    if (IsPossible(cost)) composed.AddArc(number, {word, AddGraphCost(weight, cost), states.Number(next)});
  };
  while (states.Next(&number, &state)) {
    const int32_t lm_state = state.lm_state;
    if (lattice.IsFinal(state.lattice_state) && IsPossible(lm.Final(lm_state))) {
      composed.SetFinal(number, AddGraphCost(lattice.Final(state.lattice_state), lm.Final(lm_state)));
    }
    if (filter.MayBackOff(state)) {
      for (const BackoffLm::Arc &arc : lm.Find(lm_state, 0)) {
        add(0, CompactLatticeWeight::One(), arc.cost, filter.BackedOff(state, arc.nextstate));
      }
    }
    for (const CompactLatticeArc &arc : lattice.Arcs(state.lattice_state)) {
      if (arc.label == 0) {
        if (filter.MayGoOnWithoutWord(state)) add(0, arc.weight, 0, {arc.nextstate, lm_state, false});
        continue;
      }
      for (const BackoffLm::Arc &lm_arc : lm.Find(lm_state, arc.label)) {
        add(arc.label, arc.weight, lm_arc.cost, {arc.nextstate, lm_arc.nextstate, false});
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

CompactLattice LatticeLmRescoreConstArpa(const CompactLattice &lattice, std::shared_ptr<const ConstArpaLm> lm,
                                         float lm_scale) {
  return Rescore(lattice, lm_scale, [&lm](const CompactLattice &scaled) {
    ConstArpaLmDeterministicFst automaton(lm);
    return ComposeCompactLatticeDeterministic(scaled, &automaton);
  });
}

}  // namespace pykaldi
