#include "csrc/feat/plp-cepstra.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

namespace pykaldi {
namespace {

// Solves for a, `order` elements, and returns E. Without energy, all are 0.
//   autocorrelation: order + 1 elements.
float Durbin(const float *autocorrelation, int32_t order, float *lpc) {
  float energy = autocorrelation[0];
  for (int32_t i = 0; i < order; ++i) {
    float reflection = autocorrelation[i + 1];
    for (int32_t k = 0; k < i; ++k) reflection += lpc[k] * autocorrelation[i - k];
    reflection = energy > 0 ? reflection / energy : 0.0f;
    // A constant signal would leave no energy, or a negative one.
    energy *= std::max(1.0f - reflection * reflection, 1e-5f);
    for (int32_t k = 0; k < i / 2; ++k) {
      const float first = lpc[k], last = lpc[i - 1 - k];
      lpc[k] = first - reflection * last;
      lpc[i - 1 - k] = last - reflection * first;
    }
    if (i % 2 == 1) lpc[i / 2] -= reflection * lpc[i / 2];
    lpc[i] = -reflection;
  }
  return energy;
}

// Computes c, as many elements as `lpc` has.
void LpcToCepstrum(const float *lpc, int32_t order, float *cepstrum) {
  for (int32_t n = 1; n <= order; ++n) {
    double sum = 0.0;
    for (int32_t k = 1; k < n; ++k) sum += static_cast<double>(n - k) * lpc[k - 1] * cepstrum[n - k - 1];
    cepstrum[n - 1] = static_cast<float>(-lpc[n - 1] - sum / n);
  }
}

}  // namespace

void ComputePlpCepstra(const float *mel_energies, int64_t num_frames, int32_t num_filters,
                       const float *equal_loudness, float compress_factor, const float *idft_bases,
                       int32_t order, float *cepstra) {
  std::vector<float> loudness(num_filters + 2), autocorrelation(order + 1), lpc(order);
  for (int64_t frame = 0; frame < num_frames; ++frame) {
    for (int32_t i = 0; i < num_filters; ++i) {
      loudness[i + 1] = std::pow(equal_loudness[i] * mel_energies[i], compress_factor);
    }
    loudness[0] = loudness[1];
    loudness[num_filters + 1] = loudness[num_filters];
    for (int32_t lag = 0; lag <= order; ++lag) {
      const float *basis = idft_bases + static_cast<int64_t>(lag) * (num_filters + 2);
      float sum = 0.0f;
      for (int32_t i = 0; i < num_filters + 2; ++i) sum += basis[i] * loudness[i];
      autocorrelation[lag] = sum;
    }
    const float energy = Durbin(autocorrelation.data(), order, lpc.data());
    // Kaldi limits the logarithm itself, too: to the smallest number above 0.
    cepstra[0] = std::max(std::log(std::max(energy, FLT_MIN)), FLT_MIN);
    LpcToCepstrum(lpc.data(), order, cepstra + 1);
    mel_energies += num_filters;
    cepstra += order + 1;
  }
}

}  // namespace pykaldi
