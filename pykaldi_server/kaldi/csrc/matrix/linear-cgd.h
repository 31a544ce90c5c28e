// Conjugate gradient for A x = b with A symmetric and positive definite.
//
// Kaldi takes a fixed number of steps from a given start and calls the result the solution; an i-vector is
// what these steps give, not the exact solution. Per step, with residual r = A x - b and direction p:
//
//     alpha = -p.r / p.A p,   x += alpha p,   r += alpha A p,   p = -r + (|r|^2 / |r_old|^2) p
//
// The residual is computed afresh when its norm has changed by a factor of 100, which keeps rounding small.
// Source: LinearCgd in Kaldi's matrix/optimization.cc.
#ifndef PYKALDI_SERVER_MATRIX_LINEAR_CGD_H_
#define PYKALDI_SERVER_MATRIX_LINEAR_CGD_H_

#include <cstdint>
#include <vector>

namespace pykaldi {

// Takes up to `max_iters` steps from `x` and returns where they lead.
//   a: lower triangle of A by rows, dim (dim + 1) / 2 elements.
//   b: right-hand side, dim elements.
// Returns `x` itself where rounding has made things worse.
std::vector<double> LinearCgd(const double *a, const double *b, const double *x, int32_t dim,
                              int32_t max_iters);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_MATRIX_LINEAR_CGD_H_
