// Bindings of csrc/ivector.
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/ivector/ivector-stats.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any model's; the dimensions must stay an int32.
constexpr int64_t kMaxDim = 1 << 24;

auto AccStats(const py::array &features, const py::array &posteriors, const py::array &linear,
              const py::array &quadratic, const py::array &linear_term, const py::array &quadratic_term,
              const std::optional<std::string> &kernels) {
  const InputArray<float> frames(features, "features", {"frames", "feat_dim"});
  const InputArray<float> weights(posteriors, "posteriors", {"frames", "num_gauss"});
  const InputArray<double> a(linear, "linear", {"num_gauss", "feat_dim", "ivector_dim"});
  const InputArray<double> u(quadratic, "quadratic", {"num_gauss", "triangle"});
  const InputArray<double> l(linear_term, "linear_term", {"ivector_dim"});
  const InputArray<double> q(quadratic_term, "quadratic_term", {"triangle"});
  const int64_t num_gauss = a.Shape(0), feat_dim = a.Shape(1), ivector_dim = a.Shape(2);
  if (num_gauss > kMaxDim || feat_dim > kMaxDim || ivector_dim > kMaxDim) {
    throw py::value_error("linear: expected at most " + std::to_string(kMaxDim) + " elements on each axis");
  }
  IvectorExtractorView extractor{a.Data(), u.Data(), static_cast<int32_t>(num_gauss),
                                 static_cast<int32_t>(feat_dim), static_cast<int32_t>(ivector_dim)};
  if (frames.Shape(1) != feat_dim || weights.Shape(0) != frames.Shape(0) || weights.Shape(1) != num_gauss ||
      u.Shape(0) != num_gauss || u.Shape(1) != extractor.Triangle() || l.Size() != ivector_dim ||
      q.Size() != extractor.Triangle()) {
    throw py::value_error(
        "expected features of " + std::to_string(feat_dim) + ", posteriors and terms for " +
        std::to_string(num_gauss) + " Gaussians and i-vectors of " + std::to_string(ivector_dim) +
        ", found features of " + std::to_string(frames.Shape(1)) + " in " + std::to_string(frames.Shape(0)) +
        " frames, posteriors of " + std::to_string(weights.Shape(0)) + " frames, terms for " +
        std::to_string(u.Shape(0)) + " Gaussians and i-vectors of " + std::to_string(l.Size()));
  }
  const CpuKernels chosen = ChosenCpuKernels(kernels);
  py::array_t<double> new_linear = CopyToArray({l.Size()}, l.Data());
  py::array_t<double> new_quadratic = CopyToArray({q.Size()}, q.Data());
  double *linear_out = new_linear.mutable_data(), *quadratic_out = new_quadratic.mutable_data();
  double num_frames;
  {
    const py::gil_scoped_release release;
    num_frames = AccIvectorStats(extractor, frames.Data(), weights.Data(), frames.Shape(0), linear_out,
                                 quadratic_out, chosen);
  }
  return py::make_tuple(new_linear, new_quadratic, num_frames);
}

}  // namespace

void BindIvector(py::module_ &m) {
  m.def("acc_ivector_stats", &AccStats, py::arg("features"), py::arg("posteriors"), py::arg("linear"),
        py::arg("quadratic"), py::arg("linear_term"), py::arg("quadratic_term"),
        py::arg("kernels") = py::none(),
        "Adds a block of frames to the statistics of an i-vector; see `csrc/ivector/ivector-stats.h`.\n\n"
        "Args:\n"
        "    features: (frames, feat_dim), float32.\n"
        "    posteriors: scaled and weighted, (frames, num_gauss), float32.\n"
        "    linear: A_g, (num_gauss, feat_dim, ivector_dim), float64.\n"
        "    quadratic: lower triangles of U_g, (num_gauss, ivector_dim (ivector_dim + 1) / 2), float64.\n"
        "    linear_term: l so far, (ivector_dim,), float64.\n"
        "    quadratic_term: lower triangle of Q so far, float64.\n"
        "    kernels: one of `available_cpu_kernels`; None means `default_cpu_kernels`.\n\n"
        "Returns:\n"
        "    The new l, the new Q, and the sum of the posteriors.\n\n"
        "Raises:\n"
        "    DecoderError: a sum is not finite.\n"
        "    TypeError: an array has another dtype.\n"
        "    ValueError: the shapes do not fit each other, or an array is not contiguous.");
}

}  // namespace pykaldi
