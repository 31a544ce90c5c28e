#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "csrc/matrix/vector-functions.h"
#include "csrc/nnet3/nnet-commands.h"

namespace pykaldi {
namespace {

float Dot(const float *a, const float *b, int64_t dim) {
  float sum = 0.0f;
  for (int64_t i = 0; i < dim; ++i) sum += a[i] * b[i];
  return sum;
}

// What windows have in common: the source, its rows that each row of y reads, and y.
class Window {
 public:
  Window(const SubMatrix &source, WindowRows window, const SubMatrix &y)
      : source_(source), y_(y), window_(std::move(window)) {
    RequireSameShape(y, y);
    RequireEqual("rows of the window", y.NumRows() * window_.num_positions,
                 static_cast<int64_t>(window_.rows.size()));
    for (const int64_t row : window_.rows) {
      if (row < WindowRows::kMissing || row >= source.NumRows()) {
        throw std::invalid_argument("expected rows below " + std::to_string(source.NumRows()) +
                                    " in the window, found " + std::to_string(row));
      }
    }
  }

  // Returns a row of the source that row `row` of y reads; null if it does not exist.
  KERNEL_INLINE const float *Source(const float *memory, int64_t row, int64_t position) const {
    const int64_t source_row = window_.rows[row * window_.num_positions + position];
    return source_row == WindowRows::kMissing ? nullptr : source_.Row(memory, source_row);
  }

 protected:
  const SubMatrix source_, y_;
  const WindowRows window_;
};

class Attention : public NnetCommand, private Window {
 public:
  Attention(const SubMatrix &source, WindowRows window, const AttentionShape &shape, const SubMatrix &scratch,
            const SubMatrix &y)
      : Window(source, std::move(window), y), shape_(shape), scratch_(scratch) {}

  void Run(float *memory) const override {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      for (int64_t head = 0; head < shape_.num_heads; ++head) Attend(row, head, memory);
    }
  }

 private:
  void Attend(int64_t row, int64_t head, float *memory) const {
    const int64_t key_dim = shape_.key_dim, value_dim = shape_.value_dim;
    const int64_t num_positions = window_.num_positions;
    const int64_t begin = head * (2 * key_dim + value_dim + num_positions);
    float *y = y_.Row(memory, row) + head * (value_dim + (shape_.output_context ? num_positions : 0));
    float *weights = scratch_.Row(memory, 0);
    const float *own = Source(memory, row, shape_.left);
    const float *query = own == nullptr ? nullptr : own + begin + key_dim + value_dim;
    for (int64_t p = 0; p < num_positions; ++p) {
      const float *source = Source(memory, row, p);
      weights[p] = query == nullptr ? 0.0f : query[key_dim + p];
      if (query != nullptr && source != nullptr) {
        weights[p] += shape_.key_scale * Dot(source + begin, query, key_dim);
      }
    }
    const float highest = *std::max_element(weights, weights + num_positions);
    float sum = 0.0f;
    for (int64_t p = 0; p < num_positions; ++p) {
      weights[p] = std::exp(weights[p] - highest);
      sum += weights[p];
    }
    std::fill_n(y, value_dim, 0.0f);
    for (int64_t p = 0; p < num_positions; ++p) {
      weights[p] /= sum;
      const float *source = Source(memory, row, p);
      if (source == nullptr) continue;
      const float *value = source + begin + key_dim;
      for (int64_t i = 0; i < value_dim; ++i) y[i] += weights[p] * value[i];
    }
    if (shape_.output_context) std::copy_n(weights, num_positions, y + value_dim);
  }

  const AttentionShape shape_;
  const SubMatrix scratch_;
};

class Patches : public NnetCommand, private Window {
 public:
  Patches(const SubMatrix &source, WindowRows window, PatchShape shape, const SubMatrix &y)
      : Window(source, std::move(window), y), shape_(std::move(shape)) {}

  void Run(float *memory) const override {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      float *y = y_.Row(memory, row);
      for (int64_t height = 0; height < shape_.height_out; ++height) {
        for (const auto &[position, offset] : shape_.offsets) {
          const float *source = Source(memory, row, position);
          const int64_t from = height * shape_.height_step + offset;
          if (source == nullptr || from < 0 || from >= shape_.height_in) {
            std::fill_n(y, shape_.filters_in, 0.0f);
          } else {
            std::copy_n(source + from * shape_.filters_in, shape_.filters_in, y);
          }
          y += shape_.filters_in;
        }
      }
    }
  }

 private:
  const PatchShape shape_;
};

// target += the row's sources, or their squares. Returns how many there are.
template <class Vector>
KERNEL_INLINE int64_t AddSources(const Window &window, const float *memory, int64_t row,
                                 int64_t num_positions, int64_t dim, bool square, float *target) {
  int64_t num_sources = 0;
  for (int64_t position = 0; position < num_positions; ++position) {
    const float *source = window.Source(memory, row, position);
    if (source == nullptr) continue;
    ++num_sources;
    ForEachVector<Vector>(dim, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
      Vector values, sum;
      Load(source + i, count, &values);
      Load(target + i, count, &sum);
      if (square) values *= values;
      Store<Vector>(sum + values, count, target + i);
    });
  }
  return num_sources;
}

class ExtractStatistics : public KernelCommand<ExtractStatistics>, private Window {
 public:
  ExtractStatistics(const SubMatrix &source, WindowRows window, bool include_variance, const SubMatrix &y,
                    CpuKernels kernels)
      : KernelCommand(kernels), Window(source, std::move(window), y), include_variance_(include_variance) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    const int64_t dim = source_.NumCols();
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      float *y = y_.Row(memory, row);
      std::fill_n(y, y_.NumCols(), 0.0f);
      y[0] = static_cast<float>(
          AddSources<Vector>(*this, memory, row, window_.num_positions, dim, false, y + 1));
      if (include_variance_) {
        AddSources<Vector>(*this, memory, row, window_.num_positions, dim, true, y + 1 + dim);
      }
    }
  }

 private:
  const bool include_variance_;
};

class PoolStatistics : public KernelCommand<PoolStatistics>, private Window {
 public:
  PoolStatistics(const SubMatrix &source, WindowRows window, int64_t num_log_counts,
                 std::optional<float> variance_floor, const SubMatrix &scratch, const SubMatrix &y,
                 CpuKernels kernels)
      : KernelCommand(kernels),
        Window(source, std::move(window), y),
        num_log_counts_(num_log_counts),
        variance_floor_(variance_floor),
        scratch_(scratch) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    const int64_t dim = source_.NumCols() - 1;
    float *sums = scratch_.Row(memory, 0);
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      std::fill_n(sums, dim + 1, 0.0f);
      AddSources<Vector>(*this, memory, row, window_.num_positions, dim + 1, false, sums);
      float *y = y_.Row(memory, row);
      std::fill_n(y, num_log_counts_, std::log(sums[0]));
      y += num_log_counts_;
      for (int64_t i = 0; i < dim; ++i) y[i] = sums[1 + i] / sums[0];
      if (!variance_floor_.has_value()) continue;
      for (int64_t i = 0; i < dim / 2; ++i) {
        const float variance = y[dim / 2 + i] - y[i] * y[i];
        y[dim / 2 + i] = std::sqrt(variance < *variance_floor_ ? *variance_floor_ : variance);
      }
    }
  }

 private:
  const int64_t num_log_counts_;
  const std::optional<float> variance_floor_;
  const SubMatrix scratch_;
};

// Bounds of the numbers from which dimensions are computed, so that they cannot overflow.
void RequirePositive(const char *what, int64_t number) {
  if (number < 1 || number > SubMatrix::kMaxMemory) {
    throw std::invalid_argument("expected a positive " + std::string(what) + ", found " +
                                std::to_string(number));
  }
}

}  // namespace

NnetCommandPtr MakeAttention(const SubMatrix &source, WindowRows window, const AttentionShape &shape,
                             const SubMatrix &scratch, const SubMatrix &y) {
  RequirePositive("number of heads", shape.num_heads);
  RequirePositive("dimension of keys", shape.key_dim);
  RequirePositive("dimension of values", shape.value_dim);
  const int64_t num_positions = window.num_positions;
  if (shape.left < 0 || shape.left >= num_positions) {
    throw std::invalid_argument("expected a position below " + std::to_string(num_positions) + ", found " +
                                std::to_string(shape.left));
  }
  const int64_t head_in = 2 * shape.key_dim + shape.value_dim + num_positions;
  const int64_t head_out = shape.value_dim + (shape.output_context ? num_positions : 0);
  RequireEqual("columns of the source", shape.num_heads * head_in, source.NumCols());
  RequireEqual("columns of y", shape.num_heads * head_out, y.NumCols());
  RequireEqual("columns of the scratch row", num_positions, scratch.NumCols());
  return std::make_unique<Attention>(source, std::move(window), shape, scratch, y);
}

NnetCommandPtr MakePatches(const SubMatrix &source, WindowRows window, PatchShape shape, const SubMatrix &y) {
  RequirePositive("input height", shape.height_in);
  RequirePositive("output height", shape.height_out);
  RequirePositive("step in height", shape.height_step);
  RequirePositive("number of filters", shape.filters_in);
  for (const auto &[position, offset] : shape.offsets) {
    if (position < 0 || position >= window.num_positions || offset < -SubMatrix::kMaxMemory ||
        offset > SubMatrix::kMaxMemory) {
      throw std::invalid_argument("expected positions below " + std::to_string(window.num_positions) +
                                  " and offsets in height, found " + std::to_string(position) + " and " +
                                  std::to_string(offset));
    }
  }
  const int64_t num_offsets = static_cast<int64_t>(shape.offsets.size());
  RequireEqual("columns of the source", shape.height_in * shape.filters_in, source.NumCols());
  RequirePositive("number of offsets", num_offsets);
  // Compared by division, because the product of all three may overflow.
  const int64_t patch_dim = num_offsets * shape.filters_in;
  RequireEqual("columns of y", y.NumCols() / patch_dim * patch_dim, y.NumCols());
  RequireEqual("patches in a row of y", shape.height_out, y.NumCols() / patch_dim);
  return std::make_unique<Patches>(source, std::move(window), std::move(shape), y);
}

NnetCommandPtr MakeExtractStatistics(const SubMatrix &source, WindowRows window, bool include_variance,
                                     const SubMatrix &y, CpuKernels kernels) {
  RequireEqual("columns of y", 1 + source.NumCols() * (include_variance ? 2 : 1), y.NumCols());
  return std::make_unique<ExtractStatistics>(source, std::move(window), include_variance, y, kernels);
}

NnetCommandPtr MakePoolStatistics(const SubMatrix &source, WindowRows window, int64_t num_log_counts,
                                  std::optional<float> variance_floor, const SubMatrix &scratch,
                                  const SubMatrix &y, CpuKernels kernels) {
  if (num_log_counts < 0 || num_log_counts > SubMatrix::kMaxMemory) {
    throw std::invalid_argument("expected a number of log counts, found " + std::to_string(num_log_counts));
  }
  RequireEqual("columns of y", num_log_counts + source.NumCols() - 1, y.NumCols());
  RequireEqual("columns of the scratch row", source.NumCols(), scratch.NumCols());
  if (variance_floor.has_value() && source.NumCols() % 2 == 0) {
    throw std::invalid_argument("expected a count and as many sums as sums of squares, found " +
                                std::to_string(source.NumCols()) + " columns");
  }
  return std::make_unique<PoolStatistics>(source, std::move(window), num_log_counts, variance_floor, scratch,
                                          y, kernels);
}

}  // namespace pykaldi
