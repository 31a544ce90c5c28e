// A decoding graph that is composed while it is searched.
//
// LookaheadFst is what a process has once: the composition and a store of the states that were visited.
// LookaheadFstReader is what each decoder has: the graph, with the members that LatticeFasterOnlineDecoder
// asks of one.
//
// The store is bounded. When it is full, a new, empty one takes its place, and each reader moves there with
// the states of its newest tokens the next time that it decodes frames. A full store goes when the last
// reader has left it. So the results never depend on the bound, and memory exceeds it only by what is added
// between two moves, and by full stores in which readers rest in the middle of an utterance.
#ifndef PYKALDI_SERVER_FST_LOOKAHEAD_FST_H_
#define PYKALDI_SERVER_FST_LOOKAHEAD_FST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "csrc/fst/composition-store.h"
#include "csrc/fst/fst-header.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

class LookaheadFst {
 public:
  static constexpr size_t kDefaultStoreBytes = size_t{256} << 20;

  LookaheadFst(std::shared_ptr<const LookaheadComposition> composition, size_t store_bytes)
      : composition_(std::move(composition)), store_bytes_(store_bytes), store_(NewStore()) {}

  const LookaheadComposition &Composition() const { return *composition_; }

  // The store that is in use.
  std::shared_ptr<CompositionStore> Store() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return store_;
  }
  bool IsFull(const CompositionStore &store) const { return store.NumBytes() > store_bytes_; }
  // The store that is in use after `full`; a new one when that was the last.
  std::shared_ptr<CompositionStore> StoreAfter(const std::shared_ptr<CompositionStore> &full) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (store_ == full) store_ = NewStore();
    return store_;
  }

 private:
  std::shared_ptr<CompositionStore> NewStore() const {
    return std::make_shared<CompositionStore>(composition_);
  }

  const std::shared_ptr<const LookaheadComposition> composition_;
  const size_t store_bytes_;
  mutable std::mutex mutex_;
  std::shared_ptr<CompositionStore> store_;  // guarded by mutex_
};

class LookaheadFstReader {
 public:
  static constexpr bool kHasColumns = false;
  static constexpr bool kRenewsStates = true;

  explicit LookaheadFstReader(std::shared_ptr<LookaheadFst> fst)
      : fst_(std::move(fst)), store_(fst_->Store()) {}

  int32_t Start() const {
    ComposedState start;
    return fst_->Composition().Start(&start) ? store_->FindOrAdd(start) : kNoStateId;
  }
  float Final(int32_t state) const { return fst_->Composition().Final(store_->State(state)); }
  ArcSpan Arcs(int32_t state) const { return store_->Arcs(state); }
  uint32_t NumInputEpsilons(int32_t state) const { return store_->NumInputEpsilons(state); }
  bool HasInputEpsilons(int32_t state) const { return NumInputEpsilons(state) != 0; }
  EpsilonsAmongArcs EpsilonArcs(int32_t state) const { return {Arcs(state), NumInputEpsilons(state)}; }
  int32_t MaxInputLabel() const { return fst_->Composition().MaxInputLabel(); }
  // Those that exist in the current store.
  int32_t NumStates() const { return store_->NumStates(); }
  void PrefetchState(int32_t state) const { store_->PrefetchState(state); }
  void PrefetchArcs(int32_t state) const { store_->PrefetchArcs(state); }

  // Leaves a full store, with the states of these tokens. The states of all others lose their meaning.
  template <class Tokens>
  void RenewStates(Tokens *tokens) {
    if (!fst_->IsFull(*store_)) return;
    std::shared_ptr<CompositionStore> store = fst_->StoreAfter(store_);
    std::vector<int32_t> states;
    states.reserve(tokens->size());
    for (const auto &token : *tokens) states.push_back(store->FindOrAdd(store_->State(token.state)));
    // Nothing throws from here on.
    for (size_t i = 0; i < states.size(); ++i) (*tokens)[i].state = states[i];
    store_ = std::move(store);
  }

 private:
  std::shared_ptr<LookaheadFst> fst_;
  std::shared_ptr<CompositionStore> store_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_LOOKAHEAD_FST_H_
