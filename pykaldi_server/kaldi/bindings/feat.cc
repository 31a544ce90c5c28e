// Bindings of csrc/feat.
#include <algorithm>
#include <limits>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bindings.h"
#include "csrc/feat/pitch-viterbi.h"

namespace py = pybind11;

namespace pykaldi {

void BindFeat(py::module_ &m) {
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
