#include "csrc/lm/const-arpa-builder.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "csrc/base/byte-writer.h"
#include "csrc/base/error.h"
#include "csrc/base/output-file.h"

namespace pykaldi {
namespace {

constexpr size_t kFirstSlots = 1024;
constexpr size_t kMaxNgrams = std::numeric_limits<int32_t>::max();

int32_t Bits(float value) {
  int32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// A number in Kaldi's binary form: its size, then the number.
template <class T>
void WriteBasicType(T value, std::ostream &out) {
  out.put(static_cast<char>(sizeof(T)));
  WriteBytes(out, value);
}

}  // namespace

ConstArpaLmBuilder::ConstArpaLmBuilder(std::string path, int32_t bos_symbol, int32_t eos_symbol,
                                       int32_t unk_symbol, std::shared_ptr<const SymbolTable> symbols)
    : bos_symbol_(bos_symbol),
      eos_symbol_(eos_symbol),
      unk_symbol_(unk_symbol),
      path_(path),
      parser_(std::move(path), std::move(symbols), this),
      slots_(kFirstSlots, kNoNode) {
  if (bos_symbol <= 0 || eos_symbol <= 0 || bos_symbol == eos_symbol) {
    throw ConfigError("expected two different words above 0 for the beginning and the end, found " +
                      std::to_string(bos_symbol) + " and " + std::to_string(eos_symbol));
  }
  if (unk_symbol != -1 && (unk_symbol <= 0 || unk_symbol == bos_symbol || unk_symbol == eos_symbol)) {
    throw ConfigError("expected an unknown word of its own, or -1, found " + std::to_string(unk_symbol));
  }
}

void ConstArpaLmBuilder::SetMaxAddressOffset(int64_t offset) {
  if (offset < 0 || offset > kMostAddressOffset) {
    throw ConfigError("expected a distance of 0 to " + std::to_string(kMostAddressOffset) + ", found " +
                      std::to_string(offset));
  }
  max_address_offset_ = offset;
}

// Collecting n-grams

void ConstArpaLmBuilder::HeaderAvailable(int32_t order) { ngram_order_ = order; }

void ConstArpaLmBuilder::ConsumeNgram(const Ngram &ngram) {
  const size_t order = ngram.words.size();
  const int32_t parent = FindNode(ngram.words, order - 1);
  if (order > 1 && parent == kNoNode) {
    throw std::invalid_argument("a " + std::to_string(order) + "-gram whose first " +
                                std::to_string(order - 1) + " words are an n-gram of the file");
  }
  if (std::max(nodes_.size(), last_ngrams_.size()) >= kMaxNgrams) {
    throw std::invalid_argument("at most " + std::to_string(kMaxNgrams) + " n-grams");
  }
  if (static_cast<int32_t>(order) == ngram_order_ && order > 1) {
    last_ngrams_.push_back({parent, ngram.words.back(), ngram.logprob});
    return;
  }
  if (slots_[FindSlot(parent, ngram.words.back())] != kNoNode) {
    throw std::invalid_argument("each n-gram once");
  }
  AddNode({parent, ngram.words.back(), ngram.logprob, ngram.backoff});
}

int32_t ConstArpaLmBuilder::FindNode(const std::vector<int32_t> &words, size_t length) const {
  int32_t node = kNoNode;
  for (size_t i = 0; i < length; ++i) {
    node = slots_[FindSlot(node, words[i])];
    if (node == kNoNode) break;
  }
  return node;
}

size_t ConstArpaLmBuilder::FindSlot(int32_t parent, int32_t word) const {
  const uint64_t key =
      (static_cast<uint64_t>(static_cast<uint32_t>(parent)) << 32) | static_cast<uint32_t>(word);
  const uint64_t hash = key * 0x9e3779b97f4a7c15u;
  const size_t mask = slots_.size() - 1;
  size_t slot = static_cast<size_t>(hash ^ (hash >> 32)) & mask;
  while (slots_[slot] != kNoNode &&
         (nodes_[slots_[slot]].parent != parent || nodes_[slots_[slot]].word != word)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

void ConstArpaLmBuilder::AddNode(const Node &node) {
  nodes_.push_back(node);
  if (2 * nodes_.size() > slots_.size()) {
    slots_.assign(2 * slots_.size(), kNoNode);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      slots_[FindSlot(nodes_[i].parent, nodes_[i].word)] = static_cast<int32_t>(i);
    }
  } else {
    slots_[FindSlot(node.parent, node.word)] = static_cast<int32_t>(nodes_.size() - 1);
  }
}

// Laying out states

template <class Entry>
ConstArpaLmBuilder::Children ConstArpaLmBuilder::SortChildren(const std::vector<Entry> &entries) const {
  Children children;
  children.begin.assign(nodes_.size() + 1, 0);
  for (const Entry &entry : entries) {
    if (entry.parent != kNoNode) ++children.begin[entry.parent + 1];
  }
  for (size_t i = 0; i < nodes_.size(); ++i) children.begin[i + 1] += children.begin[i];
  children.indices.resize(children.begin.back());
  std::vector<int64_t> fill(children.begin.begin(), children.begin.end() - 1);
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].parent != kNoNode) children.indices[fill[entries[i].parent]++] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < nodes_.size(); ++i) {
    std::sort(children.indices.begin() + children.begin[i], children.indices.begin() + children.begin[i + 1],
              [&](int32_t a, int32_t b) { return entries[a].word < entries[b].word; });
  }
  return children;
}

int64_t ConstArpaLmBuilder::NumChildren(int32_t node) const {
  return children_.begin[node + 1] - children_.begin[node] + last_children_.begin[node + 1] -
         last_children_.begin[node];
}

bool ConstArpaLmBuilder::HasState(int32_t node) const {
  return nodes_[node].parent == kNoNode || nodes_[node].backoff != 0 || NumChildren(node) > 0;
}

int64_t ConstArpaLmBuilder::StateSize(int32_t node) const { return 3 + 2 * NumChildren(node); }

std::vector<int32_t> ConstArpaLmBuilder::LayOut() {
  std::vector<int32_t> stack;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].parent == kNoNode) stack.push_back(static_cast<int32_t>(i));
  }
  std::sort(stack.begin(), stack.end(),
            [&](int32_t a, int32_t b) { return nodes_[a].word > nodes_[b].word; });
  places_.assign(nodes_.size(), -1);
  std::vector<int32_t> order;
  while (!stack.empty()) {
    const int32_t node = stack.back();
    stack.pop_back();
    if (!HasState(node)) continue;
    places_[node] = total_size_;
    total_size_ += StateSize(node);
    order.push_back(node);
    // The last child first on the stack: the first child comes out next.
    for (int64_t i = children_.begin[node + 1]; i > children_.begin[node]; --i) {
      stack.push_back(children_.indices[i - 1]);
    }
  }
  return order;
}

int32_t ConstArpaLmBuilder::ChildInfo(int32_t node, int32_t child, std::vector<int64_t> *overflows) const {
  if (places_[child] == -1) return Bits(nodes_[child].logprob) & ~1;
  const int64_t offset = places_[child] - places_[node];
  if (offset <= max_address_offset_) return static_cast<int32_t>(2 * offset + 1);
  if (static_cast<int64_t>(overflows->size()) > kMostAddressOffset) {
    throw ModelFormatError(path_ + ": expected at most " + std::to_string(kMostAddressOffset + 1) +
                           " distant states of n-grams, found more");
  }
  overflows->push_back(places_[child] + 1);
  return static_cast<int32_t>(-(2 * static_cast<int64_t>(overflows->size() - 1) + 1));
}

void ConstArpaLmBuilder::AppendState(int32_t node, std::vector<int32_t> *state,
                                     std::vector<int64_t> *overflows) const {
  state->push_back(Bits(nodes_[node].logprob));
  state->push_back(Bits(nodes_[node].backoff));
  state->push_back(static_cast<int32_t>(NumChildren(node)));
  for (int64_t i = children_.begin[node]; i < children_.begin[node + 1]; ++i) {
    const int32_t child = children_.indices[i];
    state->push_back(nodes_[child].word);
    state->push_back(ChildInfo(node, child, overflows));
  }
  for (int64_t i = last_children_.begin[node]; i < last_children_.begin[node + 1]; ++i) {
    const LastNgram &last = last_ngrams_[last_children_.indices[i]];
    state->push_back(last.word);
    state->push_back(Bits(last.logprob) & ~1);
  }
}

void ConstArpaLmBuilder::Write(const std::string &path) {
  parser_.Finish();
  int32_t num_words = 0;
  for (const Node &node : nodes_) {
    if (node.parent == kNoNode) num_words = std::max(num_words, node.word + 1);
  }
  if (std::max({bos_symbol_, eos_symbol_, unk_symbol_}) >= num_words) {
    throw ModelFormatError(path_ +
                           ": expected 1-grams up to those of the beginning, the end and the unknown " +
                           "word, found none above " + std::to_string(num_words - 1));
  }
  children_ = SortChildren(nodes_);
  last_children_ = SortChildren(last_ngrams_);
  const std::vector<int32_t> order = LayOut();

  OutputFile file(path);
  std::ostream &out = file.Stream();
  out.write("\0B<ConstArpaLm> <LmInfo> ", 25);
  for (int32_t value : {bos_symbol_, eos_symbol_, unk_symbol_, ngram_order_}) WriteBasicType(value, out);
  out << "</LmInfo> <LmStates> ";
  WriteBasicType(total_size_, out);
  std::vector<int32_t> state;
  std::vector<int64_t> overflows, unigrams(num_words, 0);
  for (int32_t node : order) {
    state.clear();
    AppendState(node, &state, &overflows);
    out.write(reinterpret_cast<const char *>(state.data()), state.size() * sizeof(int32_t));
    if (nodes_[node].parent == kNoNode) unigrams[nodes_[node].word] = places_[node] + 1;
  }
  out << "</LmStates> <LmUnigram> ";
  WriteBasicType(num_words, out);
  out.write(reinterpret_cast<const char *>(unigrams.data()), unigrams.size() * sizeof(int64_t));
  out << "</LmUnigram> <LmOverflow> ";
  WriteBasicType(static_cast<int32_t>(overflows.size()), out);
  out.write(reinterpret_cast<const char *>(overflows.data()), overflows.size() * sizeof(int64_t));
  out << "</LmOverflow> </ConstArpaLm> ";
  file.Commit();
}

}  // namespace pykaldi
