// An n-gram language model as one block of integers, mapped from disk (G.carpa).
//
// Each history h of the model has a state with what belongs to h: its log-probability, its backoff, and its
// children, the words w that follow, by ascending w:
//
//   float32 logprob, float32 backoff, int32 number of children, (int32 word, int32 info) for each child
//
// info of a child is, when even: the log-probability of "h w" (a float32 whose last bit is 0), and "h w" has
// no state of its own. When odd and positive: 2 d + 1, the state of "h w" begins d integers behind that of h.
// When odd and negative: -(2 i + 1), its place is number i of the overflow table. The states of single words
// are found through a table. All logarithms are natural.
//
//   log p(w | h) = logprob of "h w" if the model has it,
//                  else backoff(h) + log p(w | h without its first word)
//
// Words that the model does not have are the unknown word; without one they have no probability.
//
// The file is used where it lies: its pages are shared by all processes and read when they are touched. What
// is read from it is checked whenever it is followed, so that a damaged file gives an error or a wrong
// probability, nothing worse. Source: lm/const-arpa-lm.cc.
#ifndef PYKALDI_SERVER_LM_CONST_ARPA_LM_H_
#define PYKALDI_SERVER_LM_CONST_ARPA_LM_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <unordered_map>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/mapped-file.h"
#include "csrc/lm/deterministic-fst.h"

namespace pykaldi {

class ConstArpaLm {
 public:
  // Maps a file, of the current form or the old one without tokens (which is copied into memory). Throws
  // FileError or ModelFormatError.
  static std::shared_ptr<const ConstArpaLm> Read(const std::string &path);

  int32_t BosSymbol() const { return bos_symbol_; }
  int32_t EosSymbol() const { return eos_symbol_; }
  int32_t UnkSymbol() const { return unk_symbol_; }  // -1: none
  int32_t NgramOrder() const { return ngram_order_; }
  // The highest word plus one.
  int32_t NumWords() const { return static_cast<int32_t>(unigrams_.Size()); }

  // The value that means "no probability", as in Kaldi: a tiny positive one.
  static float NoProbability();
  // log p(word | history); histories longer than the model's are cut. Throws ModelFormatError when the
  // file is damaged there.
  float GetNgramLogprob(int32_t word, const std::vector<int32_t> &history) const;
  // Whether something follows the history in the model, so that it is worth remembering.
  bool HistoryStateExists(const std::vector<int32_t> &history) const;

  // Writes the model as an ARPA file with integers for words, from which ConstArpaLmBuilder makes it again.
  void WriteArpa(std::ostream &out) const;

 private:
  // Little-endian values somewhere in a buffer, at any byte.
  template <class T>
  class Array {
   public:
    Array() = default;
    Array(const char *data, int64_t size) : data_(data), size_(size) {}
    int64_t Size() const { return size_; }
    T operator[](int64_t i) const;

   private:
    const char *data_ = nullptr;
    int64_t size_ = 0;
  };
  // What is known of a child.
  struct Child {
    float logprob;
    int64_t state;  // kNoState when it has none
  };
  static constexpr int64_t kNoState = -1;

  ConstArpaLm() = default;
  void ReadTokens(ByteReader *reader);
  void ReadOldForm(ByteReader *reader);
  void CheckSymbols(const ByteReader &reader) const;

  bool IsKnown(int32_t word) const;
  float Logprob(const int32_t *history, const int32_t *history_end, int32_t word) const;
  int64_t FindState(const int32_t *words, const int32_t *words_end) const;
  int64_t UnigramState(int32_t word) const;
  // The number of children of the state; checks that the state lies within the array.
  int32_t NumChildren(int64_t state) const;
  bool FindChild(int64_t state, int32_t word, Child *child) const;
  Child DecodeChild(int64_t state, int32_t info) const;
  float FloatAt(int64_t index) const;
  void CollectNgrams(int64_t state, std::vector<int32_t> *words, std::vector<std::string> *lines_by_order,
                     std::vector<int64_t> *counts) const;
  [[noreturn]] void Fail(int64_t state) const;

  std::shared_ptr<const MappedFile> file_;
  std::vector<char> copied_;  // of a file in the old form
  Array<int32_t> states_;
  Array<int64_t> unigrams_;   // place of a word's state plus one; 0: none
  Array<int64_t> overflows_;  // the same
  int32_t bos_symbol_ = 0;
  int32_t eos_symbol_ = 0;
  int32_t unk_symbol_ = 0;
  int32_t ngram_order_ = 0;
};

// The model as an automaton. A state is the longest history that matters; make a new object for each lattice,
// so that the states of old ones are forgotten. For one thread at a time.
class ConstArpaLmDeterministicFst : public DeterministicOnDemandFst {
 public:
  explicit ConstArpaLmDeterministicFst(std::shared_ptr<const ConstArpaLm> lm);

  int32_t Start() override { return 0; }
  float Final(int32_t state) override;
  bool GetArc(int32_t state, int32_t word, Arc *arc) override;
  int32_t NumStates() const { return static_cast<int32_t>(histories_.size()); }

 private:
  struct Hasher {
    size_t operator()(const std::vector<int32_t> &words) const;
  };

  int32_t StateOf(const std::vector<int32_t> &history);

  std::shared_ptr<const ConstArpaLm> lm_;
  std::vector<std::vector<int32_t>> histories_;  // by state
  std::unordered_map<std::vector<int32_t>, int32_t, Hasher> states_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_CONST_ARPA_LM_H_
