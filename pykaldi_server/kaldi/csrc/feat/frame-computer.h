// Mel filter-bank energies and cepstra of all windows of a block of samples.
//
// For each window, in single precision:
//
//     x    samples, less their mean if wanted
//     e    sum of x^2: the energy, here or, if not raw, after the next step
//     x'   (x[i] - preemph x[i - 1]) window[i], where x[-1] counts as x[0]; padded with zeros
//     s    power (or magnitude) spectrum of x', bins 0 to padded size / 2 - 1
//     m    filters times s, the mel energies; if wanted, their logarithms, at least that of FLT_EPSILON
//     y    transform times m, for cepstra: a discrete cosine transform with the lifter in it
//
// Several windows are computed side by side, one in each lane of a vector register (lane-fft.h). A lane does
// the same whatever the others hold, and without fused multiply-add, so results depend neither on how samples
// are cut into blocks nor on the kernels.
//
// Sources: Kaldi's feat/feature-window.cc, feat/feature-mfcc.cc, feat/feature-fbank.cc,
// feat/mel-computations.cc.
#ifndef PYKALDI_SERVER_FEAT_FRAME_COMPUTER_H_
#define PYKALDI_SERVER_FEAT_FRAME_COMPUTER_H_

#include <cstdint>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/feat/lane-fft.h"

namespace pykaldi {

// How samples become windows, and windows spectra.
struct SpectrumOptions {
  std::vector<float> window;  // the window function; its length is that of a window
  int32_t padded_size = 0;    // even, at least the window's length
  int32_t frame_shift = 0;    // samples from one window to the next
  bool remove_dc_offset = false;
  float preemph_coeff = 0;
  bool raw_energy = false;
  bool use_power = false;
};

// Filter i covers the bins [begins[i], ends[i]); `weights` holds those of the first filter, then of the
// second.
struct MelFilters {
  std::vector<int32_t> begins, ends;
  std::vector<float> weights;
};

// Immutable; any number of threads may use it at once.
class FrameComputer {
 public:
  // `transform` has `dim` rows of as many columns as there are filters; without rows, features are the mel
  // energies themselves. Throws ConfigError where sizes do not fit, or a prime factor of the padded size is
  // larger than kMaxFactor.
  FrameComputer(SpectrumOptions spectrum, MelFilters filters, bool use_log, std::vector<float> transform,
                CpuKernels kernels);

  static constexpr int32_t kMaxPaddedSize = 1 << 20;
  static constexpr int32_t kMaxFactor = 4096;

  int32_t Dim() const { return dim_; }
  const SpectrumOptions &Spectrum() const { return spectrum_; }
  const MelFilters &Filters() const { return filters_; }
  bool UseLog() const { return use_log_; }
  const std::vector<float> &Transform() const { return transform_; }
  const FftPlan &Fft() const { return fft_; }
  const std::vector<Complex> &Roots() const { return roots_; }
  // Samples that `num_frames` windows cover; 0 for none.
  int64_t NumSamples(int64_t num_frames) const;

  // Computes the windows that begin at 0, frame_shift, 2 frame_shift, ...
  //   samples: NumSamples(num_frames).
  //   features: receives (num_frames, Dim()), by rows.
  //   energies: receives (num_frames): e, not its logarithm.
  // Returns false if a feature or an energy is not finite, as samples are too large.
  bool Compute(const float *samples, int64_t num_frames, float *features, float *energies) const;

 private:
  SpectrumOptions spectrum_;
  MelFilters filters_;
  bool use_log_;
  std::vector<float> transform_;
  int32_t dim_;
  CpuKernels kernels_;
  FftPlan fft_;                 // complex, of half the padded size
  std::vector<Complex> roots_;  // exp(-2 pi i k / padded size), k up to a quarter of the padded size
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_FRAME_COMPUTER_H_
