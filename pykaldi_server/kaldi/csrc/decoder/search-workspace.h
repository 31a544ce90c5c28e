// The memory in which a search works on a frame. Nothing in it outlives a call, so each thread has one, which
// all searches of the thread use in turn, and a search that waits for audio keeps none. A thread keeps its
// own for good: pages of the map that have been touched, at most 4 bytes per state of the largest graph.
#ifndef PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
#define PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_

#include <cstdint>
#include <vector>

#include "csrc/decoder/arc-filter.h"
#include "csrc/decoder/state-token-map.h"
#include "csrc/decoder/token-lattice.h"

namespace pykaldi {

struct SearchWorkspace {
  // The boundary that is being built.
  std::vector<Token> tokens;
  std::vector<Link> emitting_links;  // to it
  std::vector<Link> epsilon_links;
  StateTokenMap map;  // of `tokens`; empty between frames

  std::vector<float> acoustic_costs;  // of the frame, by pdf, and infinity for arcs without input label
  std::vector<float> offset_costs;    // the same with the cost offset
  std::vector<float> label_costs;     // offset_costs, by positions in the columns of a compiled graph
  std::vector<ActiveToken> active;    // tokens to expand
  ArcCandidates candidates;
  std::vector<int32_t> targets;        // tokens that the candidates lead to
  std::vector<int32_t> queue;          // new tokens whose epsilon arcs wait
  std::vector<int32_t> epsilon_begin;  // the first epsilon link of each new token
  std::vector<float> sorted_costs;

  static SearchWorkspace &OfThread() {
    thread_local SearchWorkspace workspace;
    return workspace;
  }

  // Forgets the boundary that was being built.
  void Clear() {
    for (const Token &token : tokens) map.Remove(token.state);
    tokens.clear();
    emitting_links.clear();
    epsilon_links.clear();
  }
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
