#include "csrc/decoder/nth-cost.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

namespace pykaldi {
namespace {

constexpr int32_t kIntervals = 256;

}  // namespace

float NthCost(const TokenVector &tokens, size_t n, float least, float most,
              UninitializedVector<float> *costs) {
  costs->resize(tokens.size());
  float *const begin = costs->data();
  size_t size = 0;
  for (const Token &token : tokens) {
    begin[size] = token.tot_cost;
    size += token.tot_cost <= most;
  }
  // Differences, products and the conversion are monotonic, so costs of a higher interval are never lower.
  const float scale = (kIntervals - 1) / (most - least);
  if (scale > 0 && scale < std::numeric_limits<float>::infinity()) {
    const auto interval = [=](float cost) { return static_cast<int32_t>((cost - least) * scale); };
    std::array<uint32_t, kIntervals> sizes{};
    for (size_t i = 0; i < size; ++i) ++sizes[interval(begin[i])];
    int32_t wanted = 0;
    for (; n >= sizes[wanted]; ++wanted) n -= sizes[wanted];
    const size_t size_below = size;
    size = 0;
    for (size_t i = 0; i < size_below; ++i) {
      const float cost = begin[i];
      begin[size] = cost;
      size += interval(cost) == wanted;
    }
  }
  std::nth_element(begin, begin + n, begin + size);
  return begin[n];
}

}  // namespace pykaldi
