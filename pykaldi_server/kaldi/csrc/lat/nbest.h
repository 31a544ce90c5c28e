// The n best word sequences of a lattice.
#ifndef PYKALDI_SERVER_LAT_NBEST_H_
#define PYKALDI_SERVER_LAT_NBEST_H_

#include <cstdint>
#include <vector>

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Returns at most `n` linear lattices by ascending cost, each with other words: those of `lattice-to-nbest`.
// In a lattice that is not deterministic (several paths with the same words) it takes the best path of each
// word sequence. Throws LatticeError when the lattice has a cycle.
std::vector<CompactLattice> Nbest(const CompactLattice &lattice, int32_t n);

// What a linear lattice says.
struct LinearPath {
  std::vector<int32_t> words;      // without 0
  std::vector<int32_t> alignment;  // transition-ids, one per frame
  LatticeWeight weight;
};

// Throws LatticeError when the lattice branches; an empty lattice gives an empty path of weight Zero.
LinearPath GetLinearPath(const CompactLattice &linear);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_NBEST_H_
