#include "csrc/lat/lattice-convert.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace pykaldi {
namespace {

// Adds a chain of arcs for `string` from `state` to `end`, or to a new state when `end` is kNoLatticeState.
void AddChain(Lattice *lattice, int32_t state, int32_t word, const LatticeWeight &weight,
              const std::vector<int32_t> &string, int32_t end) {
  const size_t length = string.empty() ? 1 : string.size();
  for (size_t i = 0; i < length; ++i) {
    const bool last = i + 1 == length;
    LatticeArc arc;
    arc.ilabel = string.empty() ? 0 : string[i];
    arc.olabel = i == 0 ? word : 0;
    arc.weight = i == 0 ? weight : LatticeWeight::One();
    arc.nextstate = last && end != kNoLatticeState ? end : lattice->AddState();
    lattice->AddArc(state, arc);
    state = arc.nextstate;
  }
  if (end == kNoLatticeState) lattice->SetFinal(state, LatticeWeight::One());
}

// Whether a state can vanish inside a chain: one arc in, one arc out without a word, neither start nor final.
std::vector<char> FindChainStates(const Lattice &lattice) {
  std::vector<int32_t> arcs_in(lattice.NumStates(), 0);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    for (const LatticeArc &arc : lattice.Arcs(s)) ++arcs_in[arc.nextstate];
  }
  std::vector<char> inside(lattice.NumStates(), 0);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    const auto arcs = lattice.Arcs(s);
    inside[s] = s != lattice.Start() && !lattice.IsFinal(s) && arcs_in[s] == 1 && arcs.size() == 1 &&
                arcs[0].olabel == 0 && arcs[0].nextstate != s;
  }
  return inside;
}

}  // namespace

Lattice ConvertToLattice(const CompactLattice &compact) {
  Lattice lattice;
  lattice.AddStates(compact.NumStates());
  lattice.SetStart(compact.Start());
  for (int32_t s = 0; s < compact.NumStates(); ++s) {
    if (compact.IsFinal(s)) {
      const CompactLatticeWeight &final = compact.Final(s);
      if (final.string.empty()) {
        lattice.SetFinal(s, final.weight);
      } else {
        AddChain(&lattice, s, 0, final.weight, final.string, kNoLatticeState);
      }
    }
    for (const CompactLatticeArc &arc : compact.Arcs(s)) {
      AddChain(&lattice, s, arc.label, arc.weight.weight, arc.weight.string, arc.nextstate);
    }
  }
  return lattice;
}

CompactLattice ConvertToCompactLattice(const Lattice &lattice) {
  CompactLattice compact;
  const std::vector<char> inside = FindChainStates(lattice);
  std::vector<int32_t> new_state(lattice.NumStates(), kNoLatticeState);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    if (!inside[s]) new_state[s] = compact.AddState();
  }
  if (lattice.Start() != kNoLatticeState) compact.SetStart(new_state[lattice.Start()]);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    if (inside[s]) continue;
    compact.SetFinal(new_state[s], {lattice.Final(s), {}});
    for (const LatticeArc &first : lattice.Arcs(s)) {
      CompactLatticeArc arc{first.olabel, {first.weight, {}}, kNoLatticeState};
      if (first.ilabel != 0) arc.weight.string.push_back(first.ilabel);
      int32_t next = first.nextstate;
      while (inside[next]) {
        const LatticeArc &link = lattice.Arcs(next)[0];
        arc.weight.weight = Times(arc.weight.weight, link.weight);
        if (link.ilabel != 0) arc.weight.string.push_back(link.ilabel);
        next = link.nextstate;
      }
      arc.nextstate = new_state[next];
      compact.AddArc(new_state[s], std::move(arc));
    }
  }
  return compact;
}

}  // namespace pykaldi
