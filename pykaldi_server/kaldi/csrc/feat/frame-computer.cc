#include "csrc/feat/frame-computer.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "csrc/base/aligned-array.h"
#include "csrc/base/error.h"
#include "csrc/base/finite.h"

// AVX2 alone: with fused multiply-add, results would not be the baseline's. Wider vectors would gain nothing
// on blocks as short as those of live audio.
#if defined(__x86_64__)
#define FRAME_TARGET_AVX2 __attribute__((target("avx2")))
#endif

namespace pykaldi {
namespace {

template <class Vector>
constexpr int kLanes = sizeof(Vector) / sizeof(float);

// Where the lanes' windows begin, and how many of them are wanted: the others repeat the first one.
template <class Vector>
struct LaneWindows {
  const float *begins[kLanes<Vector>];

  LaneWindows(const float *samples, int64_t frame_shift, int64_t num_frames) {
    for (int lane = 0; lane < kLanes<Vector>; ++lane) {
      begins[lane] = samples + (lane < num_frames ? lane : 0) * frame_shift;
    }
  }
};

// Copies the samples of the windows, one vector per sample, and returns their sums.
template <class Vector>
KERNEL_INLINE void LoadWindows(const LaneWindows<Vector> &windows, int32_t size, Vector *x, Vector *sum) {
  // Four sums, because each addition waits for the one before.
  Vector sums[4] = {};
  for (int32_t i = 0; i < size; ++i) {
    float sample[kLanes<Vector>];
    for (int lane = 0; lane < kLanes<Vector>; ++lane) sample[lane] = windows.begins[lane][i];
    std::memcpy(&x[i], sample, sizeof(Vector));
    sums[i % 4] += x[i];
  }
  *sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Removes the mean, emphasises high frequencies, applies the window function, pads with zeros.
template <class Vector>
KERNEL_INLINE void ProcessWindows(const SpectrumOptions &opts, const Vector &sum, Vector *x, Vector *energy) {
  const int32_t size = static_cast<int32_t>(opts.window.size());
  const Vector zero = {};
  const Vector mean = opts.remove_dc_offset ? sum / static_cast<float>(size) : zero;
  Vector raw = {}, windowed = {};
  Vector previous = x[0] - mean;
  for (int32_t i = 0; i < size; ++i) {
    const Vector sample = x[i] - mean;
    const Vector emphasised = (sample - opts.preemph_coeff * previous) * opts.window[i];
    raw += sample * sample;
    windowed += emphasised * emphasised;
    previous = sample;
    x[i] = emphasised;
  }
  std::fill(x + size, x + opts.padded_size, zero);
  *energy = opts.raw_energy ? raw : windowed;
}

// Power spectra of real signals from the transforms `z` of their even (real part) and odd (imaginary part)
// samples. With E and O the transforms of the even and the odd samples of a signal of n = 2 m samples,
//
//     X[k] = E[k] + w_n^k O[k],   X[m - k] = conj(E[k] - w_n^k O[k]),
//     2 E[k] = Z[k] + conj Z[m - k],   2 i O[k] = Z[k] - conj Z[m - k]
template <class Vector>
KERNEL_INLINE void ComputePower(const std::vector<Complex> &roots, int32_t half,
                                const ComplexLanes<Vector> *z, Vector *power) {
  const Vector first = z[0].re + z[0].im;
  power[0] = first * first;
  for (int32_t k = 1; k <= half / 2; ++k) {
    const ComplexLanes<Vector> a = z[k], b = z[half - k];
    const Vector even_re = 0.5f * (a.re + b.re), even_im = 0.5f * (a.im - b.im);
    ComplexLanes<Vector> odd{0.5f * (a.im + b.im), 0.5f * (b.re - a.re)};
    MultiplyLanes(roots[k], &odd);
    const Vector left_re = even_re + odd.re, left_im = even_im + odd.im;
    const Vector right_re = even_re - odd.re, right_im = even_im - odd.im;
    power[k] = left_re * left_re + left_im * left_im;
    power[half - k] = right_re * right_re + right_im * right_im;
  }
}

// y = ln max(x, FLT_EPSILON), to the last bit or two; infinity and what is not a number stay so.
//
// x = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), s = f / (2 + f), and
// ln(1 + f) = 2 atanh(s) = f - f^2/2 + s (f^2/2 + R(s^2)), R a minimax polynomial.
template <class Vector>
KERNEL_INLINE void FlooredLog(Vector *y) {
  using Integers = decltype(*y < *y);
  const Vector x = *y < FLT_EPSILON ? FLT_EPSILON - Vector{} : *y;
  constexpr int32_t kSqrtHalf = 0x3f3504f3;  // as bits
  Integers bits;
  std::memcpy(&bits, &x, sizeof(x));
  const Integers exponent = (bits - kSqrtHalf) >> 23;
  bits -= exponent << 23;
  Vector mantissa;
  std::memcpy(&mantissa, &bits, sizeof(bits));
  const Vector e = __builtin_convertvector(exponent, Vector);
  const Vector f = mantissa - 1.0f;
  const Vector s = f / (2.0f + f);
  const Vector z = s * s;
  const Vector r = z * (0.66666662693f + z * (0.40000972152f + z * (0.28498786688f + z * 0.24279078841f)));
  const Vector half_square = 0.5f * f * f;
  // ln 2 in two parts, the first of which has so few bits that its product with e is exact.
  const Vector log =
      e * 6.9313812256e-01f - ((half_square - (s * (half_square + r) + e * 9.0580006145e-06f)) - f);
  *y = x <= FLT_MAX ? log : x;
}

template <class Vector>
KERNEL_INLINE void ApplyFilters(const MelFilters &filters, const Vector *spectrum, Vector *mel) {
  const float *weight = filters.weights.data();
  for (size_t i = 0; i < filters.begins.size(); ++i) {
    Vector sum = {};
    for (int32_t bin = filters.begins[i]; bin < filters.ends[i]; ++bin) sum += *weight++ * spectrum[bin];
    mel[i] = sum;
  }
}

// y = A x; A has as many rows as y has elements.
template <class Vector>
KERNEL_INLINE void Multiply(const float *a, int32_t rows, int32_t columns, const Vector *x, Vector *y) {
  constexpr int32_t kRows = 4;
  int32_t row = 0;
  for (; row + kRows <= rows; row += kRows, a += kRows * columns) {
    Vector sums[kRows] = {};
    for (int32_t column = 0; column < columns; ++column) {
      for (int32_t i = 0; i < kRows; ++i) sums[i] += a[i * columns + column] * x[column];
    }
    for (int32_t i = 0; i < kRows; ++i) y[row + i] = sums[i];
  }
  for (; row < rows; ++row, a += columns) {
    Vector sum = {};
    for (int32_t column = 0; column < columns; ++column) sum += a[column] * x[column];
    y[row] = sum;
  }
}

// Computes as many frames as there are lanes, or fewer. `memory` has room for MemoryVectors().
template <class Vector>
KERNEL_INLINE void ComputeLanes(const FrameComputer &computer, const float *samples, int64_t num_frames,
                                Vector *memory, float *features, float *energies) {
  const SpectrumOptions &opts = computer.Spectrum();
  const int32_t num_filters = static_cast<int32_t>(computer.Filters().begins.size());
  const int32_t padded = opts.padded_size;
  Vector *x = memory, *scratch = memory + padded;
  Vector sum, energy;
  LoadWindows(LaneWindows<Vector>(samples, opts.frame_shift, num_frames),
              static_cast<int32_t>(opts.window.size()), x, &sum);
  ProcessWindows(opts, sum, x, &energy);

  auto *z = reinterpret_cast<ComplexLanes<Vector> *>(x),
       *other = reinterpret_cast<ComplexLanes<Vector> *>(scratch);
  const ComplexLanes<Vector> *transformed = TransformLanes(computer.Fft(), z, other);
  Vector *spectrum = transformed == z ? scratch : x;
  ComputePower(computer.Roots(), padded / 2, transformed, spectrum);
  if (!opts.use_power) {
    for (int32_t bin = 0; bin < padded / 2; ++bin) {
      for (int lane = 0; lane < kLanes<Vector>; ++lane) spectrum[bin][lane] = std::sqrt(spectrum[bin][lane]);
    }
  }

  Vector *mel = memory + 2 * padded, *transformed_mel = mel + num_filters;
  ApplyFilters(computer.Filters(), spectrum, mel);
  if (computer.UseLog()) {
    for (int32_t i = 0; i < num_filters; ++i) FlooredLog(&mel[i]);
  }
  const int32_t dim = computer.Dim();
  const Vector *result = mel;
  if (!computer.Transform().empty()) {
    Multiply(computer.Transform().data(), dim, num_filters, mel, transformed_mel);
    result = transformed_mel;
  }
  for (int64_t frame = 0; frame < num_frames; ++frame) {
    energies[frame] = energy[frame];
    for (int32_t i = 0; i < dim; ++i) features[frame * dim + i] = result[i][frame];
  }
}

template <class Vector>
KERNEL_INLINE void ComputeFrames(const FrameComputer &computer, const float *samples, int64_t num_frames,
                                 float *features, float *energies) {
  const size_t num_vectors = 2 * static_cast<size_t>(computer.Spectrum().padded_size) +
                             computer.Filters().begins.size() + static_cast<size_t>(computer.Dim());
  auto memory = AlignedArray<float>::Uninitialised(num_vectors * kLanes<Vector>);
  for (int64_t frame = 0; frame < num_frames; frame += kLanes<Vector>) {
    ComputeLanes(computer, samples + frame * computer.Spectrum().frame_shift,
                 std::min<int64_t>(num_frames - frame, kLanes<Vector>),
                 reinterpret_cast<Vector *>(memory.Data()), features + frame * computer.Dim(),
                 energies + frame);
  }
}

#if defined(__x86_64__)
FRAME_TARGET_AVX2 void ComputeFramesAvx2(const FrameComputer &computer, const float *samples,
                                         int64_t num_frames, float *features, float *energies) {
  ComputeFrames<Vector8f>(computer, samples, num_frames, features, energies);
}
#endif

int32_t LargestFactor(const FftPlan &plan) {
  int32_t largest = 1;
  for (const FftStage &stage : plan.Stages()) largest = std::max(largest, stage.radix);
  return largest;
}

void CheckSizes(const SpectrumOptions &opts, const MelFilters &filters) {
  const size_t window = opts.window.size();
  if (window < 1 || opts.padded_size < 2 || opts.padded_size % 2 != 0 ||
      opts.padded_size > FrameComputer::kMaxPaddedSize || window > static_cast<size_t>(opts.padded_size)) {
    throw ConfigError("windows: expected an even number of samples up to " +
                      std::to_string(FrameComputer::kMaxPaddedSize) + ", found " + std::to_string(window) +
                      ", padded to " + std::to_string(opts.padded_size));
  }
  if (opts.frame_shift < 1) {
    throw ConfigError("frame shift: expected at least 1 sample, found " + std::to_string(opts.frame_shift));
  }
  if (filters.begins.empty() || filters.begins.size() != filters.ends.size()) {
    throw ConfigError("mel filters: expected as many beginnings as ends, and at least 1, found " +
                      std::to_string(filters.begins.size()) + " and " + std::to_string(filters.ends.size()));
  }
  int64_t num_weights = 0;
  for (size_t i = 0; i < filters.begins.size(); ++i) {
    const int32_t begin = filters.begins[i], end = filters.ends[i];
    if (begin < 0 || end < begin || end > opts.padded_size / 2) {
      throw ConfigError("mel filter " + std::to_string(i) + ": expected bins from 0 to " +
                        std::to_string(opts.padded_size / 2) + ", found " + std::to_string(begin) + " to " +
                        std::to_string(end));
    }
    num_weights += end - begin;
  }
  if (num_weights != static_cast<int64_t>(filters.weights.size())) {
    throw ConfigError("mel filters: expected " + std::to_string(num_weights) + " weights, found " +
                      std::to_string(filters.weights.size()));
  }
}

}  // namespace

FrameComputer::FrameComputer(SpectrumOptions spectrum, MelFilters filters, bool use_log,
                             std::vector<float> transform, CpuKernels kernels)
    : spectrum_((CheckSizes(spectrum, filters), std::move(spectrum))),
      filters_(std::move(filters)),
      use_log_(use_log),
      transform_(std::move(transform)),
      kernels_(kernels),
      fft_(spectrum_.padded_size / 2) {
  const size_t num_filters = filters_.begins.size();
  if (transform_.size() % num_filters != 0) {
    throw ConfigError("transform of mel energies: expected rows of " + std::to_string(num_filters) +
                      ", found " + std::to_string(transform_.size()) + " elements");
  }
  dim_ = static_cast<int32_t>(transform_.empty() ? num_filters : transform_.size() / num_filters);
  if (LargestFactor(fft_) > kMaxFactor) {
    throw ConfigError("windows: expected a number of samples without prime factors above " +
                      std::to_string(kMaxFactor) + ", found " + std::to_string(spectrum_.padded_size));
  }
  for (int32_t k = 0; k <= spectrum_.padded_size / 4; ++k) {
    roots_.push_back(RootOfUnity(k, spectrum_.padded_size));
  }
}

int64_t FrameComputer::NumSamples(int64_t num_frames) const {
  if (num_frames <= 0) return 0;
  return (num_frames - 1) * spectrum_.frame_shift + static_cast<int64_t>(spectrum_.window.size());
}

bool FrameComputer::Compute(const float *samples, int64_t num_frames, float *features,
                            float *energies) const {
#if defined(__x86_64__)
  if (kernels_ != CpuKernels::kBaseline) {
    ComputeFramesAvx2(*this, samples, num_frames, features, energies);
  } else {
    ComputeFrames<Vector4f>(*this, samples, num_frames, features, energies);
  }
#else
  ComputeFrames<Vector4f>(*this, samples, num_frames, features, energies);
#endif
  return AllFinite(features, num_frames * dim_) && AllFinite(energies, num_frames);
}

}  // namespace pykaldi
