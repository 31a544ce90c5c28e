#include "csrc/decoder/token-lattice.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int32_t kPruned = -1;
// How many links ahead of the one that is looked up its state, and later its arc, are asked for.
constexpr size_t kPrefetchState = 16;
constexpr size_t kPrefetchArc = 8;

// The cost of the path that reaches a link's target over the link. The order of the additions is that of the
// search, so the best link into a token gives exactly the token's total cost.
float CostThrough(const Token &source, const Link &link, float cost_offset) {
  return source.tot_cost + (cost_offset + link.acoustic_cost) + link.graph_cost;
}

float CostThrough(const Token &source, const Link &epsilon_link) {
  return source.tot_cost + epsilon_link.graph_cost;
}

// A best path that takes more epsilon links on a boundary than it has tokens goes in a circle.
void CheckEpsilons(size_t num_taken, const TokenFrame &frame) {
  if (num_taken > frame.tokens.size()) {
    throw DecoderError("the decoding graph has a cycle of input epsilons with a negative cost");
  }
}

// Pruning leaves a small part of an array; the rest of its memory is wanted for new frames.
template <class Vector>
void ShrinkIfWasteful(Vector *array) {
  if (array->capacity() > 2 * array->size()) array->shrink_to_fit();
}

int32_t FindBestToken(const TokenVector &tokens) {
  // Several minima side by side: each waits for the one before.
  constexpr size_t kLanes = 4;
  float least[kLanes] = {kInfinity, kInfinity, kInfinity, kInfinity};
  size_t i = 0;
  for (; i + kLanes <= tokens.size(); i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) least[k] = std::min(least[k], tokens[i + k].tot_cost);
  }
  for (; i < tokens.size(); ++i) least[0] = std::min(least[0], tokens[i].tot_cost);
  const float best_cost = *std::min_element(least, least + kLanes);
  if (best_cost == -kInfinity) throw DecoderError("the costs of the best path sum up to minus infinity");
  size_t best = 0;
  while (best < tokens.size() && tokens[best].tot_cost != best_cost) ++best;
  return best < tokens.size() ? static_cast<int32_t>(best) : 0;
}

}  // namespace

void TokenLattice::AddBoundary(const TokenVector &tokens, const LinkVector &epsilon_links,
                               FrameLinks links_to_it, float cost_offset) {
  best_token_ = FindBestToken(tokens);
  TokenFrame frame;
  frame.tokens = tokens;
  frame.epsilon_links = epsilon_links;
  if (!frames_.empty()) {
    frames_.back().new_links = std::move(links_to_it);
    frames_.back().cost_offset = cost_offset;
  }
  frames_.push_back(std::move(frame));
}

void TokenLattice::LookUpNewestLinks() { LookUpLinks(&frames_[NumFrames() - 1]); }

void TokenLattice::LookUpLinks(TokenFrame *frame) const {
  const NewLinkVector &new_links = frame->new_links.links;
  LinkVector links(new_links.size());
  for (size_t i = 0; i < links.size(); ++i) {
    PrefetchArcs(*frame, i);
    links[i] = LookUp(*frame, new_links[i]);
  }
  frame->emitting_links = std::move(links);
  frame->new_links = FrameLinks();
}

void TokenLattice::PrefetchArcs(const TokenFrame &frame, size_t position) const {
  const NewLinkVector &links = frame.new_links.links;
  if (position + kPrefetchState < links.size()) {
    arcs_->PrefetchState(frame.tokens[links[position + kPrefetchState].source].state);
  }
  if (position + kPrefetchArc < links.size()) {
    const NewLink &link = links[position + kPrefetchArc];
    arcs_->PrefetchArc(frame.tokens[link.source].state, link.arc);
  }
}

Link TokenLattice::LookUp(const TokenFrame &frame, const NewLink &link) const {
  const LinkArc arc = arcs_->LookUpArc(frame.tokens[link.source].state, link.arc);
  const float acoustic_cost = frame.new_links.acoustic_costs[arc.pdf];
  return {link.source, link.target, arc.ilabel, arc.olabel, arc.graph_cost, acoustic_cost};
}

Link TokenLattice::EmittingLink(int32_t boundary, size_t position) const {
  const TokenFrame &frame = frames_[boundary];
  const NewLinkVector &new_links = frame.new_links.links;
  return new_links.empty() ? frame.emitting_links[position] : LookUp(frame, new_links[position]);
}

void TokenLattice::PruneActive(float delta) {
  for (int32_t f = NumFrames() - 1; f >= 0; --f) {
    if (frames_[f].must_prune_links) {
      const PruneResult result = PruneLinks(f, delta);
      if (result.extra_costs_changed && f > 0) frames_[f - 1].must_prune_links = true;
      if (result.links_pruned) frames_[f].must_prune_tokens = true;
      frames_[f].must_prune_links = false;
    }
    if (f + 1 < NumFrames() && frames_[f + 1].must_prune_tokens) {
      PruneTokens(f + 1);
      frames_[f + 1].must_prune_tokens = false;
    }
  }
  FreeScratch();
}

void TokenLattice::PruneFinal(const std::vector<float> &final_costs, float best_cost) {
  const int32_t last = NumFrames();
  TokenFrame &frame = frames_[last];
  extra_.resize(frame.tokens.size());
  for (size_t i = 0; i < frame.tokens.size(); ++i) {
    extra_[i] = frame.tokens[i].tot_cost + final_costs[i] - best_cost;
  }
  PruneEpsilonLinks(&frame);
  for (size_t i = 0; i < frame.tokens.size(); ++i) {
    frame.tokens[i].extra_cost = extra_[i] > lattice_beam_ ? kInfinity : extra_[i];
  }
  for (int32_t f = last - 1; f >= 0; --f) {
    PruneLinks(f, 0);
    PruneTokens(f + 1);
  }
  PruneTokens(0);
  FreeScratch();
}

void TokenLattice::FreeScratch() {
  extra_ = std::vector<float>();
  new_position_ = std::vector<int32_t>();
}

TokenLattice::PruneResult TokenLattice::PruneLinks(int32_t boundary, float delta) {
  TokenFrame &frame = frames_[boundary];
  const size_t num_links = NumEmittingLinks(boundary) + frame.epsilon_links.size();
  extra_.assign(frame.tokens.size(), kInfinity);
  if (frame.new_links.links.empty()) {
    PruneEmittingLinks(boundary);
  } else {
    PruneNewLinks(boundary);
  }
  PruneEpsilonLinks(&frame);
  PruneResult result{false, frame.emitting_links.size() + frame.epsilon_links.size() < num_links};
  for (size_t i = 0; i < frame.tokens.size(); ++i) {
    Token &token = frame.tokens[i];
    // Infinity minus infinity is not a number, and not a change: the comparison is false.
    if (std::fabs(extra_[i] - token.extra_cost) > delta) result.extra_costs_changed = true;
    token.extra_cost = extra_[i];
  }
  return result;
}

void TokenLattice::PruneEmittingLinks(int32_t boundary) {
  TokenFrame &frame = frames_[boundary];
  TokenVector &targets = frames_[boundary + 1].tokens;
  LinkVector &links = frame.emitting_links;
  size_t num_kept = 0;
  for (size_t i = 0; i < links.size(); ++i) {
    const Link &link = links[i];
    Token &target = targets[link.target];
    const float through = CostThrough(frame.tokens[link.source], link, frame.cost_offset);
    const float extra = target.extra_cost + (through - target.tot_cost);
    if (!(extra <= lattice_beam_)) continue;
    extra_[link.source] = std::min(extra_[link.source], std::max(extra, 0.0f));
    if (target.best_link == static_cast<int32_t>(i)) target.best_link = static_cast<int32_t>(num_kept);
    links[num_kept++] = link;
  }
  links.resize(num_kept);
}

// As PruneEmittingLinks; what the path over a link costs is known.
void TokenLattice::PruneNewLinks(int32_t boundary) {
  TokenFrame &frame = frames_[boundary];
  TokenVector &targets = frames_[boundary + 1].tokens;
  NewLinkVector &links = frame.new_links.links;
  size_t num_kept = 0;
  for (size_t i = 0; i < links.size(); ++i) {
    const NewLink link = links[i];
    Token &target = targets[link.target];
    const float extra = target.extra_cost + link.cost_above_best;
    if (!(extra <= lattice_beam_)) continue;
    extra_[link.source] = std::min(extra_[link.source], std::max(extra, 0.0f));
    if (target.best_link == static_cast<int32_t>(i)) target.best_link = static_cast<int32_t>(num_kept);
    links[num_kept++] = link;
  }
  links.resize(num_kept);
  LookUpLinks(&frame);
}

void TokenLattice::PruneEpsilonLinks(TokenFrame *frame) {
  TokenVector &tokens = frame->tokens;
  LinkVector &links = frame->epsilon_links;
  const auto extra_through = [&](const Link &link) {
    return extra_[link.target] + (CostThrough(tokens[link.source], link) - tokens[link.target].tot_cost);
  };
  // The links were made more or less in topological order: backwards, one pass and one to see that nothing
  // changes are nearly always enough. Without cycles there cannot be more passes than links.
  bool changed = true;
  for (size_t pass = 0; changed && pass < links.size(); ++pass) {
    changed = false;
    for (size_t i = links.size(); i-- > 0;) {
      const float extra = std::max(extra_through(links[i]), 0.0f);
      if (extra <= lattice_beam_ && extra < extra_[links[i].source]) {
        extra_[links[i].source] = extra;
        changed = true;
      }
    }
  }
  size_t num_kept = 0;
  for (size_t i = 0; i < links.size(); ++i) {
    if (!(extra_through(links[i]) <= lattice_beam_)) continue;
    Token &target = tokens[links[i].target];
    if (target.best_link == ~static_cast<int32_t>(i)) target.best_link = ~static_cast<int32_t>(num_kept);
    links[num_kept++] = links[i];
  }
  links.resize(num_kept);
}

void TokenLattice::PruneTokens(int32_t boundary) {
  TokenFrame &frame = frames_[boundary];
  TokenVector &tokens = frame.tokens;
  new_position_.resize(tokens.size());
  int32_t num_kept = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_kept = tokens[i].extra_cost != kInfinity;
    new_position_[i] = is_kept ? num_kept : kPruned;
    if (is_kept) tokens[num_kept++] = tokens[i];
  }
  if (static_cast<size_t>(num_kept) < tokens.size()) {
    tokens.resize(num_kept);
    for (Link &link : frame.emitting_links) link.source = new_position_[link.source];
    for (Link &link : frame.epsilon_links) {
      link.source = new_position_[link.source];
      link.target = new_position_[link.target];
    }
    if (boundary > 0) {
      for (Link &link : frames_[boundary - 1].emitting_links) link.target = new_position_[link.target];
    }
  }
  ShrinkIfWasteful(&frame.tokens);
  ShrinkIfWasteful(&frame.epsilon_links);
  ShrinkIfWasteful(&frame.emitting_links);
}

int32_t TokenLattice::SourceOnBoundaryBefore(int32_t boundary, int32_t token) const {
  const TokenFrame &frame = frames_[boundary];
  int32_t position = frame.tokens[token].best_link;
  for (size_t num_epsilons = 0; position < 0; position = frame.tokens[token].best_link) {
    CheckEpsilons(++num_epsilons, frame);
    token = frame.epsilon_links[~position].source;
  }
  const TokenFrame &before = frames_[boundary - 1];
  const NewLinkVector &new_links = before.new_links.links;
  return new_links.empty() ? before.emitting_links[position].source : new_links[position].source;
}

const Link *BackwardWalk::Next() {
  const TokenFrame &frame = lattice_.Frame(boundary_);
  const int32_t position = frame.tokens[token_].best_link;
  if (position == Token::kNoLink) return nullptr;
  if (position < 0) {
    link_ = frame.epsilon_links[~position];
    CheckEpsilons(++num_epsilons_, frame);
  } else {
    link_ = lattice_.EmittingLink(--boundary_, position);
    num_epsilons_ = 0;
  }
  token_ = link_.source;
  return &link_;
}

}  // namespace pykaldi
