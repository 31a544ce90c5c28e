// Makes a ConstArpaLm file from the n-grams of an ARPA file; see const-arpa-lm.h for the form.
//
// The n-grams below the highest order are nodes of a tree, found by (parent, word) in a hash table. Those of
// the highest order only have a probability, and wait in a list. At the end the nodes that need a state are
// laid out in lexicographic order of their words, each with its children. An n-gram of a middle order
// without backoff and children (a leaf) has no state: its probability is in that of its parent.
//
// Memory: about 40 bytes per n-gram below the highest order, 12 bytes per n-gram of the highest.
// Source: ConstArpaLmBuilder in lm/const-arpa-lm.cc.
#ifndef PYKALDI_SERVER_LM_CONST_ARPA_BUILDER_H_
#define PYKALDI_SERVER_LM_CONST_ARPA_BUILDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/fst/symbol-table.h"
#include "csrc/lm/arpa-file-parser.h"

namespace pykaldi {

class ConstArpaLmBuilder : private NgramConsumer {
 public:
  // The words for the beginning, the end, and unknown words (-1: none). `symbols` may be
  // null: then the words of the file are integers. The path of the ARPA file is for errors. Throws
  // ConfigError when the words are invalid.
  ConstArpaLmBuilder(std::string path, int32_t bos_symbol, int32_t eos_symbol, int32_t unk_symbol,
                     std::shared_ptr<const SymbolTable> symbols);

  // Takes the next bytes of the ARPA file.
  void Feed(std::string_view bytes) { parser_.Feed(bytes); }
  // Writes the model when the file has been fed; throws ModelFormatError when the file is not complete,
  // FileError when it cannot be written.
  void Write(const std::string &path);
  // n-grams left out because of unknown symbols.
  int64_t NumSkipped() const { return parser_.NumSkipped(); }

  // Distances of children above this go to the overflow table. For tests, as the default, which is also the
  // most that the form can hold, needs 4 GB of model. Throws ConfigError.
  void SetMaxAddressOffset(int64_t offset);

 private:
  struct Node {
    int32_t parent;  // kNoNode for single words
    int32_t word;
    float logprob;
    float backoff;
  };
  struct LastNgram {  // of the highest order
    int32_t parent;
    int32_t word;
    float logprob;
  };
  // The children of a node, by word: indices in nodes_, or in last_ngrams_ for nodes of the order before the
  // highest.
  struct Children {
    std::vector<int64_t> begin;  // by node, in `indices`
    std::vector<int32_t> indices;
  };
  static constexpr int32_t kNoNode = -1;
  static constexpr int64_t kMostAddressOffset = (int64_t{1} << 30) - 1;

  void HeaderAvailable(int32_t order) override;
  void ConsumeNgram(const Ngram &ngram) override;

  // The node of words[0] ... words[length - 1], or kNoNode.
  int32_t FindNode(const std::vector<int32_t> &words, size_t length) const;
  size_t FindSlot(int32_t parent, int32_t word) const;
  void AddNode(const Node &node);

  template <class Entry>
  Children SortChildren(const std::vector<Entry> &entries) const;
  bool HasState(int32_t node) const;
  int64_t StateSize(int32_t node) const;
  int64_t NumChildren(int32_t node) const;
  // Gives the nodes that have a state their places; returns them in that order.
  std::vector<int32_t> LayOut();
  void AppendState(int32_t node, std::vector<int32_t> *state, std::vector<int64_t> *overflows) const;
  int32_t ChildInfo(int32_t node, int32_t child, std::vector<int64_t> *overflows) const;

  const int32_t bos_symbol_;
  const int32_t eos_symbol_;
  const int32_t unk_symbol_;
  const std::string path_;
  ArpaFileParser parser_;
  int64_t max_address_offset_ = kMostAddressOffset;

  int32_t ngram_order_ = 0;
  std::vector<Node> nodes_;
  std::vector<int32_t> slots_;  // open addressing: nodes by (parent, word); kNoNode is a free slot
  std::vector<LastNgram> last_ngrams_;

  Children children_;            // of all nodes but those before the highest order
  Children last_children_;       // of those
  std::vector<int64_t> places_;  // of the nodes' states; -1: none
  int64_t total_size_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_CONST_ARPA_BUILDER_H_
