// Makes a deterministic compact lattice smaller: push strings and weights towards its start, then join the
// states from which the same paths go on. Paths, their costs and their transition-ids stay the same.
//
// All three sort the lattice topologically and throw LatticeError when it has a cycle.
// Source: lat/push-lattice.cc, lat/minimize-lattice.cc.
#ifndef PYKALDI_SERVER_LAT_MINIMIZE_LATTICE_H_
#define PYKALDI_SERVER_LAT_MINIMIZE_LATTICE_H_

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Moves transition-ids that all paths out of a state begin with onto the arcs into it.
void PushCompactLatticeStrings(CompactLattice *lattice);

// Moves the weight of the best path from a state to the end onto the arcs into it; what is left over stays on
// the arcs out of the start.
void PushCompactLatticeWeights(CompactLattice *lattice);

// Joins states whose arcs and final weights are equal, costs within `delta`.
void MinimizeCompactLattice(float delta, CompactLattice *lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_MINIMIZE_LATTICE_H_
