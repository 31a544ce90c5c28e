// An n-gram language model as an automaton with backoff arcs (G.fst), prepared for composition.
//
// The automaton is projected on its output: the arcs that back off, which have #0 on the input side, have no
// label there. They are ordinary epsilon arcs: one may back off even where the model has the word, and the
// best way counts. The arcs of each state are sorted, those without a label first. Source:
// latbin/lattice-lmrescore.cc and PrepareLmFst in fstext/kaldi-fst-io.cc.
#ifndef PYKALDI_SERVER_LM_BACKOFF_LM_H_
#define PYKALDI_SERVER_LM_BACKOFF_LM_H_

#include <cstdint>
#include <vector>

#include "csrc/fst/const-fst.h"

namespace pykaldi {

// Immutable, shared by all sessions.
class BackoffLm {
 public:
  struct Arc {
    int32_t word;  // 0: backs off
    float cost;
    int32_t nextstate;
  };
  struct Arcs {
    const Arc *first;
    const Arc *last;
    const Arc *begin() const { return first; }
    const Arc *end() const { return last; }
  };

  // Copies the arcs. Throws ModelFormatError when the FST has no start state.
  explicit BackoffLm(const ConstFst &fst);

  int32_t Start() const { return start_; }
  int32_t NumStates() const { return static_cast<int32_t>(finals_.size()); }
  float Final(int32_t state) const { return finals_[state]; }
  // The arcs with a word; 0 gives those that back off.
  Arcs Find(int32_t state, int32_t word) const;

 private:
  int32_t start_;
  std::vector<float> finals_;
  std::vector<int64_t> begin_;  // of each state's arcs, and the end of the last one's
  std::vector<Arc> arcs_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_BACKOFF_LM_H_
