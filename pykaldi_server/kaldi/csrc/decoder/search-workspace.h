// The memory in which a search works on a frame. Nothing in it outlives a call, so each thread has one, which
// all searches of the thread use in turn, and a search that waits for audio keeps none.
//
// A workspace grows to what the most demanding moment needs: some 5 MiB for a wide search of noise, and pages
// of the map that have been touched, at most 4 bytes per state of the largest graph. It stays with its
// thread, as the next frames need it at once, until somebody calls `FreeIdleWorkspaces`, as a server does
// from time to time: it then has what the last seconds needed, not what the hardest moment of a week did.
#ifndef PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
#define PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
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

  // The memory of everything.
  size_t NumBytes() const;

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  std::vector<float> label_costs_;
  size_t num_labels_ = 0;  // of the graph that was searched last
};

// A thread's workspace while a call uses it; it is left empty whatever happens.
class WorkspaceInUse {
 public:
  WorkspaceInUse();
  ~WorkspaceInUse();
  WorkspaceInUse(const WorkspaceInUse &) = delete;
  WorkspaceInUse &operator=(const WorkspaceInUse &) = delete;

  SearchWorkspace *Get() { return work_; }

 private:
  std::unique_lock<std::mutex> lock_;  // it is not freed meanwhile
  SearchWorkspace *work_;
};

// Frees the workspaces of all threads, but not those that are in use at the moment. Any thread may call it.
// Returns the number of bytes.
size_t FreeIdleWorkspaces();

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_SEARCH_WORKSPACE_H_
