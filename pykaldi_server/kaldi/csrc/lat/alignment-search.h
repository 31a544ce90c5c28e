// The search that all aligners of lattices share.
//
// An aligner walks along the paths of a lattice, gathers transition-ids and words on the way, and puts them
// out on arcs of its own as soon as it knows where a unit (word, phone, silence) ends. A state of its output
// is a state of the input together with what is pending: gathered but not yet put out.
#ifndef PYKALDI_SERVER_LAT_ALIGNMENT_SEARCH_H_
#define PYKALDI_SERVER_LAT_ALIGNMENT_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

// Stands for "no label" until arcs that are really empty have been removed.
constexpr int32_t kTemporaryLabel = -2;

// More states than any sensible lattice gives; an aligner without a limit stops there.
constexpr int64_t kMaxAlignedStates = 2000000;

inline size_t HashLabels(const std::vector<int32_t> &labels, size_t hash) {
  for (int32_t label : labels) hash = (hash ^ static_cast<uint32_t>(label)) * 0x100000001b3u;
  return hash * 0x9e3779b97f4a7c15u + labels.size();
}

// Transition-ids and words that are pending.
struct PendingSymbols {
  std::vector<int32_t> transition_ids;
  std::vector<int32_t> words;

  bool IsEmpty() const { return transition_ids.empty() && words.empty(); }
  bool operator==(const PendingSymbols &other) const {
    return transition_ids == other.transition_ids && words == other.words;
  }
  size_t Hash() const { return HashLabels(words, HashLabels(transition_ids, 0)); }

  // Takes the first `n` transition-ids away.
  std::vector<int32_t> TakeTransitionIds(size_t n) {
    std::vector<int32_t> taken(transition_ids.begin(), transition_ids.begin() + n);
    transition_ids.erase(transition_ids.begin(), transition_ids.begin() + n);
    return taken;
  }
  // Takes the first word away; 0 when there is none.
  int32_t TakeWord() {
    if (words.empty()) return 0;
    const int32_t word = words.front();
    words.erase(words.begin());
    return word;
  }
};

// The states of the output and the queue of those not yet followed. Pending needs == and Hash().
template <class Pending>
class AlignmentStates {
 public:
  struct Tuple {
    int32_t input_state;
    Pending pending;
    bool operator==(const Tuple &other) const {
      return input_state == other.input_state && pending == other.pending;
    }
  };

  explicit AlignmentStates(CompactLattice *output) : output_(output) {}

  // The output state of a tuple; a new one is queued.
  int32_t StateFor(Tuple tuple) {
    const auto [entry, is_new] = states_.try_emplace(std::move(tuple), output_->NumStates());
    if (is_new) {
      output_->AddState();
      queue_.push_back(&*entry);
    }
    return entry->second;
  }

  // Takes a tuple and its output state from the queue; the newest first. False when it is empty.
  bool Next(Tuple *tuple, int32_t *output_state) {
    if (queue_.empty()) return false;
    *tuple = queue_.back()->first;
    *output_state = queue_.back()->second;
    queue_.pop_back();
    return true;
  }

  void ClearQueue() { queue_.clear(); }

 private:
  struct Hasher {
    size_t operator()(const Tuple &tuple) const {
      return tuple.pending.Hash() * 31 + static_cast<size_t>(tuple.input_state);
    }
  };

  CompactLattice *output_;
  std::unordered_map<Tuple, int32_t, Hasher> states_;
  std::vector<const std::pair<const Tuple, int32_t> *> queue_;
};

// Finds where phones end in a string of transition-ids.
class PhoneEnds {
 public:
  static constexpr size_t kUnknown = static_cast<size_t>(-1);

  // With `reorder`, self-loops come behind the transition that leaves the state (Kaldi's graphs).
  PhoneEnds(const TransitionInformation &model, bool reorder) : model_(model), reorder_(reorder) {}

  // Where the phone that begins at `begin` ends. kUnknown when the string ends before the phone does, or with
  // it: then more of it may follow. Sets *ok to false when another phone comes before the end of this one.
  size_t Find(const std::vector<int32_t> &ids, size_t begin, bool *ok) const {
    const int32_t phone = model_.Phone(ids[begin]);
    size_t end = begin;
    while (end < ids.size() && !model_.IsFinal(ids[end])) {
      if (model_.Phone(ids[end]) != phone) *ok = false;
      ++end;
    }
    if (end == ids.size()) return kUnknown;
    ++end;
    if (reorder_) {
      while (end < ids.size() && model_.IsSelfLoop(ids[end])) ++end;
    }
    if (end == ids.size()) return kUnknown;
    if (model_.Phone(ids[end - 1]) != phone) *ok = false;
    return end;
  }

 private:
  const TransitionInformation &model_;
  const bool reorder_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_ALIGNMENT_SEARCH_H_
