#include "csrc/fst/lookahead-composition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/base/mapped-file.h"
#include "csrc/base/unaligned-array.h"
#include "csrc/fst/arc-weight-sums.h"
#include "csrc/fst/const-grammar.h"
#include "csrc/fst/fst-io.h"
#include "csrc/fst/label-set.h"
#include "csrc/fst/ngram-fst.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kNoLabel = ComposedState::kNoLabel;
// What OpenFst rounds weights to (kDelta in weight.h).
constexpr float kWeightStep = 1.0f / 1024;

ComposedState MakeState(int32_t hcl_state, int32_t grammar_state, bool after_epsilon = false,
                        int32_t label = kNoLabel, float weight = 0) {
  return {static_cast<uint32_t>(hcl_state), after_epsilon, grammar_state, label, weight};
}

float Round(float weight) { return std::floor(weight / kWeightStep + 0.5f) * kWeightStep; }

template <class Grammar>
class Composition : public LookaheadComposition {
 public:
  Composition(std::shared_ptr<const OLabelLookaheadFst> hcl, std::shared_ptr<const Grammar> grammar,
              std::shared_ptr<SymbolTable> symbols, const std::vector<int32_t> &disambig_labels)
      : LookaheadComposition(std::move(hcl), std::move(symbols), disambig_labels),
        grammar_(std::move(grammar)),
        sums_(*grammar_) {}

  bool Start(ComposedState *start) const override {
    if (Hcl().Fst().Start() == kNoStateId || grammar_->Start() == kNoStateId) return false;
    *start = MakeState(Hcl().Fst().Start(), grammar_->Start());
    return true;
  }

  float Final(const ComposedState &state) const override {
    if (state.label != kNoLabel) return kInfinity;
    const float final1 = Hcl().Fst().Final(static_cast<int32_t>(state.hcl_state));
    const float final2 = grammar_->Final(state.grammar_state);
    return final1 == kInfinity || final2 == kInfinity ? kInfinity : final1 - state.weight + final2;
  }

  void Expand(const ComposedState &state, std::vector<ComposedArc> *arcs) const override {
    arcs->clear();
    if (state.label == kNoLabel) {
      ExpandWithoutLabel(state, arcs);
    } else {
      ExpandWithLabel(state, arcs);
    }
  }

  std::vector<int32_t> OutputLabels() const override {
    LabelSet labels;
    for (int32_t state = 0; state < grammar_->NumStates(); ++state) {
      const ArcView arcs = grammar_->Arcs(state);
      for (int32_t i = 0; i < arcs.Size(); ++i) labels.Add(arcs.OutputLabel(i));
    }
    return labels.Sorted();
  }

 private:
  using ArcView = typename Grammar::ArcView;

  // The words that can come after a state of HCLr, as arcs of a state of G.
  struct Future {
    bool exists = false;
    int32_t only_arc = -1;  // the position of the only one, if it is the only one and no end is possible
    float weight = 0;       // of all, unless there is only one
  };

  // The arcs of a composed state while they are collected.
  struct Expansion {
    const ComposedState &state;
    ArcSpan hcl_arcs;
    ArcView grammar_arcs;
    float grammar_final;
    bool only_epsilons_in_grammar;
    std::vector<ComposedArc> *arcs;
  };

  // OpenFst goes through the arcs of the state that has fewer and looks for theirs in the other, which
  // decides the order of the composed arcs.
  void ExpandWithoutLabel(const ComposedState &state, std::vector<ComposedArc> *arcs) const {
    const ArcView grammar_arcs = grammar_->Arcs(state.grammar_state);
    const float grammar_final = grammar_->Final(state.grammar_state);
    const bool only_epsilons =
        grammar_arcs.NumEpsilons() == grammar_arcs.Size() && grammar_final == kInfinity;
    const ArcSpan hcl_arcs = Hcl().Fst().Arcs(static_cast<int32_t>(state.hcl_state));
    const Expansion e{state, hcl_arcs, grammar_arcs, grammar_final, only_epsilons, arcs};
    if (static_cast<int64_t>(hcl_arcs.size()) <= grammar_arcs.Size()) {
      for (int32_t i = 0; i < grammar_arcs.NumEpsilons(); ++i) TakeGrammarEpsilon(e, i);
      for (const StdArc &arc : hcl_arcs) {
        if (arc.olabel == 0) {
          TakeHclEpsilon(e, arc);
        } else {
          MatchInGrammar(e, arc);
        }
      }
    } else {
      for (const StdArc *arc = hcl_arcs.begin(); arc != hcl_arcs.end() && arc->olabel == 0; ++arc) {
        TakeHclEpsilon(e, *arc);
      }
      for (int32_t i = 0; i < grammar_arcs.Size(); ++i) {
        if (i < grammar_arcs.NumEpsilons()) {
          TakeGrammarEpsilon(e, i);
        } else {
          MatchInHcl(e, i);
        }
      }
    }
  }

  void TakeGrammarEpsilon(const Expansion &e, int32_t i) const {
    if (e.state.after_epsilon) return;
    const ArcView &arcs = e.grammar_arcs;
    e.arcs->push_back({0, arcs.OutputLabel(i), arcs.Weight(i) - e.state.weight,
                       MakeState(static_cast<int32_t>(e.state.hcl_state), arcs.NextState(i))});
  }

  void TakeHclEpsilon(const Expansion &e, const StdArc &arc) const {
    if (e.only_epsilons_in_grammar) return;
    const Future future = LookAhead(arc.nextstate, e);
    if (!future.exists || future.weight == kInfinity) return;
    const float weight = future.weight - e.state.weight;
    const bool after_epsilon = e.grammar_arcs.NumEpsilons() != 0;
    const int32_t ilabel = InputLabel(arc.ilabel);
    if (future.only_arc < 0) {
      e.arcs->push_back(
          {ilabel, 0, arc.weight + weight,
           MakeState(arc.nextstate, e.state.grammar_state, after_epsilon, kNoLabel, Round(future.weight))});
    } else {
      const ArcView &arcs = e.grammar_arcs;
      const int32_t i = future.only_arc;
      e.arcs->push_back({ilabel, arcs.OutputLabel(i), arc.weight + (weight + arcs.Weight(i)),
                         MakeState(arc.nextstate, arcs.NextState(i), after_epsilon, arcs.InputLabel(i))});
    }
  }

  void MatchInGrammar(const Expansion &e, const StdArc &arc) const {
    const ArcView &arcs = e.grammar_arcs;
    for (int32_t i = FindWord(arcs, arcs.NumEpsilons(), arc.olabel);
         i < arcs.Size() && arcs.InputLabel(i) == arc.olabel; ++i) {
      TakeBoth(e, arc, i);
    }
  }

  void MatchInHcl(const Expansion &e, int32_t i) const {
    const int32_t word = e.grammar_arcs.InputLabel(i);
    const StdArc *arc = std::lower_bound(e.hcl_arcs.begin(), e.hcl_arcs.end(), word,
                                         [](const StdArc &a, int32_t w) { return a.olabel < w; });
    for (; arc != e.hcl_arcs.end() && arc->olabel == word; ++arc) TakeBoth(e, *arc, i);
  }

  void TakeBoth(const Expansion &e, const StdArc &arc, int32_t i) const {
    const ArcView &arcs = e.grammar_arcs;
    e.arcs->push_back({InputLabel(arc.ilabel), arcs.OutputLabel(i),
                       arc.weight + (arcs.Weight(i) - e.state.weight),
                       MakeState(arc.nextstate, arcs.NextState(i))});
  }

  // G stays where it is until HCLr has come to the label.
  void ExpandWithLabel(const ComposedState &state, std::vector<ComposedArc> *arcs) const {
    const ArcSpan hcl_arcs = Hcl().Fst().Arcs(static_cast<int32_t>(state.hcl_state));
    const bool is_only_arc = hcl_arcs.size() == 1;
    const auto take_epsilons = [&] {
      for (const StdArc *arc = hcl_arcs.begin(); arc != hcl_arcs.end() && arc->olabel == 0; ++arc) {
        if (!is_only_arc && !Hcl().Reachable().Labels(arc->nextstate).Contains(state.label)) continue;
        ComposedState next = state;
        next.hcl_state = static_cast<uint32_t>(arc->nextstate);
        arcs->push_back({InputLabel(arc->ilabel), 0, arc->weight, next});
      }
    };
    const auto take_label = [&] {
      const StdArc *arc = std::lower_bound(hcl_arcs.begin(), hcl_arcs.end(), state.label,
                                           [](const StdArc &a, int32_t label) { return a.olabel < label; });
      for (; arc != hcl_arcs.end() && arc->olabel == state.label; ++arc) {
        arcs->push_back(
            {InputLabel(arc->ilabel), 0, arc->weight, MakeState(arc->nextstate, state.grammar_state)});
      }
    };
    if (static_cast<int64_t>(hcl_arcs.size()) <= grammar_->Arcs(state.grammar_state).Size()) {
      take_epsilons();
      take_label();
    } else {
      take_label();
      take_epsilons();
    }
  }

  Future LookAhead(int32_t hcl_state, const Expansion &e) const {
    const ArcView &arcs = e.grammar_arcs;
    const LabelIntervals labels = Hcl().Reachable().Labels(hcl_state);
    int32_t first = -1;
    int32_t end = -1;
    float weight = kInfinity;
    const auto add = [&](int32_t range_begin, int32_t range_end) {
      if (first < 0) first = range_begin;
      end = range_end;
      weight = sums_.Sum(weight, e.state.grammar_state, arcs, range_begin, range_end);
    };
    if (2 * static_cast<int64_t>(arcs.Size()) < labels.size()) {
      for (int32_t i = arcs.NumEpsilons(); i < arcs.Size(); ++i) {
        if (!labels.Contains(arcs.InputLabel(i))) continue;
        if (first < 0) first = i;
        end = i + 1;
        weight = ArcWeightSums::AddFloat(weight, arcs.Weight(i));
      }
    } else {
      int32_t position = 0;
      for (const LabelInterval &interval : labels) {
        if (position == arcs.Size()) break;
        const int32_t range_begin = FindWord(arcs, position, interval.begin);
        position = FindWord(arcs, range_begin, interval.end);
        if (range_begin < position) add(range_begin, position);
      }
    }
    const bool can_end = e.grammar_final != kInfinity && labels.Contains(Hcl().Reachable().FinalLabel());
    Future future;
    future.exists = first >= 0 || can_end;
    if (end - first == 1 && first >= 0 && !can_end) {
      future.only_arc = first;
    } else if (can_end) {
      future.weight = std::min(weight, e.grammar_final);
    } else {
      future.weight = weight;
    }
    return future;
  }

  // The position of the first arc from `begin` on whose word is not less. It is often near, so it is looked
  // for in steps that double, and then between the last two.
  static int32_t FindWord(const ArcView &arcs, int32_t begin, int32_t word) {
    const auto label = [&arcs](int32_t i) { return arcs.InputLabel(i); };
    int32_t end = begin;
    for (int64_t step = 1; end < arcs.Size() && label(end) < word; step *= 2) {
      begin = end + 1;
      end = static_cast<int32_t>(std::min<int64_t>(end + step, arcs.Size()));
    }
    return LowerBound(begin, end, word, label);
  }

  std::shared_ptr<const Grammar> grammar_;
  ArcWeightSums sums_;
};

}  // namespace

LookaheadComposition::LookaheadComposition(std::shared_ptr<const OLabelLookaheadFst> hcl,
                                           std::shared_ptr<SymbolTable> symbols,
                                           const std::vector<int32_t> &disambig_labels)
    : hcl_(std::move(hcl)), output_symbols_(std::move(symbols)) {
  const ConstFst &fst = hcl_->Fst();
  is_disambig_.resize(static_cast<size_t>(fst.MaxInputLabel()) + 1, 0);
  for (const int32_t label : disambig_labels) {
    if (label <= 0)
      throw ConfigError("disambiguation labels: expected labels, found " + std::to_string(label));
    if (label <= fst.MaxInputLabel()) is_disambig_[label] = 1;
  }
  max_ilabel_ = fst.MaxInputLabel();
  while (max_ilabel_ > 0 && is_disambig_[max_ilabel_]) --max_ilabel_;
}

std::unique_ptr<LookaheadComposition> LookaheadComposition::Read(
    const std::string &hcl_path, const std::string &grammar_path,
    const std::vector<int32_t> &disambig_labels) {
  auto hcl = std::make_shared<OLabelLookaheadFst>(hcl_path);
  const auto file = std::make_shared<MappedFile>(grammar_path);
  ByteReader reader(file->Data(), file->Size(), grammar_path);
  const FstHeader header = FstHeader::Read(&reader);
  if (header.fst_type == "ngram") {
    auto grammar = std::make_shared<NgramFst>(header, &reader, file);
    auto symbols = grammar->OutputSymbols();
    return std::make_unique<Composition<NgramFst>>(std::move(hcl), std::move(grammar), std::move(symbols),
                                                   disambig_labels);
  }
  const std::shared_ptr<ConstFst> fst = ReadFst(header, &reader, file);
  return std::make_unique<Composition<ConstGrammar>>(std::move(hcl),
                                                     std::make_shared<ConstGrammar>(fst, grammar_path),
                                                     fst->OutputSymbols(), disambig_labels);
}

}  // namespace pykaldi
