#include "csrc/lat/minimize-lattice.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

using Labels = std::vector<int32_t>;

Labels Concatenate(const Labels &a, const Labels &b) {
  Labels joined(a);
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}

void ReduceToCommonPrefix(const Labels &other, Labels *prefix) {
  const auto end = std::mismatch(prefix->begin(), prefix->end(), other.begin(), other.end()).first;
  prefix->erase(end, prefix->end());
}

void RemovePrefix(size_t length, Labels *labels) { labels->erase(labels->begin(), labels->begin() + length); }

// For each state what the strings of all paths out of it begin with; nothing for the start.
std::vector<Labels> CommonPrefixes(const CompactLattice &lattice) {
  std::vector<Labels> common(lattice.NumStates());
  for (int32_t s = lattice.NumStates() - 1; s > 0; --s) {
    bool is_first = !lattice.IsFinal(s);
    if (!is_first) common[s] = lattice.Final(s).string;
    for (const CompactLatticeArc &arc : lattice.Arcs(s)) {
      Labels labels = Concatenate(arc.weight.string, common[arc.nextstate]);
      if (is_first) {
        common[s] = std::move(labels);
      } else {
        ReduceToCommonPrefix(labels, &common[s]);
      }
      is_first = false;
    }
  }
  return common;
}

bool IsNear(const CompactLatticeWeight &a, const CompactLatticeWeight &b, float delta) {
  return a.string == b.string && (a.weight == b.weight || std::fabs(a.Cost() - b.Cost()) <= delta);
}

// The states of a lattice in classes of equivalent ones; each class is named by one of its states.
class StateClasses {
 public:
  StateClasses(const CompactLattice &lattice, float delta)
      : lattice_(lattice), delta_(delta), class_of_(lattice.NumStates()) {
    std::unordered_map<size_t, std::vector<int32_t>> classes_by_hash;
    for (int32_t s = lattice.NumStates() - 1; s >= 0; --s) {
      const std::vector<const CompactLatticeArc *> arcs = SortedArcs(s);
      std::vector<int32_t> &classes = classes_by_hash[Hash(s, arcs)];
      const auto same = std::find_if(classes.begin(), classes.end(),
                                     [&](int32_t other) { return IsEquivalent(s, arcs, other); });
      class_of_[s] = same != classes.end() ? *same : s;
      if (same == classes.end()) classes.push_back(s);
    }
  }

  int32_t operator[](int32_t state) const { return class_of_[state]; }

 private:
  std::vector<const CompactLatticeArc *> SortedArcs(int32_t state) const {
    std::vector<const CompactLatticeArc *> arcs;
    for (const CompactLatticeArc &arc : lattice_.Arcs(state)) arcs.push_back(&arc);
    std::sort(arcs.begin(), arcs.end(), [this](const CompactLatticeArc *a, const CompactLatticeArc *b) {
      return a->label != b->label ? a->label < b->label : class_of_[a->nextstate] < class_of_[b->nextstate];
    });
    return arcs;
  }

  size_t Hash(int32_t state, const std::vector<const CompactLatticeArc *> &arcs) const {
    size_t hash = lattice_.IsFinal(state) ? 1 : 0;
    const auto mix = [&hash](size_t value) { hash = (hash ^ value) * 0x9e3779b97f4a7c15u; };
    for (int32_t id : lattice_.Final(state).string) mix(id);
    for (const CompactLatticeArc *arc : arcs) {
      mix(arc->label);
      mix(class_of_[arc->nextstate]);
      for (int32_t id : arc->weight.string) mix(id);
    }
    return hash;
  }

  bool IsEquivalent(int32_t state, const std::vector<const CompactLatticeArc *> &arcs, int32_t other) const {
    if (lattice_.NumArcs(other) != static_cast<int64_t>(arcs.size())) return false;
    if (!IsNear(lattice_.Final(state), lattice_.Final(other), delta_)) return false;
    const std::vector<const CompactLatticeArc *> other_arcs = SortedArcs(other);
    return std::equal(arcs.begin(), arcs.end(), other_arcs.begin(),
                      [this](const CompactLatticeArc *a, const CompactLatticeArc *b) {
                        return a->label == b->label && class_of_[a->nextstate] == class_of_[b->nextstate] &&
                               IsNear(a->weight, b->weight, delta_);
                      });
  }

  const CompactLattice &lattice_;
  const float delta_;
  std::vector<int32_t> class_of_;
};

}  // namespace

void PushCompactLatticeStrings(CompactLattice *lattice) {
  TopSort(lattice);
  const std::vector<Labels> common = CommonPrefixes(*lattice);
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (CompactLatticeArc &arc : lattice->Arcs(s)) {
      arc.weight.string = Concatenate(arc.weight.string, common[arc.nextstate]);
      RemovePrefix(common[s].size(), &arc.weight.string);
    }
    if (!lattice->IsFinal(s)) continue;
    CompactLatticeWeight final = lattice->Final(s);
    RemovePrefix(common[s].size(), &final.string);
    lattice->SetFinal(s, std::move(final));
  }
}

void PushCompactLatticeWeights(CompactLattice *lattice) {
  TopSort(lattice);
  const int32_t num_states = lattice->NumStates();
  if (num_states == 0) return;
  std::vector<LatticeWeight> to_end(num_states);
  for (int32_t s = num_states - 1; s >= 0; --s) {
    to_end[s] = lattice->Final(s).weight;
    for (const CompactLatticeArc &arc : lattice->Arcs(s)) {
      to_end[s] = Plus(to_end[s], Times(arc.weight.weight, to_end[arc.nextstate]));
    }
  }
  to_end[0] = LatticeWeight::One();
  for (int32_t s = 0; s < num_states; ++s) {
    if (to_end[s].IsZero()) continue;
    for (CompactLatticeArc &arc : lattice->Arcs(s)) {
      if (to_end[arc.nextstate].IsZero()) continue;
      arc.weight.weight = Times(arc.weight.weight, Divide(to_end[arc.nextstate], to_end[s]));
    }
    if (!lattice->IsFinal(s)) continue;
    CompactLatticeWeight final = lattice->Final(s);
    final.weight = Divide(final.weight, to_end[s]);
    lattice->SetFinal(s, std::move(final));
  }
}

void MinimizeCompactLattice(float delta, CompactLattice *lattice) {
  TopSort(lattice);
  if (lattice->NumStates() == 0) return;
  const StateClasses classes(*lattice, delta);
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (CompactLatticeArc &arc : lattice->Arcs(s)) arc.nextstate = classes[arc.nextstate];
  }
  lattice->SetStart(classes[lattice->Start()]);
  Connect(lattice);
  TopSort(lattice);
}

}  // namespace pykaldi
