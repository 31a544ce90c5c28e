// The best path of a search: once in full with its costs, or kept up to date while frames are added.
//
// Sources: decoder/lattice-faster-online-decoder.cc (GetBestPath, TraceBackBestPath), and
// OnlineSilenceWeighting::ComputeCurrentTraceback in online2/online-ivector-feature.cc.
#ifndef PYKALDI_SERVER_DECODER_BEST_PATH_H_
#define PYKALDI_SERVER_DECODER_BEST_PATH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csrc/decoder/token-lattice.h"

namespace pykaldi {

struct BestPath {
  std::vector<int32_t> words;
  std::vector<int32_t> alignment;  // transition-ids, one per frame
  double graph_cost = 0;
  double acoustic_cost = 0;
};

// The best path that ends in a token of the newest boundary; its final cost is the caller's to add.
BestPath TraceBack(const TokenLattice &lattice, int32_t token);

// The best path, without final costs, of a search that goes on. An update goes back only to the first token
// that the path had before: a token's own best path does not change any more once its boundary is complete.
// Tokens are recognised by the state of the graph, of which a boundary has each at most once; their positions
// change when they are pruned.
class CurrentBestPath {
 public:
  void Clear();

  // Follows the path from its end, a token of the newest boundary.
  void Update(const TokenLattice &lattice, int32_t token);

  int32_t NumFrames() const { return static_cast<int32_t>(steps_.size()); }
  int32_t TransitionId(int32_t frame) const { return steps_[frame].ilabel; }
  // The words of the whole path.
  const std::vector<int32_t> &Words() const { return words_; }

  // How many of the first words every path has that ends in a token of the newest boundary with at most the
  // cost `cutoff`: if tokens of later boundaries descend from these only, later best paths have the same
  // words. Follows the paths back until they meet, or to where they met last time. The path must be up to
  // date.
  int32_t NumStableWords(const TokenLattice &lattice, float cutoff);

  // The first frame whose transition-id may have changed since the last call. As in Kaldi, a frame counts as
  // unchanged when the token that its link leaves is the same, though the link may be another one: silence
  // weighting relies on what Kaldi sees.
  int32_t TakeFirstChangedFrame();

 private:
  static constexpr int32_t kNoBoundary = -1;

  // The part of the path from the entry into one boundary to the entry into the next.
  struct Step {
    int32_t state;      // of the token that the emitting link leaves
    int32_t ilabel;     // of the emitting link
    int32_t num_words;  // of the path up to that token
  };

  std::vector<Step> steps_;
  std::vector<int32_t> words_;
  std::vector<int32_t> reported_states_;   // of the steps at the last TakeFirstChangedFrame
  int32_t stable_boundary_ = kNoBoundary;  // the last one where all paths are known to have the same token
  // Scratch memory of Update, from the last frame to the first. Here num_words counts from the end.
  std::vector<Step> new_steps_;
  std::vector<int32_t> new_words_;
  // Scratch memory of NumStableWords.
  std::vector<int32_t> tokens_, sources_;
  std::vector<char> is_source_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_BEST_PATH_H_
