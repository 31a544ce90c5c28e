// The binary form of lattices; see lattice-io.h.
#ifndef PYKALDI_SERVER_LAT_LATTICE_IO_BINARY_H_
#define PYKALDI_SERVER_LAT_LATTICE_IO_BINARY_H_

#include <string>

#include "csrc/lat/lattice-io-text.h"

namespace pykaldi {

AnyLattice ReadBinaryLattice(ByteReader *reader);
std::string WriteBinary(const Lattice &lattice);
std::string WriteBinary(const CompactLattice &lattice);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_IO_BINARY_H_
