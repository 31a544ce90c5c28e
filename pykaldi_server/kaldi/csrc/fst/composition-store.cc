#include "csrc/fst/composition-store.h"

#include <algorithm>
#include <new>

#include "csrc/base/error.h"

namespace pykaldi {

CompositionStore::CompositionStore(const LookaheadComposition &composition)
    : composition_(composition),
      blocks_(std::make_unique<std::atomic<StateNode *>[]>(kMaxBlocks)),
      buckets_(kFirstBuckets, kEmptyBucket) {}

CompositionStore::~CompositionStore() {
  for (size_t i = 0; i < kMaxBlocks; ++i) {
    StateNode *block = blocks_[i].load(std::memory_order_relaxed);
    if (block == nullptr) break;
    delete[] block;
  }
}

int32_t CompositionStore::FindOrAdd(const ComposedState &state) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return FindOrAddLocked(state);
}

const CompositionStore::ExpandedState &CompositionStore::Expand(int32_t state) {
  thread_local std::vector<ComposedArc> arcs;
  StateNode &node = Node(state);
  composition_.Expand(node.state, &arcs);

  const std::lock_guard<std::mutex> lock(mutex_);
  const ExpandedState *known = node.expanded.load(std::memory_order_relaxed);
  if (known != nullptr) return *known;
  char *memory = Allocate(sizeof(ExpandedState) + sizeof(StdArc) * arcs.size());
  auto *expanded = new (memory) ExpandedState{static_cast<uint32_t>(arcs.size()), 0};
  StdArc *next_arc = reinterpret_cast<StdArc *>(expanded + 1);
  for (const ComposedArc &arc : arcs) {
    *next_arc++ = {arc.ilabel, arc.olabel, arc.weight, FindOrAddLocked(arc.nextstate)};
    expanded->num_input_epsilons += arc.ilabel == 0;
  }
  node.expanded.store(expanded, std::memory_order_release);
  return *expanded;
}

int32_t CompositionStore::FindOrAddLocked(const ComposedState &state) {
  size_t mask = buckets_.size() - 1;
  size_t bucket = state.Hash() & mask;
  for (; buckets_[bucket] != kEmptyBucket; bucket = (bucket + 1) & mask) {
    if (Node(buckets_[bucket]).state == state) return buckets_[bucket];
  }
  const int32_t number = NumStates();
  if (number % kNodesPerBlock == 0) AddBlock(number / kNodesPerBlock);
  Node(number).state = state;
  buckets_[bucket] = number;
  num_states_.store(number + 1, std::memory_order_relaxed);
  if (static_cast<size_t>(number) >= buckets_.size() / 2) GrowBuckets();
  return number;
}

void CompositionStore::AddBlock(size_t position) {
  if (position >= kMaxBlocks) throw DecoderError("a search composes more states than can be numbered");
  blocks_[position].store(new StateNode[kNodesPerBlock], std::memory_order_release);
  num_bytes_.fetch_add(sizeof(StateNode) * kNodesPerBlock, std::memory_order_relaxed);
}

void CompositionStore::GrowBuckets() {
  std::vector<int32_t> buckets(2 * buckets_.size(), kEmptyBucket);
  const size_t mask = buckets.size() - 1;
  for (int32_t state = 0; state < NumStates(); ++state) {
    size_t bucket = Node(state).state.Hash() & mask;
    while (buckets[bucket] != kEmptyBucket) bucket = (bucket + 1) & mask;
    buckets[bucket] = state;
  }
  num_bytes_.fetch_add(sizeof(int32_t) * (buckets.size() - buckets_.size()), std::memory_order_relaxed);
  buckets_.swap(buckets);
}

char *CompositionStore::Allocate(size_t num_bytes) {
  constexpr size_t kAlignment = alignof(ExpandedState);
  num_bytes = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (num_bytes > num_free_) {
    const size_t block_bytes = std::max(num_bytes, kArcBlockBytes);
    arc_blocks_.push_back(std::make_unique<char[]>(block_bytes));
    num_bytes_.fetch_add(block_bytes, std::memory_order_relaxed);
    free_begin_ = arc_blocks_.back().get();
    num_free_ = block_bytes;
  }
  char *memory = free_begin_;
  free_begin_ += num_bytes;
  num_free_ -= num_bytes;
  return memory;
}

}  // namespace pykaldi
