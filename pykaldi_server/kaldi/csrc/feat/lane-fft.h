// Fourier transforms of several signals side by side.
//
// A vector register holds one sample of each of several signals (a lane per signal), so all lanes do the same
// and nothing is shuffled: a transform of eight signals costs what that of one costs without vectors. An
// array of n complex numbers is 2 n vectors, the real and the imaginary part of each in turn.
//
// Stockham's algorithm. With n = r m for a small radix r and w_n = exp(-2 pi i / n), stride s (1 at first):
//
//     y[q + s (r p + j)] = w_n^(p j) sum_k x[q + s (p + m k)] w_r^(j k)     p < m, j < r, k < r, q < s
//
// is one stage; the next one has n' = m and s' = r s. Results are in their natural order, without a pass that
// sorts them. Radices are 4, 2, and any other primes that n has.
//
// Terms: w_n^(p j) are the stage's twiddles; w_r^k the roots of a radix other than 2 and 4.
#ifndef PYKALDI_SERVER_FEAT_LANE_FFT_H_
#define PYKALDI_SERVER_FEAT_LANE_FFT_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "csrc/base/cpu-kernels.h"

namespace pykaldi {

struct Complex {
  float re, im;
};

struct FftStage {
  int32_t radix;
  int32_t count;                  // m
  int32_t stride;                 // s
  std::vector<Complex> twiddles;  // (count, radix - 1): of j = 1, 2, ... for each p
  std::vector<Complex> roots;     // (radix)
};

// The constants of complex transforms of one size. Immutable.
class FftPlan {
 public:
  // `size` is at least 1. Time grows with the sum of its prime factors times the size.
  explicit FftPlan(int32_t size);

  int32_t Size() const { return size_; }
  const std::vector<FftStage> &Stages() const { return stages_; }

 private:
  int32_t size_;
  std::vector<FftStage> stages_;
};

// Returns exp(-2 pi i index / size), rounded from double precision.
Complex RootOfUnity(int64_t index, int64_t size);

template <class Vector>
struct ComplexLanes {
  Vector re, im;
};

template <class Vector>
KERNEL_INLINE void MultiplyLanes(const Complex &factor, ComplexLanes<Vector> *value) {
  const Vector re = value->re * factor.re - value->im * factor.im;
  value->im = value->re * factor.im + value->im * factor.re;
  value->re = re;
}

template <class Vector, bool kHasTwiddles>
KERNEL_INLINE void Radix4Stage(const FftStage &stage, const ComplexLanes<Vector> *x,
                               ComplexLanes<Vector> *y) {
  const int64_t count = stage.count, stride = stage.stride;
  const Complex *twiddles = stage.twiddles.data();
  for (int64_t p = 0; p < count; ++p, twiddles += 3) {
    for (int64_t q = 0; q < stride; ++q) {
      const ComplexLanes<Vector> *in = x + q + stride * p;
      ComplexLanes<Vector> *out = y + q + stride * 4 * p;
      const int64_t step = stride * count;
      const ComplexLanes<Vector> a = in[0], b = in[step], c = in[2 * step], d = in[3 * step];
      const Vector even_re = a.re + c.re, even_im = a.im + c.im;
      const Vector odd_re = b.re + d.re, odd_im = b.im + d.im;
      const Vector left_re = a.re - c.re, left_im = a.im - c.im;
      // -i (b - d)
      const Vector right_re = b.im - d.im, right_im = d.re - b.re;
      ComplexLanes<Vector> y1{left_re + right_re, left_im + right_im};
      ComplexLanes<Vector> y2{even_re - odd_re, even_im - odd_im};
      ComplexLanes<Vector> y3{left_re - right_re, left_im - right_im};
      if constexpr (kHasTwiddles) {
        MultiplyLanes(twiddles[0], &y1);
        MultiplyLanes(twiddles[1], &y2);
        MultiplyLanes(twiddles[2], &y3);
      }
      out[0] = {even_re + odd_re, even_im + odd_im};
      out[stride] = y1;
      out[2 * stride] = y2;
      out[3 * stride] = y3;
    }
  }
}

// A stage of any radix.
template <class Vector>
KERNEL_INLINE void PlainStage(const FftStage &stage, const ComplexLanes<Vector> *x, ComplexLanes<Vector> *y) {
  const int64_t radix = stage.radix, count = stage.count, stride = stage.stride;
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t j = 0; j < radix; ++j) {
      for (int64_t q = 0; q < stride; ++q) {
        ComplexLanes<Vector> sum = x[q + stride * p];
        for (int64_t k = 1, root = j; k < radix; ++k) {
          ComplexLanes<Vector> term = x[q + stride * (p + count * k)];
          MultiplyLanes(stage.roots[root], &term);
          sum.re += term.re;
          sum.im += term.im;
          root += j;
          if (root >= radix) root -= radix;
        }
        if (j > 0) MultiplyLanes(stage.twiddles[p * (radix - 1) + j - 1], &sum);
        y[q + stride * (radix * p + j)] = sum;
      }
    }
  }
}

// Transforms plan.Size() numbers and returns where the result is: in `x` or in `scratch`, which is as large.
template <class Vector>
KERNEL_INLINE ComplexLanes<Vector> *TransformLanes(const FftPlan &plan, ComplexLanes<Vector> *x,
                                                   ComplexLanes<Vector> *scratch) {
  for (const FftStage &stage : plan.Stages()) {
    if (stage.radix != 4) {
      PlainStage(stage, x, scratch);
    } else if (stage.count > 1) {
      Radix4Stage<Vector, true>(stage, x, scratch);
    } else {
      Radix4Stage<Vector, false>(stage, x, scratch);
    }
    std::swap(x, scratch);
  }
  return x;
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FEAT_LANE_FFT_H_
