// A static decoding graph in a compact file of our own, which is used where it lies in the mapped file.
//
// A lookahead graph is composed once in full (graph-compiler.h) and read ever after. A `const` FST has 16
// bytes for an arc and 20 for a state; here they take 10 for an arc, its share of the state included. No cost
// is rounded.
//
// File: Header; the records of all states; kPaddingBytes zeros; the table of words, if any, in OpenFst's
// binary form. A state is named by the place of its record, counted in bytes from the first one. Record:
//
//   byte    bits 0-5 number of arcs, 63: it follows; bit 6 there are epsilon arcs; bit 7 the state is final
//   uint32  number of arcs, if it did not fit
//   float   final cost, if final
//   bytes   tags of the arcs, as compiled-arc-coding.h has them; those without input label first. Only the
//   last
//           arc may lead to the state whose record follows
//   bodies  of the arcs
//
// Everything is checked when the file is opened, in one pass, so that searching needs no checks.
#ifndef PYKALDI_SERVER_FST_COMPILED_GRAPH_H_
#define PYKALDI_SERVER_FST_COMPILED_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "csrc/base/mapped-file.h"
#include "csrc/fst/compiled-arc-coding.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

class CompiledGraph {
 public:
  static constexpr size_t kFingerprintBytes = 32;
  static constexpr size_t kPaddingBytes = 8;
  // Addresses are int32.
  static constexpr int64_t kMaxRecordBytes = std::numeric_limits<int32_t>::max();

#pragma pack(push, 1)
  struct Header {
    char magic[8] = {'P', 'K', 'S', 'g', 'r', 'a', 'p', 'h'};
    uint32_t version = 1;
    uint32_t start = 0;
    char fingerprint[kFingerprintBytes] = {};  // of what the graph was made of
    int64_t num_states = 0;
    int64_t num_arcs = 0;
    int64_t record_bytes = 0;
    uint32_t has_symbols = 0;
    ArcCodingParameters coding;
  };
#pragma pack(pop)

  // The fields at the start of a record.
  struct RecordHead {
    static constexpr uint8_t kManyArcs = 63;
    static constexpr uint8_t kHasEpsilons = 1 << 6;
    static constexpr uint8_t kIsFinal = 1 << 7;

    bool has_epsilons;
    uint32_t num_arcs;
    float final_weight;  // +infinity: not final
    uint32_t size;       // of the head itself
  };

  // Goes through the arcs of a state; decodes each when it is looked at.
  class ArcIterator {
   public:
    ArcIterator(const CompiledGraph &graph, uint32_t state, uint32_t tag, uint32_t body)
        : graph_(&graph), state_(state), tag_(tag), body_(body) {}

    StdArc operator*() const {
      return graph_->coding_.Decode(graph_->Byte(tag_), graph_->records_, body_, state_);
    }
    ArcIterator &operator++() {
      body_ += graph_->coding_.Size(graph_->Byte(tag_));
      ++tag_;
      return *this;
    }
    // Compares iterators of the same state.
    bool operator!=(const ArcIterator &other) const { return tag_ != other.tag_; }
    // Where the body of the arc is; behind the last arc, the end of the record.
    uint32_t Body() const { return body_; }

   private:
    const CompiledGraph *graph_;
    uint32_t state_;
    uint32_t tag_;   // address of the tag
    uint32_t body_;  // address of the body
  };

  class ArcRange {
   public:
    ArcRange(const CompiledGraph &graph, uint32_t state, uint32_t tags, uint32_t num_arcs)
        : begin_(graph, state, tags, tags + num_arcs),
          end_(graph, state, tags + num_arcs, 0),
          size_(num_arcs) {}
    ArcIterator begin() const { return begin_; }
    ArcIterator end() const { return end_; }
    size_t size() const { return size_; }

   private:
    ArcIterator begin_;
    ArcIterator end_;
    size_t size_;
  };

  // Opens a file; throws FileError or ModelFormatError.
  explicit CompiledGraph(const std::string &path);
  CompiledGraph(const CompiledGraph &) = delete;
  CompiledGraph &operator=(const CompiledGraph &) = delete;

  // The fingerprint in a file, which is not checked any further.
  static std::string ReadFingerprint(const std::string &path);

  int64_t NumStates() const { return header_.num_states; }
  int64_t NumArcs() const { return header_.num_arcs; }
  const std::shared_ptr<SymbolTable> &OutputSymbols() const { return output_symbols_; }
  // A copy whose states have numbers, in the order of the records.
  std::shared_ptr<ConstFst> ToConst() const;

  // What LatticeFasterOnlineDecoder asks of a graph.
  int32_t Start() const { return static_cast<int32_t>(header_.start); }
  float Final(int32_t state) const { return Head(static_cast<uint32_t>(state)).final_weight; }
  uint32_t NumInputEpsilons(int32_t state) const {
    const uint32_t address = static_cast<uint32_t>(state);
    return Byte(address) & RecordHead::kHasEpsilons ? CountEpsilons(address) : 0;
  }
  ArcRange Arcs(int32_t state) const {
    const uint32_t address = static_cast<uint32_t>(state);
    const RecordHead head = Head(address);
    return {*this, address, address + head.size, head.num_arcs};
  }
  int32_t MaxInputLabel() const { return max_ilabel_; }
  // The output labels of all arcs but 0, ascending; goes through the arcs.
  std::vector<int32_t> OutputLabels() const;
  void PrefetchState(int32_t state) const { __builtin_prefetch(records_ + state); }
  // The first arcs came with the state, but every other record continues in the next cache line.
  void PrefetchArcs(int32_t state) const { __builtin_prefetch(records_ + state + kPrefetchBytes); }
  template <class Tokens>
  void RenewStates(Tokens *) const {}

 private:
  static constexpr int32_t kPrefetchBytes = 48;

  uint8_t Byte(uint32_t address) const { return static_cast<uint8_t>(records_[address]); }

  RecordHead Head(uint32_t address) const {
    const uint8_t byte = Byte(address);
    uint32_t place = address + 1;
    RecordHead head;
    head.has_epsilons = byte & RecordHead::kHasEpsilons;
    head.num_arcs = byte & RecordHead::kManyArcs;
    if (head.num_arcs == RecordHead::kManyArcs) {
      std::memcpy(&head.num_arcs, records_ + place, sizeof(head.num_arcs));
      place += sizeof(head.num_arcs);
    }
    head.final_weight = std::numeric_limits<float>::infinity();
    if (byte & RecordHead::kIsFinal) {
      std::memcpy(&head.final_weight, records_ + place, sizeof(head.final_weight));
      place += sizeof(head.final_weight);
    }
    head.size = place - address;
    return head;
  }
  uint32_t CountEpsilons(uint32_t address) const;

  // Goes through all records: heads, tags, labels, costs, and whether next states are records.
  class Checker;

  std::shared_ptr<const MappedFile> file_;
  Header header_;
  CompiledArcCoding coding_;
  const char *records_;
  int32_t max_ilabel_ = 0;
  std::shared_ptr<SymbolTable> output_symbols_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_COMPILED_GRAPH_H_
