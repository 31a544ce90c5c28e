// Functions of vectors of numbers, as templates over the vector type (see csrc/base/cpu-kernels.h).
//
// exp(x) is 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2, where a polynomial of degree 6 is exact
// to single precision. tanh and the logistic sigmoid follow from it, with an absolute error below 2e-7.
#ifndef PYKALDI_SERVER_MATRIX_VECTOR_FUNCTIONS_H_
#define PYKALDI_SERVER_MATRIX_VECTOR_FUNCTIONS_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "csrc/base/cpu-kernels.h"

namespace pykaldi {

// For lambdas: their bodies are compiled for the instructions of the function that calls them.
#define KERNEL_LAMBDA __attribute__((always_inline))

template <class Vector>
constexpr int64_t VectorWidth() {
  return sizeof(Vector) / sizeof(float);
}

// Calls body(i, count) for i = 0, w, 2w, ... up to n, where w is the vector's width, and count is w except
// perhaps in the last call.
template <class Vector, class Body>
KERNEL_INLINE void ForEachVector(int64_t n, const Body &body) {
  int64_t i = 0;
  for (; i + VectorWidth<Vector>() <= n; i += VectorWidth<Vector>()) body(i, VectorWidth<Vector>());
  if (i < n) body(i, n - i);
}

// Sets the first `count` elements from memory, the others to zero.
template <class Vector>
KERNEL_INLINE void Load(const float *source, int64_t count, Vector *vector) {
  if (count == VectorWidth<Vector>()) {
    LoadVector(source, vector);
  } else {
    *vector = Vector{};
    __builtin_memcpy(vector, source, static_cast<size_t>(count) * sizeof(float));
  }
}

// Writes the first `count` elements.
template <class Vector>
KERNEL_INLINE void Store(const Vector &vector, int64_t count, float *target) {
  if (count == VectorWidth<Vector>()) {
    StoreVector(vector, target);
  } else {
    __builtin_memcpy(target, &vector, static_cast<size_t>(count) * sizeof(float));
  }
}

template <class Vector>
KERNEL_INLINE float SumElements(const Vector &vector) {
  float sum = 0.0f;
  for (int64_t i = 0; i < VectorWidth<Vector>(); ++i) sum += vector[i];
  return sum;
}

// Calls function(&x) for all elements of x, a vector at a time.
template <class Vector, class Function>
KERNEL_INLINE void Apply(float *x, int64_t n, const Function &function) {
  ForEachVector<Vector>(n, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
    Vector values;
    Load(x + i, count, &values);
    function(&values);
    Store(values, count, x + i);
  });
}

// What is not a number stays so in the following functions.

// x = max(x, 0).
template <class Vector>
KERNEL_INLINE void Rectify(Vector *x) {
  const Vector zero = {};
  *x = *x < zero ? zero : *x;
}

// x = exp(x); beyond the range of normal numbers, the largest or smallest of them.
template <class Vector>
KERNEL_INLINE void Exp(Vector *x) {
  using Integers = decltype(std::declval<Vector>() < std::declval<Vector>());
  constexpr float kLowest = -87.3f, kHighest = 88.3f;
  const Vector zero = {};
  const Vector lowest = zero + kLowest, highest = zero + kHighest;
  *x = *x < lowest ? lowest : *x;
  *x = *x > highest ? highest : *x;
  // Adding this number rounds to integers, because it leaves no bits for a fraction.
  constexpr float kRound = 12582912.0f;
  const Vector n = (*x * 1.44269504f + kRound) - kRound;
  // ln 2 in two parts, the first of which has few bits.
  const Vector r = (*x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector power = zero + 1.0f / 720.0f;
  power = power * r + 1.0f / 120.0f;
  power = power * r + 1.0f / 24.0f;
  power = power * r + 1.0f / 6.0f;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  const Integers exponent = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector scale;
  __builtin_memcpy(&scale, &exponent, sizeof(scale));
  *x = power * scale;
}

// x = 1 / (1 + exp(-x)).
template <class Vector>
KERNEL_INLINE void Sigmoid(Vector *x) {
  *x = -*x;
  Exp(x);
  *x = 1.0f / (1.0f + *x);
}

// x = tanh(x).
template <class Vector>
KERNEL_INLINE void Tanh(Vector *x) {
  *x *= 2.0f;
  Exp(x);
  *x = 1.0f - 2.0f / (*x + 1.0f);
}

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_MATRIX_VECTOR_FUNCTIONS_H_
