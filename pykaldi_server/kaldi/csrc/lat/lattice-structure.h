// Orders and trims the states of a lattice.
//
// Most functions on lattices want states in topological order: every arc leads to a state with a higher
// number, and the start is state 0. A lattice that has a cycle cannot be ordered and is refused.
//
// Source: OpenFst's topsort and connect; fstext/fstext-utils-inl.h for the super-final state.
#ifndef PYKALDI_SERVER_LAT_LATTICE_STRUCTURE_H_
#define PYKALDI_SERVER_LAT_LATTICE_STRUCTURE_H_

#include <cstdint>
#include <vector>

#include "csrc/lat/lattice.h"

namespace pykaldi {

// True when the start is state 0 and every arc leads to a higher state (also for the empty lattice).
template <class L>
bool IsTopSorted(const L &lattice);

// The states that can be reached from the start, in topological order. Throws LatticeError when there is a
// cycle among them.
template <class L>
std::vector<int32_t> TopologicalOrder(const L &lattice);

// Renumbers the states topologically, dropping those that cannot be reached from the start; does nothing
// when they are in order already. Throws LatticeError when the lattice has a cycle.
template <class L>
void TopSort(L *lattice);

// Drops the states that are on no path from the start to a final state, keeping the order of the others.
// A lattice without any complete path becomes empty.
template <class L>
void Connect(L *lattice);

// Makes one state final, with weight One and no arcs: the others lead there by arcs without a label that
// carry their final weights. Returns that state. Does nothing more when the lattice is like that already.
int32_t CreateSuperFinal(CompactLattice *lattice);

extern template bool IsTopSorted(const Lattice &);
extern template bool IsTopSorted(const CompactLattice &);
extern template std::vector<int32_t> TopologicalOrder(const Lattice &);
extern template std::vector<int32_t> TopologicalOrder(const CompactLattice &);
extern template void TopSort(Lattice *);
extern template void TopSort(CompactLattice *);
extern template void Connect(Lattice *);
extern template void Connect(CompactLattice *);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_STRUCTURE_H_
