// A hash table from states of the graph to the tokens of one frame: open addressing with linear probing.
#ifndef PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_
#define PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pykaldi {

class StateTokenMap {
 public:
  static constexpr int32_t kNoState = -1;

  struct Slot {
    int32_t state = kNoState;  // kNoState: empty
    int32_t token;
  };

  // Empties the table and makes it at least `num_slots` large.
  void Clear(size_t num_slots) {
    size_t size = kLeastSlots;
    while (size < num_slots) size *= 2;
    slots_.assign(size, Slot());
    mask_ = size - 1;
    num_used_ = 0;
  }

  // The slot of a state. When it is empty, the state belongs there: fill it in with Fill. The slot is valid
  // until the next Fill.
  Slot *Find(int32_t state) {
    size_t i = Hash(state) & mask_;
    while (slots_[i].state != state && slots_[i].state != kNoState) i = (i + 1) & mask_;
    return &slots_[i];
  }

  void Fill(Slot *slot, int32_t state, int32_t token) {
    slot->state = state;
    slot->token = token;
    if (++num_used_ > slots_.size() / 2) Grow();
  }

 private:
  static constexpr size_t kLeastSlots = 1024;

  // Fibonacci hashing: the upper bits of the product depend on all bits of the state.
  static size_t Hash(int32_t state) { return (static_cast<uint32_t>(state) * 0x9E3779B1u) >> 8; }

  void Grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const Slot &slot : old) {
      if (slot.state != kNoState) *Find(slot.state) = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t num_used_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_STATE_TOKEN_MAP_H_
