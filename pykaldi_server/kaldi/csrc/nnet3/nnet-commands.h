// The commands of a computation. Each function checks that its matrices fit each other and throws
// std::invalid_argument otherwise; the formulas are those of the components (nnet3/components).
//
// x is read, y is written; both have the same number of rows. What has only y changes it in place.
#ifndef PYKALDI_SERVER_NNET3_NNET_COMMANDS_H_
#define PYKALDI_SERVER_NNET3_NNET_COMMANDS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/matrix/packed-product.h"
#include "csrc/nnet3/nnet-computation.h"
#include "csrc/nnet3/sub-matrix.h"

namespace pykaldi {

using NnetCommandPtr = std::unique_ptr<NnetCommand>;
using FloatVector = std::vector<float>;

// Elements and rows (nnet-element-commands.cc).

// y = scale x, or y += scale x.
NnetCommandPtr MakeCopy(const SubMatrix &x, const SubMatrix &y, float scale, bool accumulate,
                        CpuKernels kernels);
// y = value, or y += value.
NnetCommandPtr MakeFill(const SubMatrix &y, float value, bool accumulate, CpuKernels kernels);
// Each row of y is `row`.
NnetCommandPtr MakeSetRows(const SubMatrix &y, FloatVector row);
// y = x W^T with what belongs to the product.
NnetCommandPtr MakeAffine(std::shared_ptr<const PackedProduct> product, const SubMatrix &x,
                          const SubMatrix &y);
// y = scale y + offset, by columns; empty vectors mean nothing.
NnetCommandPtr MakeScaleAndOffset(const SubMatrix &y, FloatVector scale, FloatVector offset,
                                  CpuKernels kernels);
// y = a b, by elements.
NnetCommandPtr MakeMultiply(const SubMatrix &a, const SubMatrix &b, const SubMatrix &y, CpuKernels kernels);
// y = hidden + gate (previous - hidden), by elements.
NnetCommandPtr MakeInterpolate(const SubMatrix &hidden, const SubMatrix &gate, const SubMatrix &previous,
                               const SubMatrix &y, CpuKernels kernels);
enum class Nonlinearity { kRectifier, kSigmoid, kTanh, kSoftmax, kLogSoftmax };
NnetCommandPtr MakeNonlinearity(const SubMatrix &y, Nonlinearity kind, CpuKernels kernels);
// The core of an LSTM; `weights` are w_ic, w_fc, w_oc, of the cell's dimension each.
NnetCommandPtr MakeLstm(const SubMatrix &x, const SubMatrix &y, FloatVector weights, bool use_dropout,
                        CpuKernels kernels);

// Columns of the same row (nnet-column-commands.cc).

NnetCommandPtr MakeNormalize(const SubMatrix &x, const SubMatrix &y, int64_t block_dim, float target_rms,
                             bool add_log_stddev, CpuKernels kernels);
// The Euclidean norm of each group of neighbouring columns.
NnetCommandPtr MakePnorm(const SubMatrix &x, const SubMatrix &y);
// `scale` times the sum of blocks of y's width.
NnetCommandPtr MakeSumBlock(const SubMatrix &x, const SubMatrix &y, float scale);
// The sum of each group of neighbouring columns; groups may differ in size.
NnetCommandPtr MakeSumGroup(const SubMatrix &x, const SubMatrix &y, std::vector<int64_t> sizes);
// The maximum over several selections of columns, each as many as y has, one after the other.
NnetCommandPtr MakeMaxOfColumns(const SubMatrix &x, const SubMatrix &y, std::vector<int64_t> columns);

// Several rows (nnet-window-commands.cc).

// For each row of y, the rows of the source that it reads; kMissing where one does not exist.
struct WindowRows {
  static constexpr int64_t kMissing = -1;
  std::vector<int64_t> rows;
  int64_t num_positions;
};

struct AttentionShape {
  int64_t num_heads, key_dim, value_dim, left;
  bool output_context;
  float key_scale;
};
// `scratch` is a row for as many numbers as there are positions.
NnetCommandPtr MakeAttention(const SubMatrix &source, WindowRows window, const AttentionShape &shape,
                             const SubMatrix &scratch, const SubMatrix &y);

struct PatchShape {
  int64_t height_in, height_out, height_step, filters_in;
  // Of each block of a patch: the position in the window, and the offset in height.
  std::vector<std::pair<int64_t, int64_t>> offsets;
};
// Each row of y consists of a patch per output height: the blocks of filters at all offsets.
NnetCommandPtr MakePatches(const SubMatrix &source, WindowRows window, PatchShape shape, const SubMatrix &y);

// Count, sum and, if asked for, sum of squares.
NnetCommandPtr MakeExtractStatistics(const SubMatrix &source, WindowRows window, bool include_variance,
                                     const SubMatrix &y, CpuKernels kernels);
// Log counts, means and, if there is a floor of variances, standard deviations. `scratch` is a row like the
// source's.
NnetCommandPtr MakePoolStatistics(const SubMatrix &source, WindowRows window, int64_t num_log_counts,
                                  std::optional<float> variance_floor, const SubMatrix &scratch,
                                  const SubMatrix &y, CpuKernels kernels);

// Throws std::invalid_argument unless they are equal; `what` is, say, "columns of y".
void RequireEqual(const char *what, int64_t expected, int64_t found);
// Requires matrices of the same shape; rows of y must be apart.
void RequireSameShape(const SubMatrix &x, const SubMatrix &y);
void RequireSameRows(const SubMatrix &x, const SubMatrix &y);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_NNET3_NNET_COMMANDS_H_
