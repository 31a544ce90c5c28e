// Numbers composed states in the order in which they are found.
#ifndef PYKALDI_SERVER_FST_COMPOSED_STATE_TABLE_H_
#define PYKALDI_SERVER_FST_COMPOSED_STATE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csrc/base/growing-array.h"
#include "csrc/fst/lookahead-composition.h"

namespace pykaldi {

// One thread at a time may call FindOrAdd; State may be called by all others meanwhile.
class ComposedStateTable {
 public:
  ComposedStateTable() : buckets_(kFirstBuckets, kEmptyBucket) {}

  // The number of a state; the next free one when it is new.
  int32_t FindOrAdd(const ComposedState &state) {
    const size_t mask = buckets_.size() - 1;
    size_t bucket = state.Hash() & mask;
    for (; buckets_[bucket] != kEmptyBucket; bucket = (bucket + 1) & mask) {
      if (states_[buckets_[bucket]] == state) return buckets_[bucket];
    }
    states_.Reserve(size_);
    states_[size_] = state;
    buckets_[bucket] = size_++;
    if (static_cast<size_t>(size_) > buckets_.size() / 2) GrowBuckets();
    return size_ - 1;
  }

  const ComposedState &State(int32_t number) const { return states_[number]; }

  int32_t Size() const { return size_; }
  size_t NumBytes() const { return states_.NumBytes() + sizeof(int32_t) * buckets_.size(); }

 private:
  static constexpr size_t kFirstBuckets = 1024;
  static constexpr int32_t kEmptyBucket = -1;

  void GrowBuckets() {
    buckets_.assign(2 * buckets_.size(), kEmptyBucket);
    const size_t mask = buckets_.size() - 1;
    for (int32_t number = 0; number < size_; ++number) {
      size_t bucket = states_[number].Hash() & mask;
      while (buckets_[bucket] != kEmptyBucket) bucket = (bucket + 1) & mask;
      buckets_[bucket] = number;
    }
  }

  GrowingArray<ComposedState> states_;
  std::vector<int32_t> buckets_;  // open addressing: numbers by the hash of the state
  int32_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPOSED_STATE_TABLE_H_
