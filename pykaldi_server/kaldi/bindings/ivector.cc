// Bindings of csrc/ivector.
#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/base/error.h"
#include "csrc/base/finite.h"
#include "csrc/gmm/gaussian-posteriors.h"
#include "csrc/ivector/ivector-stats.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any model's; the dimensions must stay an int32.
constexpr int64_t kMaxDim = 1 << 24;

void CheckFinite(const double *sums, int64_t size) {
  if (AllFinite(sums, size)) return;
  int64_t i = 0;
  while (std::isfinite(sums[i])) ++i;
  throw DecoderError("i-vector statistics: expected finite sums, found " + std::to_string(sums[i]) + " at [" +
                     std::to_string(i) + "]");
}

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
  py::array_t<double> new_linear(l.Size(), l.Data()), new_quadratic(q.Size(), q.Data());
  double *linear_out = new_linear.mutable_data(), *quadratic_out = new_quadratic.mutable_data();
  double num_frames;
  {
    const py::gil_scoped_release release;
    num_frames = AccIvectorStats(extractor, frames.Data(), weights.Data(), frames.Shape(0), linear_out,
                                 quadratic_out, chosen);
    CheckFinite(linear_out, l.Size());
    CheckFinite(quadratic_out, q.Size());
  }
  return py::make_tuple(new_linear, new_quadratic, num_frames);
}

auto AccWeighted(const GaussianPosteriors &gaussians, const py::array &selecting, const py::array &features,
                 const py::array &weights, int32_t num_gselect, float min_post, float posterior_scale,
                 const py::array &linear, const py::array &quadratic, const py::array &linear_term,
                 const py::array &quadratic_term, const std::optional<std::string> &kernels) {
  const InputArray<float> selected_by(selecting, "selecting", {"frames", "feat_dim"});
  const InputArray<float> frames(features, "features", {"frames", "feat_dim"});
  const InputArray<float> factors(weights, "weights", {"frames"});
  const InputArray<double> a(linear, "linear", {"num_gauss", "feat_dim", "ivector_dim"});
  const InputArray<double> u(quadratic, "quadratic", {"num_gauss", "triangle"});
  const InputArray<double> l(linear_term, "linear_term", {"ivector_dim"});
  const InputArray<double> q(quadratic_term, "quadratic_term", {"triangle"});
  const int64_t num_frames = factors.Size(), num_gauss = a.Shape(0), feat_dim = a.Shape(1);
  if (num_gselect < 1) {
    throw py::value_error("num_gselect: expected at least 1, found " + std::to_string(num_gselect));
  }
  if (num_gauss != gaussians.NumGauss() || feat_dim != gaussians.Dim() || a.Shape(2) > kMaxDim) {
    throw py::value_error("linear: expected terms of " + std::to_string(gaussians.NumGauss()) +
                          " Gaussians and features of " + std::to_string(gaussians.Dim()) + ", found " +
                          std::to_string(num_gauss) + " and " + std::to_string(feat_dim) +
                          " for i-vectors of " + std::to_string(a.Shape(2)));
  }
  const IvectorExtractorView extractor{a.Data(), u.Data(), static_cast<int32_t>(num_gauss),
                                       static_cast<int32_t>(feat_dim), static_cast<int32_t>(a.Shape(2))};
  if (u.Shape(0) != num_gauss || u.Shape(1) != extractor.Triangle() || l.Size() != a.Shape(2) ||
      q.Size() != extractor.Triangle()) {
    throw py::value_error("expected terms for " + std::to_string(num_gauss) + " Gaussians and i-vectors of " +
                          std::to_string(a.Shape(2)) + ", found terms for " + std::to_string(u.Shape(0)) +
                          " Gaussians and i-vectors of " + std::to_string(l.Size()));
  }
  for (const auto *block : {&selected_by, &frames}) {
    if (block->Shape(0) != num_frames || block->Shape(1) != feat_dim) {
      throw py::value_error("expected " + std::to_string(num_frames) + " frames of " +
                            std::to_string(feat_dim) + ", one for each weight, found " +
                            std::to_string(block->Shape(0)) + " of " + std::to_string(block->Shape(1)));
    }
  }
  const CpuKernels chosen = ChosenCpuKernels(kernels);
  const WeightedFrames block{selected_by.Data(), frames.Data(), factors.Data(), num_frames};
  const WeightedFramesOptions opts{num_gselect, min_post, posterior_scale};
  py::array_t<double> new_linear(l.Size(), l.Data()), new_quadratic(q.Size(), q.Data());
  double *linear_out = new_linear.mutable_data(), *quadratic_out = new_quadratic.mutable_data();
  double total;
  {
    const py::gil_scoped_release release;
    total = AccWeightedFrames(extractor, gaussians, block, opts, linear_out, quadratic_out, chosen);
    CheckFinite(linear_out, l.Size());
    CheckFinite(quadratic_out, q.Size());
  }
  return py::make_tuple(new_linear, new_quadratic, total);
}

}  // namespace

void BindIvector(py::module_ &m) {
  m.def("acc_weighted_frames", &AccWeighted, py::arg("gaussians"), py::arg("selecting"), py::arg("features"),
        py::arg("weights"), py::arg("num_gselect"), py::arg("min_post"), py::arg("posterior_scale"),
        py::arg("linear"), py::arg("quadratic"), py::arg("linear_term"), py::arg("quadratic_term"),
        py::arg("kernels") = py::none(),
        "Computes the posteriors of a block of frames and adds it, as `acc_ivector_stats` does.\n\n"
        "Args:\n"
        "    gaussians: they have the posteriors.\n"
        "    selecting: what posteriors are computed from, (frames, feat_dim), float32.\n"
        "    features: what is added, (frames, feat_dim), float32.\n"
        "    weights: those of the frames, (frames,), float32; negative ones take frames away again.\n"
        "    num_gselect: maximum number of Gaussians per frame.\n"
        "    min_post: posteriors below it, divided by the frame's weight, are dropped; at most 0.99.\n"
        "    posterior_scale: factor of all posteriors.\n"
        "    linear, quadratic, linear_term, quadratic_term, kernels: as for `acc_ivector_stats`.\n\n"
        "Returns:\n"
        "    The new l, the new Q, and the sum of the scaled and weighted posteriors.\n\n"
        "Raises:\n"
        "    DecoderError: a sum is not finite.\n"
        "    TypeError: an array has another dtype.\n"
        "    ValueError: the shapes do not fit each other, or an array is not contiguous.");
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
