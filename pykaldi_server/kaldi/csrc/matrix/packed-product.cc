#include "csrc/matrix/packed-product.h"

#include <algorithm>

namespace pykaldi {
namespace {

// One panel and where its results go; the vectors of the epilogue begin at the panel's first output.
struct Panel {
  const float *weight;
  int32_t input_dim;
  const float *bias, *scale, *offset;
  bool rectify;
};

// Weights are asked for this many floats ahead (4 KiB): the processor itself does not look across pages, and
// a chunk's weights come from the second or third cache.
constexpr int kPrefetch = 1024;
constexpr int kCacheLine = 16;

// Computes kRows rows of y for a panel of two vectors.
template <class Vector, int kRows>
KERNEL_INLINE void ComputeTile(const Panel &panel, const float *x, int64_t x_stride, float *y,
                               int64_t y_stride) {
  constexpr int kWidth = sizeof(Vector) / sizeof(float);
  Vector sums[kRows][2], weights[2];
  for (int half = 0; half < 2; ++half) {
    LoadVector(panel.bias + half * kWidth, &sums[0][half]);
    for (int row = 1; row < kRows; ++row) sums[row][half] = sums[0][half];
  }
  const float *weight = panel.weight;
  for (int32_t i = 0; i < panel.input_dim; ++i, weight += 2 * kWidth) {
    // Past the last panel, this does nothing.
    for (int ahead = kPrefetch; ahead < kPrefetch + 2 * kWidth; ahead += kCacheLine) {
      __builtin_prefetch(weight + ahead);
    }
    LoadVector(weight, &weights[0]);
    LoadVector(weight + kWidth, &weights[1]);
    for (int row = 0; row < kRows; ++row) {
      const float input = x[row * x_stride + i];
      sums[row][0] += input * weights[0];
      sums[row][1] += input * weights[1];
    }
  }
  for (int half = 0; half < 2; ++half) {
    const Vector zero = {};
    Vector scale = {}, offset = {};
    if (panel.scale != nullptr) LoadVector(panel.scale + half * kWidth, &scale);
    if (panel.offset != nullptr) LoadVector(panel.offset + half * kWidth, &offset);
    for (int row = 0; row < kRows; ++row) {
      Vector sum = sums[row][half];
      // This way round, what is not a number stays so.
      if (panel.rectify) sum = sum < zero ? zero : sum;
      if (panel.scale != nullptr) sum *= scale;
      if (panel.offset != nullptr) sum += offset;
      StoreVector(sum, y + row * y_stride + half * kWidth);
    }
  }
}

// Computes the rows that are left over after whole tiles of kRows + 1.
template <class Vector, int kRows>
KERNEL_INLINE void ComputeRest(const Panel &panel, const float *x, int64_t x_stride, int64_t num_rows,
                               float *y, int64_t y_stride) {
  if constexpr (kRows > 0) {
    if (num_rows == kRows) {
      ComputeTile<Vector, kRows>(panel, x, x_stride, y, y_stride);
    } else {
      ComputeRest<Vector, kRows - 1>(panel, x, x_stride, num_rows, y, y_stride);
    }
  }
}

template <class Vector, int kRows>
KERNEL_INLINE void ComputePanel(const Panel &panel, const float *x, int64_t x_stride, int64_t num_rows,
                                float *y, int64_t y_stride) {
  int64_t row = 0;
  for (; row + kRows <= num_rows; row += kRows) {
    ComputeTile<Vector, kRows>(panel, x + row * x_stride, x_stride, y + row * y_stride, y_stride);
  }
  ComputeRest<Vector, kRows - 1>(panel, x + row * x_stride, x_stride, num_rows - row, y + row * y_stride,
                                 y_stride);
}

// The same for a panel of which only `width` outputs exist: y has no room for the others.
template <class Vector, int kRows>
KERNEL_INLINE void ComputeLastPanel(const Panel &panel, const float *x, int64_t x_stride, int64_t num_rows,
                                    float *y, int64_t y_stride, int32_t width) {
  constexpr int kTile = 2 * sizeof(Vector) / sizeof(float);
  float tile[kRows * kTile];
  for (int64_t row = 0; row < num_rows; row += kRows) {
    const int64_t count = std::min<int64_t>(kRows, num_rows - row);
    ComputePanel<Vector, kRows>(panel, x + row * x_stride, x_stride, count, tile, kTile);
    for (int64_t i = 0; i < count; ++i) std::copy_n(tile + i * kTile, width, y + (row + i) * y_stride);
  }
}

// Computes all panels, of which `panel` is the first.
template <class Vector, int kRows>
KERNEL_INLINE void ComputePanels(Panel panel, int32_t output_dim, const float *x, int64_t x_stride,
                                 int64_t num_rows, float *y, int64_t y_stride) {
  constexpr int kTile = 2 * sizeof(Vector) / sizeof(float);
  for (int32_t output = 0; output < output_dim; output += kTile) {
    if (output + kTile <= output_dim) {
      ComputePanel<Vector, kRows>(panel, x, x_stride, num_rows, y + output, y_stride);
    } else {
      ComputeLastPanel<Vector, kRows>(panel, x, x_stride, num_rows, y + output, y_stride,
                                      output_dim - output);
    }
    panel.weight += int64_t{kTile} * panel.input_dim;
    panel.bias += kTile;
    if (panel.scale != nullptr) panel.scale += kTile;
    if (panel.offset != nullptr) panel.offset += kTile;
  }
}

struct Multiplication {
  Panel first;
  int32_t output_dim;
  const float *x;
  int64_t x_stride, num_rows;
  float *y;
  int64_t y_stride;

  template <class Vector>
  KERNEL_INLINE void Run() const {
    // The rows of a tile are as many as the registers hold beside the weights: 16, or 32 with AVX-512.
    constexpr int kRows = sizeof(Vector) == sizeof(Vector16f) ? 8 : 4;
    ComputePanels<Vector, kRows>(first, output_dim, x, x_stride, num_rows, y, y_stride);
  }
};

struct PanelWidth {
  int32_t *width;

  template <class Vector>
  KERNEL_INLINE void Run() const {
    *width = 2 * sizeof(Vector) / sizeof(float);
  }
};

AlignedArray<float> FilledUp(const float *vector, int32_t dim, int32_t width) {
  AlignedArray<float> filled((dim + width - 1) / width * width);
  if (vector != nullptr) std::copy_n(vector, dim, filled.Data());
  return filled;
}

}  // namespace

PackedProduct::PackedProduct(const float *weight, int64_t stride, int32_t output_dim, int32_t input_dim,
                             const ProductEpilogue &epilogue, CpuKernels kernels)
    : output_dim_(output_dim), input_dim_(input_dim), kernels_(kernels), rectify_(epilogue.rectify) {
  int32_t width = 0;
  RunFor(kernels, PanelWidth{&width});
  bias_ = FilledUp(epilogue.bias, output_dim, width);
  if (epilogue.scale != nullptr) scale_ = FilledUp(epilogue.scale, output_dim, width);
  if (epilogue.offset != nullptr) offset_ = FilledUp(epilogue.offset, output_dim, width);
  panels_ = AlignedArray<float>(bias_.Size() * static_cast<size_t>(input_dim));
  float *packed = panels_.Data();
  for (int32_t first = 0; first < output_dim; first += width) {
    const int32_t count = std::min(width, output_dim - first);
    for (int32_t i = 0; i < input_dim; ++i, packed += width) {
      for (int32_t j = 0; j < count; ++j) packed[j] = weight[(first + j) * stride + i];
    }
  }
}

void PackedProduct::Multiply(const float *x, int64_t x_stride, int64_t num_rows, float *y,
                             int64_t y_stride) const {
  const Panel first{panels_.Data(), input_dim_, bias_.Data(), scale_.Data(), offset_.Data(), rectify_};
  RunFor(kernels_, Multiplication{first, output_dim_, x, x_stride, num_rows, y, y_stride});
}

}  // namespace pykaldi
