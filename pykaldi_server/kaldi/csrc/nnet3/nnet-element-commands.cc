#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "csrc/matrix/vector-functions.h"
#include "csrc/nnet3/nnet-commands.h"

namespace pykaldi {
namespace {

class Copy : public KernelCommand<Copy> {
 public:
  Copy(const SubMatrix &x, const SubMatrix &y, float scale, bool accumulate, CpuKernels kernels)
      : KernelCommand(kernels), x_(x), y_(y), scale_(scale), accumulate_(accumulate) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      const float *x = x_.Row(memory, row);
      float *y = y_.Row(memory, row);
      ForEachVector<Vector>(y_.NumCols(), [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector values;
        Load(x + i, count, &values);
        if (scale_ != 1.0f) values *= scale_;
        if (accumulate_) {
          Vector sum;
          Load(y + i, count, &sum);
          values += sum;
        }
        Store(values, count, y + i);
      });
    }
  }

 private:
  const SubMatrix x_, y_;
  const float scale_;
  const bool accumulate_;
};

class Fill : public KernelCommand<Fill> {
 public:
  Fill(const SubMatrix &y, float value, bool accumulate, CpuKernels kernels)
      : KernelCommand(kernels), y_(y), value_(value), accumulate_(accumulate) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      Apply<Vector>(y_.Row(memory, row), y_.NumCols(), [this](Vector *values) KERNEL_LAMBDA {
        const Vector zero = {};
        *values = (accumulate_ ? *values : zero) + value_;
      });
    }
  }

 private:
  const SubMatrix y_;
  const float value_;
  const bool accumulate_;
};

class SetRows : public NnetCommand {
 public:
  SetRows(const SubMatrix &y, FloatVector row) : y_(y), row_(std::move(row)) {}

  void Run(float *memory) const override {
    for (int64_t row = 0; row < y_.NumRows(); ++row) std::copy(row_.begin(), row_.end(), y_.Row(memory, row));
  }

 private:
  const SubMatrix y_;
  const FloatVector row_;
};

class Affine : public NnetCommand {
 public:
  Affine(std::shared_ptr<const PackedProduct> product, const SubMatrix &x, const SubMatrix &y)
      : product_(std::move(product)), x_(x), y_(y) {}

  void Run(float *memory) const override {
    product_->Multiply(x_.Row(memory, 0), x_.Stride(), x_.NumRows(), y_.Row(memory, 0), y_.Stride());
  }

 private:
  const std::shared_ptr<const PackedProduct> product_;
  const SubMatrix x_, y_;
};

class ScaleAndOffset : public KernelCommand<ScaleAndOffset> {
 public:
  ScaleAndOffset(const SubMatrix &y, FloatVector scale, FloatVector offset, CpuKernels kernels)
      : KernelCommand(kernels), y_(y), scale_(std::move(scale)), offset_(std::move(offset)) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      float *y = y_.Row(memory, row);
      ForEachVector<Vector>(y_.NumCols(), [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector values, factor;
        Load(y + i, count, &values);
        if (!scale_.empty()) {
          Load(scale_.data() + i, count, &factor);
          values *= factor;
        }
        if (!offset_.empty()) {
          Load(offset_.data() + i, count, &factor);
          values += factor;
        }
        Store(values, count, y + i);
      });
    }
  }

 private:
  const SubMatrix y_;
  const FloatVector scale_, offset_;
};

class Multiply : public KernelCommand<Multiply> {
 public:
  Multiply(const SubMatrix &a, const SubMatrix &b, const SubMatrix &y, CpuKernels kernels)
      : KernelCommand(kernels), a_(a), b_(b), y_(y) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      const float *a = a_.Row(memory, row), *b = b_.Row(memory, row);
      float *y = y_.Row(memory, row);
      ForEachVector<Vector>(y_.NumCols(), [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector first, second;
        Load(a + i, count, &first);
        Load(b + i, count, &second);
        Store<Vector>(first * second, count, y + i);
      });
    }
  }

 private:
  const SubMatrix a_, b_, y_;
};

class Interpolate : public KernelCommand<Interpolate> {
 public:
  Interpolate(const SubMatrix &hidden, const SubMatrix &gate, const SubMatrix &previous, const SubMatrix &y,
              CpuKernels kernels)
      : KernelCommand(kernels), hidden_(hidden), gate_(gate), previous_(previous), y_(y) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      const float *hidden_row = hidden_.Row(memory, row), *gate_row = gate_.Row(memory, row);
      const float *previous_row = previous_.Row(memory, row);
      float *y = y_.Row(memory, row);
      ForEachVector<Vector>(y_.NumCols(), [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector hidden, gate, previous;
        Load(hidden_row + i, count, &hidden);
        Load(gate_row + i, count, &gate);
        Load(previous_row + i, count, &previous);
        Store<Vector>(hidden + gate * (previous - hidden), count, y + i);
      });
    }
  }

 private:
  const SubMatrix hidden_, gate_, previous_, y_;
};

class ElementFunction : public KernelCommand<ElementFunction> {
 public:
  ElementFunction(const SubMatrix &y, Nonlinearity kind, CpuKernels kernels)
      : KernelCommand(kernels), y_(y), kind_(kind) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      float *y = y_.Row(memory, row);
      if (kind_ == Nonlinearity::kRectifier) {
        Apply<Vector>(y, y_.NumCols(), [](Vector *x) KERNEL_LAMBDA { Rectify(x); });
      } else if (kind_ == Nonlinearity::kSigmoid) {
        Apply<Vector>(y, y_.NumCols(), [](Vector *x) KERNEL_LAMBDA { Sigmoid(x); });
      } else {
        Apply<Vector>(y, y_.NumCols(), [](Vector *x) KERNEL_LAMBDA { Tanh(x); });
      }
    }
  }

 private:
  const SubMatrix y_;
  const Nonlinearity kind_;
};

// Probabilities are at least this (SoftmaxComponent).
constexpr float kSoftmaxFloor = 1e-20f;

class Softmax : public KernelCommand<Softmax> {
 public:
  Softmax(const SubMatrix &y, bool log, CpuKernels kernels) : KernelCommand(kernels), y_(y), log_(log) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      float *y = y_.Row(memory, row);
      const int64_t n = y_.NumCols();
      float highest = y[0];
      for (int64_t i = 1; i < n; ++i) highest = std::max(highest, y[i]);
      Vector sums = {};
      ForEachVector<Vector>(n, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector values;
        Load(y + i, count, &values);
        values -= highest;
        if (log_) Store(values, count, y + i);
        Exp(&values);
        if (!log_) Store(values, count, y + i);
        for (int64_t j = count; j < VectorWidth<Vector>(); ++j) values[j] = 0.0f;
        sums += values;
      });
      const float sum = SumElements(sums), log_sum = std::log(sum), factor = 1.0f / sum;
      Apply<Vector>(y, n, [&](Vector *values) KERNEL_LAMBDA {
        if (log_) {
          *values -= log_sum;
          return;
        }
        *values *= factor;
        const Vector floor = Vector{} + kSoftmaxFloor;
        *values = *values < floor ? floor : *values;
      });
    }
  }

 private:
  const SubMatrix y_;
  const bool log_;
};

class Lstm : public KernelCommand<Lstm> {
 public:
  Lstm(const SubMatrix &x, const SubMatrix &y, FloatVector weights, bool use_dropout, CpuKernels kernels)
      : KernelCommand(kernels), x_(x), y_(y), weights_(std::move(weights)), use_dropout_(use_dropout) {}

  template <class Vector>
  KERNEL_INLINE void Compute(float *memory) const {
    const int64_t dim = y_.NumCols() / 2;
    const float *weights = weights_.data();
    for (int64_t row = 0; row < y_.NumRows(); ++row) {
      const float *x = x_.Row(memory, row);
      float *y = y_.Row(memory, row);
      float scales[3] = {1.0f, 1.0f, 1.0f};
      if (use_dropout_) std::copy_n(x + 5 * dim, 3, scales);
      ForEachVector<Vector>(dim, [&](int64_t i, int64_t count) KERNEL_LAMBDA {
        Vector in, forget, cell, out, previous, weight;
        Load(x + i, count, &in);
        Load(x + dim + i, count, &forget);
        Load(x + 2 * dim + i, count, &cell);
        Load(x + 3 * dim + i, count, &out);
        Load(x + 4 * dim + i, count, &previous);
        Load(weights + i, count, &weight);
        in += weight * previous;
        Load(weights + dim + i, count, &weight);
        forget += weight * previous;
        Sigmoid(&in);
        Sigmoid(&forget);
        Tanh(&cell);
        cell = scales[0] * in * cell + scales[1] * forget * previous;
        Load(weights + 2 * dim + i, count, &weight);
        out += weight * cell;
        Sigmoid(&out);
        Store(cell, count, y + i);
        Tanh(&cell);
        Store<Vector>(scales[2] * out * cell, count, y + dim + i);
      });
    }
  }

 private:
  const SubMatrix x_, y_;
  const FloatVector weights_;
  const bool use_dropout_;
};

}  // namespace

void RequireEqual(const char *what, int64_t expected, int64_t found) {
  if (expected != found) {
    throw std::invalid_argument("expected " + std::to_string(expected) + " " + what + ", found " +
                                std::to_string(found));
  }
}

void RequireSameRows(const SubMatrix &x, const SubMatrix &y) {
  RequireEqual("rows", x.NumRows(), y.NumRows());
  if (!y.HasSeparateRows()) {
    throw std::invalid_argument("expected rows at least " + std::to_string(y.NumCols()) +
                                " numbers apart to write to, found " + std::to_string(y.Stride()));
  }
}

void RequireSameShape(const SubMatrix &x, const SubMatrix &y) {
  RequireSameRows(x, y);
  RequireEqual("columns", x.NumCols(), y.NumCols());
}

NnetCommandPtr MakeCopy(const SubMatrix &x, const SubMatrix &y, float scale, bool accumulate,
                        CpuKernels kernels) {
  RequireSameShape(x, y);
  return std::make_unique<Copy>(x, y, scale, accumulate, kernels);
}

NnetCommandPtr MakeFill(const SubMatrix &y, float value, bool accumulate, CpuKernels kernels) {
  RequireSameShape(y, y);
  return std::make_unique<Fill>(y, value, accumulate, kernels);
}

NnetCommandPtr MakeSetRows(const SubMatrix &y, FloatVector row) {
  RequireSameShape(y, y);
  RequireEqual("numbers in the row", y.NumCols(), static_cast<int64_t>(row.size()));
  return std::make_unique<SetRows>(y, std::move(row));
}

NnetCommandPtr MakeAffine(std::shared_ptr<const PackedProduct> product, const SubMatrix &x,
                          const SubMatrix &y) {
  RequireSameRows(x, y);
  RequireEqual("columns of x", product->InputDim(), x.NumCols());
  RequireEqual("columns of y", product->OutputDim(), y.NumCols());
  return std::make_unique<Affine>(std::move(product), x, y);
}

NnetCommandPtr MakeScaleAndOffset(const SubMatrix &y, FloatVector scale, FloatVector offset,
                                  CpuKernels kernels) {
  RequireSameShape(y, y);
  for (const FloatVector *vector : {&scale, &offset}) {
    if (!vector->empty()) {
      RequireEqual("numbers in scale and offset", y.NumCols(), static_cast<int64_t>(vector->size()));
    }
  }
  return std::make_unique<ScaleAndOffset>(y, std::move(scale), std::move(offset), kernels);
}

NnetCommandPtr MakeMultiply(const SubMatrix &a, const SubMatrix &b, const SubMatrix &y, CpuKernels kernels) {
  RequireSameShape(a, y);
  RequireSameShape(b, y);
  return std::make_unique<Multiply>(a, b, y, kernels);
}

NnetCommandPtr MakeInterpolate(const SubMatrix &hidden, const SubMatrix &gate, const SubMatrix &previous,
                               const SubMatrix &y, CpuKernels kernels) {
  for (const SubMatrix *x : {&hidden, &gate, &previous}) RequireSameShape(*x, y);
  return std::make_unique<Interpolate>(hidden, gate, previous, y, kernels);
}

NnetCommandPtr MakeNonlinearity(const SubMatrix &y, Nonlinearity kind, CpuKernels kernels) {
  RequireSameShape(y, y);
  if (kind == Nonlinearity::kSoftmax || kind == Nonlinearity::kLogSoftmax) {
    return std::make_unique<Softmax>(y, kind == Nonlinearity::kLogSoftmax, kernels);
  }
  return std::make_unique<ElementFunction>(y, kind, kernels);
}

NnetCommandPtr MakeLstm(const SubMatrix &x, const SubMatrix &y, FloatVector weights, bool use_dropout,
                        CpuKernels kernels) {
  RequireSameRows(x, y);
  const int64_t dim = y.NumCols() / 2;
  RequireEqual("columns of y", 2 * dim, y.NumCols());
  RequireEqual("columns of x", 5 * dim + (use_dropout ? 3 : 0), x.NumCols());
  RequireEqual("weights", 3 * dim, static_cast<int64_t>(weights.size()));
  return std::make_unique<Lstm>(x, y, std::move(weights), use_dropout, kernels);
}

}  // namespace pykaldi
