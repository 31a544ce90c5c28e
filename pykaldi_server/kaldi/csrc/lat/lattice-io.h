// Reads and writes lattices in Kaldi's text and binary forms (one entry of an archive, after its key).
//
// Text: a newline, then one line per arc or final state, fields separated by white space; the first line's
// state is the start; an empty line (or the end of the file) ends the lattice. Costs default to 0.
//
//   Lattice          state next-state transition-id word graph,acoustic     final: state graph,acoustic
//   CompactLattice   state next-state word graph,acoustic,tid_tid_tid   final: state graph,acoustic,tid_tid
//
// Binary: an OpenFst `vector` FST of arc type lattice4, compactlattice44, or their double forms lattice8 and
// compactlattice84.
//
// Both readers take either kind of lattice and convert when it is the other one, as Kaldi's holders do.
// Source: lat/kaldi-lattice.cc, fstext/lattice-weight.h, vector-fst.h in OpenFst.
#ifndef PYKALDI_SERVER_LAT_LATTICE_IO_H_
#define PYKALDI_SERVER_LAT_LATTICE_IO_H_

#include <string>

#include "csrc/base/byte-reader.h"
#include "csrc/lat/lattice.h"

namespace pykaldi {

// Reads one lattice and moves the reader behind it. Throws ModelFormatError when it is damaged.
Lattice ReadLattice(ByteReader *reader);
CompactLattice ReadCompactLattice(ByteReader *reader);

// The text or binary form of a lattice. Numbers have the fewest digits that read back as the same float.
std::string WriteLattice(const Lattice &lattice, bool binary);
std::string WriteLattice(const CompactLattice &lattice, bool binary);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_IO_H_
