#include "csrc/fst/const-fst.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "csrc/fst/label-set.h"

namespace pykaldi {
namespace {

constexpr size_t kAlignment = 16;
constexpr int32_t kAlignedVersion = 1;
constexpr int64_t kMaxStates = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxArcs = std::numeric_limits<uint32_t>::max();

// A weight that a path can have: any number, or +infinity; the comparison is false for NaN.
bool IsCost(float weight) { return weight > -std::numeric_limits<float>::infinity(); }

// A count of the header, which must fit into the rest of the file.
int64_t CheckCount(int64_t count, size_t element_size, int64_t most, const char *what,
                   const ByteReader &reader) {
  if (count < 0 || count > most || static_cast<size_t>(count) > reader.Remaining() / element_size) {
    reader.Fail(reader.Offset(), what,
                "a count of " + std::to_string(count) + " with " + std::to_string(reader.Remaining()) +
                    " bytes left");
  }
  return count;
}

// Unsigned comparison refuses negative states as well. No branches: this runs for every arc of a graph.
bool IsGood(const StdArc &arc, int32_t num_states) {
  return (arc.ilabel >= 0) & (arc.olabel >= 0) & IsCost(arc.weight) &
         (static_cast<uint32_t>(arc.nextstate) < static_cast<uint32_t>(num_states));
}

std::string Describe(const StdArc &arc) {
  return "labels " + std::to_string(arc.ilabel) + " and " + std::to_string(arc.olabel) + ", cost " +
         std::to_string(arc.weight) + ", state " + std::to_string(arc.nextstate);
}

std::string Describe(int32_t i, const ConstState &state) {
  return "state " + std::to_string(i) + ": final cost " + std::to_string(state.final_weight) + ", " +
         std::to_string(state.num_arcs) + " arcs from " + std::to_string(state.begin) + ", " +
         std::to_string(state.num_input_epsilons) + " input and " +
         std::to_string(state.num_output_epsilons) + " output epsilons";
}

[[noreturn]] void Fail(const ByteReader *reader, size_t offset, const std::string &expected,
                       const std::string &found) {
  if (reader != nullptr) reader->Fail(offset, expected, found);
  throw ModelFormatError("an FST: expected " + expected + ", found " + found);
}

}  // namespace

ConstFst::ConstFst(int32_t start, std::vector<ConstState> states, std::vector<StdArc> arcs)
    : own_states_(std::move(states)), own_arcs_(std::move(arcs)) {
  if (static_cast<int64_t>(own_states_.size()) > kMaxStates ||
      static_cast<int64_t>(own_arcs_.size()) > kMaxArcs) {
    throw ModelFormatError("an FST of " + std::to_string(own_states_.size()) + " states and " +
                           std::to_string(own_arcs_.size()) + " arcs is too large");
  }
  states_ = own_states_.data();
  arcs_ = own_arcs_.data();
  num_states_ = static_cast<int32_t>(own_states_.size());
  num_arcs_ = static_cast<int64_t>(own_arcs_.size());
  Check(start, nullptr, 0, 0);
}

ConstFst::ConstFst(const FstHeader &header, ByteReader *reader, std::shared_ptr<const MappedFile> file)
    : file_(std::move(file)), input_symbols_(header.input_symbols), output_symbols_(header.output_symbols) {
  const bool aligned = header.version == kAlignedVersion || (header.flags & FstHeader::kIsAligned);
  if (aligned) reader->Align(kAlignment);
  const size_t states_offset = reader->Offset();
  num_states_ = static_cast<int32_t>(
      CheckCount(header.num_states, sizeof(ConstState), kMaxStates, "the states of an FST", *reader));
  states_ =
      reinterpret_cast<const ConstState *>(reader->Take(sizeof(ConstState) * num_states_, "the states"));
  if (aligned) reader->Align(kAlignment);
  const size_t arcs_offset = reader->Offset();
  num_arcs_ = CheckCount(header.num_arcs, sizeof(StdArc), kMaxArcs, "the arcs of an FST", *reader);
  arcs_ = reinterpret_cast<const StdArc *>(reader->Take(sizeof(StdArc) * num_arcs_, "the arcs"));
  Check(header.start, reader, states_offset, arcs_offset);
}

std::vector<int32_t> ConstFst::OutputLabels() const {
  LabelSet labels;
  for (int64_t i = 0; i < num_arcs_; ++i) labels.Add(arcs_[i].olabel);
  return labels.Sorted();
}

void ConstFst::Check(int64_t start, const ByteReader *reader, size_t states_offset, size_t arcs_offset) {
  if (start < kNoStateId || start >= num_states_) {
    Fail(reader, 0, "a start state below " + std::to_string(num_states_), std::to_string(start));
  }
  start_ = static_cast<int32_t>(start);
  int64_t next_arc = 0;  // the arcs of all states follow one another
  for (int32_t i = 0; i < num_states_; ++i) {
    const ConstState &state = states_[i];
    if (!IsCost(state.final_weight) || state.begin != next_arc || state.num_arcs > num_arcs_ - next_arc) {
      Fail(reader, states_offset + sizeof(ConstState) * i,
           "a final cost and at most " + std::to_string(num_arcs_ - next_arc) + " arcs from " +
               std::to_string(next_arc),
           Describe(i, state));
    }
    uint32_t input_epsilons = 0, output_epsilons = 0;
    for (const StdArc &arc : Arcs(i)) {
      if (!IsGood(arc, num_states_)) {
        Fail(reader, arcs_offset + sizeof(StdArc) * (&arc - arcs_),
             "an arc with labels, a cost, and a state below " + std::to_string(num_states_), Describe(arc));
      }
      input_epsilons += arc.ilabel == 0;
      output_epsilons += arc.olabel == 0;
      if (arc.ilabel > max_ilabel_) max_ilabel_ = arc.ilabel;
      if (arc.olabel > max_olabel_) max_olabel_ = arc.olabel;
    }
    if (input_epsilons != state.num_input_epsilons || output_epsilons != state.num_output_epsilons) {
      Fail(reader, states_offset + sizeof(ConstState) * i,
           std::to_string(input_epsilons) + " input and " + std::to_string(output_epsilons) +
               " output epsilons",
           Describe(i, state));
    }
    next_arc += state.num_arcs;
  }
  if (next_arc != num_arcs_) {
    Fail(reader, 0, std::to_string(next_arc) + " arcs, as its states have", std::to_string(num_arcs_));
  }
}

}  // namespace pykaldi
