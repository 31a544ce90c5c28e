#include "csrc/fst/graph-compiler.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <vector>

#include "csrc/base/byte-writer.h"
#include "csrc/base/error.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/label-set.h"

namespace pykaldi {
namespace {

constexpr int32_t kNoPlace = -1;
constexpr int32_t kStatesPerReport = 1 << 14;
using State = CompiledGraph::State;

class GraphCompiler {
 public:
  GraphCompiler(const ExpandedGraph &graph, const CompileProgress &progress)
      : graph_(graph), progress_(progress) {}

  void LayOut() {
    OrderStates();
    NumberStates();
    FindLabels();
    MeasureRecords();
  }

  void Write(const std::string &path, const std::string &fingerprint, const std::string &stamp,
             const SymbolTable *symbols);

 private:
  void OrderStates();
  // The state whose record is to follow that of the state whose arcs are in arcs_, or kNoPlace.
  int32_t NextInChain(const std::vector<uint8_t> &is_placed) const;
  void NumberStates();
  void FindLabels();
  void MeasureRecords();

  // Puts the kept arcs of a state into epsilons_ and emitting_, as they are in a record.
  void CollectArcs(int32_t state);
  bool HasOutputLabels() const;
  bool HasManyArcs() const {
    return emitting_.size() >= State::kManyArcs || epsilons_.size() > State::kMaxEpsilons;
  }
  // The entry of the state whose arcs are collected.
  State MakeEntry(int32_t state, uint32_t begin) const;
  int64_t RecordWords(int32_t state) const;
  void AppendRecord(int32_t state, std::vector<uint32_t> *words) const;

  const ExpandedGraph &graph_;
  const CompileProgress &progress_;
  std::vector<int32_t> order_;    // states by the places of their records
  std::vector<int32_t> numbers_;  // of states in the file
  std::vector<State> entries_;    // by number
  std::vector<int32_t> labels_, output_labels_;
  int32_t num_epsilon_states_ = 0;
  int64_t num_arcs_ = 0;  // that are kept
  int64_t num_words_ = 0;
  // Scratch memory of one record.
  std::vector<StdArc> arcs_, epsilons_, emitting_;
};

void GraphCompiler::OrderStates() {
  const int32_t num_states = graph_.NumStates();
  std::vector<uint8_t> is_placed(num_states, 0);
  for (int32_t first = 0; first < num_states; ++first) {
    if (first % kStatesPerReport == 0) progress_("ordering", first, num_states);
    int32_t state = graph_.IsKept(first) && !is_placed[first] ? first : kNoPlace;
    while (state != kNoPlace) {
      is_placed[state] = 1;
      order_.push_back(state);
      graph_.KeptArcs(state, &arcs_);
      num_arcs_ += static_cast<int64_t>(arcs_.size());
      state = NextInChain(is_placed);
    }
  }
}

int32_t GraphCompiler::NextInChain(const std::vector<uint8_t> &is_placed) const {
  int32_t next = kNoPlace;
  float least = std::numeric_limits<float>::infinity();
  for (const StdArc &arc : arcs_) {
    if (arc.ilabel == 0 || is_placed[arc.nextstate] || !(arc.weight < least)) continue;
    least = arc.weight;
    next = arc.nextstate;
  }
  return next;
}

void GraphCompiler::NumberStates() {
  std::vector<int32_t> others;
  numbers_.assign(graph_.NumStates(), kNoPlace);
  for (const int32_t state : order_) {
    graph_.KeptArcs(state, &arcs_);
    const bool has_epsilons =
        std::any_of(arcs_.begin(), arcs_.end(), [](const StdArc &arc) { return arc.ilabel == 0; });
    if (has_epsilons) {
      numbers_[state] = num_epsilon_states_++;
    } else {
      others.push_back(state);
    }
  }
  int32_t number = num_epsilon_states_;
  for (const int32_t state : others) numbers_[state] = number++;
}

void GraphCompiler::FindLabels() {
  LabelSet labels;
  for (int64_t i = 0; i < graph_.NumArcs(); ++i) labels.Add(graph_.Arc(i).ilabel);
  labels_ = labels.Sorted();
  if (static_cast<int64_t>(labels_.size()) > CompiledGraph::kMaxLabels) {
    throw ModelFormatError("the compiled graph would have " + std::to_string(labels_.size()) +
                           " input labels, more than " + std::to_string(CompiledGraph::kMaxLabels));
  }
}

void GraphCompiler::MeasureRecords() {
  LabelSet output_labels;
  entries_.resize(order_.size());
  for (size_t place = 0; place < order_.size(); ++place) {
    if (place % kStatesPerReport == 0) progress_("measuring", place, order_.size());
    const int32_t state = order_[place];
    CollectArcs(state);
    for (const StdArc &arc : arcs_) output_labels.Add(arc.olabel);
    entries_[numbers_[state]] = MakeEntry(state, static_cast<uint32_t>(num_words_));
    num_words_ += RecordWords(state);
    if (num_words_ > CompiledGraph::kMaxRecordWords) {
      throw ModelFormatError("the compiled graph would be larger than 16 GB");
    }
  }
  output_labels_ = output_labels.Sorted();
}

void GraphCompiler::CollectArcs(int32_t state) {
  graph_.KeptArcs(state, &arcs_);
  epsilons_.clear();
  emitting_.clear();
  for (const StdArc &arc : arcs_) (arc.ilabel == 0 ? epsilons_ : emitting_).push_back(arc);
  std::stable_sort(emitting_.begin(), emitting_.end(),
                   [](const StdArc &a, const StdArc &b) { return a.weight < b.weight; });
}

bool GraphCompiler::HasOutputLabels() const {
  return std::any_of(emitting_.begin(), emitting_.end(), [](const StdArc &arc) { return arc.olabel != 0; });
}

State GraphCompiler::MakeEntry(int32_t state, uint32_t begin) const {
  State entry{begin, State::kManyArcs, 0};
  if (!HasManyArcs()) {
    entry.num_emitting = static_cast<uint16_t>(emitting_.size());
    entry.num_epsilons_and_flags = static_cast<uint16_t>(epsilons_.size());
  }
  if (HasOutputLabels()) entry.num_epsilons_and_flags |= State::kHasOutputLabels;
  if (graph_.Final(state) != std::numeric_limits<float>::infinity()) {
    entry.num_epsilons_and_flags |= State::kIsFinal;
  }
  return entry;
}

int64_t GraphCompiler::RecordWords(int32_t state) const {
  const State entry = MakeEntry(state, 0);
  const int64_t num_emitting = static_cast<int64_t>(emitting_.size());
  const int64_t num_epsilons = static_cast<int64_t>(epsilons_.size());
  return (HasManyArcs() ? 2 : 0) + 2 * num_emitting + (num_emitting + 1) / 2 +
         (entry.num_epsilons_and_flags & State::kHasOutputLabels ? num_emitting : 0) + 3 * num_epsilons +
         (entry.num_epsilons_and_flags & State::kIsFinal ? 1 : 0);
}

void GraphCompiler::AppendRecord(int32_t state, std::vector<uint32_t> *words) const {
  const State entry = MakeEntry(state, 0);
  const auto append_integer = [words](int32_t value) { words->push_back(static_cast<uint32_t>(value)); };
  const auto append_cost = [words](float cost) {
    uint32_t bits;
    std::memcpy(&bits, &cost, sizeof(bits));
    words->push_back(bits);
  };
  const auto position = [this](const StdArc &arc) {
    return static_cast<uint32_t>(std::lower_bound(labels_.begin(), labels_.end(), arc.ilabel) -
                                 labels_.begin());
  };
  if (HasManyArcs()) {
    words->push_back(static_cast<uint32_t>(emitting_.size()));
    words->push_back(static_cast<uint32_t>(epsilons_.size()));
  }
  for (const StdArc &arc : emitting_) append_integer(numbers_[arc.nextstate]);
  for (const StdArc &arc : emitting_) append_cost(arc.weight);
  for (size_t i = 0; i < emitting_.size(); i += 2) {
    const uint32_t second = i + 1 < emitting_.size() ? position(emitting_[i + 1]) : 0;
    words->push_back(position(emitting_[i]) | second << 16);
  }
  if (entry.num_epsilons_and_flags & State::kHasOutputLabels) {
    for (const StdArc &arc : emitting_) append_integer(arc.olabel);
  }
  for (const StdArc &arc : epsilons_) {
    append_integer(numbers_[arc.nextstate]);
    append_integer(arc.olabel);
    append_cost(arc.weight);
  }
  if (entry.num_epsilons_and_flags & State::kIsFinal) append_cost(graph_.Final(state));
}

template <class T>
void WriteArray(std::ostream &file, const std::vector<T> &array) {
  file.write(reinterpret_cast<const char *>(array.data()),
             static_cast<std::streamsize>(array.size() * sizeof(T)));
}

void GraphCompiler::Write(const std::string &path, const std::string &fingerprint, const std::string &stamp,
                          const SymbolTable *symbols) {
  CompiledGraph::Header header;
  std::copy_n(fingerprint.begin(), std::min(fingerprint.size(), sizeof(header.fingerprint)),
              header.fingerprint);
  std::copy_n(stamp.begin(), std::min(stamp.size(), sizeof(header.stamp)), header.stamp);
  header.start = numbers_[0];
  header.num_states = static_cast<int64_t>(order_.size());
  header.num_epsilon_states = num_epsilon_states_;
  header.num_arcs = num_arcs_;
  header.num_labels = static_cast<int64_t>(labels_.size());
  header.num_output_labels = static_cast<int64_t>(output_labels_.size());
  header.num_words = num_words_;
  header.has_symbols = symbols != nullptr;

  std::ofstream file(path, std::ios::binary);
  if (!file) throw FileError(path, errno);
  WriteBytes(file, header);
  WritePadding(file, CompiledGraph::kAlignment);
  WriteArray(file, labels_);
  WritePadding(file, CompiledGraph::kAlignment);
  WriteArray(file, output_labels_);
  WritePadding(file, CompiledGraph::kAlignment);
  WriteArray(file, entries_);
  WritePadding(file, CompiledGraph::kAlignment);
  std::vector<uint32_t> words;
  for (size_t place = 0; place < order_.size(); ++place) {
    CollectArcs(order_[place]);
    AppendRecord(order_[place], &words);
    if ((place + 1) % kStatesPerReport != 0 && place + 1 != order_.size()) continue;
    WriteArray(file, words);
    words.clear();
    progress_("writing", place + 1, order_.size());
  }
  const char padding[CompiledGraph::kPaddingBytes] = {};
  file.write(padding, sizeof(padding));
  if (symbols != nullptr) symbols->Write(file);
  file.close();
  if (!file) throw FileError(path, errno);
}

}  // namespace

void CompileGraph(const LookaheadComposition &composition, const std::string &path,
                  const std::string &directory, const std::string &fingerprint, const std::string &stamp,
                  const CompileProgress &progress) {
  const ExpandedGraph graph(composition, directory, progress);
  GraphCompiler compiler(graph, progress);
  compiler.LayOut();
  compiler.Write(path, fingerprint, stamp, composition.OutputSymbols().get());
}

}  // namespace pykaldi
