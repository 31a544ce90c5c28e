// Converts between the two forms of a lattice (fstext/lattice-utils-inl.h).
#ifndef PYKALDI_SERVER_LAT_LATTICE_CONVERT_H_
#define PYKALDI_SERVER_LAT_LATTICE_CONVERT_H_

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Spells each string out as a chain of arcs; the word and the costs go on the first arc of the chain.
Lattice ConvertToLattice(const CompactLattice &compact);

// Joins chains of arcs into one arc with a string: the states between have one arc in, one arc out without
// a word, and are not final. The costs along the chain are added.
CompactLattice ConvertToCompactLattice(const Lattice &lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_CONVERT_H_
