#include "csrc/decoder/lattice-faster-online-decoder.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/decoder/nth-cost.h"
#include "csrc/decoder/raw-lattice.h"
#include "csrc/fst/compiled-graph.h"
#include "csrc/fst/const-fst.h"
#include "csrc/fst/lookahead-fst.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kNotExpanded = -1;
constexpr int32_t kNotTaken = -1;
// How many tokens ahead of the one that is expanded the state, and later its arcs, are asked for, and how
// many candidates ahead the tokens of their states.
constexpr size_t kPrefetchState = 24;
constexpr size_t kPrefetchArcs = 6;
constexpr size_t kPrefetchToken = 10;
// How far down the stack of tokens with epsilon arcs the tokens of their next states are asked for.
constexpr size_t kPrefetchEpsilons = 4;
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

// For choices that can hardly be predicted: compilers make branches of conditional expressions, each of which
// takes longer than all the rest of its loop when the processor has guessed wrongly.
uint32_t MaskOf(bool condition) { return -static_cast<uint32_t>(condition); }
int32_t Choose(uint32_t mask, int32_t if_set, int32_t otherwise) {
  return otherwise ^ ((if_set ^ otherwise) & static_cast<int32_t>(mask));
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
      lattice_(config.lattice_beam, this) {
  config_.Check();
  if (graph_->Start() == kNoStateId) throw ConfigError("the decoding graph has no start state");
  if (graph_->MaxInputLabel() >= static_cast<int64_t>(id2pdf.size())) {
    throw ConfigError("the decoding graph has the transition-id " + std::to_string(graph_->MaxInputLabel()) +
                      ", but the model has only those below " + std::to_string(id2pdf.size()));
  }
  if (pdf_of_label_.empty()) pdf_of_label_.resize(1);
  pdf_of_label_[0] = num_pdfs_;
  if constexpr (Graph::kHasColumns) {
    for (int32_t i = 0; i < graph_->NumLabels(); ++i) {
      pdf_of_position_.push_back(pdf_of_label_[graph_->Label(i)]);
    }
  }
  InitDecoding();
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::InitDecoding() {
  if (lattice_.NumFrames() >= 0) graph_->RenewStates(lattice_.MutableNewestTokens());
  WorkspaceInUse workspace;
  SearchWorkspace *const work = workspace.Get();
  work->map.Reserve(static_cast<size_t>(graph_->NumStates()));
  int32_t token;
  Relax(graph_->Start(), 0, Token::kNoLink, &token, work);
  ProcessNonemitting(config_.beam, work);
  TokenLattice lattice(config_.lattice_beam, this);
  lattice.AddBoundary(work->tokens, work->epsilon_links, {}, 0);
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
  WorkspaceInUse workspace;
  workspace.Get()->map.Reserve(static_cast<size_t>(graph_->NumStates()));
  for (int64_t i = 0; i < loglikes.num_frames; ++i) DecodeFrame(loglikes.Row(i), workspace.Get());
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::DecodeFrame(const float *loglikes, SearchWorkspace *work) {
  if (NumFramesDecoded() % config_.prune_interval == 0) {
    lattice_.PruneActive(config_.lattice_beam * config_.prune_scale);
  }
  const float cost_offset = -lattice_.Newest().tokens[lattice_.BestToken()].tot_cost;
  const float cutoff = ProcessEmitting(loglikes, work);
  if (work->tokens.empty())
    throw DecoderError("no path survives frame " + std::to_string(NumFramesDecoded()));
  ProcessNonemitting(cutoff, work);
  FrameLinks links = LinkCandidates(work);
  statistics_.num_tokens += static_cast<int64_t>(work->tokens.size());
  statistics_.num_links += static_cast<int64_t>(links.links.size() + work->epsilon_links.size());
  lattice_.AddBoundary(work->tokens, work->epsilon_links, std::move(links), cost_offset);
  if constexpr (Graph::kRenewsStates) lattice_.LookUpNewestLinks();
  work->Clear();
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
    const TokenVector &tokens, float best_cost, SearchWorkspace *work) const {
  const float beam_cutoff = best_cost + config_.beam;
  const size_t max_active = static_cast<size_t>(config_.max_active);
  const size_t min_active = static_cast<size_t>(config_.min_active);
  size_t num_within = 0;
  for (const Token &token : tokens) num_within += token.tot_cost <= beam_cutoff;
  float cutoff = beam_cutoff;
  if (num_within > max_active) {
    cutoff = NthCost(tokens, max_active, best_cost, beam_cutoff, &work->costs);
  } else if (num_within <= min_active) {
    cutoff = kInfinity;
    if (tokens.size() > min_active) {
      cutoff = NthCost(tokens, min_active, best_cost, kInfinity, &work->costs);
    }
  }
  if (cutoff == beam_cutoff) return {beam_cutoff, config_.beam};
  return {cutoff, cutoff - best_cost + config_.beam_delta};
}

template <class Graph>
FrameCosts LatticeFasterOnlineDecoder<Graph>::SetFrameCosts(const float *loglikes, float cost_offset,
                                                            SearchWorkspace *work) const {
  work->acoustic_costs.resize(num_pdfs_ + 1);
  work->offset_costs.resize(num_pdfs_ + 1);
  for (int32_t pdf = 0; pdf < num_pdfs_; ++pdf) {
    work->acoustic_costs[pdf] = -loglikes[pdf];
    work->offset_costs[pdf] = cost_offset - loglikes[pdf];
  }
  work->acoustic_costs[num_pdfs_] = work->offset_costs[num_pdfs_] = kInfinity;
  if constexpr (Graph::kHasColumns) {
    float *const costs = work->LabelCosts(CompiledGraph::kMaxLabels, pdf_of_position_.size());
    return {costs, SetLabelCosts(kernels_, work->offset_costs.data(), pdf_of_position_, costs), 0};
  }
  return {work->offset_costs.data(), 0, 0};
}

template <class Graph>
float LatticeFasterOnlineDecoder<Graph>::ProcessEmitting(const float *loglikes, SearchWorkspace *work) {
  const TokenVector &sources = lattice_.Newest().tokens;
  const int32_t best = lattice_.BestToken();
  const float best_cost = sources[best].tot_cost;
  const Cutoff cutoff = GetCutoff(sources, best_cost, work);
  FrameCosts costs = SetFrameCosts(loglikes, -best_cost, work);
  costs.beam = cutoff.adaptive_beam;

  // The arcs of the best token give a cutoff to begin with.
  float next_cutoff = kInfinity;
  work->active.assign(1, Activated(best));
  FilterEmitting(costs, &next_cutoff, work);

  Activate(cutoff.cost, work);
  FilterEmitting(costs, &next_cutoff, work);
  TakeCandidates(next_cutoff, work);
  return next_cutoff;
}

// Whether a token is within the cutoff can hardly be predicted, so it is no branch, here and below: all are
// written, each over the one before if that does not count.
template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::Activate(float cutoff, SearchWorkspace *work) const {
  const TokenVector &sources = lattice_.Newest().tokens;
  const size_t num_sources = sources.size();
  work->expanded.resize(num_sources);
  int32_t *const expanded = work->expanded.data();
  size_t num_active = 0;
  for (size_t i = 0; i < num_sources; ++i) {
    expanded[num_active] = static_cast<int32_t>(i);
    num_active += sources[i].tot_cost <= cutoff;
  }
  work->active.resize(num_active);
  for (size_t i = 0; i < num_active; ++i) {
    if (i + kPrefetchState < num_active) graph_->PrefetchState(sources[expanded[i + kPrefetchState]].state);
    work->active[i] = Activated(expanded[i]);
  }
}

template <class Graph>
ActiveToken LatticeFasterOnlineDecoder<Graph>::Activated(int32_t token) const {
  const Token &source = lattice_.Newest().tokens[token];
  if constexpr (Graph::kHasColumns) return {graph_->EmittingArcsOf(source.state), source.tot_cost, token};
  return {{}, source.tot_cost, token};
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::FilterEmitting(const FrameCosts &costs, float *next_cutoff,
                                                       SearchWorkspace *work) {
  work->candidates.Clear();
  if constexpr (Graph::kHasColumns) {
    FilterArcs(kernels_, graph_->Words(), work->active, costs, next_cutoff, &work->candidates,
               &statistics_.num_arcs);
  } else {
    FilterArrays(costs, next_cutoff, work);
  }
}

// As FilterArcs, for arcs in any order of which some have no input label.
template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::FilterArrays(const FrameCosts &costs, float *next_cutoff,
                                                     SearchWorkspace *work) {
  if constexpr (!Graph::kHasColumns) {
    const TokenVector &sources = lattice_.Newest().tokens;
    const ActiveTokens &active = work->active;
    const float *const pdf_costs = costs.label_costs;
    const int32_t *const pdf_of_label = pdf_of_label_.data();
    const size_t num_active = active.size();
    float cutoff = *next_cutoff;
    for (size_t i = 0; i < num_active; ++i) {
      if (i + kPrefetchArcs < num_active) {
        graph_->PrefetchArcs(sources[active[i + kPrefetchArcs].token].state);
      }
      const ActiveToken &token = active[i];
      const auto arcs = graph_->Arcs(sources[token.token].state);
      statistics_.num_arcs += static_cast<int64_t>(arcs.size());
      work->candidates.Reserve(arcs.size());
      uint32_t place = 0;
      for (const StdArc &arc : arcs) {
        const float tot_cost = token.cost + pdf_costs[pdf_of_label[arc.ilabel]] + arc.weight;
        // No epsilon arc is below the cutoff.
        work->candidates.AddIf(tot_cost < cutoff, tot_cost, arc.nextstate, place, static_cast<uint32_t>(i));
        cutoff = std::min(cutoff, tot_cost + costs.beam);
        ++place;
      }
    }
    *next_cutoff = cutoff;
  }
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::TakeCandidates(float next_cutoff, SearchWorkspace *work) {
  const ArcCandidates &candidates = work->candidates;
  const size_t num_candidates = candidates.Size();
  work->map.Reserve(static_cast<size_t>(graph_->NumStates()));
  work->taken.resize(num_candidates);
  work->tokens.resize(num_candidates + 1);
  TakenArc *const taken = work->taken.data();
  Token *const tokens = work->tokens.data();
  size_t num_taken = 0;
  uint32_t num_tokens = 0;
  for (size_t i = 0; i < num_candidates; ++i) {
    if (i + kPrefetchToken < num_candidates) work->map.Prefetch(candidates.NextState(i + kPrefetchToken));
    const float cost = candidates.Cost(i);
    if (!(cost < next_cutoff)) continue;
    const int32_t state = candidates.NextState(i);
    if constexpr (Graph::kHasColumns) {
      if (!graph_->IsState(state)) {
        work->tokens.resize(num_tokens);
        graph_->FailAtState(state);
      }
    }
    graph_->PrefetchState(state);
    uint32_t *const place = work->map.Place(state);
    const uint32_t known = *place;  // its token + 1
    tokens[num_tokens] = {kInfinity, 0, Token::kNoLink, state};
    num_tokens += known == 0;
    const uint32_t target = (known | (num_tokens & MaskOf(known == 0))) - 1;
    *place = target + 1;
    Token &token = tokens[target];
    const uint32_t is_better = MaskOf(cost < token.tot_cost);
    token.tot_cost = std::min(token.tot_cost, cost);
    token.best_link = Choose(is_better, static_cast<int32_t>(i), token.best_link);
    taken[num_taken++] = {static_cast<int32_t>(i), static_cast<int32_t>(target)};
  }
  work->tokens.resize(num_tokens);
  work->taken.resize(num_taken);
}

template <class Graph>
FrameLinks LatticeFasterOnlineDecoder<Graph>::LinkCandidates(SearchWorkspace *work) const {
  const ArcCandidates &candidates = work->candidates;
  const ActiveToken *const active = work->active.data();
  Token *const tokens = work->tokens.data();
  work->links.resize(work->taken.size());
  NewLink *const links = work->links.data();
  const float lattice_beam = config_.lattice_beam;
  size_t num_links = 0;
  for (const TakenArc arc : work->taken) {
    const size_t i = static_cast<size_t>(arc.candidate);
    Token &target = tokens[arc.target];
    const float above_best = candidates.Cost(i) - target.tot_cost;
    links[num_links] = {active[candidates.Active(i)].token, arc.target, above_best, candidates.Arc(i)};
    // Links are not more than candidates, so this is no candidate whose turn is still to come.
    const uint32_t is_best = MaskOf(target.best_link == arc.candidate);
    target.best_link = Choose(is_best, static_cast<int32_t>(num_links), target.best_link);
    // A link that is so much worse than the best one into its target would be pruned later in any case.
    num_links += !(above_best > lattice_beam);
  }
  FrameLinks result;
  result.links.assign(links, links + num_links);
  result.acoustic_costs.assign(work->acoustic_costs.begin(), work->acoustic_costs.end());
  return result;
}

template <class Graph>
LinkArc LatticeFasterOnlineDecoder<Graph>::LookUpArc(int32_t state, uint32_t arc) const {
  if constexpr (Graph::kHasColumns) {
    const ArcColumns arcs = ColumnsOf(graph_->Words(), graph_->EmittingArcsOf(state));
    const uint32_t label = arcs.labels[arc];
    const int32_t pdf = label < pdf_of_position_.size() ? pdf_of_position_[label] : num_pdfs_;
    return {graph_->Label(static_cast<int32_t>(label)), graph_->OutputLabel(state, arc), arcs.weights[arc],
            pdf};
  } else {
    const StdArc &found = graph_->Arcs(state).begin()[arc];
    return {found.ilabel, found.olabel, found.weight, pdf_of_label_[found.ilabel]};
  }
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::PrefetchArc(int32_t state, uint32_t arc) const {
  if constexpr (Graph::kHasColumns) {
    const ArcColumns arcs = ColumnsOf(graph_->Words(), graph_->EmittingArcsOf(state));
    __builtin_prefetch(arcs.weights + arc);
    __builtin_prefetch(arcs.labels + arc);
    __builtin_prefetch(arcs.weights + 2 * size_t{arcs.num_arcs});  // about where output labels are
  } else {
    graph_->PrefetchArcs(state);
  }
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::ProcessNonemitting(float cutoff, SearchWorkspace *work) {
  TokenVector &tokens = work->tokens;
  LinkVector &links = work->epsilon_links;
  std::vector<int32_t> &queue = work->queue;
  work->epsilon_begin.assign(tokens.size(), kNotExpanded);
  queue.resize(tokens.size());
  size_t num_queued = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    queue[num_queued] = static_cast<int32_t>(i);
    num_queued += graph_->HasInputEpsilons(tokens[i].state);
  }
  queue.resize(num_queued);
  work->queued_arcs.clear();
  if constexpr (Graph::kHasColumns) {
    for (const int32_t token : queue) {
      work->queued_arcs.push_back(graph_->EpsilonArcs(tokens[token].state));
      work->queued_arcs.back().Prefetch();
    }
  }
  for (int64_t num_expansions = 0; !queue.empty(); ++num_expansions) {
    if (num_expansions > kMaxExpansions) {
      throw DecoderError("the decoding graph has a cycle of input epsilons with a negative cost");
    }
    ExpandNextEpsilons(cutoff, work);
  }
  // Arcs beyond the cutoff have left gaps, for which the first token is looked at in vain.
  int32_t num_kept = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(links.size()); ++i) {
    const Link link = links[i];
    const uint32_t is_taken = MaskOf(link.target != kNotTaken);
    Token &target = tokens[static_cast<uint32_t>(link.target) & is_taken];
    target.best_link = Choose(is_taken & MaskOf(target.best_link == ~i), ~num_kept, target.best_link);
    links[num_kept] = link;
    num_kept += is_taken & 1;
  }
  links.resize(num_kept);
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::ExpandNextEpsilons(float cutoff, SearchWorkspace *work) {
  const int32_t token = work->queue.back();
  work->queue.pop_back();
  if constexpr (Graph::kHasColumns) {
    std::vector<EpsilonArcSpan> &queued = work->queued_arcs;
    const EpsilonArcSpan arcs = queued.back();
    queued.pop_back();
    if (queued.size() > kPrefetchEpsilons) {
      queued[queued.size() - kPrefetchEpsilons].ForEach(
          [&](float, int32_t, int32_t next) { work->map.Prefetch(next); });
    }
    if (work->tokens[token].tot_cost < cutoff) ExpandEpsilons(token, arcs, cutoff, work);
  } else if (work->tokens[token].tot_cost < cutoff) {
    ExpandEpsilons(token, graph_->EpsilonArcs(work->tokens[token].state), cutoff, work);
  }
}

// A token that became better after its expansion is expanded again. It then takes the same arcs at least, so
// each of its epsilon arcs keeps its own place among the links from then on.
template <class Graph>
template <class Arcs>
void LatticeFasterOnlineDecoder<Graph>::ExpandEpsilons(int32_t token, const Arcs &arcs, float cutoff,
                                                       SearchWorkspace *work) {
  const float source_cost = work->tokens[token].tot_cost;
  LinkVector &links = work->epsilon_links;
  std::vector<int32_t> &begin = work->epsilon_begin;
  statistics_.num_arcs += arcs.Size();
  if (begin[token] == kNotExpanded) {
    begin[token] = static_cast<int32_t>(links.size());
    links.resize(links.size() + arcs.Size());
  }
  int32_t place = begin[token];
  arcs.ForEach([&](float weight, int32_t olabel, int32_t next_state) {
    const float tot_cost = source_cost + weight;
    links[place].target = kNotTaken;
    if (tot_cost < cutoff) {
      int32_t target;
      const bool improved = Relax(next_state, tot_cost, ~place, &target, work);
      links[place] = {token, target, 0, olabel, weight, 0};
      if (improved) {
        if (static_cast<size_t>(target) == begin.size()) begin.push_back(kNotExpanded);
        if (graph_->HasInputEpsilons(next_state)) QueueEpsilons(target, next_state, work);
      }
    }
    ++place;
  });
}

template <class Graph>
void LatticeFasterOnlineDecoder<Graph>::QueueEpsilons(int32_t token, int32_t state,
                                                      SearchWorkspace *work) const {
  work->queue.push_back(token);
  if constexpr (Graph::kHasColumns) work->queued_arcs.push_back(graph_->EpsilonArcs(state));
}

template <class Graph>
bool LatticeFasterOnlineDecoder<Graph>::Relax(int32_t state, float tot_cost, int32_t link, int32_t *token,
                                              SearchWorkspace *work) {
  if constexpr (Graph::kHasColumns) {
    if (!graph_->IsState(state)) graph_->FailAtState(state);
  }
  *token = work->map.Find(state);
  if (*token == StateTokenMap::kNoToken) {
    *token = static_cast<int32_t>(work->tokens.size());
    work->tokens.push_back({tot_cost, 0, link, state});
    work->map.Set(state, *token);
    graph_->PrefetchState(state);
    return true;
  }
  Token &known = work->tokens[*token];
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
  const TokenVector &tokens = lattice_.Newest().tokens;
  FinalCosts result{{}, kInfinity, kInfinity};
  result.costs.reserve(tokens.size());
  for (const Token &token : tokens) {
    const float final_cost = graph_->Final(token.state);
    const float cost_with_final = token.tot_cost + final_cost;
    if (!(cost_with_final > -kInfinity)) {
      throw DecoderError("expected costs of paths above minus infinity, found " +
                         std::to_string(cost_with_final) + " with the final cost of state " +
                         std::to_string(token.state));
    }
    result.costs.push_back(final_cost);
    result.best_cost = std::min(result.best_cost, token.tot_cost);
    result.best_cost_with_final = std::min(result.best_cost_with_final, cost_with_final);
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
  const TokenVector &tokens = lattice_.Newest().tokens;
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
  best_path_.Update(lattice_, lattice_.BestToken());
  return best_path_;
}

template <class Graph>
int32_t LatticeFasterOnlineDecoder<Graph>::NumStableWords() {
  const TokenVector &tokens = lattice_.Newest().tokens;
  const float best_cost = tokens[lattice_.BestToken()].tot_cost;
  return UpdateBestPath().NumStableWords(lattice_, best_cost + config_.beam);
}

template class LatticeFasterOnlineDecoder<const ConstFst>;
template class LatticeFasterOnlineDecoder<const CompiledGraph>;
template class LatticeFasterOnlineDecoder<LookaheadFstReader>;

}  // namespace pykaldi
