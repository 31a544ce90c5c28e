// Bindings of csrc/online2.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/online2/frame-weights.h"
#include "csrc/online2/online-ivector-feature.h"
#include "csrc/online2/silence-weighting.h"

namespace py = pybind11;

namespace pykaldi {
namespace {

std::unique_ptr<SilenceWeighting> MakeSilenceWeighting(const py::array &is_silence, float silence_weight,
                                                       float max_state_duration, int32_t subsampling) {
  const InputArray<bool> flags(is_silence, "is_silence", {"transition_ids"});
  SilenceWeightingOptions opts;
  opts.silence_weight = silence_weight;
  opts.max_state_duration = max_state_duration;
  opts.subsampling = subsampling;
  return std::make_unique<SilenceWeighting>(std::vector<uint8_t>(flags.Data(), flags.Data() + flags.Size()),
                                            opts);
}

void BindFrameWeights(py::module_ &m) {
  // The methods take microseconds and keep the GIL, which protects the object.
  py::class_<FrameWeights>(
      m, "FrameWeights",
      "Changes of frame weights that have not been used yet; see `csrc/online2/frame-weights.h`.\n\n"
      "Belongs to one stream.")
      .def(py::init(), "Starts without any.")
      .def(
          "add",
          [](FrameWeights &weights, const py::array &frames, const py::array &deltas) {
            const InputArray<int64_t> numbers(frames, "frames", {"changes"});
            const InputArray<float> changes(deltas, "deltas", {"changes"});
            if (numbers.Size() != changes.Size()) {
              throw py::value_error("expected a frame for each change, found " +
                                    std::to_string(numbers.Size()) + " frames and " +
                                    std::to_string(changes.Size()) + " changes");
            }
            weights.Add(numbers.Data(), changes.Data(), numbers.Size());
          },
          py::arg("frames"), py::arg("deltas"),
          "Adds changes.\n\n"
          "Args:\n"
          "    frames: numbers of frames in any order, maybe repeated, (changes,), int64.\n"
          "    deltas: what their weights change by, (changes,), float32.\n\n"
          "Raises:\n"
          "    TypeError: an array has another dtype.\n"
          "    ValueError: the shapes do not fit each other, or an array is not contiguous.")
      .def(
          "take",
          [](FrameWeights &weights, int64_t end) {
            const DeltaWeights taken = weights.Take(end);
            return py::make_tuple(ToArray(taken.frames), ToArray(taken.deltas));
          },
          py::arg("end"),
          "Removes the changes of the frames before ``end``.\n\n"
          "Returns:\n"
          "    These frames in ascending order, (n,), int64, and the sums of their changes, (n,), float32,\n"
          "    none of which is 0.");
}

// Far above any model's; the dimensions must stay an int32.
constexpr int64_t kMaxDim = 1 << 24;
constexpr int32_t kMaxContext = 10000;

std::shared_ptr<OnlineIvectorModel> MakeIvectorModel(std::shared_ptr<PackedProduct> lda,
                                                     std::shared_ptr<GaussianPosteriors> gaussians,
                                                     const py::array &linear, const py::array &quadratic,
                                                     int32_t left_context, int32_t right_context,
                                                     bool adds_normalized, int32_t num_gselect,
                                                     float min_post, float posterior_scale) {
  const InputArray<double> a(linear, "linear", {"num_gauss", "feat_dim", "ivector_dim"});
  const InputArray<double> u(quadratic, "quadratic", {"num_gauss", "triangle"});
  const int64_t num_gauss = a.Shape(0), feat_dim = a.Shape(1), ivector_dim = a.Shape(2);
  if (num_gauss != gaussians->NumGauss() || feat_dim != gaussians->Dim() || feat_dim != lda->OutputDim() ||
      ivector_dim < 1 || ivector_dim > kMaxDim) {
    throw py::value_error("linear: expected terms of " + std::to_string(gaussians->NumGauss()) +
                          " Gaussians of dimension " + std::to_string(gaussians->Dim()) +
                          " and features of " + std::to_string(lda->OutputDim()) + ", found " +
                          std::to_string(num_gauss) + " and " + std::to_string(feat_dim) +
                          " for i-vectors of " + std::to_string(ivector_dim));
  }
  const IvectorExtractorView extractor{a.Data(), u.Data(), static_cast<int32_t>(num_gauss),
                                       static_cast<int32_t>(feat_dim), static_cast<int32_t>(ivector_dim)};
  if (u.Shape(0) != num_gauss || u.Shape(1) != extractor.Triangle()) {
    throw py::value_error("quadratic: expected terms of shape (" + std::to_string(num_gauss) + ", " +
                          std::to_string(extractor.Triangle()) + "), found (" + std::to_string(u.Shape(0)) +
                          ", " + std::to_string(u.Shape(1)) + ")");
  }
  if (left_context < 0 || right_context < 0 || left_context > kMaxContext || right_context > kMaxContext ||
      lda->InputDim() % (left_context + 1 + right_context) != 0) {
    throw py::value_error("expected contexts of 0 to " + std::to_string(kMaxContext) +
                          " frames that LDA reads, found " + std::to_string(left_context) + " and " +
                          std::to_string(right_context));
  }
  if (num_gselect < 1) {
    throw py::value_error("num_gselect: expected at least 1, found " + std::to_string(num_gselect));
  }
  return std::make_shared<OnlineIvectorModel>(
      OnlineIvectorModel{std::move(lda), std::move(gaussians), extractor, left_context, right_context,
                         adds_normalized, WeightedFramesOptions{num_gselect, min_post, posterior_scale}});
}

std::unique_ptr<OnlineIvectorFeature> MakeIvectorFeature(
    const OnlineIvectorModel &model, std::shared_ptr<FrameBuffer> base, const OnlineCmvn &cmvn,
    double prior_offset, double max_count, double num_frames, const py::array &linear_term,
    const py::array &quadratic_term, std::optional<int64_t> history) {
  const InputArray<double> l(linear_term, "linear_term", {"ivector_dim"});
  const InputArray<double> q(quadratic_term, "quadratic_term", {"triangle"});
  if (l.Size() != model.extractor.ivector_dim || q.Size() != model.extractor.Triangle()) {
    throw py::value_error("expected terms of i-vectors of " + std::to_string(model.extractor.ivector_dim) +
                          ", found " + std::to_string(l.Size()) + " and " + std::to_string(q.Size()) +
                          " elements");
  }
  const int64_t dim = model.lda->InputDim() / (model.left_context + 1 + model.right_context);
  if (base->Dim() != dim || cmvn.Dim() != dim) {
    throw py::value_error("base: expected features and CMVN of dimension " + std::to_string(dim) +
                          ", found " + std::to_string(base->Dim()) + " and " + std::to_string(cmvn.Dim()));
  }
  if (cmvn.NumNormalized() > 0 || cmvn.NumCounted() > 0) {
    throw py::value_error("cmvn: expected one that has had no frames, found one that has");
  }
  if (history.has_value() && *history < 0) {
    throw py::value_error("history: expected at least 0 frames, found " + std::to_string(*history));
  }
  IvectorStats stats{prior_offset, max_count, num_frames, std::vector<double>(q.Data(), q.Data() + q.Size()),
                     std::vector<double>(l.Data(), l.Data() + l.Size())};
  return std::make_unique<OnlineIvectorFeature>(model, std::move(base), cmvn, std::move(stats), history);
}

void Add(OnlineIvectorFeature &feature, FrameWeights *weights, int64_t begin, int64_t end, bool is_finished) {
  const OnlineIvectorFeature::Use::Exclusive guard(feature.Guard(), "the i-vector feature");
  const FrameBuffer::Use::Shared base_guard(feature.Base().Guard(), "the frame buffer");
  if (begin < 0 || begin > end || end > feature.Base().End()) {
    throw std::out_of_range("expected frames from 0 to " + std::to_string(feature.Base().End()) + ", found " +
                            std::to_string(begin) + " to " + std::to_string(end));
  }
  DeltaWeights changes;
  if (weights != nullptr) {
    changes = weights->Take(end);
  } else {
    for (int64_t frame = begin; frame < end; ++frame) changes.frames.push_back(frame);
    changes.deltas.assign(changes.frames.size(), 1.0f);
  }
  const py::gil_scoped_release release;
  feature.Add(changes, end, is_finished);
}

void BindIvectorFeature(py::module_ &m) {
  py::class_<OnlineIvectorModel, std::shared_ptr<OnlineIvectorModel>>(
      m, "OnlineIvectorModel",
      "What the i-vectors of all streams share; see `csrc/online2/online-ivector-feature.h`.\n\n"
      "Immutable; any number of threads may use it at once. The arrays must not change either.")
      .def(py::init(&MakeIvectorModel), py::keep_alive<1, 4>(), py::keep_alive<1, 5>(),
           py::arg("lda").none(false), py::arg("gaussians").none(false), py::arg("linear"),
           py::arg("quadratic"), py::arg("left_context"), py::arg("right_context"),
           py::arg("adds_normalized"), py::arg("num_gselect"), py::arg("min_post"),
           py::arg("posterior_scale"),
           "Keeps references to all parts.\n\n"
           "Args:\n"
           "    lda: transforms joined frames.\n"
           "    gaussians: they have the posteriors.\n"
           "    linear: A_g, (num_gauss, feat_dim, ivector_dim), float64.\n"
           "    quadratic: lower triangles of U_g, (num_gauss, ivector_dim (ivector_dim + 1) / 2), float64.\n"
           "    left_context, right_context: frames that are joined with each.\n"
           "    adds_normalized: add frames to the statistics that were normalised.\n"
           "    num_gselect: maximum number of Gaussians per frame.\n"
           "    min_post: posteriors below it, divided by the frame's weight, are dropped; at most 0.99.\n"
           "    posterior_scale: factor of all posteriors.\n\n"
           "Raises:\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: the parts do not fit each other, or an array is not contiguous.");
  py::class_<OnlineIvectorFeature>(
      m, "OnlineIvectorFeature",
      "The i-vectors of one stream; see `csrc/online2/online-ivector-feature.h`.\n\n"
      "One thread at a time may use it; a second one gets a `DecoderError`.")
      .def(py::init(&MakeIvectorFeature), py::keep_alive<1, 2>(), py::arg("model"),
           py::arg("base").none(false), py::arg("cmvn"), py::arg("prior_offset"), py::arg("max_count"),
           py::arg("num_frames"), py::arg("linear_term"), py::arg("quadratic_term"),
           py::arg("history") = py::none(),
           "Starts a stream.\n\n"
           "Args:\n"
           "    model: what all streams share.\n"
           "    base: the features, which the caller appends to.\n"
           "    cmvn: normalises them; it is copied.\n"
           "    prior_offset, max_count, num_frames, linear_term, quadratic_term: the statistics to start\n"
           "        from; see `OnlineIvectorEstimationStats`.\n"
           "    history: number of frames behind the newest one whose weights may change; None for all.\n\n"
           "Raises:\n"
           "    TypeError: an array has another dtype.\n"
           "    ValueError: the parts do not fit each other, or an array is not contiguous.")
      .def(
          "add", &Add, py::arg("weights").none(true), py::arg("begin"), py::arg("end"),
          py::arg("is_finished"),
          "Adds frames to the statistics.\n\n"
          "Args:\n"
          "    weights: changes of weights, of which those before ``end`` are taken; None gives each of the\n"
          "        frames from ``begin`` on the weight 1.\n"
          "    begin: the first frame that has not been added.\n"
          "    end: one past the last frame to add.\n"
          "    is_finished: whether no more base features will come.\n\n"
          "Raises:\n"
          "    DecoderError: a sum is not finite, or another thread is using the features.\n"
          "    IndexError: a frame is not ready, or is no longer kept.")
      .def(
          "estimate",
          [](OnlineIvectorFeature &feature, int32_t num_cg_iters) {
            const OnlineIvectorFeature::Use::Exclusive guard(feature.Guard(), "the i-vector feature");
            return ToArray(feature.Estimate(num_cg_iters));
          },
          py::arg("num_cg_iters"),
          "Improves the estimate by steps of conjugate gradient.\n\n"
          "Returns:\n"
          "    The i-vector minus the prior's mean, (ivector_dim,), float32.\n\n"
          "Raises:\n"
          "    DecoderError: the estimate is not finite in single precision, or another thread is using the\n"
          "        i-vectors.")
      .def(
          "cmvn_total",
          [](OnlineIvectorFeature &feature) {
            const OnlineIvectorFeature::Use::Exclusive guard(feature.Guard(), "the i-vector feature");
            const FrameBuffer::Use::Shared base_guard(feature.Base().Guard(), "the frame buffer");
            const CmvnStats &total = feature.CmvnAtEnd().Total();
            return CopyToArray({int64_t{2}, static_cast<int64_t>(total.size()) / 2}, total.data());
          },
          "Returns the sums over all base features so far, (2, dim + 1), float64.\n\n"
          "Raises:\n"
          "    DecoderError: another thread is using the features.\n"
          "    IndexError: features were dropped before they were counted.")
      .def(
          "stats",
          [](const OnlineIvectorFeature &feature) {
            const OnlineIvectorFeature::Use::Shared guard(feature.Guard(), "the i-vector feature");
            const IvectorStats &stats = feature.Stats();
            return py::make_tuple(stats.num_frames, ToArray(stats.linear_term),
                                  ToArray(stats.quadratic_term));
          },
          "Returns num_frames, linear_term and quadratic_term so far; see `OnlineIvectorEstimationStats`.\n\n"
          "Raises:\n"
          "    DecoderError: another thread is adding frames.");
}

}  // namespace

void BindOnline2(py::module_ &m) {
  BindFrameWeights(m);
  BindIvectorFeature(m);
  // The methods take microseconds and keep the GIL, which protects the object.
  py::class_<SilenceWeighting>(
      m, "SilenceWeighting",
      "Weights that keep silence out of the i-vector; see `csrc/online2/silence-weighting.h`.\n\n"
      "Belongs to one segment.")
      .def(py::init(&MakeSilenceWeighting), py::arg("is_silence"), py::arg("silence_weight"),
           py::arg("max_state_duration"), py::arg("subsampling"),
           "Starts a segment.\n\n"
           "Args:\n"
           "    is_silence: whether each transition-id belongs to silence, (transition_ids,), bool.\n"
           "    silence_weight: weight of silence; other frames have the weight 1.\n"
           "    max_state_duration: runs of one transition-id of at least this many decoder frames count as\n"
           "        silence; 0 or less for never.\n"
           "    subsampling: input frames per decoder frame.\n\n"
           "Raises:\n"
           "    ConfigError: subsampling is out of range.\n"
           "    TypeError: the array has another dtype.\n"
           "    ValueError: it has another shape, or is not contiguous.")
      .def(
          "set_traceback",
          [](SilenceWeighting &weighting, int64_t num_frames_decoded, int64_t first,
             const py::array &transition_ids) {
            const InputArray<int32_t> ids(transition_ids, "transition_ids", {"frames"});
            weighting.SetTraceback(num_frames_decoded, first, ids.Data(), ids.Size());
          },
          py::arg("num_frames_decoded"), py::arg("first"), py::arg("transition_ids"),
          "Takes the part of the best path that has changed.\n\n"
          "Args:\n"
          "    num_frames_decoded: decoder frames of the segment so far.\n"
          "    first: the first frame that has changed.\n"
          "    transition_ids: those of the path from there on, (frames,), int32.\n\n"
          "Raises:\n"
          "    DecoderError: a frame or a transition-id is out of range.\n"
          "    TypeError: the array has another dtype.\n"
          "    ValueError: it has another shape, or is not contiguous.")
      .def(
          "get_delta_weights",
          [](SilenceWeighting &weighting, int64_t num_frames_ready, int64_t first_input_frame) {
            const DeltaWeights changes = weighting.GetDeltaWeights(num_frames_ready, first_input_frame);
            return py::make_tuple(ToArray(changes.frames), ToArray(changes.deltas));
          },
          py::arg("num_frames_ready"), py::arg("first_input_frame"),
          "Returns the changes of weights since the last call.\n\n"
          "Args:\n"
          "    num_frames_ready: input frames of the stream that are ready.\n"
          "    first_input_frame: the input frame at which the segment starts.\n\n"
          "Returns:\n"
          "    Numbers of input frames, (n,), int64, and the changes of their weights, (n,), float32.\n\n"
          "Raises:\n"
          "    DecoderError: a number is out of range.");
}

}  // namespace pykaldi
