#include "csrc/base/parse-number.h"

#include <locale.h>

#include <cmath>
#include <cstdlib>
#include <string>

namespace pykaldi {

bool ParseFloat(std::string_view text, float *value) {
  if (!SkipPlus(&text)) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc()) return true;
  // Out of range, on one side or the other: std::from_chars does not say which.
  static const locale_t plain = newlocale(LC_ALL_MASK, "C", nullptr);
  *value = strtof_l(std::string(text).c_str(), nullptr, plain);
  return std::isfinite(*value);
}

}  // namespace pykaldi
