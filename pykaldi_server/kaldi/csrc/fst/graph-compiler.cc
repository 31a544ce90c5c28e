#include "csrc/fst/graph-compiler.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <vector>

#include "csrc/base/byte-writer.h"
#include "csrc/base/error.h"
#include "csrc/fst/compiled-arc-coding.h"
#include "csrc/fst/compiled-graph.h"

namespace pykaldi {
namespace {

constexpr int32_t kNoPlace = -1;
constexpr size_t kWeightSamples = size_t{1} << 20;
constexpr int32_t kStatesPerReport = 1 << 14;
using RecordHead = CompiledGraph::RecordHead;

class GraphCompiler {
 public:
  GraphCompiler(const ExpandedGraph &graph, const CompileProgress &progress)
      : graph_(graph), progress_(progress), coding_(ArcCodingParameters()) {}

  void LayOut() {
    OrderStates();
    ChooseCoding();
  }

  void Write(const std::string &path, const std::string &fingerprint, const SymbolTable *symbols);

 private:
  void OrderStates();
  // The state whose record is to follow that of the state whose arcs are in arcs_, or kNoPlace.
  int32_t NextInChain(const std::vector<uint8_t> &is_placed) const;
  void ChooseCoding();
  std::vector<float> CommonWeights() const;
  // Gives each state its address; returns the number of bytes of all records.
  int64_t Address();

  // Puts the kept arcs of the state at a position of the order into arcs_, in the order of a record, and
  // returns by what kind the last one leads on.
  void CollectArcs(size_t position);
  // Appends the record of a position to `out`, or only counts its bytes when `out` is null.
  size_t CodeRecord(size_t position, std::vector<char> *out);
  NextStateKind KindOf(const StdArc &arc, size_t position, bool is_last) const;

  const ExpandedGraph &graph_;
  const CompileProgress &progress_;
  CompiledArcCoding coding_;
  std::vector<int32_t> order_;       // states by their place in the file
  std::vector<uint32_t> addresses_;  // of all states
  int64_t num_arcs_ = 0;             // that are kept
  // Scratch memory of one record.
  std::vector<StdArc> arcs_;
  std::vector<uint8_t> tags_;
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

void GraphCompiler::ChooseCoding() {
  int32_t max_ilabel = 0;
  int32_t max_olabel = 0;
  for (int64_t i = 0; i < graph_.NumArcs(); ++i) {
    const StdArc arc = graph_.Arc(i);
    if (arc.ilabel > max_ilabel) max_ilabel = arc.ilabel;
    if (arc.olabel > max_olabel) max_olabel = arc.olabel;
  }
  ArcCodingParameters parameters;
  parameters.ilabel_bytes = CompiledArcCoding::BytesFor(max_ilabel);
  parameters.olabel_bytes = CompiledArcCoding::BytesFor(max_olabel);
  const std::vector<float> weights = CommonWeights();
  std::copy(weights.begin(), weights.end(), parameters.common_weights);
  coding_ = CompiledArcCoding(parameters);
  // Shorter addresses make shorter records, so what is enough for the longer ones is enough.
  parameters.address_bytes = CompiledArcCoding::BytesFor(Address());
  coding_ = CompiledArcCoding(parameters);
}

std::vector<float> GraphCompiler::CommonWeights() const {
  // Costs are compared by their bits.
  std::vector<uint32_t> sample;
  const int64_t step = std::max<int64_t>(1, graph_.NumArcs() / static_cast<int64_t>(kWeightSamples));
  for (int64_t i = 0; i < graph_.NumArcs(); i += step) {
    uint32_t bits;
    std::memcpy(&bits, &graph_.Arc(i).weight, sizeof(bits));
    sample.push_back(bits);
  }
  std::sort(sample.begin(), sample.end());
  std::vector<std::pair<int64_t, uint32_t>> counts;
  for (auto begin = sample.begin(); begin != sample.end();) {
    const auto end = std::upper_bound(begin, sample.end(), *begin);
    counts.emplace_back(end - begin, *begin);
    begin = end;
  }
  std::sort(counts.rbegin(), counts.rend());
  counts.resize(std::min(counts.size(), ArcCodingParameters::kNumCommonWeights));
  std::vector<float> weights(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) std::memcpy(&weights[i], &counts[i].second, sizeof(float));
  return weights;
}

int64_t GraphCompiler::Address() {
  addresses_.assign(graph_.NumStates(), 0);
  int64_t num_bytes = 0;
  for (size_t position = 0; position < order_.size(); ++position) {
    if (position % kStatesPerReport == 0) progress_("measuring", position, order_.size());
    addresses_[order_[position]] = static_cast<uint32_t>(num_bytes);
    num_bytes += static_cast<int64_t>(CodeRecord(position, nullptr));
    if (num_bytes > CompiledGraph::kMaxRecordBytes) {
      throw ModelFormatError("the compiled graph would be larger than 2 GB");
    }
  }
  return num_bytes;
}

void GraphCompiler::CollectArcs(size_t position) {
  graph_.KeptArcs(order_[position], &arcs_);
  std::stable_partition(arcs_.begin(), arcs_.end(), [](const StdArc &arc) { return arc.ilabel == 0; });
  if (position + 1 == order_.size()) return;
  const int32_t following = order_[position + 1];
  const auto arc = std::find_if(arcs_.begin(), arcs_.end(), [following](const StdArc &a) {
    return a.ilabel != 0 && a.nextstate == following;
  });
  if (arc != arcs_.end()) std::rotate(arc, arc + 1, arcs_.end());
}

NextStateKind GraphCompiler::KindOf(const StdArc &arc, size_t position, bool is_last) const {
  if (arc.nextstate == order_[position]) return NextStateKind::kSame;
  if (is_last && position + 1 < order_.size() && arc.nextstate == order_[position + 1]) {
    return NextStateKind::kFollowing;
  }
  return NextStateKind::kAddress;
}

size_t GraphCompiler::CodeRecord(size_t position, std::vector<char> *out) {
  CollectArcs(position);
  const float final_weight = graph_.Final(order_[position]);
  const bool is_final = final_weight != std::numeric_limits<float>::infinity();
  const bool has_epsilons = !arcs_.empty() && arcs_.front().ilabel == 0;
  const bool has_many = arcs_.size() >= RecordHead::kManyArcs;
  size_t size = 1;
  char bytes[CompiledArcCoding::kMaxBodyBytes];
  bytes[0] = static_cast<char>((has_many ? RecordHead::kManyArcs : arcs_.size()) |
                               (has_epsilons ? RecordHead::kHasEpsilons : 0) |
                               (is_final ? RecordHead::kIsFinal : 0));
  if (has_many) {
    const uint32_t num_arcs = static_cast<uint32_t>(arcs_.size());
    std::memcpy(bytes + size, &num_arcs, sizeof(num_arcs));
    size += sizeof(num_arcs);
  }
  if (is_final) {
    std::memcpy(bytes + size, &final_weight, sizeof(final_weight));
    size += sizeof(final_weight);
  }
  tags_.clear();
  for (size_t i = 0; i < arcs_.size(); ++i) {
    tags_.push_back(coding_.Tag(arcs_[i], KindOf(arcs_[i], position, i + 1 == arcs_.size())));
  }
  if (out != nullptr) {
    out->insert(out->end(), bytes, bytes + size);
    out->insert(out->end(), tags_.begin(), tags_.end());
  }
  size += tags_.size();
  for (size_t i = 0; i < arcs_.size(); ++i) {
    size += coding_.Size(tags_[i]);
    if (out == nullptr) continue;
    arcs_[i].nextstate = static_cast<int32_t>(addresses_[arcs_[i].nextstate]);
    out->insert(out->end(), bytes, bytes + coding_.EncodeBody(arcs_[i], tags_[i], bytes));
  }
  return size;
}

void GraphCompiler::Write(const std::string &path, const std::string &fingerprint,
                          const SymbolTable *symbols) {
  CompiledGraph::Header header;
  std::copy_n(fingerprint.begin(), std::min(fingerprint.size(), sizeof(header.fingerprint)),
              header.fingerprint);
  header.record_bytes = Address();
  header.start = addresses_[0];
  header.num_states = static_cast<int64_t>(order_.size());
  header.num_arcs = num_arcs_;
  header.has_symbols = symbols != nullptr;
  header.coding = coding_.Parameters();

  std::ofstream file(path, std::ios::binary);
  if (!file) throw FileError(path, errno);
  WriteBytes(file, header);
  std::vector<char> records;
  for (size_t position = 0; position < order_.size(); ++position) {
    CodeRecord(position, &records);
    if ((position + 1) % kStatesPerReport != 0 && position + 1 != order_.size()) continue;
    file.write(records.data(), static_cast<std::streamsize>(records.size()));
    records.clear();
    progress_("writing", position + 1, order_.size());
  }
  const char padding[CompiledGraph::kPaddingBytes] = {};
  file.write(padding, sizeof(padding));
  if (symbols != nullptr) symbols->Write(file);
  file.close();
  if (!file) throw FileError(path, errno);
}

}  // namespace

void CompileGraph(const LookaheadComposition &composition, const std::string &path,
                  const std::string &directory, const std::string &fingerprint,
                  const CompileProgress &progress) {
  const ExpandedGraph graph(composition, directory, progress);
  GraphCompiler compiler(graph, progress);
  compiler.LayOut();
  compiler.Write(path, fingerprint, composition.OutputSymbols().get());
}

}  // namespace pykaldi
