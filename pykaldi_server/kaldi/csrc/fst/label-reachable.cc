#include "csrc/fst/label-reachable.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

namespace pykaldi {
namespace {

// Something follows; nothing on input labels; something on output labels; which is not on input labels.
constexpr char kOutputLabelsOnly[] = {1, 0, 1, 0};

// A count of elements that take at least `least_bytes` each.
int64_t ReadCount(ByteReader *reader, size_t least_bytes, const char *what) {
  const size_t offset = reader->Offset();
  const int64_t count = reader->Read<int64_t>(what);
  if (count < 0 || static_cast<size_t>(count) > reader->Remaining() / least_bytes) {
    reader->Fail(offset, what,
                 "a count of " + std::to_string(count) + " with " + std::to_string(reader->Remaining()) +
                     " bytes left");
  }
  return count;
}

void ReadSet(ByteReader *reader) {
  const int64_t size = ReadCount(reader, sizeof(LabelInterval), "the number of intervals of a state");
  const size_t offset = reader->Offset();
  const LabelInterval *intervals =
      reinterpret_cast<const LabelInterval *>(reader->Take(sizeof(LabelInterval) * size, "intervals"));
  int32_t least = 0;
  for (int64_t i = 0; i < size; ++i) {
    const LabelInterval &interval = intervals[i];
    if (interval.begin < least || interval.end <= interval.begin) {
      reader->Fail(offset + sizeof(LabelInterval) * i,
                   "an interval from " + std::to_string(least) + " or more",
                   std::to_string(interval.begin) + " to " + std::to_string(interval.end));
    }
    least = interval.end;
  }
  reader->Read<int32_t>("the number of labels");
}

}  // namespace

bool LabelIntervals::Contains(int32_t label) const {
  const LabelInterval *behind =
      std::upper_bound(first, last, label, [](int32_t l, const LabelInterval &i) { return l < i.begin; });
  return behind != first && label < (behind - 1)->end;
}

LabelReachable::LabelReachable(int32_t num_states, ByteReader *reader) {
  const size_t flags_offset = reader->Offset();
  const char *flags = reader->Take(sizeof(kOutputLabelsOnly), "the labels that can be reached");
  if (std::memcmp(flags, kOutputLabelsOnly, sizeof(kOutputLabelsOnly)) != 0) {
    reader->Fail(flags_offset, "the output labels that can be reached, and not the input labels",
                 ShowBytes({flags, sizeof(kOutputLabelsOnly)}));
  }
  const size_t map_offset = reader->Offset();
  const uint8_t has_map = reader->Read<uint8_t>("whether a map of labels follows");
  if (has_map > 1) reader->Fail(map_offset, "whether a map of labels follows", std::to_string(has_map));
  if (has_map) {
    constexpr size_t kPair = 2 * sizeof(int32_t);
    reader->Take(kPair * ReadCount(reader, kPair, "the size of a map of labels"), "a map of labels");
  }
  final_label_ = reader->Read<int32_t>("the label of final states");
  const size_t count_offset = reader->Offset();
  const int64_t count = ReadCount(reader, sizeof(int64_t) + sizeof(int32_t), "the number of sets of labels");
  if (count != num_states) {
    reader->Fail(count_offset, std::to_string(num_states) + " sets of labels, one per state",
                 std::to_string(count));
  }
  const size_t begin = reader->Offset();
  if (reader->Remaining() / kUnit > std::numeric_limits<uint32_t>::max()) {
    reader->Fail(begin, "at most 16 GB of sets of labels", std::to_string(reader->Remaining()) + " bytes");
  }
  sets_ = reader->Take(0, "sets of labels");
  begins_.reserve(static_cast<size_t>(count) + 1);
  for (int64_t i = 0; i < count; ++i) {
    begins_.push_back(static_cast<uint32_t>((reader->Offset() - begin) / kUnit));
    ReadSet(reader);
  }
  begins_.push_back(static_cast<uint32_t>((reader->Offset() - begin) / kUnit));
}

}  // namespace pykaldi
