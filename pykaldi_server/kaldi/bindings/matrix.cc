// Bindings of csrc/matrix.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "bindings/guarded.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/base/error.h"
#include "csrc/matrix/linear-cgd.h"
#include "csrc/matrix/packed-product.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any model's; the dimension must stay an int32.
constexpr int64_t kMaxDim = 1 << 24;

// Returns the elements of a vector for the outputs of a product; null if it was not given.
const float *OutputVector(const std::optional<py::array> &vector, const char *name, int64_t output_dim) {
  if (!vector.has_value()) return nullptr;
  const InputArray<float> array(*vector, name, {"output_dim"});
  if (array.Size() != output_dim) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(output_dim) +
                          " elements, found " + std::to_string(array.Size()));
  }
  return array.Data();
}

std::shared_ptr<PackedProduct> MakePackedProduct(const py::array &weight,
                                                 const std::optional<py::array> &bias, bool rectify,
                                                 const std::optional<py::array> &scale,
                                                 const std::optional<py::array> &offset,
                                                 const std::optional<std::string> &kernels) {
  const InputArray<float> matrix(weight, "weight", {"output_dim", "input_dim"});
  const int64_t output_dim = matrix.Shape(0), input_dim = matrix.Shape(1);
  if (output_dim < 1 || input_dim < 1 || output_dim > kMaxDim || input_dim > kMaxDim) {
    throw py::value_error("weight: expected 1 to " + std::to_string(kMaxDim) + " rows and columns, found " +
                          std::to_string(output_dim) + " x " + std::to_string(input_dim));
  }
  const ProductEpilogue epilogue{OutputVector(bias, "bias", output_dim), rectify,
                                 OutputVector(scale, "scale", output_dim),
                                 OutputVector(offset, "offset", output_dim)};
  const CpuKernels chosen = ChosenCpuKernels(kernels);
  const py::gil_scoped_release release;
  return std::make_shared<PackedProduct>(matrix.Data(), input_dim, static_cast<int32_t>(output_dim),
                                         static_cast<int32_t>(input_dim), epilogue, chosen);
}

void BindPackedProduct(py::module_ &m) {
  m.def(
      "available_cpu_kernels",
      [] {
        std::vector<std::string> names;
        for (const CpuKernels kernels : AvailableCpuKernels()) names.push_back(CpuKernelsName(kernels));
        return names;
      },
      "Returns the names of the kernels that this processor can run, the best ones last.");
  m.def(
      "default_cpu_kernels", [] { return std::string(CpuKernelsName(DefaultCpuKernels())); },
      "Returns the name of the kernels that models loaded from now on use.\n\n"
      "These are the ones that the environment variable PYKALDI_SERVER_KERNELS names, otherwise the best\n"
      "available ones.\n\n"
      "Raises:\n"
      "    ConfigError: the variable names kernels that this processor cannot run.");
  py::class_<PackedProduct, std::shared_ptr<PackedProduct>>(
      m, "PackedProduct",
      "Products with a constant matrix: y = scale * f(W x + bias) + offset for each row x, where f is\n"
      "max(., 0) or nothing; see `csrc/matrix/packed-product.h`. Threads may share it.")
      .def(py::init(&MakePackedProduct), py::arg("weight"), py::arg("bias") = py::none(),
           py::arg("rectify") = false, py::arg("scale") = py::none(), py::arg("offset") = py::none(),
           py::arg("kernels") = py::none(),
           "Copies W in the order of its use.\n\n"
           "Args:\n"
           "    weight: W, (output_dim, input_dim), float32.\n"
           "    bias, scale, offset: (output_dim,), float32; None means 0, 1 and 0.\n"
           "    rectify: whether f is max(., 0).\n"
           "    kernels: one of `available_cpu_kernels`; None means `default_cpu_kernels`.\n\n"
           "Raises:\n"
           "    ConfigError: this processor cannot run these kernels.\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: an array has another shape, or is not contiguous.")
      .def_property_readonly("input_dim", WithGil(&PackedProduct::InputDim), "Columns of x.")
      .def_property_readonly("output_dim", WithGil(&PackedProduct::OutputDim), "Columns of y.")
      .def_property_readonly(
          "kernels",
          [](const PackedProduct &product) { return std::string(CpuKernelsName(product.Kernels())); },
          "Name of the kernels that it uses.")
      .def(
          "multiply",
          [](const PackedProduct &product, const py::array &x) {
            const InputArray<float> rows(x, "x", {"rows", "input_dim"});
            if (rows.Shape(1) != product.InputDim()) {
              throw py::value_error("x: expected " + std::to_string(product.InputDim()) + " columns, found " +
                                    std::to_string(rows.Shape(1)));
            }
            const int64_t num_rows = rows.Shape(0), output_dim = product.OutputDim();
            py::array_t<float> y({num_rows, output_dim});
            float *data = y.mutable_data();
            {
              const py::gil_scoped_release release;
              product.Multiply(rows.Data(), product.InputDim(), num_rows, data, output_dim);
            }
            return y;
          },
          py::arg("x"),
          "Returns y, (rows, output_dim) float32, for x, (rows, input_dim) float32.\n\n"
          "Raises:\n"
          "    TypeError: x has another dtype.\n"
          "    ValueError: x has another shape, or is not contiguous.")
      .def(
          "multiply_spliced",
          [](const PackedProduct &product, const py::array &frames) {
            const InputArray<float> x(frames, "frames", {"frames", "dim"});
            const int64_t dim = x.Shape(1), window = dim > 0 ? product.InputDim() / dim : 0;
            if (window < 1 || window * dim != product.InputDim()) {
              throw py::value_error("frames: expected a dimension that divides " +
                                    std::to_string(product.InputDim()) + ", found " + std::to_string(dim));
            }
            const int64_t num_rows = std::max<int64_t>(0, x.Shape(0) - window + 1);
            const int64_t output_dim = product.OutputDim();
            py::array_t<float> y({num_rows, output_dim});
            float *data = y.mutable_data();
            {
              const py::gil_scoped_release release;
              product.Multiply(x.Data(), dim, num_rows, data, output_dim);
            }
            return y;
          },
          py::arg("frames"),
          "Returns y for the rows that consecutive frames make, each one frame later than the last.\n\n"
          "Args:\n"
          "    frames: (frames, dim), float32; `input_dim` is a multiple of dim.\n\n"
          "Returns:\n"
          "    (frames - input_dim / dim + 1, output_dim), float32; no rows if there are too few frames.\n\n"
          "Raises:\n"
          "    TypeError: the frames have another dtype.\n"
          "    ValueError: they have another shape, or are not contiguous.");
}

}  // namespace

void BindMatrix(py::module_ &m) {
  BindPackedProduct(m);
  m.def(
      "linear_cgd",
      [](const py::array &a, const py::array &b, const py::array &x, int32_t max_iters) {
        const InputArray<double> triangle(a, "a", {"dim (dim + 1) / 2"});
        const InputArray<double> target(b, "b", {"dim"}), start(x, "x", {"dim"});
        const int64_t dim = target.Size();
        if (dim > kMaxDim) {
          throw py::value_error("expected at most " + std::to_string(kMaxDim) + " elements, found " +
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
