// Reads ARPA files, piece by piece.
//
//   \data\                           whatever comes before is skipped
//   ngram 1=3                        the number of n-grams of each order; more than that is an error
//   \1-grams:
//   -0.5 word -0.3                   log10 of probability, n words, log10 of backoff (0 when left out)
//   \2-grams:
//   -0.2 word word                   the highest order has no backoff
//   \end\ .
//
// Words are integers, or symbols of a table; n-grams with a symbol that the table does not have are skipped
// (utils/map_arpa_lm.pl). Source: lm/arpa-file-parser.cc.
#ifndef PYKALDI_SERVER_LM_ARPA_FILE_PARSER_H_
#define PYKALDI_SERVER_LM_ARPA_FILE_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/fst/symbol-table.h"

namespace pykaldi {

// More than any model has; bounds what a damaged header can ask for.
constexpr int32_t kMaxNgramOrder = 64;

struct Ngram {
  std::vector<int32_t> words;
  float logprob = 0;  // natural logarithms
  float backoff = 0;
};

// Gets what the parser finds, in the order of the file.
class NgramConsumer {
 public:
  virtual ~NgramConsumer() = default;
  virtual void HeaderAvailable(int32_t order) = 0;
  // May throw std::invalid_argument to say what is wrong with the n-gram: the parser adds the place.
  virtual void ConsumeNgram(const Ngram &ngram) = 0;
};

class ArpaFileParser {
 public:
  // The consumer must outlive the parser. Without symbols the words of the file are integers. The path is for
  // errors.
  ArpaFileParser(std::string path, std::shared_ptr<const SymbolTable> symbols, NgramConsumer *consumer);

  // Takes the next bytes of the file; throws ModelFormatError with the path and the line.
  void Feed(std::string_view bytes);
  // Throws ModelFormatError when the file is not complete.
  void Finish();
  // n-grams with unknown symbols.
  int64_t NumSkipped() const { return num_skipped_; }

 private:
  void TakeLine(std::string_view line);
  void TakeHeaderLine(std::string_view line);
  void TakeDirective(std::string_view line);
  void TakeNgram(std::string_view line);
  // The word of a field; 0 when the table does not have it.
  int32_t Word(std::string_view field) const;
  float Logprob(std::string_view field) const;
  [[noreturn]] void Fail(const std::string &expected, const std::string &found) const;

  enum class Section { kBeforeData, kHeader, kNgrams, kEnd };

  const std::string path_;
  const std::shared_ptr<const SymbolTable> symbols_;
  NgramConsumer *const consumer_;
  Section section_ = Section::kBeforeData;
  std::vector<int64_t> counts_;  // by order; entry 0 is unused
  int32_t order_ = 0;            // of the section
  int64_t num_ngrams_ = 0;       // in the section
  int64_t num_skipped_ = 0;
  int64_t line_number_ = 0;
  std::string partial_line_;  // that the last bytes ended in
  Ngram ngram_;
};

// A logarithm as it is in an ARPA file (base 10), with the digits that the parser needs to find the
// same natural logarithm again, up to the last bits that are marked in `ignored_bits`.
std::string FormatArpaLogprob(float logprob, int32_t ignored_bits);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_ARPA_FILE_PARSER_H_
