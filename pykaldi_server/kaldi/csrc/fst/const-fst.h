// A read-only transducer over the tropical semiring, states and arcs each in one array.
//
// This is the layout of OpenFst's `const` files (const-fst.h there): 20 bytes per state, 16 bytes per arc,
// the arcs of a state together. A const file is therefore used where it lies: its pages are mapped, and all
// sessions and processes that decode with the same graph share them. The arrays may begin at any byte of the
// file, so the structures are packed; x86-64 and ARMv8 read them at full speed wherever they are. Nothing may
// take a reference to a field of theirs, as std::max would: to the compiler that is aligned.
//
// Weights are costs: negative logarithms, +infinity for what is impossible. Label 0 is epsilon.
//
// Whoever builds a ConstFst has its contents checked once, in one pass: ranges of arcs, next states, labels,
// epsilon counts, weights. After that nothing that walks the graph needs a check.
#ifndef PYKALDI_SERVER_FST_CONST_FST_H_
#define PYKALDI_SERVER_FST_CONST_FST_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/concurrent-use.h"
#include "csrc/base/error.h"
#include "csrc/base/mapped-file.h"
#include "csrc/fst/fst-header.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

#pragma pack(push, 1)
struct StdArc {
  int32_t ilabel;
  int32_t olabel;
  float weight;
  int32_t nextstate;
};

struct ConstState {
  float final_weight;  // +infinity: not final
  uint32_t begin;      // of its arcs, in the array of all arcs
  uint32_t num_arcs;
  uint32_t num_input_epsilons;
  uint32_t num_output_epsilons;
};
#pragma pack(pop)

// The arcs of one state.
struct ArcSpan {
  const StdArc *first;
  const StdArc *last;
  const StdArc *begin() const { return first; }
  const StdArc *end() const { return last; }
  size_t size() const { return static_cast<size_t>(last - first); }
};

// Those arcs of a state that have no input label.
class EpsilonsAmongArcs {
 public:
  EpsilonsAmongArcs(const ArcSpan &arcs, uint32_t num_epsilons) : arcs_(arcs), size_(num_epsilons) {}

  uint32_t Size() const { return size_; }
  // Calls take(weight, olabel, next state) for each.
  template <class Take>
  void ForEach(Take take) const {
    for (const StdArc &arc : arcs_) {
      if (arc.ilabel == 0) take(arc.weight, arc.olabel, arc.nextstate);
    }
  }

 private:
  ArcSpan arcs_;
  uint32_t size_;
};

class ConstFst {
 public:
  // What searches are asked for is in arrays, see lattice-faster-online-decoder.h.
  static constexpr bool kHasColumns = false;
  static constexpr bool kRenewsStates = false;

  // Takes over arrays; throws ModelFormatError when they are not consistent.
  ConstFst(int32_t start, std::vector<ConstState> states, std::vector<StdArc> arcs);
  // Uses the arrays of a const FST where they lie in a file, beginning at the place of the reader, after the
  // header; moves the reader to their end. Throws ModelFormatError.
  ConstFst(const FstHeader &header, ByteReader *reader, std::shared_ptr<const MappedFile> file);
  ConstFst(const ConstFst &) = delete;
  ConstFst &operator=(const ConstFst &) = delete;

  // For whoever sets symbol tables while other threads may write the FST; nothing in the core looks at it.
  ConcurrentUse<DecoderError> *Use() const { return &use_; }

  // kNoStateId when the FST is empty.
  int32_t Start() const { return start_; }
  int32_t NumStates() const { return num_states_; }
  int64_t NumArcs() const { return num_arcs_; }
  float Final(int32_t state) const { return states_[state].final_weight; }
  bool HasInputEpsilons(int32_t state) const { return NumInputEpsilons(state) != 0; }
  uint32_t NumInputEpsilons(int32_t state) const { return states_[state].num_input_epsilons; }
  EpsilonsAmongArcs EpsilonArcs(int32_t state) const { return {Arcs(state), NumInputEpsilons(state)}; }
  ArcSpan Arcs(int32_t state) const {
    const ConstState &s = states_[state];
    return {arcs_ + s.begin, arcs_ + s.begin + s.num_arcs};
  }
  const ConstState &State(int32_t state) const { return states_[state]; }
  int32_t MaxInputLabel() const { return max_ilabel_; }
  int32_t MaxOutputLabel() const { return max_olabel_; }
  // The output labels of all arcs but 0, ascending; goes through the arcs.
  std::vector<int32_t> OutputLabels() const;

  // Bring a state, or its arcs, into the processor's cache.
  void PrefetchState(int32_t state) const { __builtin_prefetch(states_ + state); }
  void PrefetchArcs(int32_t state) const { __builtin_prefetch(arcs_ + states_[state].begin); }

  // States keep their numbers (see lattice-faster-online-decoder.h).
  template <class Tokens>
  void RenewStates(Tokens *) const {}

  // The embedded symbol tables, or null.
  const std::shared_ptr<SymbolTable> &InputSymbols() const { return input_symbols_; }
  const std::shared_ptr<SymbolTable> &OutputSymbols() const { return output_symbols_; }
  void SetInputSymbols(std::shared_ptr<SymbolTable> table) { input_symbols_ = std::move(table); }
  void SetOutputSymbols(std::shared_ptr<SymbolTable> table) { output_symbols_ = std::move(table); }

 private:
  // Checks everything, and finds the highest labels. `reader` is null when the arrays are not from a file;
  // the offsets are those of the arrays in it.
  void Check(int64_t start, const ByteReader *reader, size_t states_offset, size_t arcs_offset);

  std::shared_ptr<const MappedFile> file_;  // null when the arrays are ours
  std::vector<ConstState> own_states_;
  std::vector<StdArc> own_arcs_;
  const ConstState *states_;
  const StdArc *arcs_;
  int32_t num_states_;
  int64_t num_arcs_;
  int32_t start_ = kNoStateId;
  int32_t max_ilabel_ = 0;
  int32_t max_olabel_ = 0;
  std::shared_ptr<SymbolTable> input_symbols_;
  std::shared_ptr<SymbolTable> output_symbols_;
  mutable ConcurrentUse<DecoderError> use_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_CONST_FST_H_
