// The memory in which a search works on a frame. Nothing in it outlives a call, so each thread has one, which
// all searches of the thread use in turn, and a search that waits for audio keeps none. A thread keeps its
// own for good: pages of the map that have been touched, at most 4 bytes per state of the largest graph.
#ifndef PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
#define PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "csrc/base/uninitialized-vector.h"
#include "csrc/decoder/arc-filter.h"
#include "csrc/decoder/state-token-map.h"
#include "csrc/decoder/token-lattice.h"

namespace pykaldi {

// A candidate that has become a way into a token.
struct TakenArc {
  int32_t candidate;
  int32_t target;  // a token of the boundary that is being built
};

struct SearchWorkspace {
  // The boundary that is being built.
  TokenVector tokens;
  LinkVector epsilon_links;
  StateTokenMap map;  // of `tokens`; empty between frames

  std::vector<float> acoustic_costs;      // of the frame, by pdf, and infinity for arcs without input label
  std::vector<float> offset_costs;        // the same with the cost offset
  UninitializedVector<int32_t> expanded;  // positions of the tokens to expand
  ActiveTokens active;                    // the same ones
  ArcCandidates candidates;
  UninitializedVector<TakenArc> taken;
  NewLinkVector links;                      // of the taken ones
  std::vector<int32_t> queue;               // new tokens whose epsilon arcs wait
  std::vector<EpsilonArcSpan> queued_arcs;  // of these, for a compiled graph
  std::vector<int32_t> epsilon_begin;       // the first epsilon link of each new token
  UninitializedVector<float> costs;         // of tokens, for NthCost

  static SearchWorkspace &OfThread() {
    thread_local SearchWorkspace workspace;
    return workspace;
  }

  // Gives room for offset_costs by positions in the columns of a compiled graph. Positions from `num_labels`
  // to `max_labels`, which only a damaged graph has, cost infinity.
  float *LabelCosts(size_t max_labels, size_t num_labels) {
    label_costs_.resize(max_labels, kInfinity);
    if (num_labels < num_labels_) {
      std::fill(label_costs_.begin() + num_labels, label_costs_.begin() + num_labels_, kInfinity);
    }
    num_labels_ = num_labels;
    return label_costs_.data();
  }

  // Forgets the boundary that was being built.
  void Clear() {
    for (const Token &token : tokens) map.Remove(token.state);
    tokens.clear();
    epsilon_links.clear();
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  std::vector<float> label_costs_;
  size_t num_labels_ = 0;  // of the graph that was searched last
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
