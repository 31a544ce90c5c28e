// Lattices: acyclic weighted automata whose paths are the hypotheses of an utterance.
//
//   Lattice         a transducer; input labels are transition-ids, output labels words (0 for none)
//   CompactLattice  an acceptor of words; each weight carries the string of transition-ids with its costs
//
// Both are VectorLattice, which keeps the arcs of all states in one array: the arcs of a state are
// contiguous, and building the states in order needs no allocation per state. Adding arcs in any other order
// works too, at the price of moving the arcs of a state now and then.
//
//   Lattice lattice;
//   lattice.ReserveStates(num_states), lattice.ReserveArcs(num_arcs);   // optional
//   int32_t s = lattice.AddState();
//   lattice.SetStart(s);
//   lattice.AddArc(s, {transition_id, word, {graph_cost, acoustic_cost}, next_state});
//   lattice.SetFinal(t, {final_cost, 0});
//   for (const LatticeArc &arc : lattice.Arcs(s)) ...
//
// Next states may be named before they exist. They must exist before anything else uses the lattice.
// Source: lat/kaldi-lattice.h.
#ifndef PYKALDI_SERVER_LAT_LATTICE_H_
#define PYKALDI_SERVER_LAT_LATTICE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/lat/lattice-weight.h"

namespace pykaldi {

// "No state": the start of an empty lattice.
constexpr int32_t kNoLatticeState = -1;

// For whoever shares a lattice between threads; nothing in the core looks at it.
using LatticeUse = ConcurrentUse<LatticeError>;

struct LatticeArc {
  using Weight = LatticeWeight;
  int32_t ilabel = 0;
  int32_t olabel = 0;
  LatticeWeight weight;
  int32_t nextstate = kNoLatticeState;
};

struct CompactLatticeArc {
  using Weight = CompactLatticeWeight;
  int32_t label = 0;
  CompactLatticeWeight weight;
  int32_t nextstate = kNoLatticeState;
};

// The arcs of one state. Invalid after the next AddArc.
template <class T>
struct ArcRange {
  T *first = nullptr;
  T *last = nullptr;
  T *begin() const { return first; }
  T *end() const { return last; }
  size_t size() const { return static_cast<size_t>(last - first); }
  bool empty() const { return first == last; }
  T &operator[](size_t i) const { return first[i]; }
};

template <class ArcType>
class VectorLattice {
 public:
  using Arc = ArcType;
  using Weight = typename Arc::Weight;

  int32_t NumStates() const { return static_cast<int32_t>(states_.size()); }
  int64_t NumArcs() const { return num_arcs_; }
  int64_t NumArcs(int32_t state) const { return states_[state].size; }
  int32_t Start() const { return start_; }
  // Weight::Zero() when the state is not final.
  const Weight &Final(int32_t state) const { return states_[state].final_weight; }
  bool IsFinal(int32_t state) const { return !Final(state).IsZero(); }
  ArcRange<const Arc> Arcs(int32_t state) const {
    const State &s = states_[state];
    return {arcs_.data() + s.begin, arcs_.data() + s.begin + s.size};
  }
  ArcRange<Arc> Arcs(int32_t state) {
    const State &s = states_[state];
    return {arcs_.data() + s.begin, arcs_.data() + s.begin + s.size};
  }

  LatticeUse *Use() const { return &use_; }

  void Clear() { *this = VectorLattice(); }
  void ReserveStates(int64_t n) { states_.reserve(n); }
  void ReserveArcs(int64_t n) { arcs_.reserve(n); }

  int32_t AddState() {
    states_.emplace_back();
    return NumStates() - 1;
  }
  void AddStates(int32_t n) { states_.resize(states_.size() + n); }
  void SetStart(int32_t state) { start_ = state; }
  void SetFinal(int32_t state, Weight weight) { states_[state].final_weight = std::move(weight); }

  void AddArc(int32_t state, Arc arc) {
    State &s = states_[state];
    if (s.size == s.capacity && s.begin + s.size != static_cast<int64_t>(arcs_.size())) MoveToEnd(&s);
    const int64_t slot = s.begin + s.size;
    if (slot == static_cast<int64_t>(arcs_.size())) {
      arcs_.push_back(std::move(arc));
      s.capacity = s.size + 1;
    } else {
      arcs_[slot] = std::move(arc);
    }
    ++s.size;
    ++num_arcs_;
  }
  // Keeps the first `n` arcs of a state; fill these through Arcs() first.
  void TruncateArcs(int32_t state, int64_t n) {
    State &s = states_[state];
    num_arcs_ -= s.size - n;
    s.size = n;
  }

 private:
  struct State {
    Weight final_weight = Weight::Zero();
    int64_t begin = 0;
    int64_t size = 0;
    int64_t capacity = 0;
  };

  // Makes room behind the arcs of a state by moving them to the end of the array.
  void MoveToEnd(State *s) {
    const int64_t begin = static_cast<int64_t>(arcs_.size());
    const int64_t capacity = s->size == 0 ? 0 : 2 * s->size;
    if (arcs_.size() + capacity > arcs_.capacity()) {
      arcs_.reserve(2 * arcs_.capacity() + capacity);
    }
    for (int64_t i = 0; i < s->size; ++i) arcs_.push_back(std::move(arcs_[s->begin + i]));
    arcs_.resize(begin + capacity);
    s->begin = begin;
    s->capacity = capacity;
  }

  std::vector<State> states_;
  std::vector<Arc> arcs_;  // of all states; a state's arcs start at State::begin
  int64_t num_arcs_ = 0;
  int32_t start_ = kNoLatticeState;
  mutable LatticeUse use_;
};

using Lattice = VectorLattice<LatticeArc>;
using CompactLattice = VectorLattice<CompactLatticeArc>;

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_H_
