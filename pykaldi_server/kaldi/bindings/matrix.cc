#include <pybind11/numpy.h>

#include <string>

#include "bindings/bindings.h"
#include "csrc/matrix/linear-cgd.h"

namespace py = pybind11;

namespace pykaldi {

using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;

void BindMatrix(py::module_ &m) {
  m.def(
      "linear_cgd",
      [](const Doubles &a, const Doubles &b, const Doubles &x, int32_t max_iters) {
        const py::ssize_t dim = b.size();
        if (a.size() != dim * (dim + 1) / 2 || x.size() != dim) {
          throw py::value_error("expected a triangle of " + std::to_string(dim * (dim + 1) / 2) +
                                " and a start of " + std::to_string(dim) + " elements, found " +
                                std::to_string(a.size()) + " and " + std::to_string(x.size()));
        }
        const std::vector<double> solution =
            LinearCgd(a.data(), b.data(), x.data(), static_cast<int32_t>(dim), max_iters);
        return py::array_t<double>(dim, solution.data());
      },
      py::arg("a"), py::arg("b"), py::arg("x"), py::arg("max_iters"),
      "Takes steps of conjugate gradient towards A x = b; see `csrc/matrix/linear-cgd.h`.\n\n"
      "Args:\n"
      "    a: lower triangle of A by rows, (dim (dim + 1) / 2,), float64.\n"
      "    b: right-hand side, (dim,), float64.\n"
      "    x: where to start, (dim,), float64.\n"
      "    max_iters: number of steps at most.\n\n"
      "Returns:\n"
      "    (dim,), float64.");
}

}  // namespace pykaldi
