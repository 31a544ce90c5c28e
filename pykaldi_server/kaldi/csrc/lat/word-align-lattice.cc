#include "csrc/lat/word-align-lattice.h"

#include <algorithm>
#include <utility>

#include "csrc/lat/alignment-search.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/remove-epsilons.h"

namespace pykaldi {
namespace {

class LatticeWordAligner {
 public:
  LatticeWordAligner(const CompactLattice &lattice, const TransitionInformation &model,
                     const WordBoundaryInfo &info, CompactLattice *output)
      : lattice_(lattice),
        model_(model),
        info_(info),
        phone_ends_(model, info.reorder),
        output_(output),
        states_(output),
        silence_label_(info.silence_label != 0 ? info.silence_label : kTemporaryLabel),
        partial_word_label_(info.partial_word_label != 0 ? info.partial_word_label : kTemporaryLabel) {
    Connect(&lattice_);
    TopSort(&lattice_);  // refuses cycles, along which the search would never end
    CreateSuperFinal(&lattice_);
  }

  bool Align(int64_t max_states) {
    if (lattice_.Start() == kNoLatticeState) return false;
    output_->SetStart(states_.StateFor({lattice_.Start(), {}}));
    States::Tuple tuple;
    int32_t state = 0;
    while (states_.Next(&tuple, &state)) {
      if (output_->NumStates() > max_states) {
        output_->Clear();
        return false;
      }
      Follow(std::move(tuple), state);
    }
    RemoveEpsilons(output_);
    ReplaceLabel(kTemporaryLabel, 0, output_);
    return ok_;
  }

 private:
  using States = AlignmentStates<PendingSymbols>;

  void Follow(States::Tuple tuple, int32_t state) {
    CompactLatticeArc arc;
    const bool at_end = lattice_.IsFinal(tuple.input_state);
    if (TakeArc(&tuple.pending, &arc) || (at_end && TakeLastArc(&tuple.pending, &arc))) {
      arc.nextstate = states_.StateFor(std::move(tuple));
      output_->AddArc(state, std::move(arc));
      return;
    }
    if (at_end) output_->SetFinal(state, CompactLatticeWeight::One());
    for (const CompactLatticeArc &in : lattice_.Arcs(tuple.input_state)) {
      States::Tuple next{in.nextstate, tuple.pending};
      std::vector<int32_t> &ids = next.pending.transition_ids;
      ids.insert(ids.end(), in.weight.string.begin(), in.weight.string.end());
      if (in.label != 0) next.pending.words.push_back(in.label);
      const int32_t next_state = states_.StateFor(std::move(next));
      output_->AddArc(state, {0, {in.weight.weight, {}}, next_state});
    }
  }

  WordBoundaryInfo::PhoneType TypeAt(const std::vector<int32_t> &ids, size_t i) const {
    return info_.TypeOfPhone(model_.Phone(ids[i]));
  }

  // Puts out a unit that is complete for certain, if one is pending.
  bool TakeArc(PendingSymbols *pending, CompactLatticeArc *arc) {
    const std::vector<int32_t> &ids = pending->transition_ids;
    if (ids.empty()) return false;
    size_t end = PhoneEnds::kUnknown;
    const WordBoundaryInfo::PhoneType type = TypeAt(ids, 0);
    if (type == WordBoundaryInfo::kNonWordPhone) {
      end = phone_ends_.Find(ids, 0, &ok_);
    } else if (type == WordBoundaryInfo::kWordBeginAndEndPhone && !pending->words.empty()) {
      end = phone_ends_.Find(ids, 0, &ok_);
    } else if (type == WordBoundaryInfo::kWordBeginPhone && !pending->words.empty()) {
      end = FindWordEnd(ids);
    }
    if (end == PhoneEnds::kUnknown) return false;
    arc->label = type == WordBoundaryInfo::kNonWordPhone ? silence_label_ : pending->TakeWord();
    arc->weight = {LatticeWeight::One(), pending->TakeTransitionIds(end)};
    return true;
  }

  // The end of a word of several phones.
  size_t FindWordEnd(const std::vector<int32_t> &ids) {
    size_t i = phone_ends_.Find(ids, 0, &ok_);
    if (i == PhoneEnds::kUnknown) return i;
    for (; i < ids.size(); ++i) {
      const WordBoundaryInfo::PhoneType type = TypeAt(ids, i);
      if (type == WordBoundaryInfo::kWordEndPhone) return phone_ends_.Find(ids, i, &ok_);
      if (type != WordBoundaryInfo::kWordInternalPhone) ok_ = false;
    }
    return PhoneEnds::kUnknown;
  }

  // Puts out what is pending at the end of the lattice; false when nothing is.
  bool TakeLastArc(PendingSymbols *pending, CompactLatticeArc *arc) {
    if (pending->IsEmpty()) return false;
    const std::vector<int32_t> &ids = pending->transition_ids;
    if (ids.empty()) {
      // Words without any transition-id cannot be placed: they are dropped.
      ok_ = false;
      pending->words.clear();
      arc->label = 0;
    } else if (!pending->words.empty()) {
      if (!IsPlausibleWord(ids)) ok_ = false;
      arc->label = pending->TakeWord();
    } else if (TypeAt(ids, 0) == WordBoundaryInfo::kNonWordPhone) {
      arc->label = silence_label_;
    } else {
      ok_ = false;
      arc->label = partial_word_label_;
    }
    arc->weight = {LatticeWeight::One(), pending->TakeTransitionIds(ids.size())};
    return true;
  }

  bool IsPlausibleWord(const std::vector<int32_t> &ids) const {
    const WordBoundaryInfo::PhoneType first = TypeAt(ids, 0), last = TypeAt(ids, ids.size() - 1);
    const bool one_phone = first == WordBoundaryInfo::kWordBeginAndEndPhone &&
                           model_.Phone(ids.front()) == model_.Phone(ids.back());
    const bool phones = first == WordBoundaryInfo::kWordBeginPhone && last == WordBoundaryInfo::kWordEndPhone;
    return (one_phone || phones) &&
           (model_.IsFinal(ids.back()) || (info_.reorder && model_.IsSelfLoop(ids.back())));
  }

  CompactLattice lattice_;
  const TransitionInformation &model_;
  const WordBoundaryInfo &info_;
  const PhoneEnds phone_ends_;
  CompactLattice *output_;
  States states_;
  const int32_t silence_label_;
  const int32_t partial_word_label_;
  bool ok_ = true;
};

}  // namespace

bool WordAlignLattice(const CompactLattice &lattice, const TransitionInformation &model,
                      const WordBoundaryInfo &info, int64_t max_states, CompactLattice *aligned) {
  aligned->Clear();
  LatticeWordAligner aligner(lattice, model, info, aligned);
  return aligner.Align(max_states > 0 ? max_states : kMaxAlignedStates);
}

}  // namespace pykaldi
