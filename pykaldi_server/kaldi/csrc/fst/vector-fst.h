// A transducer that can be built and changed, state by state; a ConstFst is made of it for everything else.
#ifndef PYKALDI_SERVER_FST_VECTOR_FST_H_
#define PYKALDI_SERVER_FST_VECTOR_FST_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "csrc/fst/const-fst.h"

namespace pykaldi {

class VectorFst {
 public:
  VectorFst() = default;
  explicit VectorFst(const ConstFst &fst);

  int32_t Start() const { return start_; }
  int32_t NumStates() const { return static_cast<int32_t>(states_.size()); }
  float Final(int32_t state) const { return states_[state].final_weight; }
  const std::vector<StdArc> &Arcs(int32_t state) const { return states_[state].arcs; }

  int32_t AddState() {
    states_.emplace_back();
    return NumStates() - 1;
  }
  void SetStart(int32_t state) { start_ = state; }
  void SetFinal(int32_t state, float weight) { states_[state].final_weight = weight; }
  void AddArc(int32_t state, const StdArc &arc) { states_[state].arcs.push_back(arc); }

  // The same transducer, read-only. Throws ModelFormatError when the start or a next state, label or weight
  // is invalid.
  std::shared_ptr<ConstFst> ToConst() const;

 private:
  struct State {
    float final_weight = std::numeric_limits<float>::infinity();
    std::vector<StdArc> arcs;
  };

  std::vector<State> states_;
  int32_t start_ = kNoStateId;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_VECTOR_FST_H_
