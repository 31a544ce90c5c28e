// The header that every OpenFst file starts with (fst.h in OpenFst):
//
//   int32   magic number
//   string  type of the FST ("const", "vector", ...), an int32 with the size first
//   string  type of its arcs ("standard")
//   int32   version of the format
//   int32   flags: 1 input symbols follow, 2 output symbols follow, 4 arrays are aligned
//   uint64  properties
//   int64   start state (-1: none), number of states, number of arcs
//
// and the symbol tables, if any, input first.
#ifndef PYKALDI_SERVER_FST_FST_HEADER_H_
#define PYKALDI_SERVER_FST_FST_HEADER_H_

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

// "No state", in a header and as the start of an empty FST.
constexpr int32_t kNoStateId = -1;

struct FstHeader {
  static constexpr int32_t kMagic = 2125659606;
  enum Flags { kHasInputSymbols = 1, kHasOutputSymbols = 2, kIsAligned = 4 };
  // What we state about an FST that we write. Other properties are left unknown.
  enum Properties : uint64_t { kExpanded = 1, kMutable = 2 };

  std::string fst_type;
  std::string arc_type = "standard";
  int32_t version = 0;
  int32_t flags = 0;
  uint64_t properties = kExpanded;
  int64_t start = kNoStateId;
  int64_t num_states = 0;
  int64_t num_arcs = 0;
  std::shared_ptr<SymbolTable> input_symbols;
  std::shared_ptr<SymbolTable> output_symbols;

  // Reads the header and the symbol tables; throws ModelFormatError when there is no header, or one of
  // another type of arcs than these.
  static FstHeader Read(ByteReader *reader, const std::vector<std::string> &arc_types = {"standard"});
  // Writes both; the flags for symbols follow from the pointers.
  void Write(std::ostream &out) const;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_FST_HEADER_H_
