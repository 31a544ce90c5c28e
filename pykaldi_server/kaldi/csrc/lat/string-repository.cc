#include "csrc/lat/string-repository.h"

#include <algorithm>

namespace pykaldi {

StringRepository::StringRepository() {
  entries_.push_back({-1, 0, 0});
  Rehash(1024);
}

StringRepository::Id StringRepository::Insert(size_t slot, Id string, int32_t label) {
  const Id id = static_cast<Id>(entries_.size());
  entries_.push_back({string, label, entries_[string].length + 1});
  slots_[slot] = id;
  if (2 * entries_.size() > slots_.size()) Rehash(2 * slots_.size());
  return id;
}

void StringRepository::Rehash(size_t num_slots) {
  slots_.assign(num_slots, kEmpty);
  mask_ = num_slots - 1;
  for (size_t id = 1; id < entries_.size(); ++id) {
    size_t slot = Hash(entries_[id].parent, entries_[id].label) & mask_;
    while (slots_[slot] != kEmpty) slot = (slot + 1) & mask_;
    slots_[slot] = static_cast<Id>(id);
  }
}

StringRepository::Id StringRepository::CommonPrefix(Id a, Id b) const {
  while (a != b) {
    if (Length(a) >= Length(b)) {
      a = entries_[a].parent;
    } else {
      b = entries_[b].parent;
    }
  }
  return a;
}

StringRepository::Id StringRepository::RemovePrefix(Id string, int32_t length) {
  if (length == 0) return string;
  std::vector<int32_t> rest;
  for (Id id = string; Length(id) > length; id = entries_[id].parent) rest.push_back(entries_[id].label);
  Id result = kEmpty;
  for (auto label = rest.rbegin(); label != rest.rend(); ++label) result = Successor(result, *label);
  return result;
}

int StringRepository::Compare(Id a, Id b) const {
  if (a == b) return 0;
  if (Length(a) != Length(b)) return Length(a) < Length(b) ? 1 : -1;
  while (entries_[a].parent != entries_[b].parent) {
    a = entries_[a].parent;
    b = entries_[b].parent;
  }
  return entries_[a].label > entries_[b].label ? 1 : -1;
}

void StringRepository::AppendTo(Id string, std::vector<int32_t> *labels) const {
  const size_t begin = labels->size();
  labels->resize(begin + Length(string));
  for (size_t i = labels->size(); i > begin; --i) {
    (*labels)[i - 1] = entries_[string].label;
    string = entries_[string].parent;
  }
}

std::vector<StringRepository::Id> StringRepository::Shrink(std::vector<char> needed) {
  needed[kEmpty] = 1;
  for (size_t id = entries_.size() - 1; id > 0; --id) {
    if (needed[id]) needed[entries_[id].parent] = 1;
  }
  std::vector<Id> new_id(entries_.size(), -1);
  size_t kept = 0;
  for (size_t id = 0; id < entries_.size(); ++id) {
    if (!needed[id]) continue;
    Entry entry = entries_[id];
    if (id > 0) entry.parent = new_id[entry.parent];
    new_id[id] = static_cast<Id>(kept);
    entries_[kept++] = entry;
  }
  entries_.resize(kept);
  Rehash(slots_.size());
  return new_id;
}

}  // namespace pykaldi
