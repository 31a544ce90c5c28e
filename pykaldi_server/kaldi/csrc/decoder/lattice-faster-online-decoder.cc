#include "csrc/decoder/lattice-faster-online-decoder.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/decoder/raw-lattice.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-fst.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kNotExpanded = -1;
constexpr int32_t kNotTaken = -1;
// How many tokens ahead of the one that is expanded the state, and later its arcs, are asked for.
constexpr size_t kPrefetchState = 12;
constexpr size_t kPrefetchArcs = 6;
// Epsilon expansions in one frame: only a cycle of negative cost needs as many as this.
constexpr int64_t kMaxExpansions = 10000000;
// More than any model has; bounds what a wrong number can ask for.
constexpr int32_t kMaxPdfs = 1 << 24;

int32_t CountPdfs(const std::vector<int32_t> &id2pdf) {
  int32_t most = -1;
  for (size_t id = 1; id < id2pdf.size(); ++id) {
    if (id2pdf[id] < 0 || id2pdf[id] >= kMaxPdfs) {
      throw ConfigError("transition-id " + std::to_string(id) + ": expected a pdf below " +
                        std::to_string(kMaxPdfs) + ", found " + std::to_string(id2pdf[id]));
    }
    most = std::max(most, id2pdf[id]);
  }
  return most + 1;
}

int32_t BestToken(const std::vector<Token> &tokens) {
  const auto best = std::min_element(tokens.begin(), tokens.end(),
                                     [](const Token &a, const Token &b) { return a.tot_cost < b.tot_cost; });
  return static_cast<int32_t>(best - tokens.begin());
}

}  // namespace

template <class Graph>
LatticeFasterOnlineDecoder<Graph>::LatticeFasterOnlineDecoder(std::shared_ptr<Graph> graph,
                                                              const LatticeFasterDecoderConfig &config,
                                                              const std::vector<int32_t> &id2pdf)
    : graph_(std::move(graph)),
      config_(config),
      num_pdfs_(CountPdfs(id2pdf)),
      pdf_of_label_(id2pdf),
      lattice_(config.lattice_beam),
      acoustic_costs_(num_pdfs_ + 1, kInfinity),
      offset_costs_(num_pdfs_ + 1, kInfinity) {
  config_.Check();
  if (graph_->Start() == kNoStateId) throw ConfigError("the decoding graph has no start state");
  if (graph_->MaxInputLabel() >= static_cast<int64_t>(id2pdf.size())) {
    throw ConfigError("the decoding graph has the transition-id " + std::to_string(graph_->MaxInputLabel()) +
                      ", but the model has only those below " + std::to_string(id2pdf.size()));
  }
  if (pdf_of_label_.empty()) pdf_of_label_.resize(1);
  pdf_of_label_[0] = num_pdfs_;
  InitDecoding();
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::InitDecoding() {
  if (lattice_.NumFrames() >= 0) graph_->RenewStates(lattice_.MutableNewestTokens());
  tokens_.clear();
  map_.Clear(0);
  int32_t token;
  Relax(graph_->Start(), 0, Token::kNoLink, &token);
  ProcessNonemitting(config_.beam);
  TokenLattice lattice(config_.lattice_beam);
  lattice.AddBoundary(tokens_, epsilon_links_, {}, 0);
  lattice_ = std::move(lattice);
  best_path_.Clear();
  is_finalized_ = false;
  statistics_ = SearchStatistics();
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::AdvanceDecoding(const LoglikeBlock &loglikes) {
  if (is_finalized_) throw DecoderError("decoding was finalized: InitDecoding starts a new utterance");
  CheckBlock(loglikes);
  graph_->RenewStates(lattice_.MutableNewestTokens());
  for (int64_t i = 0; i < loglikes.num_frames; ++i) {
    if (NumFramesDecoded() % config_.prune_interval == 0) {
      lattice_.PruneActive(config_.lattice_beam * config_.prune_scale);
    }
    const float cutoff = ProcessEmitting(loglikes.Row(i));
    if (tokens_.empty()) throw DecoderError("no path survives frame " + std::to_string(NumFramesDecoded()));
    ProcessNonemitting(cutoff);
    lattice_.AddBoundary(tokens_, epsilon_links_, emitting_links_, cost_offset_);
    statistics_.num_tokens += static_cast<int64_t>(tokens_.size());
    statistics_.num_links += static_cast<int64_t>(emitting_links_.size() + epsilon_links_.size());
  }
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::CheckBlock(const LoglikeBlock &loglikes) const {
  if (loglikes.num_pdfs < num_pdfs_) {
    throw DecoderError("expected log-likelihoods of " + std::to_string(num_pdfs_) + " pdfs, found " +
                       std::to_string(loglikes.num_pdfs));
  }
  const int64_t size = loglikes.num_frames * loglikes.num_pdfs;
  int64_t num_bad = 0;
  for (int64_t i = 0; i < size; ++i) num_bad += !(loglikes.data[i] < kInfinity);
  if (num_bad == 0) return;
  const float *bad =
      std::find_if(loglikes.data, loglikes.data + size, [](float x) { return !(x < kInfinity); });
  const int64_t place = bad - loglikes.data;
  throw DecoderError("expected log-likelihoods below infinity, found " + std::to_string(*bad) + " in frame " +
                     std::to_string(NumFramesDecoded() + place / loglikes.num_pdfs) + ", pdf " +
                     std::to_string(place % loglikes.num_pdfs));
}

template <class Graph>
typename LatticeFasterOnlineDecoder<Graph>::Cutoff LatticeFasterOnlineDecoder<Graph>::GetCutoff(
    const std::vector<Token> &tokens, float best_cost) {
  const float beam_cutoff = best_cost + config_.beam;
  const size_t max_active = static_cast<size_t>(config_.max_active);
  const size_t min_active = static_cast<size_t>(config_.min_active);
  size_t num_within = 0;
  for (const Token &token : tokens) num_within += token.tot_cost <= beam_cutoff;
  const auto nth_cost = [&](size_t n) {
    sorted_costs_.clear();
    for (const Token &token : tokens) sorted_costs_.push_back(token.tot_cost);
    std::nth_element(sorted_costs_.begin(), sorted_costs_.begin() + n, sorted_costs_.end());
    return sorted_costs_[n];
  };
  float cutoff = beam_cutoff;
  if (num_within > max_active) {
    cutoff = nth_cost(max_active);
  } else if (num_within <= min_active) {
    cutoff = tokens.size() > min_active ? nth_cost(min_active) : kInfinity;
  }
  if (cutoff == beam_cutoff) return {beam_cutoff, config_.beam};
  return {cutoff, cutoff - best_cost + config_.beam_delta};
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::SetFrameCosts(const float *loglikes, float cost_offset) {
  cost_offset_ = cost_offset;
  for (int32_t pdf = 0; pdf < num_pdfs_; ++pdf) {
    acoustic_costs_[pdf] = -loglikes[pdf];
    offset_costs_[pdf] = cost_offset - loglikes[pdf];
  }
}

template <class Graph>
float LatticeFasterOnlineDecoder<Graph>::FirstNextCutoff(const Token &best, float adaptive_beam) const {
  float least = kInfinity;
  for (const StdArc &arc : graph_->Arcs(best.state)) {
    least = std::min(least, best.tot_cost + offset_costs_[pdf_of_label_[arc.ilabel]] + arc.weight);
  }
  return least + adaptive_beam;
}

template <class Graph>
float LatticeFasterOnlineDecoder<Graph>::ProcessEmitting(const float *loglikes) {
  const std::vector<Token> &sources = lattice_.Newest().tokens;
  const Token &best = sources[BestToken(sources)];
  const Cutoff cutoff = GetCutoff(sources, best.tot_cost);
  SetFrameCosts(loglikes, -best.tot_cost);
  float next_cutoff = FirstNextCutoff(best, cutoff.adaptive_beam);

  active_.clear();
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].tot_cost <= cutoff.cost) active_.push_back(static_cast<int32_t>(i));
  }
  map_.Clear(static_cast<size_t>(static_cast<float>(sources.size()) * config_.hash_ratio));
  tokens_.clear();
  emitting_links_.clear();
  const float *const costs = offset_costs_.data();
  const int32_t *const pdf_of_label = pdf_of_label_.data();
  const size_t num_active = active_.size();
  for (size_t i = 0; i < num_active; ++i) {
    if (i + kPrefetchState < num_active) graph_->PrefetchState(sources[active_[i + kPrefetchState]].state);
    if (i + kPrefetchArcs < num_active) graph_->PrefetchArcs(sources[active_[i + kPrefetchArcs]].state);
    const int32_t source = active_[i];
    const float source_cost = sources[source].tot_cost;
    const auto arcs = graph_->Arcs(sources[source].state);
    statistics_.num_arcs += static_cast<int64_t>(arcs.size());
    for (const StdArc &arc : arcs) {
      const int32_t pdf = pdf_of_label[arc.ilabel];
      const float tot_cost = source_cost + costs[pdf] + arc.weight;
      if (!(tot_cost < next_cutoff)) continue;  // also every epsilon arc
      next_cutoff = std::min(next_cutoff, tot_cost + cutoff.adaptive_beam);
      int32_t target;
      Relax(arc.nextstate, tot_cost, static_cast<int32_t>(emitting_links_.size()), &target);
      // A link that is so much worse than the best one into its target would be pruned later in any case.
      if (tot_cost - tokens_[target].tot_cost > config_.lattice_beam) continue;
      emitting_links_.push_back({source, target, arc.ilabel, arc.olabel, arc.weight, acoustic_costs_[pdf]});
    }
  }
  return next_cutoff;
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::ProcessNonemitting(float cutoff) {
  epsilon_links_.clear();
  epsilon_begin_.assign(tokens_.size(), kNotExpanded);
  queue_.clear();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].tot_cost < cutoff && graph_->NumInputEpsilons(tokens_[i].state) != 0) {
      queue_.push_back(static_cast<int32_t>(i));
    }
  }
  int64_t num_expansions = 0;
  while (!queue_.empty()) {
    const int32_t token = queue_.back();
    queue_.pop_back();
    if (tokens_[token].tot_cost < cutoff) ExpandEpsilons(token, cutoff);
    if (++num_expansions > kMaxExpansions) {
      throw DecoderError("the decoding graph has a cycle of input epsilons with a negative cost");
    }
  }
  // Arcs beyond the cutoff have left gaps.
  size_t num_kept = 0;
  for (size_t i = 0; i < epsilon_links_.size(); ++i) {
    if (epsilon_links_[i].target == kNotTaken) continue;
    Token &target = tokens_[epsilon_links_[i].target];
    if (target.best_link == ~static_cast<int32_t>(i)) target.best_link = ~static_cast<int32_t>(num_kept);
    epsilon_links_[num_kept++] = epsilon_links_[i];
  }
  epsilon_links_.resize(num_kept);
}

// A token that became better after its expansion is expanded again. It then takes the same arcs at least, so
// each of its epsilon arcs keeps its own place among the links from then on.
template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::ExpandEpsilons(int32_t token, float cutoff) {
  const Token source = tokens_[token];
  const int32_t num_epsilons = static_cast<int32_t>(graph_->NumInputEpsilons(source.state));
  if (epsilon_begin_[token] == kNotExpanded) {
    epsilon_begin_[token] = static_cast<int32_t>(epsilon_links_.size());
    epsilon_links_.resize(epsilon_links_.size() + num_epsilons, {token, kNotTaken, 0, 0, 0, 0});
  }
  int32_t place = epsilon_begin_[token];
  const int32_t end = place + num_epsilons;
  for (auto place_of_arc = graph_->Arcs(source.state).begin(); place < end; ++place_of_arc) {
    ++statistics_.num_arcs;
    const StdArc arc = *place_of_arc;
    if (arc.ilabel != 0) continue;
    const float tot_cost = source.tot_cost + arc.weight;
    if (tot_cost < cutoff) {
      int32_t target;
      const bool improved = Relax(arc.nextstate, tot_cost, ~place, &target);
      epsilon_links_[place] = {token, target, 0, arc.olabel, arc.weight, 0};
      if (improved) {
        if (static_cast<size_t>(target) == epsilon_begin_.size()) epsilon_begin_.push_back(kNotExpanded);
        if (graph_->NumInputEpsilons(arc.nextstate) != 0) queue_.push_back(target);
      }
    }
    ++place;
  }
}

template <class Graph>
bool LatticeFasterOnlineDecoder<Graph>::Relax(int32_t state, float tot_cost, int32_t link, int32_t *token) {
  StateTokenMap::Slot *slot = map_.Find(state);
  if (slot->state == StateTokenMap::kNoState) {
    *token = static_cast<int32_t>(tokens_.size());
    tokens_.push_back({tot_cost, 0, link, state});
    graph_->PrefetchState(state);
    map_.Fill(slot, state, *token);
    return true;
  }
  *token = slot->token;
  Token &known = tokens_[*token];
  if (!(tot_cost < known.tot_cost)) return false;
  known.tot_cost = tot_cost;
  known.best_link = link;
  return true;
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::FinalizeDecoding() {
  if (is_finalized_) throw DecoderError("decoding was finalized already");
  FinalCosts final_costs = ComputeFinalCosts();
  final_relative_cost_ = final_costs.best_cost_with_final - final_costs.best_cost;
  is_finalized_ = true;
  if (final_costs.best_cost_with_final < kInfinity) {
    lattice_.PruneFinal(final_costs.costs, final_costs.best_cost_with_final);
  } else {
    std::fill(final_costs.costs.begin(), final_costs.costs.end(), 0.0f);
    lattice_.PruneFinal(final_costs.costs, final_costs.best_cost);
  }
}

template <class Graph>
typename LatticeFasterOnlineDecoder<Graph>::FinalCosts LatticeFasterOnlineDecoder<Graph>::ComputeFinalCosts()
    const {
  const std::vector<Token> &tokens = lattice_.Newest().tokens;
  FinalCosts result{{}, kInfinity, kInfinity};
  result.costs.reserve(tokens.size());
  for (const Token &token : tokens) {
    const float final_cost = graph_->Final(token.state);
    result.costs.push_back(final_cost);
    result.best_cost = std::min(result.best_cost, token.tot_cost);
    result.best_cost_with_final = std::min(result.best_cost_with_final, token.tot_cost + final_cost);
  }
  return result;
}

template <class Graph>
float LatticeFasterOnlineDecoder<Graph>::FinalRelativeCost() const {
  if (is_finalized_) return final_relative_cost_;
  const FinalCosts final_costs = ComputeFinalCosts();
  return final_costs.best_cost_with_final - final_costs.best_cost;
}

template <class Graph>
std::vector<float> LatticeFasterOnlineDecoder<Graph>::EndCosts(bool use_final_costs) const {
  if (is_finalized_ && !use_final_costs) {
    throw DecoderError("decoding was finalized with final costs, so they must be used");
  }
  FinalCosts final_costs = ComputeFinalCosts();
  if (!use_final_costs || final_costs.best_cost_with_final == kInfinity) {
    std::fill(final_costs.costs.begin(), final_costs.costs.end(), 0.0f);
  }
  return std::move(final_costs.costs);
}

template <class Graph>
BestPath LatticeFasterOnlineDecoder<Graph>::GetBestPath(bool use_final_costs) const {
  const std::vector<float> end_costs = EndCosts(use_final_costs);
  const std::vector<Token> &tokens = lattice_.Newest().tokens;
  size_t best = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i].tot_cost + end_costs[i] < tokens[best].tot_cost + end_costs[best]) best = i;
  }
  BestPath path = TraceBack(lattice_, static_cast<int32_t>(best));
  path.graph_cost += end_costs[best];
  return path;
}

template <class Graph>
Lattice LatticeFasterOnlineDecoder<Graph>::GetRawLattice(bool use_final_costs) const {
  return BuildRawLattice(lattice_, EndCosts(use_final_costs));
}

template <class Graph>
CurrentBestPath &LatticeFasterOnlineDecoder<Graph>::UpdateBestPath() {
  if (is_finalized_) throw DecoderError("decoding was finalized: there is no path without final costs");
  best_path_.Update(lattice_, BestToken(lattice_.Newest().tokens));
  return best_path_;
}

template <class Graph>
int32_t LatticeFasterOnlineDecoder<Graph>::NumStableWords() {
  const std::vector<Token> &tokens = lattice_.Newest().tokens;
  const float best_cost = tokens[BestToken(tokens)].tot_cost;
  return UpdateBestPath().NumStableWords(lattice_, best_cost + config_.beam);
}

template class LatticeFasterOnlineDecoder<const ConstFst>;
template class LatticeFasterOnlineDecoder<const CompiledGraph>;
template class LatticeFasterOnlineDecoder<LookaheadFstReader>;

}  // namespace pykaldi
