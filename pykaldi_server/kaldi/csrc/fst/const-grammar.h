// A language model in the form of a `const` FST, with the members that composition needs of one (NgramFst has
// them as well): its arcs are sorted by input label, so epsilon arcs come first.
#ifndef PYKALDI_SERVER_FST_CONST_GRAMMAR_H_
#define PYKALDI_SERVER_FST_CONST_GRAMMAR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/fst/const-fst.h"

namespace pykaldi {

class ConstGrammar {
 public:
  // The arcs of one state.
  class ArcView {
   public:
    ArcView(const ArcSpan &arcs, uint32_t num_epsilons)
        : arcs_(arcs.first),
          size_(static_cast<int32_t>(arcs.size())),
          num_epsilons_(static_cast<int32_t>(num_epsilons)) {}

    int32_t Size() const { return size_; }
    int32_t NumEpsilons() const { return num_epsilons_; }
    int32_t InputLabel(int32_t i) const { return arcs_[i].ilabel; }
    int32_t OutputLabel(int32_t i) const { return arcs_[i].olabel; }
    float Weight(int32_t i) const { return arcs_[i].weight; }
    int32_t NextState(int32_t i) const { return arcs_[i].nextstate; }

   private:
    const StdArc *arcs_;
    int32_t size_;
    int32_t num_epsilons_;
  };

  // Throws ModelFormatError when arcs are not sorted by input label; `path` is for the error.
  ConstGrammar(std::shared_ptr<const ConstFst> fst, const std::string &path) : fst_(std::move(fst)) {
    for (int32_t state = 0; state < fst_->NumStates(); ++state) {
      int32_t last_label = 0;
      for (const StdArc &arc : fst_->Arcs(state)) {
        if (arc.ilabel < last_label) {
          throw ModelFormatError(path + ": state " + std::to_string(state) +
                                 ": expected arcs sorted by input label, found " +
                                 std::to_string(arc.ilabel) + " after " + std::to_string(last_label));
        }
        last_label = arc.ilabel;
      }
    }
  }

  int32_t Start() const { return fst_->Start(); }
  int32_t NumStates() const { return fst_->NumStates(); }
  float Final(int32_t state) const { return fst_->Final(state); }
  ArcView Arcs(int32_t state) const { return {fst_->Arcs(state), fst_->NumInputEpsilons(state)}; }

 private:
  std::shared_ptr<const ConstFst> fst_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_CONST_GRAMMAR_H_
