#include "csrc/lat/lattice-io-binary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "csrc/base/byte-writer.h"
#include "csrc/fst/fst-header.h"

namespace pykaldi {
namespace {

constexpr int32_t kVectorFstVersion = 2;
constexpr int64_t kUnknownNumStates = -1;  // from a writer that could not seek back: the file ends with them
constexpr size_t kLeastStateBytes = 2 * sizeof(float) + sizeof(int64_t);
constexpr size_t kLeastArcBytes = 3 * sizeof(int32_t) + 2 * sizeof(float);

int32_t ReadLabel(const char *what, ByteReader *reader) {
  const int32_t label = reader->Read<int32_t>(what);
  if (label < 0) reader->Fail(reader->Offset() - sizeof(label), what, std::to_string(label));
  return label;
}

template <class Cost>
void ReadWeight(bool is_final, ByteReader *reader, LatticeWeight *weight) {
  const size_t offset = reader->Offset();
  weight->graph_cost = static_cast<float>(reader->Read<Cost>("a graph cost"));
  weight->acoustic_cost = static_cast<float>(reader->Read<Cost>("an acoustic cost"));
  const bool finite = std::isfinite(weight->graph_cost) && std::isfinite(weight->acoustic_cost);
  if (finite || (is_final && *weight == LatticeWeight::Zero())) return;
  reader->Fail(offset, "finite costs",
               std::to_string(weight->graph_cost) + " and " + std::to_string(weight->acoustic_cost));
}

template <class Cost>
void ReadWeight(bool is_final, ByteReader *reader, CompactLatticeWeight *weight) {
  ReadWeight<Cost>(is_final, reader, &weight->weight);
  const size_t offset = reader->Offset();
  const int32_t length = reader->Read<int32_t>("the length of a string");
  if (length < 0 || static_cast<size_t>(length) > reader->Remaining() / sizeof(int32_t)) {
    reader->Fail(offset, "the length of a string", std::to_string(length));
  }
  weight->string.resize(length);
  for (int32_t &id : weight->string) id = ReadLabel("a transition-id", reader);
}

void ReadLabels(ByteReader *reader, LatticeArc *arc) {
  arc->ilabel = ReadLabel("a transition-id", reader);
  arc->olabel = ReadLabel("a word", reader);
}

void ReadLabels(ByteReader *reader, CompactLatticeArc *arc) {
  const size_t offset = reader->Offset();
  arc->label = ReadLabel("a word", reader);
  const int32_t olabel = ReadLabel("a word", reader);
  if (olabel != arc->label) {
    reader->Fail(offset, "an arc with the same word twice",
                 std::to_string(arc->label) + " and " + std::to_string(olabel));
  }
}

template <class Cost, class L>
void ReadState(ByteReader *reader, L *lattice) {
  const int32_t state = lattice->AddState();
  typename L::Weight final;
  ReadWeight<Cost>(true, reader, &final);
  lattice->SetFinal(state, std::move(final));
  const size_t offset = reader->Offset();
  const int64_t num_arcs = reader->Read<int64_t>("the number of arcs of a state");
  if (num_arcs < 0 || static_cast<size_t>(num_arcs) > reader->Remaining() / kLeastArcBytes) {
    reader->Fail(offset, "the number of arcs of a state", std::to_string(num_arcs));
  }
  for (int64_t i = 0; i < num_arcs; ++i) {
    typename L::Arc arc;
    ReadLabels(reader, &arc);
    ReadWeight<Cost>(false, reader, &arc.weight);
    arc.nextstate = ReadLabel("a next state", reader);
    lattice->AddArc(state, std::move(arc));
  }
}

template <class Cost, class L>
void ReadStates(const FstHeader &header, ByteReader *reader, L *lattice) {
  const size_t offset = reader->Offset();
  if (header.num_states < kUnknownNumStates || header.num_states > std::numeric_limits<int32_t>::max() ||
      (header.num_states > 0 &&
       static_cast<size_t>(header.num_states) > reader->Remaining() / kLeastStateBytes)) {
    reader->Fail(offset, "a number of states", std::to_string(header.num_states));
  }
  lattice->ReserveStates(std::max<int64_t>(header.num_states, 0));
  while (header.num_states == kUnknownNumStates ? reader->Remaining() > 0
                                                : lattice->NumStates() < header.num_states) {
    ReadState<Cost>(reader, lattice);
  }
  const std::string bound = " below " + std::to_string(lattice->NumStates());
  if (header.start < kNoLatticeState || header.start >= lattice->NumStates()) {
    reader->Fail(offset, "a start state" + bound, std::to_string(header.start));
  }
  lattice->SetStart(static_cast<int32_t>(header.start));
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (const auto &arc : lattice->Arcs(s)) {
      if (arc.nextstate >= lattice->NumStates()) {
        reader->Fail(offset, "next states" + bound, std::to_string(arc.nextstate));
      }
    }
  }
}

void WriteWeight(const LatticeWeight &weight, std::ostream &out) {
  WriteBytes(out, weight.graph_cost);
  WriteBytes(out, weight.acoustic_cost);
}

void WriteWeight(const CompactLatticeWeight &weight, std::ostream &out) {
  WriteWeight(weight.weight, out);
  WriteBytes(out, static_cast<int32_t>(weight.string.size()));
  for (int32_t id : weight.string) WriteBytes(out, id);
}

void WriteLabels(const LatticeArc &arc, std::ostream &out) {
  WriteBytes(out, arc.ilabel);
  WriteBytes(out, arc.olabel);
}

void WriteLabels(const CompactLatticeArc &arc, std::ostream &out) {
  WriteBytes(out, arc.label);
  WriteBytes(out, arc.label);
}

template <class L>
std::string Write(const L &lattice, const char *arc_type) {
  FstHeader header;
  header.fst_type = "vector";
  header.arc_type = arc_type;
  header.version = kVectorFstVersion;
  header.properties = FstHeader::kExpanded | FstHeader::kMutable;
  header.start = lattice.Start();
  header.num_states = lattice.NumStates();
  std::ostringstream out;
  header.Write(out);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    WriteWeight(lattice.Final(s), out);
    WriteBytes(out, lattice.NumArcs(s));
    for (const auto &arc : lattice.Arcs(s)) {
      WriteLabels(arc, out);
      WriteWeight(arc.weight, out);
      WriteBytes(out, arc.nextstate);
    }
  }
  return out.str();
}

}  // namespace

AnyLattice ReadBinaryLattice(ByteReader *reader) {
  const size_t offset = reader->Offset();
  const FstHeader header =
      FstHeader::Read(reader, {"compactlattice44", "lattice4", "compactlattice84", "lattice8"});
  if (header.fst_type != "vector" || header.version != kVectorFstVersion) {
    reader->Fail(offset, "an FST of type \"vector\", version 2",
                 Printable(header.fst_type) + ", version " + std::to_string(header.version));
  }
  AnyLattice result;
  result.is_compact = header.arc_type.rfind("compact", 0) == 0;
  const bool is_double = header.arc_type == "compactlattice84" || header.arc_type == "lattice8";
  if (result.is_compact && is_double) {
    ReadStates<double>(header, reader, &result.compact);
  } else if (result.is_compact) {
    ReadStates<float>(header, reader, &result.compact);
  } else if (is_double) {
    ReadStates<double>(header, reader, &result.lattice);
  } else {
    ReadStates<float>(header, reader, &result.lattice);
  }
  return result;
}

std::string WriteBinary(const Lattice &lattice) { return Write(lattice, "lattice4"); }
std::string WriteBinary(const CompactLattice &lattice) { return Write(lattice, "compactlattice44"); }

}  // namespace pykaldi
