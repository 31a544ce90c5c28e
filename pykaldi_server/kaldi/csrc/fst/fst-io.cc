#include "csrc/fst/fst-io.h"

#include <algorithm>
#include <cstring>
#include <ostream>
#include <utility>
#include <vector>

#include "csrc/base/byte-writer.h"
#include "csrc/base/error.h"
#include "csrc/base/output-file.h"
#include "csrc/fst/fst-header.h"

namespace pykaldi {
namespace {

constexpr int32_t kConstVersion = 2;
constexpr int32_t kAlignedConstVersion = 1;
constexpr int32_t kVectorVersion = 2;
constexpr size_t kAlignment = 16;
constexpr size_t kLeastVectorStateBytes = sizeof(float) + sizeof(int64_t);
constexpr int64_t kUnknownCount = -1;

std::shared_ptr<ConstFst> ReadVectorFst(const FstHeader &header, ByteReader *reader) {
  const int64_t count = header.num_states;
  if (count < kUnknownCount ||
      (count > 0 && static_cast<size_t>(count) > reader->Remaining() / kLeastVectorStateBytes)) {
    reader->Fail(reader->Offset(), "the states of an FST",
                 "a count of " + std::to_string(count) + " with " + std::to_string(reader->Remaining()) +
                     " bytes left");
  }
  std::vector<ConstState> states;
  std::vector<StdArc> arcs;
  if (count > 0) {
    states.reserve(static_cast<size_t>(count));
    arcs.reserve((reader->Remaining() - count * kLeastVectorStateBytes) / sizeof(StdArc));
  }
  const auto more = [&] {
    return count == kUnknownCount ? reader->Remaining() > 0 : static_cast<int64_t>(states.size()) < count;
  };
  while (more()) {
    const float final_weight = reader->Read<float>("the final cost of a state");
    const size_t offset = reader->Offset();
    const int64_t num_arcs = reader->Read<int64_t>("the number of arcs of a state");
    if (num_arcs < 0 || static_cast<size_t>(num_arcs) > reader->Remaining() / sizeof(StdArc)) {
      reader->Fail(offset, "the number of arcs of a state",
                   std::to_string(num_arcs) + " with " + std::to_string(reader->Remaining()) + " bytes left");
    }
    const size_t begin = arcs.size();
    arcs.resize(begin + static_cast<size_t>(num_arcs));
    const size_t num_bytes = sizeof(StdArc) * static_cast<size_t>(num_arcs);
    if (num_arcs > 0) std::memcpy(&arcs[begin], reader->Take(num_bytes, "arcs"), num_bytes);
    ConstState state{final_weight, static_cast<uint32_t>(begin), static_cast<uint32_t>(num_arcs), 0, 0};
    for (size_t i = begin; i < arcs.size(); ++i) {
      state.num_input_epsilons += arcs[i].ilabel == 0;
      state.num_output_epsilons += arcs[i].olabel == 0;
    }
    states.push_back(state);
  }
  if (header.start < kNoStateId || header.start >= static_cast<int64_t>(states.size())) {
    reader->Fail(0, "a start state below " + std::to_string(states.size()), std::to_string(header.start));
  }
  try {
    auto fst =
        std::make_shared<ConstFst>(static_cast<int32_t>(header.start), std::move(states), std::move(arcs));
    fst->SetInputSymbols(header.input_symbols);
    fst->SetOutputSymbols(header.output_symbols);
    return fst;
  } catch (const ModelFormatError &error) {
    throw ModelFormatError(reader->Path() + ": " + error.what());
  }
}

void WriteConstArrays(const ConstFst &fst, bool aligned, std::ostream &out) {
  if (aligned) WritePadding(out, kAlignment);
  for (int32_t s = 0; s < fst.NumStates(); ++s) WriteBytes(out, fst.State(s));
  if (aligned) WritePadding(out, kAlignment);
  for (int32_t s = 0; s < fst.NumStates(); ++s) {
    for (const StdArc &arc : fst.Arcs(s)) WriteBytes(out, arc);
  }
}

void WriteVectorStates(const ConstFst &fst, std::ostream &out) {
  for (int32_t s = 0; s < fst.NumStates(); ++s) {
    WriteBytes(out, fst.Final(s));
    WriteBytes(out, static_cast<int64_t>(fst.Arcs(s).size()));
    for (const StdArc &arc : fst.Arcs(s)) WriteBytes(out, arc);
  }
}

}  // namespace

std::shared_ptr<ConstFst> ReadFst(const std::string &path) {
  auto file = std::make_shared<MappedFile>(path);
  ByteReader reader(file->Data(), file->Size(), path);
  return ReadFst(&reader, file);
}

std::shared_ptr<ConstFst> ReadFst(ByteReader *reader, std::shared_ptr<const MappedFile> file) {
  return ReadFst(FstHeader::Read(reader), reader, std::move(file));
}

std::shared_ptr<ConstFst> ReadFst(const FstHeader &header, ByteReader *reader,
                                  std::shared_ptr<const MappedFile> file) {
  const bool is_const = header.fst_type == "const";
  if (!is_const && header.fst_type != "vector") {
    reader->Fail(reader->Offset(), "an FST of type \"const\" or \"vector\"", Printable(header.fst_type));
  }
  const int32_t least = is_const ? kAlignedConstVersion : kVectorVersion;
  const int32_t most = is_const ? kConstVersion : kVectorVersion;
  if (header.version < least || header.version > most) {
    reader->Fail(reader->Offset(), "version " + std::to_string(most) + " of the format",
                 std::to_string(header.version));
  }
  if (is_const) return std::make_shared<ConstFst>(header, reader, std::move(file));
  return ReadVectorFst(header, reader);
}

void WriteFst(const ConstFst &fst, const std::string &path, FstFormat format) {
  FstHeader header;
  header.start = fst.Start();
  header.num_states = fst.NumStates();
  header.num_arcs = fst.NumArcs();
  header.input_symbols = fst.InputSymbols();
  header.output_symbols = fst.OutputSymbols();
  OutputFile file(path);
  std::ostream &out = file.Stream();
  if (format == FstFormat::kVector) {
    header.fst_type = "vector";
    header.version = kVectorVersion;
    header.properties |= FstHeader::kMutable;
    header.Write(out);
    WriteVectorStates(fst, out);
  } else {
    const bool aligned = format == FstFormat::kAlignedConst;
    header.fst_type = "const";
    header.version = aligned ? kAlignedConstVersion : kConstVersion;
    header.flags = aligned ? FstHeader::kIsAligned : 0;
    header.Write(out);
    WriteConstArrays(fst, aligned, out);
  }
  file.Commit();
}

}  // namespace pykaldi
