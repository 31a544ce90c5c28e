// Acoustic rescoring of lattices: the same paths, the scores of another model (lat/lattice-functions.cc).
#ifndef PYKALDI_SERVER_LAT_RESCORE_LATTICE_H_
#define PYKALDI_SERVER_LAT_RESCORE_LATTICE_H_

#include <cstdint>

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Log-likelihoods of the frames of an utterance, row by row, and the column (pdf) of each transition-id.
struct FrameScores {
  const float *values = nullptr;  // num_frames * num_pdfs
  int64_t num_frames = 0;
  int64_t num_pdfs = 0;
  const int32_t *id2pdf = nullptr;  // num_ids; entry 0 is not used
  int64_t num_ids = 0;
};

// Adds minus the score of each arc's transition-id, at the time of its state, to the arc's acoustic cost.
// The lattice must be in topological order. To replace acoustic costs, scale them with 0 before. Throws
// LatticeError when the lattice has more frames or other transition-ids than there are scores for.
void RescoreLattice(const FrameScores &scores, Lattice *lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_RESCORE_LATTICE_H_
