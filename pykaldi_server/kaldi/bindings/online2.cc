// Bindings of csrc/online2.
#include <memory>
#include <string>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/online2/frame-weights.h"
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

}  // namespace

void BindOnline2(py::module_ &m) {
  BindFrameWeights(m);
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
