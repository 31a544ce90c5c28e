#include "csrc/base/parse-number.h"

#include <locale.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>

namespace pykaldi {
namespace {

// Reads the whole text as strtof does, which also knows white space, a plus sign and hexadecimal digits;
// those are refused here, and numbers that are too large.
bool ParseWithStrtof(std::string_view text, float *value) {
  constexpr std::string_view kFirst = "0123456789.iInN";  // of a number, "inf" or "nan"
  const size_t start = text.substr(0, 1) == "-" ? 1 : 0;
  if (start == text.size() || kFirst.find(text[start]) == std::string_view::npos) return false;
  if (text.find_first_of("xX") != std::string_view::npos) return false;
  static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
  const std::string copy(text);
  char *end;
  errno = 0;
  *value = strtof_l(copy.c_str(), &end, plain);
  return end == copy.c_str() + copy.size() && (errno != ERANGE || std::isfinite(*value));
}

}  // namespace

bool ParseFloat(std::string_view text, float *value) {
  if (!SkipPlus(&text)) return false;
#if defined(__cpp_lib_to_chars)
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc()) return true;
  // Out of range, on one side or the other: std::from_chars does not say which.
#endif  // libc++, the library of macOS, reads only integers with std::from_chars
  return ParseWithStrtof(text, value);
}

}  // namespace pykaldi
