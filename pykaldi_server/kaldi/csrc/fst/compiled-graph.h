// A static decoding graph in a compact file of our own, which is used where it lies in the mapped file.
//
// A lookahead graph is composed once in full (graph-compiler.h) and read ever after. A `const` FST has 16
// bytes per arc and 20 per state; here they take 12 to 16 per arc, its share of the state included. No cost
// is rounded.
//
// The file is laid out for a search that looks at all arcs of a state and takes a few (decoder/arc-filter.h):
// arcs with an input label are in columns, from the cheapest to the most expensive. All sections begin at
// multiples of kAlignment bytes:
//
//   Header
//   int32   input labels, ascending: columns contain positions in this table, which fit into 16 bits
//   int32   output labels that occur, other than 0, ascending: a table of words has to have them
//   State   states; those with arcs without input label come first
//   uint32  records of all states, in an order that keeps likely neighbours together
//   bytes   kPaddingBytes zeros, so that a vector may be loaded from any place of a record
//   bytes   the table of words, if any, in OpenFst's binary form
//
// Record, in words of 4 bytes (State says what is there; n arcs have an input label, m have none):
//
//   uint32  n, m                       if they do not fit into State
//   int32   next state [n]
//   float   cost [n]
//   uint16  input label [n], position in the table; one more is added when n is odd
//   int32   output label [n]           if one of them is not 0
//   EpsilonArc [m]
//   float   final cost                 if the state is final
//
// Checks. A file is right when it is made, and one of hundreds of megabytes is not read to open it. A search
// checks the little that keeps it within the file (that next states and records exist), so damage can lead to
// wrong results or an error, but not to wild access. Check finds all of it.
#ifndef PYKALDI_SERVER_FST_COMPILED_GRAPH_H_
#define PYKALDI_SERVER_FST_COMPILED_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "csrc/base/mapped-file.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/label-set.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

// Where the arcs with an input label that leave a state are.
struct EmittingArcs {
  uint32_t begin;  // of their columns, in words of the records
  uint32_t num_arcs;
};

// These arcs, from the cheapest to the most expensive.
struct ArcColumns {
  const int32_t *next_states;
  const float *weights;
  const uint16_t *labels;  // positions in a table of input labels
  uint32_t num_arcs;
};

inline ArcColumns ColumnsOf(const uint32_t *words, EmittingArcs arcs) {
  const uint32_t *const begin = words + arcs.begin;
  const size_t size = arcs.num_arcs;
  return {reinterpret_cast<const int32_t *>(begin), reinterpret_cast<const float *>(begin + size),
          reinterpret_cast<const uint16_t *>(begin + 2 * size), arcs.num_arcs};
}

// An arc without input label.
struct EpsilonArc {
  int32_t next_state;
  int32_t olabel;
  float weight;
};

// The arcs without input label that leave a state.
class EpsilonArcSpan {
 public:
  EpsilonArcSpan(const EpsilonArc *first, uint32_t size) : first_(first), size_(size) {}

  uint32_t Size() const { return size_; }
  void Prefetch() const { __builtin_prefetch(first_); }
  // Calls take(weight, olabel, next state) for each.
  template <class Take>
  void ForEach(Take take) const {
    for (const EpsilonArc *arc = first_; arc < first_ + size_; ++arc) {
      take(arc->weight, arc->olabel, arc->next_state);
    }
  }

 private:
  const EpsilonArc *first_;
  uint32_t size_;
};

class CompiledGraph {
 public:
  static constexpr bool kHasColumns = true;
  static constexpr bool kRenewsStates = false;
  static constexpr size_t kFingerprintBytes = 32;
  static constexpr size_t kStampBytes = 16;
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kPaddingBytes = 64;
  static constexpr int64_t kMaxLabels = 1 << 16;
  // Places of records are numbers of words.
  static constexpr int64_t kMaxRecordWords = std::numeric_limits<uint32_t>::max();

#pragma pack(push, 1)
  struct Header {
    char magic[8] = {'P', 'K', 'S', 'g', 'r', 'a', 'p', 'h'};
    uint32_t version = 3;
    int32_t start = 0;
    char fingerprint[kFingerprintBytes] = {};  // of the contents of what the graph was made of
    char stamp[kStampBytes] = {};              // of the sizes and times of those files
    int64_t num_states = 0;
    int64_t num_epsilon_states = 0;  // those with arcs without input label
    int64_t num_arcs = 0;
    int64_t num_labels = 0;
    int64_t num_output_labels = 0;
    int64_t num_words = 0;  // of all records
    int64_t has_symbols = 0;
  };
#pragma pack(pop)

  struct State {
    static constexpr uint16_t kManyArcs = 0xffff;  // as num_emitting: both counts are in the record
    static constexpr uint16_t kMaxEpsilons = (1 << 14) - 1;
    static constexpr uint16_t kHasOutputLabels = 1 << 14;
    static constexpr uint16_t kIsFinal = 1 << 15;

    uint32_t begin;  // of its record, in words
    uint16_t num_emitting;
    uint16_t num_epsilons_and_flags;
  };

  // Opens a file, and reads of it the header and the table of words. Throws FileError or ModelFormatError.
  explicit CompiledGraph(const std::string &path);
  CompiledGraph(const CompiledGraph &) = delete;
  CompiledGraph &operator=(const CompiledGraph &) = delete;

  // The fingerprint or stamp in a file, which is not checked any further.
  static std::string ReadFingerprint(const std::string &path);
  static std::string ReadStamp(const std::string &path);
  // Replaces the stamp in a file. Throws FileError when that is not possible.
  static void WriteStamp(const std::string &path, const std::string &stamp);

  // Goes through the whole file. Throws ModelFormatError when any of it is not as it should be.
  void Check() const;

  int32_t NumStates() const { return static_cast<int32_t>(header_.num_states); }
  int64_t NumArcs() const { return header_.num_arcs; }
  size_t NumBytes() const { return file_->Size(); }
  const std::shared_ptr<SymbolTable> &OutputSymbols() const { return output_symbols_; }
  // A copy whose states have the same numbers; the arcs without input label come first.
  std::shared_ptr<ConstFst> ToConst() const;
  // The output labels of all arcs but 0, ascending.
  std::vector<int32_t> OutputLabels() const {
    return {output_labels_, output_labels_ + header_.num_output_labels};
  }

  // The input label with a position in columns; 0 beyond the last one.
  int32_t Label(int32_t position) const { return position < header_.num_labels ? labels_[position] : 0; }
  int32_t NumLabels() const { return static_cast<int32_t>(header_.num_labels); }

  // What LatticeFasterOnlineDecoder asks of a graph. States must be IsState.
  bool IsState(int32_t state) const { return static_cast<uint32_t>(state) < header_.num_states; }
  int32_t Start() const { return header_.start; }
  float Final(int32_t state) const;
  bool HasInputEpsilons(int32_t state) const { return state < header_.num_epsilon_states; }
  const uint32_t *Words() const { return words_; }  // of the records
  EmittingArcs EmittingArcsOf(int32_t state) const {
    const State &entry = states_[state];
    uint64_t num_arcs = entry.num_emitting, begin = entry.begin;
    if (__builtin_expect(num_arcs == State::kManyArcs && begin + 2 <= num_words_, false)) {
      num_arcs = words_[begin];
      begin += 2;
    }
    if (begin + 2 * num_arcs + LabelWords(num_arcs) > num_words_) FailAtRecord(state);
    return {static_cast<uint32_t>(begin), static_cast<uint32_t>(num_arcs)};
  }
  // The output label of one of these arcs.
  int32_t OutputLabel(int32_t state, uint32_t arc) const {
    if (!(states_[state].num_epsilons_and_flags & State::kHasOutputLabels)) return 0;
    return Record(state).olabels[arc];
  }
  // Of a state that HasInputEpsilons.
  EpsilonArcSpan EpsilonArcs(int32_t state) const {
    const StateRecord record = Record(state);
    return {record.epsilons, record.num_epsilons};
  }
  int32_t MaxInputLabel() const { return header_.num_labels == 0 ? 0 : labels_[header_.num_labels - 1]; }
  void PrefetchState(int32_t state) const { __builtin_prefetch(states_ + state); }
  template <class Tokens>
  void RenewStates(Tokens *) const {}
  [[noreturn]] void FailAtState(int32_t state) const;

 private:
  struct StateRecord {
    ArcColumns emitting;
    const int32_t *olabels;  // of the arcs in columns; null: all are 0
    const EpsilonArc *epsilons;
    uint32_t num_epsilons;
    const float *final_weight;  // null: the state is not final
  };

  static uint64_t LabelWords(uint64_t num_emitting) { return (num_emitting + 1) / 2; }

  StateRecord Record(int32_t number) const {
    const State &state = states_[number];
    uint64_t num_emitting = state.num_emitting;
    uint64_t num_epsilons = state.num_epsilons_and_flags & State::kMaxEpsilons;
    uint64_t begin = state.begin;
    if (num_emitting == State::kManyArcs && begin + 2 <= num_words_) {
      num_emitting = words_[begin];
      num_epsilons = words_[begin + 1];
      begin += 2;
    }
    const bool has_olabels = state.num_epsilons_and_flags & State::kHasOutputLabels;
    const bool is_final = state.num_epsilons_and_flags & State::kIsFinal;
    const uint64_t weights = begin + num_emitting;
    const uint64_t labels = weights + num_emitting;
    const uint64_t olabels = labels + LabelWords(num_emitting);
    const uint64_t epsilons = olabels + (has_olabels ? num_emitting : 0);
    const uint64_t final_weight = epsilons + num_epsilons * (sizeof(EpsilonArc) / sizeof(uint32_t));
    if (final_weight + is_final > num_words_) FailAtRecord(number);
    const char *const data = reinterpret_cast<const char *>(words_);
    const auto at = [data](uint64_t word) { return data + word * sizeof(uint32_t); };
    StateRecord record;
    record.emitting = ColumnsOf(words_, {static_cast<uint32_t>(begin), static_cast<uint32_t>(num_emitting)});
    record.olabels = has_olabels ? reinterpret_cast<const int32_t *>(at(olabels)) : nullptr;
    record.epsilons = reinterpret_cast<const EpsilonArc *>(at(epsilons));
    record.num_epsilons = static_cast<uint32_t>(num_epsilons);
    record.final_weight = is_final ? reinterpret_cast<const float *>(at(final_weight)) : nullptr;
    return record;
  }
  [[noreturn]] void FailAtRecord(int32_t state) const;

  void CheckAscending(const int32_t *labels, int64_t size, const char *what) const;
  void CheckState(int32_t state, LabelSet *output_labels) const;
  void CheckArc(int32_t state, float weight, int32_t olabel, int32_t next_state) const;
  [[noreturn]] void Fail(size_t offset, const std::string &expected, const std::string &found) const;

  std::shared_ptr<const MappedFile> file_;
  Header header_;
  const int32_t *labels_;
  const int32_t *output_labels_;
  const State *states_;
  const uint32_t *words_;
  uint64_t num_words_;
  std::shared_ptr<SymbolTable> output_symbols_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPILED_GRAPH_H_
