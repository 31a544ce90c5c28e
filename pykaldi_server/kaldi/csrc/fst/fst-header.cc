#include "csrc/fst/fst-header.h"

#include <algorithm>
#include <string_view>

#include "csrc/base/byte-writer.h"

namespace pykaldi {

FstHeader FstHeader::Read(ByteReader *reader, const std::vector<std::string> &arc_types) {
  const size_t begin = reader->Offset();
  const std::string_view magic = reader->Following(sizeof(kMagic));
  if (magic.size() < sizeof(kMagic) || reader->Read<int32_t>("") != kMagic) {
    reader->Fail(begin, "the header of an OpenFst file", ShowBytes(magic));
  }
  FstHeader header;
  header.fst_type = reader->ReadString("the type of the FST");
  const size_t arc_type_offset = reader->Offset();
  header.arc_type = reader->ReadString("the type of the arcs");
  if (std::find(arc_types.begin(), arc_types.end(), header.arc_type) == arc_types.end()) {
    reader->Fail(arc_type_offset, "arcs of type \"" + arc_types.front() + "\"", Printable(header.arc_type));
  }
  header.version = reader->Read<int32_t>("the version of the format");
  header.flags = reader->Read<int32_t>("the flags");
  header.properties = reader->Read<uint64_t>("the properties");
  header.start = reader->Read<int64_t>("the start state");
  header.num_states = reader->Read<int64_t>("the number of states");
  header.num_arcs = reader->Read<int64_t>("the number of arcs");
  const size_t input_symbols_offset = reader->Offset();
  if (header.flags & kHasInputSymbols) {
    header.input_symbols = std::make_shared<SymbolTable>(SymbolTable::Read(reader));
  }
  if (header.flags & kHasOutputSymbols) {
    // Acceptors have the same table twice; large ones take long to read.
    const bool is_same = header.input_symbols != nullptr && reader->SkipRepetition(input_symbols_offset);
    header.output_symbols =
        is_same ? header.input_symbols : std::make_shared<SymbolTable>(SymbolTable::Read(reader));
  }
  return header;
}

void FstHeader::Write(std::ostream &out) const {
  int32_t all_flags = flags & ~(kHasInputSymbols | kHasOutputSymbols);
  if (input_symbols) all_flags |= kHasInputSymbols;
  if (output_symbols) all_flags |= kHasOutputSymbols;
  WriteBytes(out, kMagic);
  WriteString(out, fst_type);
  WriteString(out, arc_type);
  WriteBytes(out, version);
  WriteBytes(out, all_flags);
  WriteBytes(out, properties);
  WriteBytes(out, start);
  WriteBytes(out, num_states);
  WriteBytes(out, num_arcs);
  if (input_symbols) input_symbols->Write(out);
  if (output_symbols) output_symbols->Write(out);
}

}  // namespace pykaldi
