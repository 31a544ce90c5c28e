// A hash table from subsets of states to their indices, for determinisation.
//
// It keeps hashes and indices only; the caller has the subsets, and says with a function whether the one with
// a given index is meant.
#ifndef PYKALDI_SERVER_LAT_SUBSET_TABLE_H_
#define PYKALDI_SERVER_LAT_SUBSET_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pykaldi {

class SubsetTable {
 public:
  static constexpr int32_t kNotFound = -1;

  SubsetTable() { Clear(); }

  void Clear() {
    slots_.assign(1024, {0, kNotFound});
    size_ = 0;
  }

  // The index of the subset with this hash for which is_equal(index) holds, or kNotFound.
  template <class IsEqual>
  int32_t Find(uint64_t hash, IsEqual is_equal) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = hash & mask; slots_[i].index != kNotFound; i = (i + 1) & mask) {
      if (slots_[i].hash == hash && is_equal(slots_[i].index)) return slots_[i].index;
    }
    return kNotFound;
  }

  void Insert(uint64_t hash, int32_t index) {
    if (2 * ++size_ > slots_.size()) {
      std::vector<Slot> old(2 * slots_.size(), {0, kNotFound});
      old.swap(slots_);
      for (const Slot &slot : old) {
        if (slot.index != kNotFound) Put(slot);
      }
    }
    Put({hash, index});
  }

 private:
  struct Slot {
    uint64_t hash;
    int32_t index;
  };

  void Put(const Slot &slot) {
    const size_t mask = slots_.size() - 1;
    size_t i = slot.hash & mask;
    while (slots_[i].index != kNotFound) i = (i + 1) & mask;
    slots_[i] = slot;
  }

  std::vector<Slot> slots_;  // open addressing; the number of slots is a power of 2
  size_t size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_SUBSET_TABLE_H_
