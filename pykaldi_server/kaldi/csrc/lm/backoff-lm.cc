#include "csrc/lm/backoff-lm.h"

#include <algorithm>

#include "csrc/base/error.h"

namespace pykaldi {

BackoffLm::BackoffLm(const ConstFst &fst) : start_(fst.Start()) {
  if (start_ == kNoStateId) throw ModelFormatError("expected a language model, found an FST without a start");
  finals_.reserve(fst.NumStates());
  begin_.reserve(fst.NumStates() + 1);
  arcs_.reserve(fst.NumArcs());
  begin_.push_back(0);
  for (int32_t s = 0; s < fst.NumStates(); ++s) {
    for (const StdArc &arc : fst.Arcs(s)) arcs_.push_back({arc.olabel, arc.weight, arc.nextstate});
    std::stable_sort(arcs_.begin() + begin_.back(), arcs_.end(),
                     [](const Arc &a, const Arc &b) { return a.word < b.word; });
    begin_.push_back(static_cast<int64_t>(arcs_.size()));
    finals_.push_back(fst.Final(s));
  }
}

BackoffLm::Arcs BackoffLm::Find(int32_t state, int32_t word) const {
  struct ByWord {
    bool operator()(const Arc &arc, int32_t w) const { return arc.word < w; }
    bool operator()(int32_t w, const Arc &arc) const { return w < arc.word; }
  };
  const Arc *begin = arcs_.data() + begin_[state], *end = arcs_.data() + begin_[state + 1];
  const auto [first, last] = std::equal_range(begin, end, word, ByWord());
  return {first, last};
}

}  // namespace pykaldi
