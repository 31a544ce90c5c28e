// Sequences of labels that share their prefixes, each named by a small integer.
//
// A string is its last label and the string before it, so that appending a label costs one look-up in a hash
// table and two strings are equal exactly when their ids are. Determinisation keeps millions of them.
// Source: LatticeStringRepository in fstext/determinize-lattice-inl.h.
#ifndef PYKALDI_SERVER_LAT_STRING_REPOSITORY_H_
#define PYKALDI_SERVER_LAT_STRING_REPOSITORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pykaldi {

class StringRepository {
 public:
  using Id = int32_t;
  static constexpr Id kEmpty = 0;

  StringRepository();

  // The string followed by one label.
  Id Successor(Id string, int32_t label) {
    size_t slot = Hash(string, label) & mask_;
    while (slots_[slot] != kEmpty) {
      const Entry &entry = entries_[slots_[slot]];
      if (entry.parent == string && entry.label == label) return slots_[slot];
      slot = (slot + 1) & mask_;
    }
    return Insert(slot, string, label);
  }

  int32_t Length(Id string) const { return entries_[string].length; }
  // The number of strings, with all their prefixes.
  int64_t Size() const { return static_cast<int64_t>(entries_.size()); }

  // The longest string that both begin with.
  Id CommonPrefix(Id a, Id b) const;
  // The string without its first `length` labels.
  Id RemovePrefix(Id string, int32_t length);
  // 1 when a is better, as strings in CompactLatticeWeight are compared: shorter, then lexicographically
  // larger; 0 when they are equal; else -1.
  int Compare(Id a, Id b) const;
  // Appends the labels to a vector.
  void AppendTo(Id string, std::vector<int32_t> *labels) const;

  // Forgets all strings but those marked in `needed` (indexed by id) and their prefixes. Returns the new id
  // of each string that is left (-1 for the others).
  std::vector<Id> Shrink(std::vector<char> needed);

 private:
  struct Entry {
    Id parent;
    int32_t label;
    int32_t length;
  };

  static size_t Hash(Id string, int32_t label) {
    const uint64_t key =
        (static_cast<uint64_t>(static_cast<uint32_t>(string)) << 32) | static_cast<uint32_t>(label);
    const uint64_t mixed = key * 0x9e3779b97f4a7c15u;
    return static_cast<size_t>(mixed ^ (mixed >> 32));
  }

  Id Insert(size_t slot, Id string, int32_t label);
  void Rehash(size_t num_slots);

  std::vector<Entry> entries_;  // entry 0 is the empty string; a parent's id is below its children's
  std::vector<Id> slots_;       // open addressing; kEmpty marks a free slot
  size_t mask_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_STRING_REPOSITORY_H_
