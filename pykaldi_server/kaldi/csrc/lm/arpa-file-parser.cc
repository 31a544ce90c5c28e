#include "csrc/lm/arpa-file-parser.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "csrc/base/byte-reader.h"
#include "csrc/base/error.h"
#include "csrc/base/parse-number.h"

namespace pykaldi {
namespace {

constexpr double kLn10 = 2.302585092994045684;
constexpr std::string_view kBlanks = " \t\r\n";
constexpr size_t kMaxLineBytes = 1 << 20;
// A model has a table of that many words, so that a damaged number must not decide on its size.
constexpr int32_t kMaxWord = 50000000;

std::string_view Trim(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// Takes the next field off the front of a line; empty at its end.
std::string_view TakeField(std::string_view *line) {
  line->remove_prefix(std::min(line->find_first_not_of(kBlanks), line->size()));
  const std::string_view field = line->substr(0, line->find_first_of(kBlanks));
  line->remove_prefix(field.size());
  return field;
}

float ToNaturalLog(float log10) { return static_cast<float>(log10 * kLn10); }

}  // namespace

ArpaFileParser::ArpaFileParser(std::string path, std::shared_ptr<const SymbolTable> symbols,
                               NgramConsumer *consumer)
    : path_(std::move(path)), symbols_(std::move(symbols)), consumer_(consumer) {}

void ArpaFileParser::Feed(std::string_view bytes) {
  while (true) {
    const size_t end = bytes.find('\n');
    if (end == bytes.npos) break;
    if (partial_line_.empty()) {
      TakeLine(bytes.substr(0, end));
    } else {
      partial_line_ += bytes.substr(0, end);
      TakeLine(partial_line_);
      partial_line_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
  partial_line_ += bytes;
  if (partial_line_.size() > kMaxLineBytes) Fail("lines of text", "a line of more than a million bytes");
}

void ArpaFileParser::Finish() {
  if (!partial_line_.empty()) TakeLine(std::exchange(partial_line_, ""));
  if (section_ == Section::kBeforeData) Fail("\\data\\", "the end of the file");
  if (section_ != Section::kEnd) Fail("\\end\\", "the end of the file");
}

void ArpaFileParser::TakeLine(std::string_view line) {
  ++line_number_;
  line = Trim(line);
  if (line.empty() || section_ == Section::kEnd) return;
  if (section_ == Section::kBeforeData) {
    if (line == "\\data\\") section_ = Section::kHeader;
  } else if (line.front() == '\\') {
    TakeDirective(line);
  } else if (section_ == Section::kHeader) {
    TakeHeaderLine(line);
  } else {
    TakeNgram(line);
  }
}

// "ngram 2=1000", with blanks anywhere; lines of other kinds are ignored, as in Kaldi.
void ArpaFileParser::TakeHeaderLine(std::string_view line) {
  std::string_view rest = line;
  if (TakeField(&rest) != "ngram") return;
  const size_t equal = rest.find('=');
  int32_t order = 0;
  int64_t count = 0;
  if (equal == rest.npos || !ParseInteger(Trim(rest.substr(0, equal)), &order) ||
      !ParseInteger(Trim(rest.substr(equal + 1)), &count) || order < 1 || order > kMaxNgramOrder ||
      count < 0) {
    Fail("a count \"ngram N=COUNT\" with N from 1 to " + std::to_string(kMaxNgramOrder), Printable(line));
  }
  if (counts_.size() <= static_cast<size_t>(order)) counts_.resize(order + 1, 0);
  counts_[order] = count;
}

void ArpaFileParser::TakeDirective(std::string_view line) {
  if (counts_.size() < 2) Fail("counts \"ngram N=COUNT\"", Printable(line));
  const int32_t highest = static_cast<int32_t>(counts_.size()) - 1;
  if (section_ == Section::kHeader) consumer_->HeaderAvailable(highest);
  section_ = Section::kNgrams;
  const std::string expected = order_ == highest ? "\\end\\" : "\\" + std::to_string(order_ + 1) + "-grams:";
  if (line != expected) Fail(expected, Printable(line));
  if (order_ == highest) {
    section_ = Section::kEnd;
  } else {
    ++order_;
    num_ngrams_ = 0;
  }
}

void ArpaFileParser::TakeNgram(std::string_view line) {
  if (++num_ngrams_ > counts_[order_]) {
    Fail(std::to_string(counts_[order_]) + " " + std::to_string(order_) + "-grams, as the header says",
         "one more: " + Printable(line));
  }
  std::string_view rest = line;
  ngram_.logprob = Logprob(TakeField(&rest));
  ngram_.words.clear();
  bool is_known = true;
  for (int32_t i = 0; i < order_; ++i) {
    const std::string_view field = TakeField(&rest);
    if (field.empty()) {
      Fail("a logarithm, " + std::to_string(order_) + " words and perhaps a backoff", Printable(line));
    }
    const int32_t word = Word(field);
    ngram_.words.push_back(word);
    is_known = is_known && word != 0;
  }
  const std::string_view backoff = TakeField(&rest);
  ngram_.backoff = backoff.empty() ? 0 : Logprob(backoff);
  const bool is_highest = order_ + 1 == static_cast<int32_t>(counts_.size());
  if (!Trim(rest).empty() || (is_highest && !backoff.empty())) {
    Fail("a logarithm, " + std::to_string(order_) + " words" + (is_highest ? "" : " and perhaps a backoff"),
         Printable(line));
  }
  if (!is_known) {
    ++num_skipped_;
    return;
  }
  try {
    consumer_->ConsumeNgram(ngram_);
  } catch (const std::invalid_argument &error) {
    Fail(error.what(), Printable(line));
  }
}

int32_t ArpaFileParser::Word(std::string_view field) const {
  if (symbols_ != nullptr) {
    const int64_t key = symbols_->FindKey(field);
    if (key == SymbolTable::kNoSymbol) return 0;
    if (key > 0 && key <= kMaxWord) return static_cast<int32_t>(key);
    Fail("a word with a key of 1 to " + std::to_string(kMaxWord), Printable(field));
  }
  int32_t word = 0;
  if (!ParseInteger(field, &word) || word <= 0 || word > kMaxWord) {
    Fail("a word (an integer of 1 to " + std::to_string(kMaxWord) + ")", Printable(field));
  }
  return word;
}

float ArpaFileParser::Logprob(std::string_view field) const {
  float value = 0;
  if (!ParseFloat(field, &value) || std::isnan(value) || value == std::numeric_limits<float>::infinity()) {
    Fail("the logarithm of a probability", Printable(field));
  }
  return ToNaturalLog(value);
}

void ArpaFileParser::Fail(const std::string &expected, const std::string &found) const {
  throw ModelFormatError(path_ + ":" + std::to_string(line_number_) + ": expected " + expected + ", found " +
                         found);
}

std::string FormatArpaLogprob(float logprob, int32_t ignored_bits) {
  const auto bits = [=](float value) {
    int32_t result;
    std::memcpy(&result, &value, sizeof(result));
    return result & ~ignored_bits;
  };
  float log10 = static_cast<float>(logprob / kLn10);
  // The quotient is off by a unit in the last place at times, as the parser rounds as well.
  for (const float candidate : {log10, std::nextafter(log10, -1e9f), std::nextafter(log10, 1e9f)}) {
    if (bits(ToNaturalLog(candidate)) == bits(logprob)) {
      log10 = candidate;
      break;
    }
  }
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof(digits), log10).ptr);
}

}  // namespace pykaldi
