#include "csrc/feat/lane-fft.h"

#include <cmath>

namespace pykaldi {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The radix of the next stage for `size` > 1: 4 if possible, otherwise the smallest prime factor.
int32_t NextRadix(int32_t size) {
  if (size % 4 == 0) return 4;
  for (int32_t factor = 2; factor <= size / factor; ++factor) {
    if (size % factor == 0) return factor;
  }
  return size;
}

}  // namespace

Complex RootOfUnity(int64_t index, int64_t size) {
  const double angle = 2 * kPi * static_cast<double>(index) / static_cast<double>(size);
  return {static_cast<float>(std::cos(angle)), static_cast<float>(-std::sin(angle))};
}

FftPlan::FftPlan(int32_t size) : size_(size) {
  int32_t stride = 1;
  while (size > 1) {
    FftStage stage;
    stage.radix = NextRadix(size);
    stage.count = size / stage.radix;
    stage.stride = stride;
    for (int64_t p = 0; p < stage.count; ++p) {
      for (int64_t j = 1; j < stage.radix; ++j) stage.twiddles.push_back(RootOfUnity(p * j, size));
    }
    for (int64_t k = 0; k < stage.radix; ++k) stage.roots.push_back(RootOfUnity(k, stage.radix));
    stride *= stage.radix;
    size = stage.count;
    stages_.push_back(std::move(stage));
  }
}

}  // namespace pykaldi
