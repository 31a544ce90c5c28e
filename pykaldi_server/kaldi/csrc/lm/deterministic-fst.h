// A language model as an automaton that is asked for one arc at a time (fstext/deterministic-fst.h).
//
// From each state there is exactly one arc for each word, or none; states come to exist when an arc leads to
// them. Costs are negated log-probabilities.
#ifndef PYKALDI_SERVER_LM_DETERMINISTIC_FST_H_
#define PYKALDI_SERVER_LM_DETERMINISTIC_FST_H_

#include <cstdint>

namespace pykaldi {

class DeterministicOnDemandFst {
 public:
  struct Arc {
    float cost;
    int32_t nextstate;
  };

  virtual ~DeterministicOnDemandFst() = default;
  virtual int32_t Start() = 0;
  // The cost of ending in a state; infinite when one cannot.
  virtual float Final(int32_t state) = 0;
  // Finds the arc for a word; false when there is none.
  virtual bool GetArc(int32_t state, int32_t word, Arc *arc) = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_DETERMINISTIC_FST_H_
