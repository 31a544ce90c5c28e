#include "csrc/lm/const-arpa-lm.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/lm/arpa-file-parser.h"

namespace pykaldi {
namespace {

constexpr char kBinaryMark[] = {'\0', 'B'};
constexpr int64_t kStateHeader = 3;  // logprob, backoff, number of children
constexpr int32_t kMaxOrder = 64;    // bounds recursion in damaged files; real models have at most 10

// Reads a number in Kaldi's binary form: a byte with its size, then the number.
template <class T>
T ReadBasicType(const char *what, ByteReader *reader) {
  const size_t offset = reader->Offset();
  const int8_t size = reader->Read<int8_t>(what);
  if (size != static_cast<int8_t>(sizeof(T))) {
    reader->Fail(offset, std::string(what) + " of " + std::to_string(sizeof(T)) + " bytes",
                 "size " + std::to_string(size));
  }
  return reader->Read<T>(what);
}

// A count of things that take `item_bytes` each.
int64_t ReadCount(const char *what, int64_t count, size_t item_bytes, const ByteReader &reader) {
  if (count < 0 || static_cast<uint64_t>(count) > reader.Remaining() / item_bytes) {
    reader.Fail(reader.Offset(), what,
                std::to_string(count) + " with " + std::to_string(reader.Remaining()) + " bytes left");
  }
  return count;
}

void ExpectToken(const std::string &token, ByteReader *reader) {
  const size_t offset = reader->Offset(), size = std::min(token.size() + 1, reader->Remaining());
  const std::string found(reader->Take(size, "a token"), size);
  if (found != token + " ") reader->Fail(offset, token, Printable(found));
}

}  // namespace

template <class T>
T ConstArpaLm::Array<T>::operator[](int64_t i) const {
  T value;
  std::memcpy(&value, data_ + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Reading

std::shared_ptr<const ConstArpaLm> ConstArpaLm::Read(const std::string &path) {
  std::shared_ptr<ConstArpaLm> lm(new ConstArpaLm);
  lm->file_ = std::make_shared<const MappedFile>(path);
  ByteReader reader(lm->file_->Data(), lm->file_->Size(), path);
  const std::string_view mark = reader.Following(sizeof(kBinaryMark));
  if (mark != std::string_view(kBinaryMark, sizeof(kBinaryMark))) {
    reader.Fail(0, "a binary file of Kaldi", ShowBytes(reader.Following(8)));
  }
  reader.Take(sizeof(kBinaryMark), "the binary mark");
  const bool has_tokens = reader.Remaining() > 0 && *reader.Take(0, "") == '<';
  if (has_tokens) {
    lm->ReadTokens(&reader);
  } else {
    lm->ReadOldForm(&reader);
  }
  lm->CheckSymbols(reader);
  return lm;
}

void ConstArpaLm::ReadTokens(ByteReader *reader) {
  ExpectToken("<ConstArpaLm>", reader);
  ExpectToken("<LmInfo>", reader);
  bos_symbol_ = ReadBasicType<int32_t>("the word for the beginning", reader);
  eos_symbol_ = ReadBasicType<int32_t>("the word for the end", reader);
  unk_symbol_ = ReadBasicType<int32_t>("the unknown word", reader);
  ngram_order_ = ReadBasicType<int32_t>("the order of the model", reader);
  ExpectToken("</LmInfo>", reader);
  ExpectToken("<LmStates>", reader);
  int64_t size = ReadBasicType<int64_t>("the size of the states", reader);
  size = ReadCount("the size of the states", size, sizeof(int32_t), *reader);
  states_ = {reader->Take(size * sizeof(int32_t), "states"), size};
  ExpectToken("</LmStates>", reader);
  ExpectToken("<LmUnigram>", reader);
  size = ReadBasicType<int32_t>("the number of words", reader);
  size = ReadCount("the number of words", size, sizeof(int64_t), *reader);
  unigrams_ = {reader->Take(size * sizeof(int64_t), "single words"), size};
  ExpectToken("</LmUnigram>", reader);
  ExpectToken("<LmOverflow>", reader);
  size = ReadBasicType<int32_t>("the size of the overflow table", reader);
  size = ReadCount("the size of the overflow table", size, sizeof(int64_t), *reader);
  overflows_ = {reader->Take(size * sizeof(int64_t), "the overflow table"), size};
  ExpectToken("</LmOverflow>", reader);
  ExpectToken("</ConstArpaLm>", reader);
}

// Every number has its size in front, hence the copy.
void ConstArpaLm::ReadOldForm(ByteReader *reader) {
  bos_symbol_ = ReadBasicType<int32_t>("the word for the beginning", reader);
  eos_symbol_ = ReadBasicType<int32_t>("the word for the end", reader);
  unk_symbol_ = ReadBasicType<int32_t>("the unknown word", reader);
  ngram_order_ = ReadBasicType<int32_t>("the order of the model", reader);
  const auto copy = [&](auto zero, const char *what) {
    using T = decltype(zero);
    const int64_t count = ReadCount(what, ReadBasicType<int32_t>(what, reader), sizeof(T) + 1, *reader);
    for (int64_t i = 0; i < count; ++i) {
      const T value = ReadBasicType<T>(what, reader);
      const char *bytes = reinterpret_cast<const char *>(&value);
      copied_.insert(copied_.end(), bytes, bytes + sizeof(T));
    }
    return count;
  };
  const int64_t num_states = copy(int32_t{0}, "states");
  const int64_t num_unigrams = copy(int64_t{0}, "single words");
  const int64_t num_overflows = copy(int64_t{0}, "the overflow table");
  const char *data = copied_.data();
  states_ = {data, num_states};
  unigrams_ = {data + num_states * sizeof(int32_t), num_unigrams};
  overflows_ = {data + num_states * sizeof(int32_t) + num_unigrams * sizeof(int64_t), num_overflows};
}

void ConstArpaLm::CheckSymbols(const ByteReader &reader) const {
  const auto check = [&](const char *what, int32_t value, int64_t least, int64_t bound) {
    if (value >= least && value < bound) return;
    reader.Fail(0, std::string(what) + " from " + std::to_string(least) + " to " + std::to_string(bound - 1),
                std::to_string(value));
  };
  check("an order", ngram_order_, 1, kMaxOrder + 1);
  check("a word for the beginning", bos_symbol_, 1, unigrams_.Size());
  check("a word for the end", eos_symbol_, 1, unigrams_.Size());
  if (unk_symbol_ != -1) check("an unknown word", unk_symbol_, 1, unigrams_.Size());
}

// Looking up

float ConstArpaLm::NoProbability() { return std::numeric_limits<float>::min(); }

void ConstArpaLm::Fail(int64_t state) const {
  throw ModelFormatError(file_->Path() + ": expected the state of an n-gram among " +
                         std::to_string(states_.Size()) + " integers, found one at " + std::to_string(state));
}

float ConstArpaLm::FloatAt(int64_t index) const {
  const int32_t bits = states_[index];
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

int64_t ConstArpaLm::UnigramState(int32_t word) const {
  return word >= 0 && word < NumWords() ? unigrams_[word] - 1 : kNoState;
}

bool ConstArpaLm::IsKnown(int32_t word) const { return UnigramState(word) != kNoState; }

int32_t ConstArpaLm::NumChildren(int64_t state) const {
  if (state < 0 || state > states_.Size() - kStateHeader) Fail(state);
  const int32_t num_children = states_[state + 2];
  if (num_children < 0 || num_children > (states_.Size() - state - kStateHeader) / 2) Fail(state);
  return num_children;
}

ConstArpaLm::Child ConstArpaLm::DecodeChild(int64_t state, int32_t info) const {
  if (info % 2 == 0) {
    float logprob;
    std::memcpy(&logprob, &info, sizeof(logprob));
    return {logprob, kNoState};
  }
  const int64_t offset = info / 2;
  int64_t child = state + offset;
  if (offset <= 0) {
    if (-offset >= overflows_.Size()) Fail(state);
    child = overflows_[-offset] - 1;
  }
  // States lie behind those of their histories, so that no damage makes a circle.
  if (child <= state) Fail(child);
  NumChildren(child);
  return {FloatAt(child), child};
}

bool ConstArpaLm::FindChild(int64_t state, int32_t word, Child *child) const {
  int64_t low = 0, high = NumChildren(state);
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const int64_t place = state + kStateHeader + 2 * middle;
    const int32_t found = states_[place];
    if (found == word) {
      *child = DecodeChild(state, states_[place + 1]);
      return true;
    }
    (found < word ? low : high) = found < word ? middle + 1 : middle;
  }
  return false;
}

int64_t ConstArpaLm::FindState(const int32_t *words, const int32_t *words_end) const {
  if (words == words_end) return kNoState;
  int64_t state = UnigramState(*words);
  for (const int32_t *word = words + 1; word != words_end && state != kNoState; ++word) {
    Child child;
    if (!FindChild(state, *word, &child)) return kNoState;
    state = child.state;
  }
  return state;
}

float ConstArpaLm::Logprob(const int32_t *history, const int32_t *history_end, int32_t word) const {
  if (history == history_end) {
    const int64_t state = UnigramState(word);
    if (state == kNoState) return NoProbability();
    NumChildren(state);
    return FloatAt(state);
  }
  float backoff = 0;
  const int64_t state = FindState(history, history_end);
  if (state != kNoState) {
    Child child;
    if (FindChild(state, word, &child)) return child.logprob;
    backoff = FloatAt(state + 1);
  }
  return backoff + Logprob(history + 1, history_end, word);
}

float ConstArpaLm::GetNgramLogprob(int32_t word, const std::vector<int32_t> &history) const {
  const size_t length = std::min(history.size(), static_cast<size_t>(ngram_order_ - 1));
  std::vector<int32_t> words(history.end() - length, history.end());
  words.push_back(word);
  if (unk_symbol_ != -1) {
    for (int32_t &w : words) {
      if (!IsKnown(w)) w = unk_symbol_;
    }
  }
  return Logprob(words.data(), words.data() + length, words.back());
}

bool ConstArpaLm::HistoryStateExists(const std::vector<int32_t> &history) const {
  if (history.empty()) return true;
  const int64_t state = FindState(history.data(), history.data() + history.size());
  return state != kNoState && NumChildren(state) > 0;
}

// Writing

void ConstArpaLm::CollectNgrams(int64_t state, std::vector<int32_t> *words,
                                std::vector<std::string> *lines_by_order,
                                std::vector<int64_t> *counts) const {
  const auto add = [&](float logprob, float backoff, int32_t ignored_bits) {
    const size_t order = words->size();
    if (order > static_cast<size_t>(ngram_order_)) Fail(state);
    std::string &lines = (*lines_by_order)[order];
    lines += FormatArpaLogprob(logprob, ignored_bits);
    for (size_t i = 0; i < order; ++i) lines += (i == 0 ? '\t' : ' ') + std::to_string((*words)[i]);
    if (backoff != 0) lines += '\t' + FormatArpaLogprob(backoff, 0);
    lines += '\n';
    ++(*counts)[order];
  };
  const int32_t num_children = NumChildren(state);
  add(FloatAt(state), FloatAt(state + 1), 0);
  for (int32_t i = 0; i < num_children; ++i) {
    const int64_t place = state + kStateHeader + 2 * static_cast<int64_t>(i);
    words->push_back(states_[place]);
    const Child child = DecodeChild(state, states_[place + 1]);
    if (child.state == kNoState) {
      add(child.logprob, 0, 1);  // the last bit was needed to distinguish it from a place
    } else {
      CollectNgrams(child.state, words, lines_by_order, counts);
    }
    words->pop_back();
  }
}

void ConstArpaLm::WriteArpa(std::ostream &out) const {
  std::vector<std::string> lines_by_order(ngram_order_ + 1);
  std::vector<int64_t> counts(ngram_order_ + 1, 0);
  std::vector<int32_t> words(1);
  for (int32_t word = 0; word < NumWords(); ++word) {
    if (!IsKnown(word)) continue;
    words[0] = word;
    CollectNgrams(UnigramState(word), &words, &lines_by_order, &counts);
  }
  out << "\n\\data\\\n";
  for (int32_t order = 1; order <= ngram_order_; ++order) {
    out << "ngram " << order << "=" << counts[order] << "\n";
  }
  for (int32_t order = 1; order <= ngram_order_; ++order) {
    out << "\n\\" << order << "-grams:\n" << lines_by_order[order];
  }
  out << "\n\\end\\\n";
}

// The automaton

ConstArpaLmDeterministicFst::ConstArpaLmDeterministicFst(std::shared_ptr<const ConstArpaLm> lm)
    : lm_(std::move(lm)) {
  StateOf({lm_->BosSymbol()});
}

size_t ConstArpaLmDeterministicFst::Hasher::operator()(const std::vector<int32_t> &words) const {
  size_t hash = words.size();
  for (int32_t word : words) hash = (hash ^ static_cast<uint32_t>(word)) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 32);
}

int32_t ConstArpaLmDeterministicFst::StateOf(const std::vector<int32_t> &history) {
  const auto [entry, is_new] = states_.try_emplace(history, NumStates());
  if (is_new) histories_.push_back(history);
  return entry->second;
}

float ConstArpaLmDeterministicFst::Final(int32_t state) {
  return -lm_->GetNgramLogprob(lm_->EosSymbol(), histories_[state]);
}

bool ConstArpaLmDeterministicFst::GetArc(int32_t state, int32_t word, Arc *arc) {
  const float logprob = lm_->GetNgramLogprob(word, histories_[state]);
  if (logprob == ConstArpaLm::NoProbability()) return false;
  std::vector<int32_t> history(histories_[state]);
  history.push_back(word);
  while (static_cast<int32_t>(history.size()) >= lm_->NgramOrder()) history.erase(history.begin());
  while (!lm_->HistoryStateExists(history)) history.erase(history.begin());
  *arc = {-logprob, StateOf(history)};
  return true;
}

}  // namespace pykaldi
