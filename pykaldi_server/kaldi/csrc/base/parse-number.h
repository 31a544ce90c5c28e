// Numbers in text files, as Kaldi reads them (ConvertStringToReal and ConvertStringToInteger in
// util/text-utils.h). The whole text must be the number; the locale does not matter.
#ifndef PYKALDI_SERVER_BASE_PARSE_NUMBER_H_
#define PYKALDI_SERVER_BASE_PARSE_NUMBER_H_

#include <charconv>
#include <string_view>
#include <system_error>

namespace pykaldi {

// Takes a plus sign off the front of a number, which std::from_chars does not know; false when another sign
// follows it.
inline bool SkipPlus(std::string_view *text) {
  if (text->empty() || text->front() != '+') return true;
  text->remove_prefix(1);
  return text->empty() || text->front() != '-';
}

// A decimal integer that fits into T.
template <class T>
bool ParseInteger(std::string_view text, T *value) {
  if (!SkipPlus(&text)) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// A decimal number, "inf", "infinity" or "nan" with any sign. Numbers too small for a float are 0 or
// subnormal, as in Kaldi; those too large are refused.
bool ParseFloat(std::string_view text, float *value);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_PARSE_NUMBER_H_
