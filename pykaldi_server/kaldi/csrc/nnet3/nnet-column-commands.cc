#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "csrc/matrix/vector-functions.h"
#include "csrc/nnet3/nnet-commands.h"

namespace pykaldi {
namespace {

// Lower limit of the mean square by which NormalizeComponent divides.
constexpr float kSquaredNormFloor = 1.0f / (int64_t{1} << 33) / (int64_t{1} << 33);

class Normalize : public KernelCommand<Normalize> {
 public:
  Normalize(const SubMatrix &x, const SubMatrix &y, int64_t block_dim, float target_rms, bool add_log_stddev,
            CpuKernels kernels)
      : KernelCommand(kernels),
        x_(x),
        y_(y),
        block_dim_(block_dim),
        weight_(static_cast<float>(1.0 / (static_cast<double>(block_dim) * target_rms * target_rms))),
        log_target_(std::log(target_rms)),
        add_log_stddev_(add_log_stddev) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    const int64_t y_step = block_dim_ + (add_log_stddev_ ? 1 : 0);
    for (int64_t row = 0; row < x_.NumRows(); ++row) {
      const float *x = x_.Row(memory, row);
      float *y = y_.Row(memory, row);
      for (int64_t begin = 0; begin < x_.NumCols(); begin += block_dim_, x += block_dim_, y += y_step) {
        Vector squares = {};
        ForEachVector<Vector>(block_dim_, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
          Vector values;
          Load(x + i, count, &values);
          squares += values * values;
        });
        const float mean_square = SumElements(squares) * weight_;
        // This way round, what is not a number stays so.
        const float norm =
            1.0f / std::sqrt(mean_square < kSquaredNormFloor ? kSquaredNormFloor : mean_square);
        ForEachVector<Vector>(block_dim_, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
          Vector values;
          Load(x + i, count, &values);
          Store<Vector>(values * norm, count, y + i);
        });
        if (add_log_stddev_) y[block_dim_] = log_target_ - std::log(norm);
      }
    }
  }

 private:
  const SubMatrix x_, y_;
  const int64_t block_dim_;
  const float weight_, log_target_;
  const bool add_log_stddev_;
};

// Reduces each row by a function (x, y).
template <class Function>
class RowFunction : public NnetCommand {
 public:
  RowFunction(const SubMatrix &x, const SubMatrix &y, Function function)
      : x_(x), y_(y), function_(std::move(function)) {}

  void Run(float *memory) const override {
    for (int64_t row = 0; row < y_.NumRows(); ++row) function_(x_.Row(memory, row), y_.Row(memory, row));
  }

 private:
  const SubMatrix x_, y_;
  const Function function_;
};

template <class Function>
NnetCommandPtr MakeRowFunction(const SubMatrix &x, const SubMatrix &y, Function function) {
  return std::make_unique<RowFunction<Function>>(x, y, std::move(function));
}

// Returns how many blocks of y's width a row of x has, or how many columns of x there are for one of y.
int64_t RequireWholeBlocks(const SubMatrix &x, const SubMatrix &y) {
  RequireSameRows(x, y);
  const int64_t num_blocks = x.NumCols() / y.NumCols();
  RequireEqual("columns of x", std::max<int64_t>(1, num_blocks) * y.NumCols(), x.NumCols());
  return num_blocks;
}

}  // namespace

NnetCommandPtr MakeNormalize(const SubMatrix &x, const SubMatrix &y, int64_t block_dim, float target_rms,
                             bool add_log_stddev, CpuKernels kernels) {
  RequireSameRows(x, y);
  if (block_dim < 1 || block_dim > x.NumCols()) {
    throw std::invalid_argument("expected blocks of 1 to " + std::to_string(x.NumCols()) +
                                " columns, found " + std::to_string(block_dim));
  }
  const int64_t num_blocks = x.NumCols() / block_dim;
  RequireEqual("columns of x", num_blocks * block_dim, x.NumCols());
  RequireEqual("columns of y", x.NumCols() + (add_log_stddev ? num_blocks : 0), y.NumCols());
  return std::make_unique<Normalize>(x, y, block_dim, target_rms, add_log_stddev, kernels);
}

NnetCommandPtr MakePnorm(const SubMatrix &x, const SubMatrix &y) {
  const int64_t size = RequireWholeBlocks(x, y), dim = y.NumCols();
  return MakeRowFunction(x, y, [size, dim](const float *from, float *to) {
    for (int64_t i = 0; i < dim; ++i, from += size) {
      to[i] = std::sqrt(std::inner_product(from, from + size, from, 0.0f));
    }
  });
}

NnetCommandPtr MakeSumBlock(const SubMatrix &x, const SubMatrix &y, float scale) {
  const int64_t num_blocks = RequireWholeBlocks(x, y), dim = y.NumCols();
  return MakeRowFunction(x, y, [num_blocks, dim, scale](const float *from, float *to) {
    std::copy_n(from, dim, to);
    for (int64_t block = 1; block < num_blocks; ++block) {
      for (int64_t i = 0; i < dim; ++i) to[i] += from[block * dim + i];
    }
    for (int64_t i = 0; i < dim; ++i) to[i] *= scale;
  });
}

NnetCommandPtr MakeSumGroup(const SubMatrix &x, const SubMatrix &y, std::vector<int64_t> sizes) {
  RequireSameRows(x, y);
  RequireEqual("groups", y.NumCols(), static_cast<int64_t>(sizes.size()));
  int64_t total = 0;
  for (const int64_t size : sizes) {
    if (size < 1 || size > x.NumCols()) {
      throw std::invalid_argument("expected groups of 1 to " + std::to_string(x.NumCols()) +
                                  " columns, found " + std::to_string(size));
    }
    total += size;
  }
  RequireEqual("columns of x", total, x.NumCols());
  return MakeRowFunction(x, y, [sizes = std::move(sizes)](const float *from, float *to) {
    for (const int64_t size : sizes) {
      *to++ = std::accumulate(from, from + size, 0.0f);
      from += size;
    }
  });
}

NnetCommandPtr MakeMaxOfColumns(const SubMatrix &x, const SubMatrix &y, std::vector<int64_t> columns) {
  RequireSameRows(x, y);
  const int64_t dim = y.NumCols(), num_selections = static_cast<int64_t>(columns.size()) / dim;
  RequireEqual("selected columns", std::max<int64_t>(1, num_selections) * dim,
               static_cast<int64_t>(columns.size()));
  for (const int64_t column : columns) {
    if (column < 0 || column >= x.NumCols()) {
      throw std::invalid_argument("expected columns below " + std::to_string(x.NumCols()) + ", found " +
                                  std::to_string(column));
    }
  }
  return MakeRowFunction(x, y, [dim, columns = std::move(columns)](const float *from, float *to) {
    auto column = columns.begin();
    for (int64_t i = 0; i < dim; ++i) to[i] = from[*column++];
    while (column != columns.end()) {
      for (int64_t i = 0; i < dim; ++i) {
        const float value = from[*column++];
        // Either is kept if it is not a number.
        if (!(value <= to[i])) to[i] = std::isnan(to[i]) ? to[i] : value;
      }
    }
  });
}

}  // namespace pykaldi
