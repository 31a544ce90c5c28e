// Bindings of csrc/gmm.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/gmm/gaussian-posteriors.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any model's; the dimensions and their double must stay an int32.
constexpr int64_t kMaxDim = 1 << 24;

std::shared_ptr<GaussianPosteriors> MakeGaussianPosteriors(const py::array &means_invvars,
                                                           const py::array &inv_vars,
                                                           const py::array &gconsts,
                                                           const std::optional<std::string> &kernels) {
  const InputArray<float> means(means_invvars, "means_invvars", {"num_gauss", "dim"});
  const InputArray<float> variances(inv_vars, "inv_vars", {"num_gauss", "dim"});
  const InputArray<float> constants(gconsts, "gconsts", {"num_gauss"});
  const int64_t num_gauss = means.Shape(0), dim = means.Shape(1);
  if (num_gauss < 1 || dim < 1 || num_gauss > kMaxDim || dim > kMaxDim || variances.Shape(0) != num_gauss ||
      variances.Shape(1) != dim || constants.Size() != num_gauss) {
    throw py::value_error("expected means, variances and constants of the same Gaussians, found " +
                          std::to_string(num_gauss) + " x " + std::to_string(dim) + ", " +
                          std::to_string(variances.Shape(0)) + " x " + std::to_string(variances.Shape(1)) +
                          " and " + std::to_string(constants.Size()));
  }
  const CpuKernels chosen = ChosenCpuKernels(kernels);
  return std::make_shared<GaussianPosteriors>(means.Data(), variances.Data(), constants.Data(),
                                              static_cast<int32_t>(num_gauss), static_cast<int32_t>(dim),
                                              chosen);
}

py::array_t<float> Compute(const GaussianPosteriors &gaussians, const py::array &features,
                           int32_t num_gselect, const py::array &min_post) {
  const InputArray<float> frames(features, "features", {"frames", "dim"});
  const InputArray<float> thresholds(min_post, "min_post", {"frames"});
  const int64_t num_frames = frames.Shape(0);
  if (frames.Shape(1) != gaussians.Dim() || thresholds.Size() != num_frames) {
    throw py::value_error("expected frames of dimension " + std::to_string(gaussians.Dim()) +
                          " and a threshold for each, found " + std::to_string(num_frames) + " x " +
                          std::to_string(frames.Shape(1)) + " and " + std::to_string(thresholds.Size()));
  }
  if (num_gselect < 1) {
    throw py::value_error("num_gselect: expected at least 1, found " + std::to_string(num_gselect));
  }
  py::array_t<float> posteriors({num_frames, static_cast<int64_t>(gaussians.NumGauss())});
  float *out = posteriors.mutable_data();
  {
    const py::gil_scoped_release release;
    gaussians.Compute(frames.Data(), num_frames, num_gselect, thresholds.Data(), out);
  }
  return posteriors;
}

}  // namespace

void BindGmm(py::module_ &m) {
  py::class_<GaussianPosteriors, std::shared_ptr<GaussianPosteriors>>(
      m, "GaussianPosteriors",
      "Posteriors of the best Gaussians of a diagonal mixture; see `csrc/gmm/gaussian-posteriors.h`.\n\n"
      "Immutable; any number of threads may use it at once.")
      .def(py::init(&MakeGaussianPosteriors), py::arg("means_invvars"), py::arg("inv_vars"),
           py::arg("gconsts"), py::arg("kernels") = py::none(),
           "Copies the parameters of a mixture.\n\n"
           "Args:\n"
           "    means_invvars: means divided by variances, (num_gauss, dim), float32.\n"
           "    inv_vars: reciprocals of the variances, (num_gauss, dim), float32.\n"
           "    gconsts: constant parts of the log-likelihoods, (num_gauss,), float32.\n"
           "    kernels: one of `available_cpu_kernels`; None means `default_cpu_kernels`.\n\n"
           "Raises:\n"
           "    ConfigError: this processor cannot run these kernels.\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: the shapes do not fit each other, or an array is not contiguous.")
      .def("compute", &Compute, py::arg("features"), py::arg("num_gselect"), py::arg("min_post"),
           "Computes the posteriors of a block of frames.\n\n"
           "Args:\n"
           "    features: (frames, dim), float32.\n"
           "    num_gselect: maximum number of Gaussians to keep per frame.\n"
           "    min_post: posteriors below it are dropped, except for the best one, (frames,), float32.\n\n"
           "Returns:\n"
           "    (frames, num_gauss), float32. Rows sum to 1; they are NaN where log-likelihoods are not "
           "finite.\n\n"
           "Raises:\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: the shapes do not fit each other, or an array is not contiguous.");
}

}  // namespace pykaldi
