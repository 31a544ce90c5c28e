#include "csrc/lat/remove-epsilons.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

// Sorts arcs by label and next state, and keeps the best of those where both are the same.
void MergeArcs(std::vector<CompactLatticeArc> *arcs) {
  std::sort(arcs->begin(), arcs->end(), [](const CompactLatticeArc &a, const CompactLatticeArc &b) {
    if (a.label != b.label) return a.label < b.label;
    if (a.nextstate != b.nextstate) return a.nextstate < b.nextstate;
    return Compare(a.weight, b.weight) > 0;
  });
  const auto end =
      std::unique(arcs->begin(), arcs->end(), [](const CompactLatticeArc &a, const CompactLatticeArc &b) {
        return a.label == b.label && a.nextstate == b.nextstate;
      });
  arcs->erase(end, arcs->end());
}

}  // namespace

void RemoveEpsilons(CompactLattice *lattice) {
  TopSort(lattice);
  const int32_t num_states = lattice->NumStates();
  std::vector<std::vector<CompactLatticeArc>> arcs(num_states);
  // From the end: the state that an arc leads to has no such arcs left.
  for (int32_t s = num_states - 1; s >= 0; --s) {
    CompactLatticeWeight final = lattice->Final(s);
    bool merge = false;
    for (CompactLatticeArc &arc : lattice->Arcs(s)) {
      if (arc.label != 0) {
        arcs[s].push_back(std::move(arc));
        continue;
      }
      merge = true;
      for (const CompactLatticeArc &next : arcs[arc.nextstate]) {
        arcs[s].push_back({next.label, Times(arc.weight, next.weight), next.nextstate});
      }
      if (!lattice->IsFinal(arc.nextstate)) continue;
      CompactLatticeWeight through = Times(arc.weight, lattice->Final(arc.nextstate));
      if (Compare(through, final) > 0) final = std::move(through);
    }
    lattice->SetFinal(s, std::move(final));
    if (merge) MergeArcs(&arcs[s]);
  }
  CompactLattice result;
  result.AddStates(num_states);
  result.SetStart(lattice->Start());
  for (int32_t s = 0; s < num_states; ++s) {
    result.SetFinal(s, lattice->Final(s));
    for (CompactLatticeArc &arc : arcs[s]) result.AddArc(s, std::move(arc));
  }
  Connect(&result);
  *lattice = std::move(result);
}

void ReplaceLabel(int32_t from, int32_t to, CompactLattice *lattice) {
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (CompactLatticeArc &arc : lattice->Arcs(s)) {
      if (arc.label == from) arc.label = to;
    }
  }
}

}  // namespace pykaldi
