// What determinisation reads: a lattice laid out for it.
//
// An acceptor of labels (words, in the first pass also phones) whose arcs carry costs and a string of
// transition-ids. States are in topological order; the arcs without a label come first in each state.
//
// Phones (Kaldi's DeterminizeLatticeInsertPhones): each transition-id that begins a phone puts that phone's
// label, first_phone_label + phone, on its arc; when the arc has a word already, on an arc of its own behind
// it. Arcs out of the start state stay as they are, as in Kaldi.
#ifndef PYKALDI_SERVER_LAT_DETERMINIZER_INPUT_H_
#define PYKALDI_SERVER_LAT_DETERMINIZER_INPUT_H_

#include <cstdint>
#include <vector>

#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

// A stretch of DeterminizerInput's transition-ids.
struct StringSpan {
  int64_t begin = 0;
  int64_t end = 0;
};

struct DeterminizerArc {
  int32_t label = 0;
  int32_t nextstate = 0;
  LatticeWeight weight;
  StringSpan string;
};

class DeterminizerInput {
 public:
  // Words on the arcs.
  explicit DeterminizerInput(const Lattice &lattice) : DeterminizerInput(lattice, nullptr) {}
  explicit DeterminizerInput(const CompactLattice &lattice);
  // Words and phones; no phones without a model.
  DeterminizerInput(const Lattice &lattice, const TransitionInformation *model);

  int32_t NumStates() const { return static_cast<int32_t>(finals_.size()); }
  // Labels from this one on are phones.
  int32_t FirstPhoneLabel() const { return first_phone_label_; }
  ArcRange<const DeterminizerArc> EpsilonArcs(int32_t s) const {
    return Range(arcs_begin_[s], labels_begin_[s]);
  }
  ArcRange<const DeterminizerArc> LabelArcs(int32_t s) const {
    return Range(labels_begin_[s], arcs_begin_[s + 1]);
  }
  ArcRange<const DeterminizerArc> Arcs(int32_t s) const { return Range(arcs_begin_[s], arcs_begin_[s + 1]); }
  const LatticeWeight &Final(int32_t s) const { return finals_[s]; }
  const StringSpan &FinalString(int32_t s) const { return final_strings_[s]; }
  const int32_t *StringBegin(const StringSpan &span) const { return strings_.data() + span.begin; }
  const int32_t *StringEnd(const StringSpan &span) const { return strings_.data() + span.end; }

  // The lowest cost from each state to the end (infinite when there is no way), in double precision.
  std::vector<double> BackwardCosts() const;
  // Removes what is on no path within `beam` of the best one.
  void Prune(double beam);

 private:
  ArcRange<const DeterminizerArc> Range(int64_t begin, int64_t end) const {
    return {arcs_.data() + begin, arcs_.data() + end};
  }
  // Adds a state behind the others, with these arcs (those without a label are put first).
  void AddState(const LatticeWeight &final, StringSpan final_string, std::vector<DeterminizerArc> *arcs);
  StringSpan AddString(const int32_t *begin, const int32_t *end);

  std::vector<int64_t> arcs_begin_{0};  // of each state, and the end of the last one's
  std::vector<int64_t> labels_begin_;   // of each state: where its arcs with a label begin
  std::vector<DeterminizerArc> arcs_;
  std::vector<LatticeWeight> finals_;
  std::vector<StringSpan> final_strings_;
  std::vector<int32_t> strings_;
  int32_t first_phone_label_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_DETERMINIZER_INPUT_H_
