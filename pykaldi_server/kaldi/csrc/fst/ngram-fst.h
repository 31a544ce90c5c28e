// A backoff language model in OpenFst's `ngram` form: a trie of histories whose shape is coded in bits.
//
// A state is a history of words. Its arcs are the words that the model knows after the history (its futures,
// sorted), and, but for the empty history, one epsilon arc to the history without its oldest word, at the
// backoff cost. The next state of a word is the longest history that the model has for (history, word); it is
// not stored, but looked up.
//
// File, after the header: uint64 numbers of states, futures and final states; then
//
//   context bits   the trie, level by level (LOUDS): "10" for what is above the root, then for each state
//                  a 1 for each child and a 0. State n is the n-th 1.
//   future bits    a 0, then for each state a 1 for each future and a 0
//   final bits     one per state
//   context words  int32 for each state: the oldest word of its history
//   future words   int32 for each future
//   backoff costs, final costs, future costs   float for each state, final state, future
//
// State 0 is the empty history, state 1 the start; the context word of the start is 0. The words and costs
// are used where they lie in the mapped file; the bits are turned into positions, 12 bytes per state.
//
// Sources: extensions/ngram/ngram-fst.h in OpenFst; "Unary data structures for language models", Sorensen and
// Allauzen, Interspeech 2011.
#ifndef PYKALDI_SERVER_FST_NGRAM_FST_H_
#define PYKALDI_SERVER_FST_NGRAM_FST_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/mapped-file.h"
#include "csrc/base/unaligned-array.h"
#include "csrc/fst/fst-header.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

class NgramFst {
 public:
  // The arcs of one state, the backoff arc first.
  class ArcView {
   public:
    ArcView(const NgramFst &fst, int32_t state)
        : fst_(fst),
          state_(state),
          num_backoffs_(state == kRoot ? 0 : 1),
          size_(num_backoffs_ +
                static_cast<int32_t>(fst.first_future_[state + 1] - fst.first_future_[state])),
          labels_offset_(static_cast<int64_t>(fst.first_future_[state]) - num_backoffs_) {}

    int32_t Size() const { return size_; }
    int32_t NumEpsilons() const { return num_backoffs_; }
    int32_t InputLabel(int32_t i) const {
      return i < num_backoffs_ ? 0 : fst_.future_words_[labels_offset_ + i];
    }
    int32_t OutputLabel(int32_t i) const { return InputLabel(i); }
    float Weight(int32_t i) const {
      return i < num_backoffs_ ? fst_.backoff_costs_[state_] : fst_.future_costs_[labels_offset_ + i];
    }
    int32_t NextState(int32_t i) const {
      return i < num_backoffs_ ? fst_.parents_[state_] : fst_.Extend(state_, InputLabel(i));
    }

   private:
    const NgramFst &fst_;
    int32_t state_;
    int32_t num_backoffs_;
    int32_t size_;
    int64_t labels_offset_;  // from the position of an arc to that of its future
  };

  // Uses a file from the place of the reader on, after the header. Throws ModelFormatError.
  NgramFst(const FstHeader &header, ByteReader *reader, std::shared_ptr<const MappedFile> file);
  NgramFst(const NgramFst &) = delete;
  NgramFst &operator=(const NgramFst &) = delete;

  int32_t Start() const { return kStart; }
  int32_t NumStates() const { return num_states_; }
  float Final(int32_t state) const { return final_costs_[state]; }
  ArcView Arcs(int32_t state) const { return ArcView(*this, state); }
  const std::shared_ptr<SymbolTable> &OutputSymbols() const { return output_symbols_; }

 private:
  static constexpr int32_t kRoot = 0;
  static constexpr int32_t kStart = 1;

  using Bits = UnalignedArray<uint64_t>;

  void ReadTrie(const Bits &bits, size_t offset, const ByteReader &reader);
  void ReadFutures(const Bits &bits, size_t offset, const ByteReader &reader);
  void ReadFinals(const Bits &bits, size_t offset, uint64_t num_final, ByteReader *reader);
  // Check what the file says of each state and each future.
  void CheckTrie(size_t words_offset, const ByteReader &reader) const;
  void CheckFutures(size_t words_offset, size_t costs_offset, const ByteReader &reader) const;

  // The state of the longest history that ends in the history of `state` and `word`.
  int32_t Extend(int32_t state, int32_t word) const;
  // The child of a state by its context word, or kNoStateId.
  int32_t Child(int32_t state, int32_t word) const;

  std::shared_ptr<const MappedFile> file_;
  int32_t num_states_ = 0;
  uint32_t num_futures_ = 0;
  std::vector<int32_t> parents_;
  std::vector<int32_t> first_child_;    // of each state, and behind the last one the number of states
  std::vector<uint32_t> first_future_;  // of each state, and behind the last one the number of futures
  std::vector<float> final_costs_;      // of each state; +infinity: not final
  UnalignedArray<int32_t> context_words_;
  UnalignedArray<int32_t> future_words_;
  UnalignedArray<float> backoff_costs_;
  UnalignedArray<float> future_costs_;
  std::shared_ptr<SymbolTable> output_symbols_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_NGRAM_FST_H_
