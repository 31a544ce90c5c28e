// Whether numbers are finite: one NaN or infinity spreads to every result.
#ifndef PYKALDI_SERVER_BASE_FINITE_H_
#define PYKALDI_SERVER_BASE_FINITE_H_

#include <cstdint>

namespace pykaldi {

template <class T>
bool AllFinite(const T *values, int64_t size) {
  // A product with 0 is 0, or NaN for what is not finite. Several sums, because an addition waits for the
  // last.
  constexpr int64_t kSums = 16;
  T sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= size; i += kSums) {
    for (int64_t k = 0; k < kSums; ++k) sums[k] += values[i + k] * T(0);
  }
  for (; i < size; ++i) sums[0] += values[i] * T(0);
  for (int64_t k = 1; k < kSums; ++k) sums[0] += sums[k];
  return sums[0] == T(0);
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_BASE_FINITE_H_
