// Which words can come next: for each state of a transducer, the set of output labels that can be the first
// one on some path from there, and whether a final state can be reached without any.
//
// The labels of such a transducer are numbered so that most of these sets are one interval, and nearly all of
// them a few. The pseudo-label FinalLabel() means the end of a path.
//
// File, behind the transducer of an `olabel_lookahead` FST (matcher-fst.h, add-on.h and label-reachable.h in
// OpenFst):
//
//   bool    something follows (true)
//   bool    sets of input labels follow (false)
//   bool    sets of output labels follow (true)
//   bool    they are sets of input labels (false)
//   bool    a map of labels follows: int64 size, and (int32 original, int32 new) each
//   int32   final label
//   int64   number of sets; for each an int64 number of intervals, (int32 begin, int32 end) each, and an
//   int32
//           number of labels
//
// The intervals are used where they lie in the mapped file. The map of labels is not needed: whoever made the
// transducer has renumbered the language model with it.
//
// Source: "A generalized composition algorithm for weighted finite-state transducers", Allauzen, Riley and
// Schalkwyk, Interspeech 2009, section 2.3.3.
#ifndef PYKALDI_SERVER_FST_LABEL_REACHABLE_H_
#define PYKALDI_SERVER_FST_LABEL_REACHABLE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csrc/base/byte-reader.h"

namespace pykaldi {

#pragma pack(push, 1)
// The labels from `begin` to `end` - 1.
struct LabelInterval {
  int32_t begin;
  int32_t end;
};
#pragma pack(pop)

// Intervals in rising order, with gaps between them.
struct LabelIntervals {
  const LabelInterval *first;
  const LabelInterval *last;
  const LabelInterval *begin() const { return first; }
  const LabelInterval *end() const { return last; }
  int64_t size() const { return last - first; }

  bool Contains(int32_t label) const;
};

class LabelReachable {
 public:
  // Uses what lies at the place of the reader, for a transducer of `num_states`; the file must outlive the
  // object. Throws ModelFormatError.
  LabelReachable(int32_t num_states, ByteReader *reader);

  int32_t FinalLabel() const { return final_label_; }
  LabelIntervals Labels(int32_t state) const {
    const char *begin = sets_ + kUnit * static_cast<size_t>(begins_[state]) + sizeof(int64_t);
    const char *end = sets_ + kUnit * static_cast<size_t>(begins_[state + 1]) - sizeof(int32_t);
    return {reinterpret_cast<const LabelInterval *>(begin), reinterpret_cast<const LabelInterval *>(end)};
  }

 private:
  static constexpr size_t kUnit = 4;  // all sizes are multiples of it

  const char *sets_;
  std::vector<uint32_t> begins_;  // of each set, in units from sets_; last, the end of all
  int32_t final_label_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_LABEL_REACHABLE_H_
