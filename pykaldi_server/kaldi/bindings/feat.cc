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
#include "bindings/guarded.h"
#include "csrc/base/cpu-kernels.h"
#include "csrc/base/error.h"
#include "csrc/base/finite.h"
#include "csrc/feat/frame-buffer.h"
#include "csrc/feat/frame-computer.h"
#include "csrc/feat/online-cmvn.h"
#include "csrc/feat/pitch-viterbi.h"
#include "csrc/feat/plp-cepstra.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

// Far above any feature's; products of two sizes must stay small.
constexpr int64_t kMaxPlpSize = 1 << 14;
constexpr int32_t kMaxFrameDim = 1 << 20;
constexpr int64_t kMaxFrames = int64_t{1} << 40;

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

void CheckDim(int64_t dim) {
  if (dim >= 1 && dim <= kMaxFrameDim) return;
  throw py::value_error("dim: expected 1 to " + std::to_string(kMaxFrameDim) + ", found " +
                        std::to_string(dim));
}

// Takes frames of one dimension.
InputArray<float> Frames(const py::array &array, const char *name, int32_t dim) {
  const InputArray<float> frames(array, name, {"frames", "dim"});
  if (frames.Shape(1) == dim) return frames;
  throw py::value_error(std::string(name) + ": expected frames of dimension " + std::to_string(dim) +
                        ", found " + std::to_string(frames.Shape(1)));
}

void BindFrameBuffer(py::module_ &m) {
  // The methods copy a few frames and keep the GIL; who reads frames without it is guarded against.
  py::class_<FrameBuffer, std::shared_ptr<FrameBuffer>>(
      m, "FrameBuffer", "The newest frames of a stream of features; see `csrc/feat/frame-buffer.h`.")
      .def(
          py::init([](int32_t dim, std::optional<int64_t> history) {
            CheckDim(dim);
            if (history.has_value() && *history < 0) {
              throw py::value_error("history: expected at least 0 frames, found " + std::to_string(*history));
            }
            return std::make_shared<FrameBuffer>(dim, history);
          }),
          py::arg("dim"), py::arg("history") = py::none(),
          "Keeps at least ``history`` frames behind the newest one, and at most about twice as many; None\n"
          "keeps all.\n\n"
          "Raises:\n"
          "    ValueError: a number is out of range.")
      .def_property_readonly("end", WithGil(&FrameBuffer::End),
                             "Number of frames appended so far, including those dropped.")
      .def(
          "append",
          [](FrameBuffer &buffer, const py::array &array) {
            const InputArray<float> frames = Frames(array, "frames", buffer.Dim());
            const FrameBuffer::Use::Exclusive guard(buffer.Guard(), "the frame buffer");
            std::copy_n(frames.Data(), frames.Size(), buffer.Append(frames.Shape(0)));
          },
          py::arg("frames"),
          "Adds frames, (n, dim), float32, at the end.\n\n"
          "Raises:\n"
          "    DecoderError: another thread is using the buffer.\n"
          "    TypeError: the frames have another dtype.\n"
          "    ValueError: they have another shape, or are not contiguous.")
      .def(
          "get",
          [](const FrameBuffer &buffer, int64_t begin, int64_t end) {
            const FrameBuffer::Use::Shared guard(buffer.Guard(), "the frame buffer");
            const float *rows = buffer.Rows(begin, end);
            return CopyToArray({end - begin, static_cast<int64_t>(buffer.Dim())}, rows);
          },
          py::arg("begin"), py::arg("end"),
          "Returns a copy of the frames from ``begin`` up to, but not including, ``end``.\n\n"
          "Returns:\n"
          "    (end - begin, dim), float32.\n\n"
          "Raises:\n"
          "    DecoderError: another thread is changing the buffer.\n"
          "    IndexError: a frame is not kept.");
}

CmvnStats MakeStats(const std::optional<py::array> &stats, const char *name, int32_t dim) {
  if (!stats.has_value()) return {};
  const InputArray<double> array(*stats, name, {"2", "dim + 1"});
  if (array.Shape(0) != 2 || array.Shape(1) != dim + 1) {
    throw py::value_error(std::string(name) + ": expected statistics of shape (2, " +
                          std::to_string(dim + 1) + "), found (" + std::to_string(array.Shape(0)) + ", " +
                          std::to_string(array.Shape(1)) + ")");
  }
  return ToVector(array);
}

std::shared_ptr<OnlineCmvn> MakeOnlineCmvn(int32_t dim, int64_t window, int64_t speaker_frames,
                                           int64_t global_frames, bool normalize_mean,
                                           bool normalize_variance, const std::vector<int32_t> &skip_dims,
                                           const py::array &global_stats,
                                           const std::optional<py::array> &speaker_stats,
                                           const std::optional<py::array> &frozen_stats) {
  CheckDim(dim);
  if (window < 1 || speaker_frames < 0 || global_frames < 0) {
    throw ConfigError("CMVN: expected a window of at least 1 frame, filled up with at least 0, found " +
                      std::to_string(window) + ", " + std::to_string(speaker_frames) + " and " +
                      std::to_string(global_frames));
  }
  for (const int32_t skipped : skip_dims) {
    if (skipped >= 0 && skipped < dim) continue;
    throw ConfigError("skip-dims: expected dimensions below " + std::to_string(dim) + ", found " +
                      std::to_string(skipped));
  }
  CmvnPriors priors{MakeStats(speaker_stats, "speaker_stats", dim),
                    MakeStats(global_stats, "global_stats", dim),
                    MakeStats(frozen_stats, "frozen_stats", dim)};
  if (!(priors.global[dim] > 0)) {
    throw ConfigError("CMVN statistics: expected global statistics with a count above 0, found " +
                      std::to_string(priors.global[dim]));
  }
  return std::make_shared<OnlineCmvn>(
      dim,
      OnlineCmvnOptions{window, speaker_frames, global_frames, normalize_mean, normalize_variance, skip_dims},
      std::move(priors));
}

py::array_t<double> StatsArray(const CmvnStats &stats) {
  return CopyToArray({int64_t{2}, static_cast<int64_t>(stats.size()) / 2}, stats.data());
}

void BindOnlineCmvn(py::module_ &m) {
  // The methods take microseconds and keep the GIL, which protects the object.
  py::class_<OnlineCmvn, std::shared_ptr<OnlineCmvn>>(
      m, "OnlineCmvn",
      "Cepstral mean and variance normalisation; see `csrc/feat/online-cmvn.h`. Belongs to one stream.")
      .def(py::init(&MakeOnlineCmvn), py::arg("dim"), py::arg("window"), py::arg("speaker_frames"),
           py::arg("global_frames"), py::arg("normalize_mean"), py::arg("normalize_variance"),
           py::arg("skip_dims"), py::arg("global_stats"), py::arg("speaker_stats") = py::none(),
           py::arg("frozen_stats") = py::none(),
           "Starts a stream.\n\n"
           "Args:\n"
           "    dim: dimension of the frames.\n"
           "    window: frames in the sliding window.\n"
           "    speaker_frames: maximum number of frames from the speaker's statistics.\n"
           "    global_frames: maximum number of frames from the global statistics.\n"
           "    normalize_mean: subtract the mean.\n"
           "    normalize_variance: divide by the standard deviation as well.\n"
           "    skip_dims: dimensions to leave unchanged.\n"
           "    global_stats, speaker_stats, frozen_stats: (2, dim + 1), float64; None for none.\n\n"
           "Raises:\n"
           "    ConfigError: a number is out of range, or the global statistics have no frames.\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: an array has another shape, or is not contiguous.")
      .def_property_readonly("num_normalized", WithGil(&OnlineCmvn::NumNormalized),
                             "Number of frames normalised so far.")
      .def_property_readonly("num_counted", WithGil(&OnlineCmvn::NumCounted), "Number of frames in `total`.")
      .def(
          "leaving",
          [](const OnlineCmvn &cmvn, int64_t num_frames) {
            if (num_frames < 0 || num_frames > kMaxFrames) {
              throw py::value_error("num_frames: expected 0 to " + std::to_string(kMaxFrames) + ", found " +
                                    std::to_string(num_frames));
            }
            return py::make_tuple(cmvn.FirstLeaving(), cmvn.FirstLeaving() + cmvn.NumLeaving(num_frames));
          },
          py::arg("num_frames"),
          "Returns which frames leave the window when the next ones enter it: the first, and one past the\n"
          "last.")
      .def(
          "normalize",
          [](OnlineCmvn &cmvn, const py::array &entering, const py::array &leaving) {
            const InputArray<float> frames = Frames(entering, "frames", cmvn.Dim());
            const InputArray<float> left = Frames(leaving, "leaving", cmvn.Dim());
            const int64_t num_frames = frames.Shape(0), num_left = cmvn.NumLeaving(num_frames);
            if (left.Shape(0) != num_left) {
              throw py::value_error("leaving: expected " + std::to_string(num_left) + " frames, found " +
                                    std::to_string(left.Shape(0)));
            }
            py::array_t<float> normalized({num_frames, static_cast<int64_t>(cmvn.Dim())});
            cmvn.Normalize(frames.Data(), left.Data(), num_frames, normalized.mutable_data());
            return normalized;
          },
          py::arg("frames"), py::arg("leaving"),
          "Normalises the next frames.\n\n"
          "Args:\n"
          "    frames: (n, dim), float32.\n"
          "    leaving: the frames that `leaving` names for n frames, (m, dim), float32.\n\n"
          "Returns:\n"
          "    (n, dim), float32.\n\n"
          "Raises:\n"
          "    TypeError: an array has another dtype.\n"
          "    ValueError: an array has another shape, or is not contiguous.")
      .def(
          "apply_frozen",
          [](const OnlineCmvn &cmvn, const py::array &array) {
            const InputArray<float> frames = Frames(array, "frames", cmvn.Dim());
            if (cmvn.Frozen().empty()) {
              throw DecoderError("CMVN: expected frozen statistics, found none");
            }
            py::array_t<float> normalized({frames.Shape(0), static_cast<int64_t>(cmvn.Dim())});
            cmvn.ApplyFrozen(frames.Data(), frames.Shape(0), normalized.mutable_data());
            return normalized;
          },
          py::arg("frames"),
          "Normalises frames, (n, dim) float32, with the frozen statistics.\n\n"
          "Raises:\n"
          "    DecoderError: there are none.\n"
          "    TypeError: the array has another dtype.\n"
          "    ValueError: it has another shape, or is not contiguous.")
      .def(
          "freeze",
          [](OnlineCmvn &cmvn, const py::array &array) {
            const InputArray<float> frames = Frames(array, "frames", cmvn.Dim());
            cmvn.Freeze(frames.Data(), frames.Shape(0));
          },
          py::arg("frames"),
          "Freezes the statistics as they are at the end of a window of frames, (n, dim) float32.\n\n"
          "Raises:\n"
          "    TypeError: the array has another dtype.\n"
          "    ValueError: it has another shape, or is not contiguous.")
      .def(
          "count",
          [](OnlineCmvn &cmvn, const py::array &array) {
            const InputArray<float> frames = Frames(array, "frames", cmvn.Dim());
            cmvn.Count(frames.Data(), frames.Shape(0));
          },
          py::arg("frames"),
          "Adds the frames after the first `num_counted`, (n, dim) float32, to `total`.\n\n"
          "Raises:\n"
          "    TypeError: the array has another dtype.\n"
          "    ValueError: it has another shape, or is not contiguous.")
      .def_property_readonly(
          "total", [](const OnlineCmvn &cmvn) { return StatsArray(cmvn.Total()); },
          "Sums over the first `num_counted` frames of the stream, (2, dim + 1), float64.")
      .def_property_readonly(
          "frozen",
          [](const OnlineCmvn &cmvn) -> std::optional<py::array_t<double>> {
            if (cmvn.Frozen().empty()) return std::nullopt;
            return StatsArray(cmvn.Frozen());
          },
          "The frozen statistics, (2, dim + 1), float64; None if there are none.");
}

}  // namespace

void BindFeat(py::module_ &m) {
  BindFrameBuffer(m);
  BindOnlineCmvn(m);
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
