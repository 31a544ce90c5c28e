#include "csrc/fst/compiled-graph.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/byte-writer.h"
#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The comparison is false for NaN.
bool IsCost(float cost) { return cost > -kInfinity; }

CompiledGraph::Header ReadHeader(ByteReader *reader) {
  const auto header = reader->Read<CompiledGraph::Header>("the header of a compiled graph");
  const CompiledGraph::Header known;
  if (std::memcmp(header.magic, known.magic, sizeof(known.magic)) != 0) {
    reader->Fail(0, "a compiled graph", ShowBytes({header.magic, sizeof(header.magic)}));
  }
  if (header.version != known.version) {
    reader->Fail(0, "version " + std::to_string(known.version) + " of the format",
                 std::to_string(header.version));
  }
  return header;
}

CompiledGraph::Header ReadHeaderOf(const std::string &path) {
  const MappedFile file(path);
  ByteReader reader(file.Data(), file.Size(), path);
  return ReadHeader(&reader);
}

// Returns where a section of an array begins, and moves behind it. The mapping of a file begins at a page, so
// elements are aligned.
template <class T>
const T *TakeSection(ByteReader *reader, int64_t size, int64_t most, const char *what) {
  if (size < 0 || size > most) {
    reader->Fail(0, std::string("at most ") + std::to_string(most) + " " + what, std::to_string(size));
  }
  reader->Align(CompiledGraph::kAlignment);
  return reinterpret_cast<const T *>(reader->Take(static_cast<size_t>(size) * sizeof(T), what));
}

}  // namespace

CompiledGraph::CompiledGraph(const std::string &path) : file_(std::make_shared<MappedFile>(path)) {
  ByteReader reader(file_->Data(), file_->Size(), path);
  header_ = ReadHeader(&reader);
  labels_ = TakeSection<int32_t>(&reader, header_.num_labels, kMaxLabels, "input labels");
  output_labels_ = TakeSection<int32_t>(&reader, header_.num_output_labels,
                                        std::numeric_limits<int32_t>::max(), "output labels");
  states_ = TakeSection<State>(&reader, header_.num_states, std::numeric_limits<int32_t>::max(), "states");
  words_ = TakeSection<uint32_t>(&reader, header_.num_words, kMaxRecordWords, "words of records");
  num_words_ = static_cast<uint64_t>(header_.num_words);
  reader.Take(kPaddingBytes, "zeros behind the records");
  if (!IsState(header_.start)) {
    reader.Fail(0, "a start below " + std::to_string(header_.num_states), std::to_string(header_.start));
  }
  if (header_.num_epsilon_states < 0 || header_.num_epsilon_states > header_.num_states) {
    reader.Fail(0, "at most " + std::to_string(header_.num_states) + " states with epsilons",
                std::to_string(header_.num_epsilon_states));
  }
  if (header_.num_arcs < 0 || header_.num_arcs > header_.num_words) {
    reader.Fail(0, "arcs that fit into " + std::to_string(header_.num_words) + " words",
                std::to_string(header_.num_arcs));
  }
  CheckAscending(labels_, header_.num_labels, "ascending input labels");
  CheckAscending(output_labels_, header_.num_output_labels, "ascending output labels");
  if (header_.has_symbols) output_symbols_ = std::make_shared<SymbolTable>(SymbolTable::Read(&reader));
}

std::string CompiledGraph::ReadFingerprint(const std::string &path) {
  const Header header = ReadHeaderOf(path);
  return std::string(header.fingerprint, sizeof(header.fingerprint));
}

std::string CompiledGraph::ReadStamp(const std::string &path) {
  const Header header = ReadHeaderOf(path);
  return std::string(header.stamp, sizeof(header.stamp));
}

void CompiledGraph::WriteStamp(const std::string &path, const std::string &stamp) {
  Header header = ReadHeaderOf(path);
  std::copy_n(stamp.begin(), std::min(stamp.size(), sizeof(header.stamp)), header.stamp);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  if (!file) throw FileError(path, errno);
  WriteBytes(file, header);
  file.close();
  if (!file) throw FileError(path, errno);
}

float CompiledGraph::Final(int32_t state) const {
  if (!(states_[state].num_epsilons_and_flags & State::kIsFinal)) return kInfinity;
  return *Record(state).final_weight;
}

void CompiledGraph::Fail(size_t offset, const std::string &expected, const std::string &found) const {
  throw ModelFormatError(file_->Path(), static_cast<int64_t>(offset), expected, found);
}

void CompiledGraph::FailAtRecord(int32_t state) const {
  Fail(static_cast<size_t>(reinterpret_cast<const char *>(states_ + state) - file_->Data()),
       "a record within " + std::to_string(num_words_) + " words",
       "one that begins at word " + std::to_string(states_[state].begin));
}

void CompiledGraph::FailAtState(int32_t state) const {
  throw ModelFormatError(file_->Path() + ": expected next states below " +
                         std::to_string(header_.num_states) + ", found " + std::to_string(state));
}

void CompiledGraph::CheckAscending(const int32_t *labels, int64_t size, const char *what) const {
  for (int64_t i = 0; i < size; ++i) {
    if (labels[i] > (i == 0 ? 0 : labels[i - 1])) continue;
    Fail(static_cast<size_t>(reinterpret_cast<const char *>(labels + i) - file_->Data()), what,
         std::to_string(labels[i]));
  }
}

void CompiledGraph::Check() const {
  int64_t num_arcs = 0;
  LabelSet output_labels;
  for (int32_t state = 0; state < NumStates(); ++state) {
    CheckState(state, &output_labels);
    const StateRecord record = Record(state);
    num_arcs += int64_t{record.emitting.num_arcs} + record.num_epsilons;
  }
  if (num_arcs != header_.num_arcs) {
    Fail(0, std::to_string(num_arcs) + " arcs, as the records have", std::to_string(header_.num_arcs));
  }
  const std::vector<int32_t> found = output_labels.Sorted(), named = OutputLabels();
  const auto [in_arcs, in_table] = std::mismatch(found.begin(), found.end(), named.begin(), named.end());
  if (in_arcs != found.end() || in_table != named.end()) {
    const auto shown = [](auto label, const auto &labels) {
      return label == labels.end() ? std::string("none") : std::to_string(*label);
    };
    Fail(reinterpret_cast<const char *>(output_labels_ + (in_table - named.begin())) - file_->Data(),
         "the output labels of the arcs, next " + shown(in_arcs, found), shown(in_table, named));
  }
}

void CompiledGraph::CheckState(int32_t state, LabelSet *output_labels) const {
  const StateRecord record = Record(state);
  const ArcColumns &arcs = record.emitting;
  const size_t offset = static_cast<size_t>(reinterpret_cast<const char *>(arcs.next_states) - file_->Data());
  if ((record.num_epsilons != 0) != HasInputEpsilons(state)) {
    Fail(offset, HasInputEpsilons(state) ? "arcs without input label" : "no arcs without input label",
         std::to_string(record.num_epsilons));
  }
  if (record.final_weight != nullptr && !IsCost(*record.final_weight)) {
    Fail(offset, "a final cost", std::to_string(*record.final_weight));
  }
  for (uint32_t i = 0; i < arcs.num_arcs; ++i) {
    const int32_t olabel = record.olabels == nullptr ? 0 : record.olabels[i];
    CheckArc(state, arcs.weights[i], olabel, arcs.next_states[i]);
    output_labels->Add(olabel);
    if (arcs.labels[i] >= header_.num_labels) {
      Fail(offset, "positions of input labels below " + std::to_string(header_.num_labels),
           std::to_string(arcs.labels[i]));
    }
    if (i > 0 && arcs.weights[i] < arcs.weights[i - 1]) {
      Fail(offset, "arcs in the order of their costs",
           std::to_string(arcs.weights[i]) + " after " + std::to_string(arcs.weights[i - 1]));
    }
  }
  for (uint32_t i = 0; i < record.num_epsilons; ++i) {
    const EpsilonArc &arc = record.epsilons[i];
    CheckArc(state, arc.weight, arc.olabel, arc.next_state);
    output_labels->Add(arc.olabel);
  }
}

void CompiledGraph::CheckArc(int32_t state, float weight, int32_t olabel, int32_t next_state) const {
  if (IsState(next_state) && olabel >= 0 && IsCost(weight)) return;
  Fail(static_cast<size_t>(reinterpret_cast<const char *>(words_ + states_[state].begin) - file_->Data()),
       "arcs with a cost, an output label and a next state",
       std::to_string(weight) + ", " + std::to_string(olabel) + " and " + std::to_string(next_state));
}

std::shared_ptr<ConstFst> CompiledGraph::ToConst() const {
  std::vector<ConstState> states;
  std::vector<StdArc> arcs;
  states.reserve(static_cast<size_t>(NumStates()));
  arcs.reserve(static_cast<size_t>(NumArcs()));
  for (int32_t state = 0; state < NumStates(); ++state) {
    const StateRecord record = Record(state);
    const ArcColumns &columns = record.emitting;
    ConstState to{record.final_weight == nullptr ? kInfinity : *record.final_weight,
                  static_cast<uint32_t>(arcs.size()), columns.num_arcs + record.num_epsilons,
                  record.num_epsilons, 0};
    for (uint32_t i = 0; i < record.num_epsilons; ++i) {
      const EpsilonArc &arc = record.epsilons[i];
      arcs.push_back({0, arc.olabel, arc.weight, arc.next_state});
      to.num_output_epsilons += arc.olabel == 0;
    }
    for (uint32_t i = 0; i < columns.num_arcs; ++i) {
      if (columns.labels[i] >= header_.num_labels) FailAtRecord(state);
      const int32_t olabel = record.olabels == nullptr ? 0 : record.olabels[i];
      arcs.push_back({labels_[columns.labels[i]], olabel, columns.weights[i], columns.next_states[i]});
      to.num_output_epsilons += olabel == 0;
    }
    states.push_back(to);
  }
  auto fst = std::make_shared<ConstFst>(Start(), std::move(states), std::move(arcs));
  fst->SetOutputSymbols(output_symbols_);
  return fst;
}

}  // namespace pykaldi
