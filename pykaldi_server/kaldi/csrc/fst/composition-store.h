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
#include <utility>
#include <vector>

#include "csrc/base/growing-array.h"
#include "csrc/fst/composed-state-table.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

class CompositionStore {
 public:
  explicit CompositionStore(std::shared_ptr<const LookaheadComposition> composition)
      : composition_(std::move(composition)) {}
  CompositionStore(const CompositionStore &) = delete;
  CompositionStore &operator=(const CompositionStore &) = delete;

  // The number of a state; a new one when it was not there.
  int32_t FindOrAdd(const ComposedState &state) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return FindOrAddLocked(state);
  }
  const ComposedState &State(int32_t state) const { return table_.State(state); }

  ArcSpan Arcs(int32_t state) {
    const ExpandedState &expanded = Expanded(state);
    return {expanded.Arcs(), expanded.Arcs() + expanded.num_arcs};
  }
  uint32_t NumInputEpsilons(int32_t state) { return Expanded(state).num_input_epsilons; }

  // Bring what is known of a state, or its arcs if they are there, into the processor's cache.
  void PrefetchState(int32_t state) const { __builtin_prefetch(&expanded_[state]); }
  void PrefetchArcs(int32_t state) const {
    __builtin_prefetch(expanded_[state].load(std::memory_order_relaxed));
  }

  int32_t NumStates() const { return num_states_.load(std::memory_order_relaxed); }
  // The memory of everything.
  size_t NumBytes() const { return num_bytes_.load(std::memory_order_relaxed); }

 private:
  // What is known of a state once someone has asked for its arcs, which follow it in memory.
  struct ExpandedState {
    uint32_t num_arcs;
    uint32_t num_input_epsilons;
    const StdArc *Arcs() const { return reinterpret_cast<const StdArc *>(this + 1); }
  };

  static constexpr size_t kArcBlockBytes = size_t{1} << 18;

  const ExpandedState &Expanded(int32_t state) {
    const ExpandedState *expanded = expanded_[state].load(std::memory_order_acquire);
    return expanded != nullptr ? *expanded : Expand(state);
  }

  const ExpandedState &Expand(int32_t state);
  // These need the lock.
  int32_t FindOrAddLocked(const ComposedState &state);
  char *Allocate(size_t num_bytes);
  void CountBytes();

  const std::shared_ptr<const LookaheadComposition> composition_;
  std::atomic<int32_t> num_states_{0};
  std::atomic<size_t> num_bytes_{0};

  std::mutex mutex_;  // held to change what follows
  ComposedStateTable table_;
  GrowingArray<std::atomic<const ExpandedState *>> expanded_;  // of each state; null: nobody has asked
  std::vector<std::unique_ptr<char[]>> arc_blocks_;
  size_t num_arc_bytes_ = 0;    // of all arc blocks
  char *free_begin_ = nullptr;  // of the newest arc block
  size_t num_free_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPOSITION_STORE_H_
