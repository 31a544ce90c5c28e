#include "csrc/matrix/linear-cgd.h"

#include <algorithm>
#include <limits>

namespace pykaldi {
namespace {

using Vector = std::vector<double>;

constexpr double kRecomputeFactorSquared = 0.01 * 0.01;

double Dot(const Vector &a, const Vector &b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// y = A x for a symmetric A, of which each element of the lower triangle is read once.
void Multiply(const double *a, const Vector &x, Vector *y) {
  std::fill(y->begin(), y->end(), 0.0);
  for (size_t row = 0; row < x.size(); ++row) {
    double sum = 0.0;
    const double x_row = x[row];
    for (size_t column = 0; column < row; ++column) {
      sum += a[column] * x[column];
      (*y)[column] += a[column] * x_row;
    }
    (*y)[row] += sum + a[row] * x_row;
    a += row + 1;
  }
}

}  // namespace

std::vector<double> LinearCgd(const double *a, const double *b, const double *x_start, int32_t dim,
                              int32_t max_iters) {
  const Vector start(x_start, x_start + dim);
  Vector x(start), residual(dim), direction(dim), a_direction(dim);
  auto compute_residual = [&] {
    Multiply(a, x, &residual);
    for (int32_t i = 0; i < dim; ++i) residual[i] -= b[i];
    return Dot(residual, residual);
  };
  double norm = compute_residual();
  const double initial_norm = norm;
  double recomputed_norm = norm;
  for (int32_t i = 0; i < dim; ++i) direction[i] = -residual[i];

  for (int32_t k = 0; k < std::min(max_iters, dim + 5); ++k) {
    Multiply(a, direction, &a_direction);
    const double curvature = Dot(direction, a_direction);
    if (curvature == 0.0) break;
    const double alpha = -Dot(direction, residual) / curvature;
    for (int32_t i = 0; i < dim; ++i) {
      x[i] += alpha * direction[i];
      residual[i] += alpha * a_direction[i];
    }
    double next_norm = Dot(residual, residual);
    if (next_norm < recomputed_norm * kRecomputeFactorSquared ||
        next_norm > recomputed_norm / kRecomputeFactorSquared) {
      next_norm = recomputed_norm = compute_residual();
    }
    if (next_norm <= std::numeric_limits<double>::min()) return x;
    const double beta = next_norm / norm;
    for (int32_t i = 0; i < dim; ++i) direction[i] = beta * direction[i] - residual[i];
    norm = next_norm;
  }
  const Vector target(b, b + dim);
  return norm > initial_norm + 1e-10 * Dot(target, target) ? start : x;
}

}  // namespace pykaldi
