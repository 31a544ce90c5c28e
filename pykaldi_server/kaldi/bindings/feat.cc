#include <pybind11/numpy.h>

#include <algorithm>
#include <limits>

#include "bindings/bindings.h"
#include "csrc/feat/pitch-viterbi.h"

namespace py = pybind11;

namespace pykaldi {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

void BindFeat(py::module_ &m) {
  m.def(
      "pitch_viterbi",
      [](const Floats &local_cost, float factor, const Floats &forward_cost) {
        const py::ssize_t num_states = forward_cost.size();
        if (local_cost.ndim() != 2 || local_cost.shape(1) != num_states || num_states == 0 ||
            num_states > std::numeric_limits<int16_t>::max()) {
          throw py::value_error("expected costs of the same 1 to 32767 states, (frames, states) and (states,)");
        }
        const py::ssize_t num_frames = local_cost.shape(0);
        py::array_t<int16_t> backpointers({num_frames, num_states});
        py::array_t<float> next_cost(num_states);
        std::copy_n(forward_cost.data(), num_states, next_cost.mutable_data());
        int16_t *backpointers_out = backpointers.mutable_data();
        float *cost_out = next_cost.mutable_data();
        {
          py::gil_scoped_release release;
          PitchViterbi(local_cost.data(), static_cast<int32_t>(num_frames), static_cast<int32_t>(num_states),
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
      "    The best predecessors, (frames, states), int16, and the forward cost of the new last frame, (states,),\n"
      "    float32, whose lowest element is 0.");
}

}  // namespace pykaldi
