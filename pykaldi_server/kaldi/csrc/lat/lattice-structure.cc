#include "csrc/lat/lattice-structure.h"

#include <algorithm>
#include <string>
#include <utility>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

// Copies the states `kept`, in that order, with the arcs among them. The start must be one of them.
template <class L>
L Select(L *lattice, const std::vector<int32_t> &kept) {
  std::vector<int32_t> new_state(lattice->NumStates(), kNoLatticeState);
  for (size_t i = 0; i < kept.size(); ++i) new_state[kept[i]] = static_cast<int32_t>(i);
  L selected;
  selected.AddStates(static_cast<int32_t>(kept.size()));
  selected.ReserveArcs(lattice->NumArcs());
  for (size_t i = 0; i < kept.size(); ++i) {
    const int32_t s = static_cast<int32_t>(i);
    selected.SetFinal(s, lattice->Final(kept[i]));
    for (auto &arc : lattice->Arcs(kept[i])) {
      if (new_state[arc.nextstate] == kNoLatticeState) continue;
      arc.nextstate = new_state[arc.nextstate];
      selected.AddArc(s, std::move(arc));
    }
  }
  selected.SetStart(new_state[lattice->Start()]);
  return selected;
}

// Follows arcs from the states of `stack`: the arcs of state s lead to the states
// next[begin[s]], ..., next[begin[s + 1] - 1]. Returns a mark for each state that was reached.
std::vector<char> Reach(const std::vector<int64_t> &begin, const std::vector<int32_t> &next,
                        std::vector<int32_t> stack) {
  std::vector<char> reached(begin.size() - 1, 0);
  for (int32_t s : stack) reached[s] = 1;
  while (!stack.empty()) {
    const int32_t s = stack.back();
    stack.pop_back();
    for (int64_t i = begin[s]; i < begin[s + 1]; ++i) {
      if (reached[next[i]]) continue;
      reached[next[i]] = 1;
      stack.push_back(next[i]);
    }
  }
  return reached;
}

template <class L>
std::vector<char> Accessible(const L &lattice) {
  std::vector<int64_t> begin{0};
  std::vector<int32_t> next;
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    for (const auto &arc : lattice.Arcs(s)) next.push_back(arc.nextstate);
    begin.push_back(static_cast<int64_t>(next.size()));
  }
  return Reach(begin, next, {lattice.Start()});
}

// Marks the states from which a final state can be reached.
template <class L>
std::vector<char> CoAccessible(const L &lattice) {
  const int32_t num_states = lattice.NumStates();
  std::vector<int64_t> begin(num_states + 1, 0);
  std::vector<int32_t> finals;
  for (int32_t s = 0; s < num_states; ++s) {
    if (lattice.IsFinal(s)) finals.push_back(s);
    for (const auto &arc : lattice.Arcs(s)) ++begin[arc.nextstate + 1];
  }
  for (int32_t s = 0; s < num_states; ++s) begin[s + 1] += begin[s];
  std::vector<int32_t> sources(begin[num_states]);
  std::vector<int64_t> fill(begin.begin(), begin.end() - 1);
  for (int32_t s = 0; s < num_states; ++s) {
    for (const auto &arc : lattice.Arcs(s)) sources[fill[arc.nextstate]++] = s;
  }
  return Reach(begin, sources, std::move(finals));
}

}  // namespace

template <class L>
bool IsTopSorted(const L &lattice) {
  if (lattice.NumStates() > 0 && lattice.Start() != 0) return false;
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    for (const auto &arc : lattice.Arcs(s)) {
      if (arc.nextstate <= s) return false;
    }
  }
  return true;
}

template <class L>
std::vector<int32_t> TopologicalOrder(const L &lattice) {
  std::vector<int32_t> finished;
  if (lattice.Start() == kNoLatticeState) return finished;
  enum Colour : char { kNew, kOpen, kDone };
  std::vector<Colour> colour(lattice.NumStates(), kNew);
  std::vector<std::pair<int32_t, size_t>> stack;  // a state of the path, and its next arc to follow
  stack.emplace_back(lattice.Start(), 0);
  colour[lattice.Start()] = kOpen;
  while (!stack.empty()) {
    const int32_t s = stack.back().first;
    const auto arcs = lattice.Arcs(s);
    if (stack.back().second == arcs.size()) {
      colour[s] = kDone;
      finished.push_back(s);
      stack.pop_back();
      continue;
    }
    const int32_t next = arcs[stack.back().second++].nextstate;
    if (colour[next] == kOpen) {
      throw LatticeError("expected a lattice without cycles, found one through state " +
                         std::to_string(next));
    }
    if (colour[next] == kNew) {
      colour[next] = kOpen;
      stack.emplace_back(next, 0);
    }
  }
  std::reverse(finished.begin(), finished.end());
  return finished;
}

template <class L>
void TopSort(L *lattice) {
  if (IsTopSorted(*lattice)) return;
  if (lattice->Start() == kNoLatticeState) {
    lattice->Clear();
    return;
  }
  *lattice = Select(lattice, TopologicalOrder(*lattice));
}

template <class L>
void Connect(L *lattice) {
  if (lattice->Start() == kNoLatticeState) {
    lattice->Clear();
    return;
  }
  const std::vector<char> from_start = Accessible(*lattice), to_final = CoAccessible(*lattice);
  if (!to_final[lattice->Start()]) {
    lattice->Clear();
    return;
  }
  std::vector<int32_t> kept;
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    if (from_start[s] && to_final[s]) kept.push_back(s);
  }
  if (static_cast<int32_t>(kept.size()) < lattice->NumStates()) *lattice = Select(lattice, kept);
}

int32_t CreateSuperFinal(CompactLattice *lattice) {
  std::vector<int32_t> finals;
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    if (lattice->IsFinal(s)) finals.push_back(s);
  }
  if (finals.size() == 1 && lattice->NumArcs(finals[0]) == 0 &&
      lattice->Final(finals[0]) == CompactLatticeWeight::One()) {
    return finals[0];
  }
  const int32_t super_final = lattice->AddState();
  lattice->SetFinal(super_final, CompactLatticeWeight::One());
  for (int32_t s : finals) {
    lattice->AddArc(s, {0, lattice->Final(s), super_final});
    lattice->SetFinal(s, CompactLatticeWeight::Zero());
  }
  return super_final;
}

template bool IsTopSorted(const Lattice &);
template bool IsTopSorted(const CompactLattice &);
template std::vector<int32_t> TopologicalOrder(const Lattice &);
template std::vector<int32_t> TopologicalOrder(const CompactLattice &);
template void TopSort(Lattice *);
template void TopSort(CompactLattice *);
template void Connect(Lattice *);
template void Connect(CompactLattice *);

}  // namespace pykaldi
