#include "csrc/fst/vector-fst.h"

#include <utility>

namespace pykaldi {

VectorFst::VectorFst(const ConstFst &fst) : states_(fst.NumStates()), start_(fst.Start()) {
  for (int32_t s = 0; s < fst.NumStates(); ++s) {
    const ArcSpan arcs = fst.Arcs(s);
    states_[s].final_weight = fst.Final(s);
    states_[s].arcs.assign(arcs.begin(), arcs.end());
  }
}

std::shared_ptr<ConstFst> VectorFst::ToConst() const {
  std::vector<ConstState> states;
  std::vector<StdArc> arcs;
  states.reserve(states_.size());
  for (const State &state : states_) {
    ConstState s{state.final_weight, static_cast<uint32_t>(arcs.size()),
                 static_cast<uint32_t>(state.arcs.size()), 0, 0};
    for (const StdArc &arc : state.arcs) {
      s.num_input_epsilons += arc.ilabel == 0;
      s.num_output_epsilons += arc.olabel == 0;
    }
    states.push_back(s);
    arcs.insert(arcs.end(), state.arcs.begin(), state.arcs.end());
  }
  return std::make_shared<ConstFst>(start_, std::move(states), std::move(arcs));
}

}  // namespace pykaldi
