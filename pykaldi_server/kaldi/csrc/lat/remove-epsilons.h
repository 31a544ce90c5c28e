// Removes the arcs of a lattice that have no label.
#ifndef PYKALDI_SERVER_LAT_REMOVE_EPSILONS_H_
#define PYKALDI_SERVER_LAT_REMOVE_EPSILONS_H_

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Replaces each arc without a label by the arcs and the final weight of the state it leads to, with the
// weights multiplied. Of arcs with the same label and next state the best is kept. The result is connected,
// sorted topologically, and has the same paths. Throws LatticeError when the lattice has a cycle.
// Source: OpenFst's RmEpsilon, for acyclic automata.
void RemoveEpsilons(CompactLattice *lattice);

// Turns one label into another on all arcs.
void ReplaceLabel(int32_t from, int32_t to, CompactLattice *lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_REMOVE_EPSILONS_H_
