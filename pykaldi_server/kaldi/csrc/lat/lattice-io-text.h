// The text form of lattices; see lattice-io.h.
#ifndef PYKALDI_SERVER_LAT_LATTICE_IO_TEXT_H_
#define PYKALDI_SERVER_LAT_LATTICE_IO_TEXT_H_

#include <string>

#include "csrc/base/byte-reader.h"
#include "csrc/lat/lattice.h"

namespace pykaldi {

// A lattice of the kind that the file has; the other one is empty.
struct AnyLattice {
  bool is_compact = true;
  Lattice lattice;
  CompactLattice compact;
};

AnyLattice ReadTextLattice(ByteReader *reader);
std::string WriteText(const Lattice &lattice);
std::string WriteText(const CompactLattice &lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_IO_TEXT_H_
