// The state-level lattice of a search as a Lattice (decoder/lattice-faster-decoder.cc, GetRawLattice).
#ifndef PYKALDI_SERVER_DECODER_RAW_LATTICE_H_
#define PYKALDI_SERVER_DECODER_RAW_LATTICE_H_

#include <vector>

#include "csrc/decoder/token-lattice.h"
#include "csrc/lat/lattice.h"

namespace pykaldi {

// A state for each token, topologically sorted, the start first. `final_costs` are those of the newest tokens
// (infinity: not final). Throws DecoderError when epsilon links form a cycle.
Lattice BuildRawLattice(const TokenLattice &tokens, const std::vector<float> &final_costs);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_RAW_LATTICE_H_
