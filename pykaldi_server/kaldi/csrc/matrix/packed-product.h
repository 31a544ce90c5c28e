// Products with a constant matrix, whose elements are put in the order of their use once.
//
//     y = scale * f(W x + bias) + offset       for each row x; f is max(., 0) or nothing
//
// A network multiplies few rows (a chunk has 8 to 24) by large matrices. A BLAS spends a good part of that
// time on copying the matrix into blocks that suit the processor, for each product again; here that happens
// when the model is loaded, and what follows the product in a network is applied while the sums are still in
// registers.
//
// W is stored in panels of kTile outputs. Within a panel, the elements of one input are adjacent:
//
//     panel 0: W[0..kTile)[0], W[0..kTile)[1], ...    panel 1: W[kTile..2 kTile)[0], ...
//
// and the last panel is filled up with zeros. A tile of the output, some rows by one panel, stays in
// registers while the inputs are added up in their order. Sums are of single precision.
//
// The panels' width depends on the kernels (csrc/base/cpu-kernels.h): two vectors. A product neither
// allocates memory nor starts threads, and several threads may use one object.
#ifndef PYKALDI_SERVER_MATRIX_PACKED_PRODUCT_H_
#define PYKALDI_SERVER_MATRIX_PACKED_PRODUCT_H_

#include <cstdint>

#include "csrc/base/aligned-array.h"
#include "csrc/base/cpu-kernels.h"

namespace pykaldi {

// What happens to the sums, in this order. The vectors have output_dim elements; null means nothing.
struct ProductEpilogue {
  const float *bias = nullptr;
  bool rectify = false;
  const float *scale = nullptr;
  const float *offset = nullptr;
};

class PackedProduct {
 public:
  // `weight` is W by rows: output_dim rows, `stride` elements from each to the next, of input_dim elements.
  PackedProduct(const float *weight, int64_t stride, int32_t output_dim, int32_t input_dim,
                const ProductEpilogue &epilogue, CpuKernels kernels);

  // Computes y for `num_rows` rows of x, which are x_stride and y_stride elements apart. A y_stride smaller
  // than output_dim is not allowed; x may have any, so that rows may overlap. y must not overlap x.
  void Multiply(const float *x, int64_t x_stride, int64_t num_rows, float *y, int64_t y_stride) const;

  int32_t InputDim() const { return input_dim_; }
  int32_t OutputDim() const { return output_dim_; }
  CpuKernels Kernels() const { return kernels_; }

 private:
  int32_t output_dim_, input_dim_;
  CpuKernels kernels_;
  bool rectify_;
  AlignedArray<float> panels_;
  // Filled up to whole panels; scale and offset may be empty.
  AlignedArray<float> bias_, scale_, offset_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_MATRIX_PACKED_PRODUCT_H_
