#include "csrc/fst/compiled-graph.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "csrc/base/byte-reader.h"
#include "csrc/base/error.h"
#include "csrc/fst/label-set.h"

namespace pykaldi {
namespace {

static_assert(CompiledGraph::kPaddingBytes >= CompiledArcCoding::kGuardBytes, "decoding reads beyond an arc");

// The comparison is false for NaN.
bool IsCost(float cost) { return cost > -std::numeric_limits<float>::infinity(); }

bool IsWidth(uint8_t num_bytes) { return num_bytes >= 2 && num_bytes <= 4; }

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

CompiledGraph::Header ReadAndCheckHeader(ByteReader *reader) {
  const CompiledGraph::Header header = ReadHeader(reader);
  const ArcCodingParameters &coding = header.coding;
  if (!IsWidth(coding.ilabel_bytes) || !IsWidth(coding.olabel_bytes) || !IsWidth(coding.address_bytes) ||
      !std::all_of(std::begin(coding.common_weights), std::end(coding.common_weights), IsCost)) {
    reader->Fail(0, "labels and addresses of 2 to 4 bytes and common costs",
                 std::to_string(coding.ilabel_bytes) + ", " + std::to_string(coding.olabel_bytes) + " and " +
                     std::to_string(coding.address_bytes) + " bytes and costs " +
                     std::to_string(coding.common_weights[0]) + ", " +
                     std::to_string(coding.common_weights[1]) + ", " +
                     std::to_string(coding.common_weights[2]));
  }
  if (header.record_bytes < 1 || header.record_bytes > CompiledGraph::kMaxRecordBytes ||
      static_cast<size_t>(header.record_bytes) + CompiledGraph::kPaddingBytes > reader->Remaining()) {
    reader->Fail(
        0, "the records of a graph",
        std::to_string(header.record_bytes) + " bytes with " + std::to_string(reader->Remaining()) + " left");
  }
  return header;
}

}  // namespace

class CompiledGraph::Checker {
 public:
  Checker(const CompiledGraph &graph, const ByteReader &reader, size_t offset)
      : graph_(graph),
        reader_(reader),
        offset_(offset),
        end_(static_cast<uint32_t>(graph.header_.record_bytes)),
        is_record_(end_ / kBitsPerWord + 1, 0),
        is_next_(end_ / kBitsPerWord + 1, 0) {}

  int32_t MaxInputLabel() const { return max_ilabel_; }

  void Check() {
    uint32_t address = 0;
    while (address < end_) {
      Mark(address, &is_record_);
      ++num_states_;
      address = CheckRecord(address);
      if (next_states_.size() >= kNextStatesPerMarking) MarkNextStates();
    }
    if (num_states_ != graph_.header_.num_states || num_arcs_ != graph_.header_.num_arcs) {
      reader_.Fail(
          0,
          std::to_string(num_states_) + " states and " + std::to_string(num_arcs_) +
              " arcs, as the records have",
          std::to_string(graph_.header_.num_states) + " and " + std::to_string(graph_.header_.num_arcs));
    }
    NoteNextState(graph_.header_.start);
    MarkNextStates();
    for (uint32_t word = 0; word < is_next_.size(); ++word) {
      const uint64_t nowhere = is_next_[word] & ~is_record_[word];
      if (nowhere) FailAtNextState(word * kBitsPerWord + static_cast<uint32_t>(__builtin_ctzll(nowhere)));
    }
  }

 private:
  static constexpr uint32_t kBitsPerWord = 64;
  static constexpr size_t kNextStatesPerMarking = 64;

  // Returns the place behind the record.
  uint32_t CheckRecord(uint32_t state) {
    const uint32_t most_head_bytes = 1 + sizeof(uint32_t) + sizeof(float);
    if (end_ - state < most_head_bytes && end_ - state < HeadSize(state)) Fail(state, "a record", "its end");
    const RecordHead head = graph_.Head(state);
    if (!IsCost(head.final_weight)) Fail(state, "a final cost", std::to_string(head.final_weight));
    const uint32_t tags = state + head.size;
    if (head.num_arcs > end_ - tags) Fail(state, "the tags of all arcs", std::to_string(head.num_arcs));
    uint32_t body = tags + head.num_arcs;
    for (uint32_t i = 0; i < head.num_arcs; ++i) {
      const uint8_t tag = graph_.Byte(tags + i);
      if (!CompiledArcCoding::IsTag(tag) || graph_.coding_.Size(tag) > end_ - body) {
        Fail(tags + i, "an arc within the records", "the tag " + std::to_string(tag));
      }
      const bool is_epsilon = CompiledArcCoding::IsEpsilon(tag);
      const bool may_be_epsilon =
          i == 0 ? head.has_epsilons : CompiledArcCoding::IsEpsilon(graph_.Byte(tags + i - 1));
      if (i == 0 ? is_epsilon != may_be_epsilon : is_epsilon && !may_be_epsilon) {
        Fail(tags + i, "arcs without input label first", "the tag " + std::to_string(tag));
      }
      if (CompiledArcCoding::NextState(tag) == NextStateKind::kFollowing && i + 1 != head.num_arcs) {
        Fail(tags + i, "only the last arc to lead to the state that follows",
             "arc " + std::to_string(i + 1) + " of " + std::to_string(head.num_arcs));
      }
      const StdArc arc = graph_.coding_.Decode(tag, graph_.records_, body, state);
      CheckLabels(body, arc, is_epsilon);
      body += graph_.coding_.Size(tag);
      if (CompiledArcCoding::NextState(tag) != NextStateKind::kSame) {
        NoteNextState(static_cast<uint32_t>(arc.nextstate));
      }
    }
    if (head.has_epsilons && head.num_arcs == 0) Fail(state, "arcs without input label", "no arcs");
    num_arcs_ += head.num_arcs;
    return body;
  }

  uint32_t HeadSize(uint32_t state) const {
    const uint8_t byte = graph_.Byte(state);
    const bool has_count = (byte & RecordHead::kManyArcs) == RecordHead::kManyArcs;
    return 1 + (has_count ? sizeof(uint32_t) : 0) + (byte & RecordHead::kIsFinal ? sizeof(float) : 0);
  }

  void CheckLabels(uint32_t address, const StdArc &arc, bool is_epsilon) {
    if (arc.ilabel < 0 || arc.olabel < 0 || (arc.ilabel == 0) != is_epsilon || !IsCost(arc.weight)) {
      Fail(address, "an arc with labels and a cost",
           "labels " + std::to_string(arc.ilabel) + " and " + std::to_string(arc.olabel) + ", cost " +
               std::to_string(arc.weight));
    }
    if (arc.ilabel > max_ilabel_) max_ilabel_ = arc.ilabel;
  }

  static void Mark(uint32_t address, std::vector<uint64_t> *bits) {
    (*bits)[address / kBitsPerWord] |= uint64_t{1} << address % kBitsPerWord;
  }

  // Each mark has to wait for memory, so next states are collected: many can wait together.
  void NoteNextState(uint32_t next) {
    if (next >= end_) FailAtNextState(next);
    __builtin_prefetch(&is_next_[next / kBitsPerWord], 1);
    next_states_.push_back(next);
  }

  void MarkNextStates() {
    for (const uint32_t next : next_states_) Mark(next, &is_next_);
    next_states_.clear();
  }

  [[noreturn]] void FailAtNextState(uint32_t next) const {
    reader_.Fail(offset_, "next states that exist", "one at byte " + std::to_string(next));
  }

  [[noreturn]] void Fail(uint32_t address, const char *expected, const std::string &found) const {
    reader_.Fail(offset_ + address, expected, found);
  }

  const CompiledGraph &graph_;
  const ByteReader &reader_;
  size_t offset_;  // of the records in the file
  uint32_t end_;
  // A bit for each byte of the records: is it the first of one, and does an arc lead there?
  std::vector<uint64_t> is_record_;
  std::vector<uint64_t> is_next_;
  std::vector<uint32_t> next_states_;  // that wait to be marked
  int64_t num_states_ = 0;
  int64_t num_arcs_ = 0;
  int32_t max_ilabel_ = 0;
};

CompiledGraph::CompiledGraph(const std::string &path)
    : file_(std::make_shared<MappedFile>(path)), coding_(ArcCodingParameters()) {
  ByteReader reader(file_->Data(), file_->Size(), path);
  header_ = ReadAndCheckHeader(&reader);
  coding_ = CompiledArcCoding(header_.coding);
  const size_t offset = reader.Offset();
  records_ = reader.Take(static_cast<size_t>(header_.record_bytes), "the records");
  reader.Take(kPaddingBytes, "zeros behind the records");
  Checker checker(*this, reader, offset);
  checker.Check();
  max_ilabel_ = checker.MaxInputLabel();
  if (header_.has_symbols) output_symbols_ = std::make_shared<SymbolTable>(SymbolTable::Read(&reader));
}

std::string CompiledGraph::ReadFingerprint(const std::string &path) {
  const MappedFile file(path);
  ByteReader reader(file.Data(), file.Size(), path);
  const Header header = ReadHeader(&reader);
  return std::string(header.fingerprint, sizeof(header.fingerprint));
}

uint32_t CompiledGraph::CountEpsilons(uint32_t address) const {
  const RecordHead head = Head(address);
  const uint32_t tags = address + head.size;
  uint32_t count = 0;
  while (count < head.num_arcs && CompiledArcCoding::IsEpsilon(Byte(tags + count))) ++count;
  return count;
}

std::vector<int32_t> CompiledGraph::OutputLabels() const {
  LabelSet labels;
  for (uint32_t address = 0; address < header_.record_bytes;) {
    const ArcRange range = Arcs(static_cast<int32_t>(address));
    ArcIterator place = range.begin();
    for (; place != range.end(); ++place) labels.Add((*place).olabel);
    address = place.Body();
  }
  return labels.Sorted();
}

std::shared_ptr<ConstFst> CompiledGraph::ToConst() const {
  std::unordered_map<int32_t, int32_t> numbers;
  std::vector<ConstState> states;
  std::vector<StdArc> arcs;
  numbers.reserve(static_cast<size_t>(NumStates()));
  states.reserve(static_cast<size_t>(NumStates()));
  arcs.reserve(static_cast<size_t>(NumArcs()));
  for (uint32_t address = 0; address < header_.record_bytes;) {
    const RecordHead head = Head(address);
    numbers.emplace(static_cast<int32_t>(address), static_cast<int32_t>(states.size()));
    ConstState state{head.final_weight, static_cast<uint32_t>(arcs.size()), head.num_arcs, 0, 0};
    const ArcRange range = Arcs(static_cast<int32_t>(address));
    ArcIterator place = range.begin();
    for (; place != range.end(); ++place) {
      arcs.push_back(*place);
      state.num_input_epsilons += arcs.back().ilabel == 0;
      state.num_output_epsilons += arcs.back().olabel == 0;
    }
    states.push_back(state);
    address = place.Body();
  }
  for (StdArc &arc : arcs) arc.nextstate = numbers.at(arc.nextstate);
  auto fst = std::make_shared<ConstFst>(numbers.at(Start()), std::move(states), std::move(arcs));
  fst->SetOutputSymbols(output_symbols_);
  return fst;
}

}  // namespace pykaldi
