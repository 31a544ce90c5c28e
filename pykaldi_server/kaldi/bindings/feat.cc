// Bindings of csrc/feat.
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/base/finite.h"
#include "csrc/feat/frame-computer.h"
#include "csrc/feat/pitch-viterbi.h"
#include "csrc/feat/plp-cepstra.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any feature's; products of two sizes must stay small.
constexpr int64_t kMaxPlpSize = 1 << 14;

template <class T>
std::vector<T> ToVector(const InputArray<T> &array) {
  return std::vector<T>(array.Data(), array.Data() + array.Size());
}

std::shared_ptr<FrameComputer> MakeFrameComputer(const py::array &window, int32_t padded_size,
                                                 int32_t frame_shift, bool remove_dc_offset,
                                                 float preemph_coeff, bool raw_energy, bool use_power,
                                                 const py::array &filter_begins, const py::array &filter_ends,
                                                 const py::array &filter_weights, bool use_log,
                                                 const std::optional<py::array> &transform,
                                                 const std::optional<std::string> &kernels) {
  SpectrumOptions spectrum;
  spectrum.window = ToVector(InputArray<float>(window, "window", {"samples"}));
  spectrum.padded_size = padded_size;
  spectrum.frame_shift = frame_shift;
  spectrum.remove_dc_offset = remove_dc_offset;
  spectrum.preemph_coeff = preemph_coeff;
  spectrum.raw_energy = raw_energy;
  spectrum.use_power = use_power;
  MelFilters filters;
  filters.begins = ToVector(InputArray<int32_t>(filter_begins, "filter_begins", {"filters"}));
  filters.ends = ToVector(InputArray<int32_t>(filter_ends, "filter_ends", {"filters"}));
  filters.weights = ToVector(InputArray<float>(filter_weights, "filter_weights", {"weights"}));
  std::vector<float> matrix;
  if (transform.has_value()) {
    const InputArray<float> array(*transform, "transform", {"dim", "filters"});
    if (array.Shape(0) < 1 || array.Shape(1) != static_cast<int64_t>(filters.begins.size())) {
      throw py::value_error("transform: expected rows of " + std::to_string(filters.begins.size()) +
                            ", found a matrix of " + std::to_string(array.Shape(0)) + " x " +
                            std::to_string(array.Shape(1)));
    }
    matrix = ToVector(array);
  }
  const CpuKernels chosen = ChosenCpuKernels(kernels);
  return std::make_shared<FrameComputer>(std::move(spectrum), std::move(filters), use_log, std::move(matrix),
                                         chosen);
}

void BindFrameComputer(py::module_ &m) {
  py::class_<FrameComputer, std::shared_ptr<FrameComputer>>(
      m, "FrameComputer",
      "Mel filter-bank energies and cepstra of blocks of windows; see `csrc/feat/frame-computer.h`.\n\n"
      "Immutable; any number of threads may use it at once.")
      .def(py::init(&MakeFrameComputer), py::arg("window"), py::arg("padded_size"), py::arg("frame_shift"),
           py::arg("remove_dc_offset"), py::arg("preemph_coeff"), py::arg("raw_energy"), py::arg("use_power"),
           py::arg("filter_begins"), py::arg("filter_ends"), py::arg("filter_weights"), py::arg("use_log"),
           py::arg("transform") = py::none(), py::arg("kernels") = py::none(),
           "Takes the constants of all windows.\n\n"
           "Args:\n"
           "    window: the window function, (samples,), float32.\n"
           "    padded_size: samples of a window with the zeros that follow; even.\n"
           "    frame_shift: samples from one window to the next.\n"
           "    remove_dc_offset: subtract the mean of each window.\n"
           "    preemph_coeff: part of the previous sample that is subtracted from each.\n"
           "    raw_energy: energies are those before pre-emphasis and window function, not after.\n"
           "    use_power: filter powers, not magnitudes.\n"
           "    filter_begins: first bin of each filter, (filters,), int32.\n"
           "    filter_ends: bin after the last one of each filter, (filters,), int32.\n"
           "    filter_weights: of the bins of the first filter, then of the second, ..., float32.\n"
           "    use_log: take logarithms of the outputs of the filters.\n"
           "    transform: multiplied by these, (dim, filters), float32; None for no transform.\n"
           "    kernels: instructions to use, one of `available_cpu_kernels`; None for the default.\n\n"
           "Raises:\n"
           "    ConfigError: sizes do not fit each other, or a prime factor of the padded size is above\n"
           "        4096.\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: an array has another shape, or is not contiguous.")
      .def_property_readonly(
          "dim", [](const FrameComputer &computer) { return computer.Dim(); }, "Dimension of the features.")
      .def(
          "compute",
          [](const FrameComputer &computer, const py::array &samples, int64_t num_frames) {
            const InputArray<float> wave(samples, "samples", {"samples"});
            if (num_frames < 0 || num_frames > wave.Size() || computer.NumSamples(num_frames) > wave.Size()) {
              throw py::value_error("samples: expected enough for " + std::to_string(num_frames) +
                                    " frames, found " + std::to_string(wave.Size()));
            }
            py::array_t<float> features({num_frames, static_cast<int64_t>(computer.Dim())});
            py::array_t<float> energies(num_frames);
            float *features_out = features.mutable_data(), *energies_out = energies.mutable_data();
            bool is_finite;
            {
              py::gil_scoped_release release;
              is_finite = computer.Compute(wave.Data(), num_frames, features_out, energies_out);
            }
            if (!is_finite) {
              throw py::value_error(
                  "expected samples in the range of 16-bit integers, found some whose energies overflow");
            }
            return py::make_tuple(features, energies);
          },
          py::arg("samples"), py::arg("num_frames"),
          "Computes the windows that begin at samples 0, frame_shift, 2 frame_shift, ...\n\n"
          "Args:\n"
          "    samples: (samples,), float32, in the range of 16-bit integers; as many as the windows cover,\n"
          "        or more.\n"
          "    num_frames: number of windows.\n\n"
          "Returns:\n"
          "    The features, (num_frames, dim), float32, and the energies (not their logarithms),\n"
          "    (num_frames,), float32.\n\n"
          "Raises:\n"
          "    TypeError: the samples have another dtype.\n"
          "    ValueError: there are too few samples, or energies are not finite.");
}

py::array_t<float> PlpCepstra(const py::array &mel_energies, const py::array &equal_loudness,
                              float compress_factor, const py::array &idft_bases) {
  const InputArray<float> mel(mel_energies, "mel_energies", {"frames", "filters"});
  const InputArray<float> loudness(equal_loudness, "equal_loudness", {"filters"});
  const InputArray<float> bases(idft_bases, "idft_bases", {"lags", "filters + 2"});
  const int64_t num_frames = mel.Shape(0), num_filters = loudness.Size(), num_lags = bases.Shape(0);
  if (num_filters < 1 || mel.Shape(1) != num_filters || bases.Shape(1) != num_filters + 2 || num_lags < 1 ||
      num_filters > kMaxPlpSize || num_lags > kMaxPlpSize) {
    throw py::value_error("expected energies of the same 1 to " + std::to_string(kMaxPlpSize) +
                          " filters, and as many lags of two more, found " + std::to_string(mel.Shape(1)) +
                          " and " + std::to_string(num_filters) + " filters, and " +
                          std::to_string(num_lags) + " x " + std::to_string(bases.Shape(1)) + " bases");
  }
  py::array_t<float> cepstra({num_frames, num_lags});
  float *out = cepstra.mutable_data();
  py::gil_scoped_release release;
  ComputePlpCepstra(mel.Data(), num_frames, static_cast<int32_t>(num_filters), loudness.Data(),
                    compress_factor, bases.Data(), static_cast<int32_t>(num_lags - 1), out);
  return cepstra;
}

}  // namespace

void BindFeat(py::module_ &m) {
  m.def(
      "all_finite",
      [](const py::array &samples) {
        const InputArray<float> values(samples, "samples", {"samples"});
        return AllFinite(values.Data(), values.Size());
      },
      py::arg("samples"),
      "Says whether no sample is NaN or infinite.\n\n"
      "Args:\n"
      "    samples: (samples,), float32.\n\n"
      "Raises:\n"
      "    TypeError: the samples have another dtype.\n"
      "    ValueError: they have another shape, or are not contiguous.");
  BindFrameComputer(m);
  m.def("plp_cepstra", &PlpCepstra, py::arg("mel_energies"), py::arg("equal_loudness"),
        py::arg("compress_factor"), py::arg("idft_bases"),
        "Computes cepstra of perceptual linear prediction; see `csrc/feat/plp-cepstra.h`.\n\n"
        "Args:\n"
        "    mel_energies: (frames, filters), float32.\n"
        "    equal_loudness: the ear's sensitivity at each filter, (filters,), float32.\n"
        "    compress_factor: exponent that converts intensity to loudness.\n"
        "    idft_bases: turn a spectrum into its autocorrelation, (order + 1, filters + 2), float32.\n\n"
        "Returns:\n"
        "    The logarithm of the energy that is not predicted, and the cepstrum, (frames, order + 1),\n"
        "    float32.\n\n"
        "Raises:\n"
        "    TypeError: an array has another dtype.\n"
        "    ValueError: the shapes do not fit each other, or an array is not contiguous.");
  m.def(
      "pitch_viterbi",
      [](const py::array &local_cost, float factor, const py::array &forward_cost) {
        const InputArray<float> local(local_cost, "local_cost", {"frames", "states"});
        const InputArray<float> forward(forward_cost, "forward_cost", {"states"});
        const int64_t num_frames = local.Shape(0), num_states = forward.Size();
        if (local.Shape(1) != num_states || num_states == 0 ||
            num_states > std::numeric_limits<int16_t>::max() ||
            num_frames > std::numeric_limits<int32_t>::max()) {
          throw py::value_error("expected costs of the same 1 to 32767 states, found " +
                                std::to_string(local.Shape(1)) + " and " + std::to_string(num_states) +
                                ", of " + std::to_string(num_frames) + " frames");
        }
        py::array_t<int16_t> backpointers({num_frames, num_states});
        py::array_t<float> next_cost(num_states);
        std::copy_n(forward.Data(), num_states, next_cost.mutable_data());
        int16_t *backpointers_out = backpointers.mutable_data();
        float *cost_out = next_cost.mutable_data();
        {
          py::gil_scoped_release release;
          PitchViterbi(local.Data(), static_cast<int32_t>(num_frames), static_cast<int32_t>(num_states),
                       factor, cost_out, backpointers_out);
        }
        return py::make_tuple(backpointers, next_cost);
      },
      py::arg("local_cost"), py::arg("factor"), py::arg("forward_cost"),
      "Extends the search for the pitch by some frames; see `csrc/feat/pitch-viterbi.h`.\n\n"
      "Args:\n"
      "    local_cost: (frames, states), float32.\n"
      "    factor: cost of a step to the next state.\n"
      "    forward_cost: of the last frame so far, (states,), float32.\n\n"
      "Returns:\n"
      "    The best predecessors, (frames, states), int16, and the forward cost of the new last frame,\n"
      "    (states,), float32, whose lowest element is 0.\n\n"
      "Raises:\n"
      "    TypeError: an array has another dtype.\n"
      "    ValueError: the shapes do not fit each other, or an array is not contiguous.");
}

}  // namespace pykaldi
