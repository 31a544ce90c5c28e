#include "csrc/fst/composition-store.h"

#include <algorithm>
#include <new>

namespace pykaldi {

const CompositionStore::ExpandedState &CompositionStore::Expand(int32_t state) {
  thread_local std::vector<ComposedArc> arcs;
  composition_->Expand(State(state), &arcs);

  const std::lock_guard<std::mutex> lock(mutex_);
  const ExpandedState *known = expanded_[state].load(std::memory_order_relaxed);
  if (known != nullptr) return *known;
  char *memory = Allocate(sizeof(ExpandedState) + sizeof(StdArc) * arcs.size());
  auto *expanded = new (memory) ExpandedState{static_cast<uint32_t>(arcs.size()), 0};
  StdArc *next_arc = reinterpret_cast<StdArc *>(expanded + 1);
  for (const ComposedArc &arc : arcs) {
    *next_arc++ = {arc.ilabel, arc.olabel, arc.weight, FindOrAddLocked(arc.nextstate)};
    expanded->num_input_epsilons += arc.ilabel == 0;
  }
  expanded_[state].store(expanded, std::memory_order_release);
  CountBytes();
  return *expanded;
}

int32_t CompositionStore::FindOrAddLocked(const ComposedState &state) {
  expanded_.Reserve(table_.Size());
  const int32_t number = table_.FindOrAdd(state);
  num_states_.store(table_.Size(), std::memory_order_relaxed);
  return number;
}

char *CompositionStore::Allocate(size_t num_bytes) {
  constexpr size_t kAlignment = alignof(ExpandedState);
  num_bytes = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (num_bytes > num_free_) {
    const size_t block_bytes = std::max(num_bytes, kArcBlockBytes);
    arc_blocks_.emplace_back(new char[block_bytes]);
    num_arc_bytes_ += block_bytes;
    free_begin_ = arc_blocks_.back().get();
    num_free_ = block_bytes;
  }
  char *memory = free_begin_;
  free_begin_ += num_bytes;
  num_free_ -= num_bytes;
  return memory;
}

void CompositionStore::CountBytes() {
  num_bytes_.store(table_.NumBytes() + expanded_.NumBytes() + num_arc_bytes_, std::memory_order_relaxed);
}

}  // namespace pykaldi
