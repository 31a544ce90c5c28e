#include "csrc/lat/lattice-io-text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "csrc/base/parse-number.h"

namespace pykaldi {
namespace {

constexpr std::string_view kWhite = " \t\r\v\f";
constexpr size_t kMaxFields = 5;
constexpr int64_t kMaxUnnamedStates = 1000;

// The lines of one lattice, up to the empty line that ends it.
class LineReader {
 public:
  explicit LineReader(ByteReader *reader) : reader_(reader) {
    SkipFirstNewline();
    // Each state is named in the text at least once (but for a few that nothing leads to or from), so that
    // the length of the text bounds their number.
    const std::string_view rest = Rest();
    max_states_ = kMaxUnnamedStates + static_cast<int64_t>(std::min(rest.find("\n\n"), rest.size()));
  }

  // Splits the next line into fields; returns false at the end of the lattice.
  bool Next(std::vector<std::string_view> *fields) {
    line_offset_ = reader_->Offset();
    std::string_view line = Rest();
    const size_t newline = line.find('\n');
    line = line.substr(0, newline);
    reader_->Take(line.size() + (newline != line.npos ? 1 : 0), "a line");
    fields->clear();
    while (true) {
      line.remove_prefix(std::min(line.find_first_not_of(kWhite), line.size()));
      if (line.empty()) return !fields->empty();
      if (fields->size() == kMaxFields) Fail("a line of at most 5 fields", line);
      const size_t length = std::min(line.find_first_of(kWhite), line.size());
      fields->push_back(line.substr(0, length));
      line.remove_prefix(length);
    }
  }

  [[noreturn]] void Fail(const std::string &expected, std::string_view found) const {
    reader_->Fail(line_offset_, expected, Printable(found));
  }

  int32_t State(std::string_view field) const {
    const int32_t state = Integer(field, "a state");
    if (state >= max_states_) Fail("a state below " + std::to_string(max_states_), field);
    return state;
  }

  int32_t Integer(std::string_view field, const std::string &what) const {
    int32_t value = 0;
    if (!ParseInteger(field, &value) || value < 0) {
      Fail(what + " (an integer of 0 or more)", field);
    }
    return value;
  }

  // Parses "graph,acoustic" and, for a compact weight, ",1_2_3".
  CompactLatticeWeight Weight(std::string_view field, bool compact, bool is_final) const {
    const std::string expected = compact ? "a weight graph,acoustic,1_2_3" : "a weight graph,acoustic";
    const size_t first = field.find(',');
    const size_t second = first == field.npos ? field.npos : field.find(',', first + 1);
    if (first == field.npos || compact != (second != field.npos)) Fail(expected, field);
    CompactLatticeWeight weight;
    weight.weight.graph_cost = Float(field.substr(0, first), field);
    weight.weight.acoustic_cost =
        Float(field.substr(first + 1, compact ? second - first - 1 : field.npos), field);
    const LatticeWeight &w = weight.weight;
    if (std::isinf(w.graph_cost) != std::isinf(w.acoustic_cost) || (w.IsZero() && !is_final)) {
      Fail("finite costs", field);
    }
    std::string_view rest = compact ? field.substr(second + 1) : std::string_view();
    while (!rest.empty()) {
      const size_t length = std::min(rest.find('_'), rest.size());
      weight.string.push_back(Integer(rest.substr(0, length), "a transition-id"));
      if (length + 1 == rest.size()) Fail(expected, field);
      rest.remove_prefix(std::min(length + 1, rest.size()));
    }
    return weight;
  }

 private:
  std::string_view Rest() { return {reader_->Take(0, ""), reader_->Remaining()}; }

  void SkipFirstNewline() {
    line_offset_ = reader_->Offset();
    const std::string_view rest = Rest();
    const size_t white = std::min(rest.find_first_not_of(kWhite), rest.size());
    if (white < rest.size() && rest[white] != '\n') {
      Fail("a newline before the first line of a lattice", rest.substr(white));
    }
    reader_->Take(std::min(white + 1, rest.size()), "a newline");
  }

  float Float(std::string_view number, std::string_view field) const {
    if (number == "Infinity") return std::numeric_limits<float>::infinity();
    float value = 0;
    if (!ParseFloat(number, &value) || std::isnan(value) ||
        value == -std::numeric_limits<float>::infinity()) {
      Fail("costs", field);
    }
    return value;
  }

  ByteReader *reader_;
  size_t line_offset_ = 0;
  int64_t max_states_ = 0;
};

enum class Kind { kUnknown, kLattice, kCompact };

// The kind of lattice that has such a line; kUnknown when both have.
Kind KindOfLine(const std::vector<std::string_view> &fields) {
  const auto commas = [](std::string_view field) { return std::count(field.begin(), field.end(), ','); };
  switch (fields.size()) {
    case 2:
      return commas(fields[1]) == 2 ? Kind::kCompact : Kind::kLattice;
    case 3:
      return Kind::kCompact;
    case 4:
      return commas(fields[3]) > 0 ? Kind::kCompact : Kind::kLattice;
    case 5:
      return Kind::kLattice;
    default:
      return Kind::kUnknown;
  }
}

template <class L>
void EnsureState(int32_t state, L *lattice) {
  if (state >= lattice->NumStates()) lattice->AddStates(state + 1 - lattice->NumStates());
}

void AddLine(const LineReader &reader, const std::vector<std::string_view> &fields, Lattice *lattice) {
  const int32_t state = reader.State(fields[0]);
  EnsureState(state, lattice);
  if (lattice->Start() == kNoLatticeState) lattice->SetStart(state);
  if (fields.size() <= 2) {
    lattice->SetFinal(
        state, fields.size() == 2 ? reader.Weight(fields[1], false, true).weight : LatticeWeight::One());
    return;
  }
  LatticeArc arc;
  arc.nextstate = reader.State(fields[1]);
  arc.ilabel = reader.Integer(fields[2], "a transition-id");
  arc.olabel = reader.Integer(fields[3], "a word");
  if (fields.size() == 5) arc.weight = reader.Weight(fields[4], false, false).weight;
  EnsureState(arc.nextstate, lattice);
  lattice->AddArc(state, arc);
}

void AddLine(const LineReader &reader, const std::vector<std::string_view> &fields, CompactLattice *lattice) {
  const int32_t state = reader.State(fields[0]);
  EnsureState(state, lattice);
  if (lattice->Start() == kNoLatticeState) lattice->SetStart(state);
  if (fields.size() <= 2) {
    lattice->SetFinal(
        state, fields.size() == 2 ? reader.Weight(fields[1], true, true) : CompactLatticeWeight::One());
    return;
  }
  CompactLatticeArc arc;
  arc.nextstate = reader.State(fields[1]);
  arc.label = reader.Integer(fields[2], "a word");
  if (fields.size() == 4) arc.weight = reader.Weight(fields[3], true, false);
  EnsureState(arc.nextstate, lattice);
  lattice->AddArc(state, std::move(arc));
}

void Append(float value, std::string *text) {
  if (std::isinf(value)) {
    text->append(value > 0 ? "Infinity" : "-Infinity");
    return;
  }
  char digits[32];
  text->append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

void Append(const LatticeWeight &weight, std::string *text) {
  Append(weight.graph_cost, text);
  text->push_back(',');
  Append(weight.acoustic_cost, text);
}

void Append(const CompactLatticeWeight &weight, std::string *text) {
  Append(weight.weight, text);
  text->push_back(',');
  for (size_t i = 0; i < weight.string.size(); ++i) {
    if (i > 0) text->push_back('_');
    text->append(std::to_string(weight.string[i]));
  }
}

void AppendLabels(const LatticeArc &arc, std::string *text) {
  text->append(std::to_string(arc.ilabel) + "\t" + std::to_string(arc.olabel));
}

void AppendLabels(const CompactLatticeArc &arc, std::string *text) {
  text->append(std::to_string(arc.label));
}

template <class L>
void AppendState(const L &lattice, int32_t state, std::string *text) {
  const typename L::Weight one = L::Weight::One();
  for (const auto &arc : lattice.Arcs(state)) {
    text->append(std::to_string(state) + "\t" + std::to_string(arc.nextstate) + "\t");
    AppendLabels(arc, text);
    if (arc.weight != one) {
      text->push_back('\t');
      Append(arc.weight, text);
    }
    text->push_back('\n');
  }
  if (lattice.IsFinal(state)) {
    text->append(std::to_string(state));
    if (lattice.Final(state) != one) {
      text->push_back('\t');
      Append(lattice.Final(state), text);
    }
    text->push_back('\n');
  }
}

template <class L>
std::string Write(const L &lattice) {
  std::string text = "\n";
  if (lattice.Start() != kNoLatticeState) AppendState(lattice, lattice.Start(), &text);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    if (s != lattice.Start()) AppendState(lattice, s, &text);
  }
  text.push_back('\n');
  return text;
}

}  // namespace

AnyLattice ReadTextLattice(ByteReader *bytes) {
  LineReader reader(bytes);
  AnyLattice result;
  Kind kind = Kind::kUnknown;
  std::vector<std::string_view> fields;
  std::vector<int32_t> undecided;  // final states before the first line that only one kind has
  const auto add_undecided = [&] {
    for (int32_t state : undecided) {
      const std::string number = std::to_string(state);
      if (kind == Kind::kLattice) AddLine(reader, {number}, &result.lattice);
      if (kind != Kind::kLattice) AddLine(reader, {number}, &result.compact);
    }
    undecided.clear();
  };
  while (reader.Next(&fields)) {
    const Kind line_kind = KindOfLine(fields);
    if (kind == Kind::kUnknown) {
      if (line_kind == Kind::kUnknown) {
        undecided.push_back(reader.State(fields[0]));
        continue;
      }
      kind = line_kind;
      add_undecided();
    }
    if (kind == Kind::kLattice) AddLine(reader, fields, &result.lattice);
    if (kind == Kind::kCompact) AddLine(reader, fields, &result.compact);
  }
  add_undecided();
  result.is_compact = kind != Kind::kLattice;
  return result;
}

std::string WriteText(const Lattice &lattice) { return Write(lattice); }
std::string WriteText(const CompactLattice &lattice) { return Write(lattice); }

}  // namespace pykaldi
