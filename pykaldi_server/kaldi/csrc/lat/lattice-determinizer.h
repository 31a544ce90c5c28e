// One pass of pruned determinisation; see determinize-lattice-pruned.h for the algorithm and its terms.
#ifndef PYKALDI_SERVER_LAT_LATTICE_DETERMINIZER_H_
#define PYKALDI_SERVER_LAT_LATTICE_DETERMINIZER_H_

#include <cstdint>
#include <queue>
#include <vector>

#include "csrc/lat/determinize-lattice-pruned.h"
#include "csrc/lat/determinizer-input.h"
#include "csrc/lat/string-repository.h"
#include "csrc/lat/subset-table.h"

namespace pykaldi {

class LatticeDeterminizer {
 public:
  // The input must outlive the object.
  LatticeDeterminizer(const DeterminizerInput &input, double beam,
                      const DeterminizeLatticePrunedOptions &options);

  // Does the work, once. Returns false when a limit stopped it before everything within the beam was made.
  bool Determinize();
  // The beam that was reached; the one asked for unless a limit stopped Determinize().
  double EffectiveBeam() const { return effective_beam_; }
  // Gives out the result; labels from `first_removed_label` on become 0 (none when it is 0).
  CompactLattice Output(int32_t first_removed_label) const;

 private:
  using StringId = StringRepository::Id;

  // An input state in a subset, with its residual.
  struct Element {
    int32_t state;
    StringId string;
    LatticeWeight weight;
  };
  // A subset: a stretch of elements_, by ascending state.
  struct Span {
    size_t begin;
    size_t size;
  };
  // An arc to be made: out of `source`, with `label`, to `subset`.
  struct Task {
    double priority_cost;  // of the best complete path through the arc
    int32_t source;
    int32_t label;
    Span subset;
    bool operator<(const Task &other) const { return priority_cost > other.priority_cost; }
  };
  struct OutputArc {
    int32_t label;
    int32_t nextstate;
    LatticeWeight weight;
    StringId prefix;  // the arc's string is prefix, then suffix
    StringId suffix;
  };
  struct OutputState {
    Span minimal_subset;
    double forward_cost;  // of the best path to the state
    LatticeWeight final_weight;
    StringId final_string;
    std::vector<OutputArc> arcs;
  };
  // An initial subset, and what its closure gave.
  struct Initial {
    Span subset;
    int32_t state;
    LatticeWeight weight;
    StringId string;
  };
  // An element that an arc of the input gives, before it is known whether the beam lets it live.
  struct Candidate {
    int32_t label;
    int32_t state;
    LatticeWeight weight;
    StringId source_string;  // before the arc
    const DeterminizerArc *arc;
  };

  int Compare(const LatticeWeight &a, StringId a_string, const LatticeWeight &b, StringId b_string) const;
  StringId Extend(StringId string, const StringSpan &labels);
  bool IsLabelledOrFinal(int32_t state) const;

  // Replaces subset_ by its closure, or what of it belongs to the minimal subset.
  void MinimalEpsilonClosure();
  void ClosureStep(const Element &element);
  // Divides by the total weight and the common prefix, and returns these two.
  LatticeWeight Normalize(Element *elements, size_t size, StringId *common_prefix);

  Span Store(const std::vector<Element> &subset);
  uint64_t Hash(const Element *elements, size_t size) const;
  bool IsEqual(const Element *a, const Element *b, size_t size) const;

  int32_t AddOutputState(const std::vector<Element> &subset, double forward_cost);
  int32_t MinimalToState(const std::vector<Element> &subset, double forward_cost);
  const Initial &InitialToState(const Span &subset, double forward_cost);
  void SetFinal(OutputState *state);
  void QueueArcs(int32_t state);
  void QueueArc(int32_t state, const Candidate *begin, const Candidate *end);
  void MakeArc(const Task &task);

  bool ReachedLimit();
  int64_t FixedMemory() const;
  void RebuildRepository();

  const DeterminizerInput &input_;
  const double beam_;
  const DeterminizeLatticePrunedOptions options_;
  std::vector<double> backward_costs_;
  double cutoff_ = 0;
  double effective_beam_ = 0;

  StringRepository strings_;
  std::vector<Element> elements_;  // all subsets, one after the other
  std::vector<OutputState> states_;
  std::vector<Initial> initials_;
  SubsetTable minimal_table_;  // to states_
  SubsetTable initial_table_;  // to initials_
  std::priority_queue<Task> queue_;
  int64_t num_arcs_ = 0;
  int64_t num_elements_ = 0;  // of minimal and initial subsets, for the memory limit

  // Scratch space.
  std::vector<Element> subset_;
  std::vector<Element> closure_;           // in the order in which states were met
  std::vector<int32_t> closure_position_;  // of each input state in closure_, or -1
  std::vector<int32_t> closure_heap_;      // states to visit, lowest first
  std::vector<Candidate> candidates_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_DETERMINIZER_H_
