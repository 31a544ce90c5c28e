#include "csrc/fst/ngram-fst.h"

#include <array>
#include <limits>
#include <string>
#include <utility>

namespace pykaldi {
namespace {

constexpr size_t kBitsPerWord = 64;
// Words of a history: far more than any model has, and few enough for the stack.
constexpr int32_t kMaxHistory = 64;

size_t NumWordsOfBits(uint64_t num_bits) { return (num_bits + kBitsPerWord - 1) / kBitsPerWord; }

// Reads bits from the first to the last.
class BitScanner {
 public:
  BitScanner(const UnalignedArray<uint64_t> &words, uint64_t num_bits) : words_(words), num_bits_(num_bits) {}

  bool AtEnd() const { return position_ == num_bits_; }
  uint64_t Position() const { return position_; }
  bool Next() {
    if (position_ % kBitsPerWord == 0) word_ = words_[position_ / kBitsPerWord];
    return word_ >> (position_++ % kBitsPerWord) & 1;
  }

 private:
  UnalignedArray<uint64_t> words_;
  uint64_t num_bits_;
  uint64_t position_ = 0;
  uint64_t word_ = 0;
};

[[noreturn]] void FailAtBit(const ByteReader &reader, size_t offset, uint64_t bit, const char *expected,
                            const std::string &found) {
  reader.Fail(offset + bit / 8, expected, found + " at bit " + std::to_string(bit));
}

// A count of the file, of elements that take at least `least_bytes` each.
uint64_t ReadCount(ByteReader *reader, uint64_t most, size_t least_bytes, const char *what) {
  const size_t offset = reader->Offset();
  const uint64_t count = reader->Read<uint64_t>(what);
  if (count > most || count > reader->Remaining() / least_bytes) {
    reader->Fail(offset, what,
                 "a count of " + std::to_string(count) + " with " + std::to_string(reader->Remaining()) +
                     " bytes left");
  }
  return count;
}

// The comparison is false for NaN.
bool IsCost(float cost) { return cost > -std::numeric_limits<float>::infinity(); }

}  // namespace

NgramFst::NgramFst(const FstHeader &header, ByteReader *reader, std::shared_ptr<const MappedFile> file)
    : file_(std::move(file)), output_symbols_(header.output_symbols) {
  const size_t begin = reader->Offset();
  constexpr uint64_t kMostStates = std::numeric_limits<int32_t>::max() - 1;
  constexpr uint64_t kMostFutures = std::numeric_limits<uint32_t>::max() - 1;
  // Context words and backoff costs, or future words and costs.
  constexpr size_t kLeastBytes = sizeof(int32_t) + sizeof(float);
  const uint64_t num_states = ReadCount(reader, kMostStates, kLeastBytes, "the number of states");
  const uint64_t num_futures = ReadCount(reader, kMostFutures, kLeastBytes, "the number of arcs");
  const uint64_t num_final = ReadCount(reader, num_states, sizeof(float), "the number of final states");
  if (num_states <= kStart || header.num_states != static_cast<int64_t>(num_states) ||
      header.start != kStart) {
    reader->Fail(begin, "a language model of two states or more that starts in state 1, as its header says",
                 std::to_string(num_states) + " states, and in the header " +
                     std::to_string(header.num_states) + " and state " + std::to_string(header.start));
  }
  num_states_ = static_cast<int32_t>(num_states);
  num_futures_ = static_cast<uint32_t>(num_futures);

  const size_t trie_offset = reader->Offset();
  const Bits trie = Bits::Take(reader, NumWordsOfBits(2 * num_states + 1), "the shape of the histories");
  const size_t futures_offset = reader->Offset();
  const Bits futures =
      Bits::Take(reader, NumWordsOfBits(num_futures + num_states + 1), "the shape of the arcs");
  const size_t finals_offset = reader->Offset();
  const Bits finals = Bits::Take(reader, NumWordsOfBits(num_states), "the final states");
  const size_t context_words_offset = reader->Offset();
  context_words_ = UnalignedArray<int32_t>::Take(reader, num_states + 1, "the words of the histories");
  const size_t future_words_offset = reader->Offset();
  future_words_ = UnalignedArray<int32_t>::Take(reader, num_futures, "the words of the arcs");
  backoff_costs_ = UnalignedArray<float>::Take(reader, num_states + 1, "the backoff costs");
  ReadFinals(finals, finals_offset, num_final, reader);
  const size_t future_costs_offset = reader->Offset();
  future_costs_ = UnalignedArray<float>::Take(reader, num_futures, "the costs of the arcs");

  ReadTrie(trie, trie_offset, *reader);
  ReadFutures(futures, futures_offset, *reader);
  CheckTrie(context_words_offset, *reader);
  CheckFutures(future_words_offset, future_costs_offset, *reader);
}

void NgramFst::ReadTrie(const Bits &bits, size_t offset, const ByteReader &reader) {
  parents_.assign(num_states_, kNoStateId);
  first_child_.reserve(num_states_ + 1);
  BitScanner scanner(bits, 2 * static_cast<uint64_t>(num_states_) + 1);
  const bool first = scanner.Next(), second = scanner.Next();
  if (!first || second) {
    FailAtBit(reader, offset, 0, "bits 10", std::to_string(first) + std::to_string(second));
  }
  int32_t num_found = 1;  // the root
  for (int32_t state = 0; state < num_states_; ++state) {
    // Level by level, a state is found as a child before its own children are listed.
    if (state >= num_found) {
      FailAtBit(reader, offset, scanner.Position(), "a trie",
                "children of a state that is not a child itself");
    }
    first_child_.push_back(num_found);
    while (!scanner.AtEnd() && scanner.Next()) {
      if (num_found == num_states_) {
        FailAtBit(reader, offset, scanner.Position(), "a trie", "more children than states");
      }
      parents_[num_found++] = state;
    }
  }
  first_child_.push_back(num_found);
}

void NgramFst::ReadFutures(const Bits &bits, size_t offset, const ByteReader &reader) {
  first_future_.reserve(num_states_ + 1);
  BitScanner scanner(bits, static_cast<uint64_t>(num_futures_) + num_states_ + 1);
  if (scanner.Next()) FailAtBit(reader, offset, 0, "bit 0", "1");
  uint32_t num_found = 0;
  for (int32_t state = 0; state < num_states_; ++state) {
    first_future_.push_back(num_found);
    while (!scanner.AtEnd() && scanner.Next()) {
      if (num_found++ == num_futures_) {
        FailAtBit(reader, offset, scanner.Position(), "the arcs of all states", "more arcs than there are");
      }
    }
  }
  first_future_.push_back(num_found);
  if (num_found != num_futures_) {
    FailAtBit(reader, offset, scanner.Position(), "the arcs of all states",
              std::to_string(num_found) + " of " + std::to_string(num_futures_));
  }
}

void NgramFst::ReadFinals(const Bits &bits, size_t offset, uint64_t num_final, ByteReader *reader) {
  const size_t costs_offset = reader->Offset();
  const auto costs = UnalignedArray<float>::Take(reader, num_final, "the final costs");
  final_costs_.assign(num_states_, std::numeric_limits<float>::infinity());
  BitScanner scanner(bits, num_states_);
  uint64_t num_found = 0;
  for (float &cost : final_costs_) {
    if (!scanner.Next()) continue;
    if (num_found == num_final) {
      FailAtBit(*reader, offset, scanner.Position(), "the final states", "more than there are");
    }
    cost = costs[num_found];
    if (!IsCost(cost)) {
      reader->Fail(costs_offset + sizeof(float) * num_found, "a final cost", std::to_string(cost));
    }
    ++num_found;
  }
  if (num_found != num_final) {
    reader->Fail(offset, std::to_string(num_final) + " final states", std::to_string(num_found));
  }
}

void NgramFst::CheckTrie(size_t words_offset, const ByteReader &reader) const {
  std::vector<uint8_t> lengths(num_states_, 0);
  for (int32_t state = 1; state < num_states_; ++state) {
    const int32_t parent = parents_[state];
    const int32_t word = context_words_[state];
    const int32_t last_word = state == first_child_[parent] ? -1 : context_words_[state - 1];
    if (word <= last_word) {
      reader.Fail(words_offset + sizeof(int32_t) * state, "a word above " + std::to_string(last_word),
                  std::to_string(word));
    }
    lengths[state] = lengths[parent] + 1;
    if (lengths[state] > kMaxHistory) {
      reader.Fail(words_offset + sizeof(int32_t) * state,
                  "a history of at most " + std::to_string(kMaxHistory) + " words",
                  std::to_string(lengths[state]));
    }
    if (!IsCost(backoff_costs_[state])) {
      throw ModelFormatError(reader.Path() + ": expected the backoff cost of state " + std::to_string(state) +
                             ", found " + std::to_string(backoff_costs_[state]));
    }
  }
}

void NgramFst::CheckFutures(size_t words_offset, size_t costs_offset, const ByteReader &reader) const {
  for (int32_t state = 0; state < num_states_; ++state) {
    int32_t last_word = 0;
    for (uint32_t i = first_future_[state]; i < first_future_[state + 1]; ++i) {
      const int32_t word = future_words_[i];
      if (word <= last_word) {
        reader.Fail(words_offset + sizeof(int32_t) * i, "a word above " + std::to_string(last_word),
                    std::to_string(word));
      }
      last_word = word;
      if (!IsCost(future_costs_[i])) {
        reader.Fail(costs_offset + sizeof(float) * i, "a cost", std::to_string(future_costs_[i]));
      }
    }
  }
}

int32_t NgramFst::Extend(int32_t state, int32_t word) const {
  std::array<int32_t, kMaxHistory> history;  // from the oldest word to the newest
  int32_t length = 0;
  for (; state != kRoot; state = parents_[state]) history[length++] = context_words_[state];
  int32_t found = kRoot;
  int32_t child = Child(kRoot, word);
  while (child != kNoStateId) {
    found = child;
    if (length == 0) break;
    child = Child(found, history[--length]);
  }
  return found;
}

int32_t NgramFst::Child(int32_t state, int32_t word) const {
  const int32_t end = first_child_[state + 1];
  const int32_t child =
      LowerBound(first_child_[state], end, word, [this](int32_t i) { return context_words_[i]; });
  return child != end && context_words_[child] == word ? child : kNoStateId;
}

}  // namespace pykaldi
