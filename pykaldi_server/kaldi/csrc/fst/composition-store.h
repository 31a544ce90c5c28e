// Composed states and their arcs, as far as anyone has asked for them: numbered, kept, and shared by all
// sessions that search the same composition.
//
// Threads. What exists is read without a lock: a state's arcs are published by one atomic pointer, and
// neither states nor arcs move or change after that. Arcs are computed outside the lock; it is held only
// while next states are numbered and the arcs are stored. Two threads may compute the same arcs; the second
// one's are dropped.
//
// Memory. A store only grows, and goes as a whole. Its owner (LookaheadFst) starts a new one when this one is
// full.
#ifndef PYKALDI_SERVER_FST_COMPOSITION_STORE_H_
#define PYKALDI_SERVER_FST_COMPOSITION_STORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

class CompositionStore {
 public:
  // The composition must outlive the store.
  explicit CompositionStore(const LookaheadComposition &composition);
  ~CompositionStore();
  CompositionStore(const CompositionStore &) = delete;
  CompositionStore &operator=(const CompositionStore &) = delete;

  // The number of a state; a new one when it was not there.
  int32_t FindOrAdd(const ComposedState &state);
  const ComposedState &State(int32_t state) const { return Node(state).state; }

  ArcSpan Arcs(int32_t state) {
    const ExpandedState &expanded = Expanded(state);
    const StdArc *arcs = expanded.Arcs();
    return {arcs, arcs + expanded.num_arcs};
  }
  uint32_t NumInputEpsilons(int32_t state) { return Expanded(state).num_input_epsilons; }

  // Bring a state, or its arcs if they are there, into the processor's cache.
  void PrefetchState(int32_t state) const { __builtin_prefetch(&Node(state)); }
  void PrefetchArcs(int32_t state) const {
    __builtin_prefetch(Node(state).expanded.load(std::memory_order_relaxed));
  }

  int32_t NumStates() const { return num_states_.load(std::memory_order_relaxed); }
  // The memory of everything, as good as.
  size_t NumBytes() const { return num_bytes_.load(std::memory_order_relaxed); }

 private:
  // What is known of a state once someone has asked for its arcs, which stand behind it.
  struct ExpandedState {
    uint32_t num_arcs;
    uint32_t num_input_epsilons;
    const StdArc *Arcs() const { return reinterpret_cast<const StdArc *>(this + 1); }
  };
  struct StateNode {
    std::atomic<const ExpandedState *> expanded{nullptr};
    ComposedState state;
  };

  static constexpr int32_t kNodesPerBlockLog2 = 16;
  static constexpr int32_t kNodesPerBlock = 1 << kNodesPerBlockLog2;
  static constexpr size_t kMaxBlocks = (size_t{1} << 31) / kNodesPerBlock;
  static constexpr size_t kArcBlockBytes = size_t{1} << 18;
  static constexpr size_t kFirstBuckets = 1024;
  static constexpr int32_t kEmptyBucket = -1;

  const StateNode &Node(int32_t state) const {
    const StateNode *block = blocks_[state >> kNodesPerBlockLog2].load(std::memory_order_acquire);
    return block[state & (kNodesPerBlock - 1)];
  }
  StateNode &Node(int32_t state) {
    StateNode *block = blocks_[state >> kNodesPerBlockLog2].load(std::memory_order_acquire);
    return block[state & (kNodesPerBlock - 1)];
  }
  const ExpandedState &Expanded(int32_t state) {
    const ExpandedState *expanded = Node(state).expanded.load(std::memory_order_acquire);
    return expanded != nullptr ? *expanded : Expand(state);
  }

  const ExpandedState &Expand(int32_t state);
  // These need the lock.
  int32_t FindOrAddLocked(const ComposedState &state);
  void AddBlock(size_t position);
  void GrowBuckets();
  char *Allocate(size_t num_bytes);

  const LookaheadComposition &composition_;
  std::unique_ptr<std::atomic<StateNode *>[]> blocks_;
  std::atomic<int32_t> num_states_{0};
  std::atomic<size_t> num_bytes_{0};

  std::mutex mutex_;
  // Guarded by mutex_.
  std::vector<int32_t> buckets_;  // open addressing: states by their hash
  std::vector<std::unique_ptr<char[]>> arc_blocks_;
  char *free_begin_ = nullptr;  // of the newest arc block
  size_t num_free_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPOSITION_STORE_H_
