#include "csrc/lat/phone-align-lattice.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "csrc/lat/alignment-search.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/remove-epsilons.h"

namespace pykaldi {
namespace {

class LatticePhoneAligner {
 public:
  LatticePhoneAligner(const CompactLattice &lattice, const TransitionInformation &model,
                      const PhoneAlignLatticeOptions &options, CompactLattice *output)
      : lattice_(lattice),
        model_(model),
        options_(options),
        phone_ends_(model, options.reorder),
        output_(output),
        states_(output) {
    Connect(&lattice_);
    TopSort(&lattice_);  // refuses cycles, along which the search would never end
    CreateSuperFinal(&lattice_);
  }

  bool Align() {
    if (lattice_.Start() == kNoLatticeState) return false;
    output_->SetStart(states_.StateFor({lattice_.Start(), {}}));
    States::Tuple tuple;
    int32_t state = 0;
    while (states_.Next(&tuple, &state)) {
      if (output_->NumStates() > kMaxAlignedStates) {
        output_->Clear();
        return false;
      }
      Follow(std::move(tuple), state);
    }
    if (options_.remove_epsilon) RemoveEpsilons(output_);
    return ok_;
  }

 private:
  using States = AlignmentStates<PendingSymbols>;

  void Follow(States::Tuple tuple, int32_t state) {
    CompactLatticeArc arc;
    const bool at_end = lattice_.IsFinal(tuple.input_state);
    if (TakePhone(&tuple.pending, &arc) || TakeExtraWord(&tuple.pending, &arc) ||
        (at_end && TakeLastArc(&tuple.pending, &arc))) {
      arc.nextstate = states_.StateFor(std::move(tuple));
      output_->AddArc(state, std::move(arc));
      return;
    }
    if (at_end) output_->SetFinal(state, CompactLatticeWeight::One());
    for (const CompactLatticeArc &in : lattice_.Arcs(tuple.input_state)) {
      States::Tuple next{in.nextstate, tuple.pending};
      std::vector<int32_t> &ids = next.pending.transition_ids;
      ids.insert(ids.end(), in.weight.string.begin(), in.weight.string.end());
      if (in.label != 0 && !options_.replace_output_symbols) next.pending.words.push_back(in.label);
      const int32_t next_state = states_.StateFor(std::move(next));
      output_->AddArc(state, {0, {in.weight.weight, {}}, next_state});
    }
  }

  // The label of an arc with transition-ids: the phone, or a word that waits for an arc.
  int32_t TakeLabel(int32_t phone, PendingSymbols *pending) const {
    const int32_t word = pending->TakeWord();
    return options_.replace_output_symbols ? phone : word;
  }

  // Puts out a phone that is complete for certain, if one is pending.
  bool TakePhone(PendingSymbols *pending, CompactLatticeArc *arc) {
    if (pending->transition_ids.empty()) return false;
    const size_t end = phone_ends_.Find(pending->transition_ids, 0, &ok_);
    if (end == PhoneEnds::kUnknown) return false;
    arc->label = TakeLabel(model_.Phone(pending->transition_ids.front()), pending);
    arc->weight = {LatticeWeight::One(), pending->TakeTransitionIds(end)};
    return true;
  }

  // Puts out a word on an arc of its own when words come faster than phones.
  bool TakeExtraWord(PendingSymbols *pending, CompactLatticeArc *arc) const {
    if (pending->words.size() < 2) return false;
    arc->label = pending->TakeWord();
    arc->weight = CompactLatticeWeight::One();
    return true;
  }

  // Puts out what is pending at the end of the lattice; false when nothing is.
  bool TakeLastArc(PendingSymbols *pending, CompactLatticeArc *arc) {
    if (pending->IsEmpty()) return false;
    const std::vector<int32_t> &ids = pending->transition_ids;
    const int32_t phone = ids.empty() ? 0 : model_.Phone(ids.front());
    const auto is_final = [this](int32_t id) { return model_.IsFinal(id); };
    const auto is_other = [&](int32_t id) { return model_.Phone(id) != phone; };
    if (!ids.empty() && (std::count_if(ids.begin(), ids.end(), is_final) != 1 ||
                         std::any_of(ids.begin(), ids.end(), is_other))) {
      ok_ = false;
    }
    arc->label = TakeLabel(phone, pending);
    arc->weight = {LatticeWeight::One(), pending->TakeTransitionIds(ids.size())};
    return true;
  }

  CompactLattice lattice_;
  const TransitionInformation &model_;
  const PhoneAlignLatticeOptions options_;
  const PhoneEnds phone_ends_;
  CompactLattice *output_;
  States states_;
  bool ok_ = true;
};

}  // namespace

bool PhoneAlignLattice(const CompactLattice &lattice, const TransitionInformation &model,
                       const PhoneAlignLatticeOptions &options, CompactLattice *aligned) {
  aligned->Clear();
  return LatticePhoneAligner(lattice, model, options, aligned).Align();
}

}  // namespace pykaldi
