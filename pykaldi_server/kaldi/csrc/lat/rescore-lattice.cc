#include "csrc/lat/rescore-lattice.h"

#include <string>
#include <vector>

#include "csrc/base/error.h"
#include "csrc/lat/lattice-functions.h"

namespace pykaldi {
namespace {

float Score(const FrameScores &scores, int64_t frame, int32_t transition_id) {
  if (frame >= scores.num_frames) {
    throw LatticeError("expected a lattice of at most " + std::to_string(scores.num_frames) +
                       " frames, found frame " + std::to_string(frame + 1));
  }
  if (transition_id < 0 || transition_id >= scores.num_ids) {
    throw LatticeError("expected transition-ids below " + std::to_string(scores.num_ids) + ", found " +
                       std::to_string(transition_id));
  }
  const int32_t pdf = scores.id2pdf[transition_id];
  if (pdf < 0 || pdf >= scores.num_pdfs) {
    throw LatticeError("expected pdfs below " + std::to_string(scores.num_pdfs) + ", found " +
                       std::to_string(pdf));
  }
  return scores.values[frame * scores.num_pdfs + pdf];
}

}  // namespace

void RescoreLattice(const FrameScores &scores, Lattice *lattice) {
  std::vector<int32_t> times;
  LatticeStateTimes(*lattice, &times);
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    if (times[s] < 0) continue;
    for (LatticeArc &arc : lattice->Arcs(s)) {
      if (arc.ilabel != 0) arc.weight.acoustic_cost -= Score(scores, times[s], arc.ilabel);
    }
  }
}

}  // namespace pykaldi
