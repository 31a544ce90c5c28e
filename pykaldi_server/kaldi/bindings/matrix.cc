// Bindings of csrc/matrix.
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/matrix/linear-cgd.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any model's; the dimension must stay an int32.
constexpr int64_t kMaxCgdDim = 1 << 24;

}  // namespace

void BindMatrix(py::module_ &m) {
  m.def(
      "linear_cgd",
      [](const py::array &a, const py::array &b, const py::array &x, int32_t max_iters) {
        const InputArray<double> triangle(a, "a", {"dim (dim + 1) / 2"});
        const InputArray<double> target(b, "b", {"dim"}), start(x, "x", {"dim"});
        const int64_t dim = target.Size();
        if (dim > kMaxCgdDim) {
          throw py::value_error("expected at most " + std::to_string(kMaxCgdDim) + " elements, found " +
                                std::to_string(dim));
        }
        if (triangle.Size() != dim * (dim + 1) / 2 || start.Size() != dim) {
          throw py::value_error("expected a triangle of " + std::to_string(dim * (dim + 1) / 2) +
                                " and a start of " + std::to_string(dim) + " elements, found " +
                                std::to_string(triangle.Size()) + " and " + std::to_string(start.Size()));
        }
        return ToArray(
            LinearCgd(triangle.Data(), target.Data(), start.Data(), static_cast<int32_t>(dim), max_iters));
      },
      py::arg("a"), py::arg("b"), py::arg("x"), py::arg("max_iters"),
      "Takes steps of conjugate gradient towards A x = b; see `csrc/matrix/linear-cgd.h`.\n\n"
      "Args:\n"
      "    a: lower triangle of A by rows, (dim (dim + 1) / 2,), float64.\n"
      "    b: right-hand side, (dim,), float64.\n"
      "    x: where to start, (dim,), float64.\n"
      "    max_iters: maximum number of steps.\n\n"
      "Returns:\n"
      "    (dim,), float64.\n\n"
      "Raises:\n"
      "    TypeError: an array has another dtype.\n"
      "    ValueError: an array has another shape, or is not contiguous.");
}

}  // namespace pykaldi
