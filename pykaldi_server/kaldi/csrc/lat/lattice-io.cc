#include "csrc/lat/lattice-io.h"

#include <cctype>
#include <utility>

#include "csrc/lat/lattice-convert.h"
#include "csrc/lat/lattice-io-binary.h"
#include "csrc/lat/lattice-io-text.h"

namespace pykaldi {
namespace {

// Text starts with white space, which no binary lattice does.
AnyLattice ReadAny(ByteReader *reader) {
  if (reader->Remaining() == 0) reader->Fail(reader->Offset(), "a lattice", "the end of the file");
  const unsigned char first = static_cast<unsigned char>(*reader->Take(0, ""));
  return std::isspace(first) ? ReadTextLattice(reader) : ReadBinaryLattice(reader);
}

}  // namespace

Lattice ReadLattice(ByteReader *reader) {
  AnyLattice any = ReadAny(reader);
  return any.is_compact ? ConvertToLattice(any.compact) : std::move(any.lattice);
}

CompactLattice ReadCompactLattice(ByteReader *reader) {
  AnyLattice any = ReadAny(reader);
  return any.is_compact ? std::move(any.compact) : ConvertToCompactLattice(any.lattice);
}

std::string WriteLattice(const Lattice &lattice, bool binary) {
  return binary ? WriteBinary(lattice) : WriteText(lattice);
}

std::string WriteLattice(const CompactLattice &lattice, bool binary) {
  return binary ? WriteBinary(lattice) : WriteText(lattice);
}

}  // namespace pykaldi
