// The tokens of a search and the links between them: the state-level lattice while it grows.
//
// A token is a state of the graph that is alive on a frame boundary; boundary 0 is before the first
// frame, and boundary f + 1 after frame f. A link is an arc that was taken: an epsilon link stays on its
// boundary, an emitting link crosses one frame. Cost of a path = graph costs + acoustic costs.
//
//   tot_cost    cost of the best path from the start to the token
//   extra_cost  by how much the best path through the token is worse than the best path there is, if the
//               tokens of the newest boundary were all equally good. It only grows as frames are added, so
//               what exceeds the lattice beam once can be dropped at once:
//                 extra(t) = min over links t -> u of extra(u) + tot(t) + cost(link) - tot(u)
//
// On each frame an offset (minus the best total cost) is added to the acoustic costs, which keeps the totals
// near zero however long the utterance is. Links store acoustic costs without it, exactly as they came in.
//
// Tokens and links of a boundary are in arrays of just the right size and name each other by position. A
// search builds a boundary elsewhere and adds it when it is complete.
//
// Of ten emitting links the first pruning leaves about one. So they are kept as NewLink until then, with no
// more than pruning asks for: labels and costs of those that stay are looked up in the graph (ArcLookup).
//
// Source: decoder/lattice-faster-decoder.cc (PruneForwardLinks, PruneTokensForFrame, PruneActiveTokens).
#ifndef PYKALDI_SERVER_DECODER_TOKEN_LATTICE_H_
#define PYKALDI_SERVER_DECODER_TOKEN_LATTICE_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "csrc/base/uninitialized-vector.h"

namespace pykaldi {

struct Link {
  int32_t source;  // a token of this boundary
  int32_t target;  // a token of this boundary (epsilon link) or of the next one (emitting link)
  int32_t ilabel;
  int32_t olabel;
  float graph_cost;
  float acoustic_cost;
};

// An emitting link whose arc has not been looked up.
struct NewLink {
  int32_t source;
  int32_t target;
  float cost_above_best;  // of the path over it to the target: by how much it exceeds the target's total cost
  uint32_t arc;           // its place among the emitting arcs of the source's state
};

// What there is to know about an arc of the graph.
struct LinkArc {
  int32_t ilabel;
  int32_t olabel;
  float graph_cost;
  int32_t pdf;
};

// Looks arcs up in the graph that is searched.
class ArcLookup {
 public:
  virtual LinkArc LookUpArc(int32_t state, uint32_t arc) const = 0;
  // Hints that an arc of a state will be looked up: the first, a while before the second.
  virtual void PrefetchState(int32_t state) const = 0;
  virtual void PrefetchArc(int32_t state, uint32_t arc) const = 0;

 protected:
  ~ArcLookup() = default;
};

struct Token {
  // The start token, which no link enters.
  static constexpr int32_t kNoLink = std::numeric_limits<int32_t>::max();

  float tot_cost;
  float extra_cost;
  // The link of the best path into the token: a position among the emitting links of the boundary before, or
  // the complement (~) of a position among the epsilon links of this one.
  int32_t best_link;
  int32_t state;
};

using TokenVector = UninitializedVector<Token>;
using LinkVector = UninitializedVector<Link>;
using NewLinkVector = UninitializedVector<NewLink>;

// The links that cross a frame, while they are built.
struct FrameLinks {
  NewLinkVector links;
  UninitializedVector<float> acoustic_costs;  // of the frame, by pdf
};

struct TokenFrame {
  TokenVector tokens;
  LinkVector epsilon_links;
  // Emitting links, to the next boundary: either new ones, or those that the first pruning left.
  FrameLinks new_links;
  LinkVector emitting_links;
  float cost_offset = 0;  // of the frame that the emitting links cross
  bool must_prune_links = true;
  bool must_prune_tokens = true;
};

class TokenLattice {
 public:
  // `arcs` must live as long as the lattice.
  TokenLattice(float lattice_beam, const ArcLookup *arcs) : lattice_beam_(lattice_beam), arcs_(arcs) {}

  // The number of frames between the first boundary and the newest one.
  int32_t NumFrames() const { return static_cast<int32_t>(frames_.size()) - 1; }
  const TokenFrame &Frame(int32_t boundary) const { return frames_[boundary]; }
  const TokenFrame &Newest() const { return frames_.back(); }
  // The first token of the newest boundary that has the least total cost.
  int32_t BestToken() const { return best_token_; }
  // For a graph that renumbers its states.
  TokenVector *MutableNewestTokens() { return &frames_.back().tokens; }

  // The emitting links of a boundary.
  size_t NumEmittingLinks(int32_t boundary) const {
    const TokenFrame &frame = frames_[boundary];
    return frame.new_links.links.size() + frame.emitting_links.size();
  }
  Link EmittingLink(int32_t boundary, size_t position) const;

  // The token of the boundary before from which the best path into a token came. Throws DecoderError when
  // epsilon links form a cycle.
  int32_t SourceOnBoundaryBefore(int32_t boundary, int32_t token) const;

  // Adds a boundary, of whose tokens and epsilon links it makes copies of just the right size, and the links
  // to it from the one that was newest (for the first boundary there are none). Throws DecoderError, and adds
  // nothing, when the cost of a token is minus infinity: differences of costs would not be numbers.
  void AddBoundary(const TokenVector &tokens, const LinkVector &epsilon_links, FrameLinks links_to_it,
                   float cost_offset);
  // Looks up the arcs of all links to the newest boundary; for a graph that renumbers its states.
  void LookUpNewestLinks();

  // Prunes all boundaries but the newest, from the newest to the oldest, as far as extra costs change by more
  // than `delta`.
  void PruneActive(float delta);
  // Prunes all boundaries exactly, when no more frames come. `final_costs` are those of the newest tokens
  // (infinity: not final), and `best_cost` is the least sum of total and final cost.
  void PruneFinal(const std::vector<float> &final_costs, float best_cost);

 private:
  struct PruneResult {
    bool extra_costs_changed;
    bool links_pruned;
  };

  // Recomputes the extra costs of a boundary and drops links beyond the lattice beam.
  PruneResult PruneLinks(int32_t boundary, float delta);
  // Set extra_ of each token to the least that its emitting links give.
  void PruneEmittingLinks(int32_t boundary);
  void PruneNewLinks(int32_t boundary);
  // Makes links of the new ones of a boundary. If an arc cannot be looked up, they stay as they are.
  void LookUpLinks(TokenFrame *frame) const;
  void PrefetchArcs(const TokenFrame &frame, size_t position) const;
  Link LookUp(const TokenFrame &frame, const NewLink &link) const;
  // Lowers extra_ through the epsilon links until nothing changes.
  void PruneEpsilonLinks(TokenFrame *frame);
  // Drops tokens that no path within the lattice beam uses. Their links are gone already.
  void PruneTokens(int32_t boundary);
  // Frees the scratch memory, which is not needed again before many more frames.
  void FreeScratch();

  float lattice_beam_;
  const ArcLookup *arcs_;
  std::vector<TokenFrame> frames_;
  int32_t best_token_ = 0;
  // Scratch memory of pruning, one element per token.
  std::vector<float> extra_;
  std::vector<int32_t> new_position_;
};

// Walks the best path backwards, from a token of the newest boundary to the start.
class BackwardWalk {
 public:
  BackwardWalk(const TokenLattice &lattice, int32_t token)
      : lattice_(lattice), boundary_(lattice.NumFrames()), token_(token) {}

  // Takes the link by which the best path enters the current token, and moves to its source; null at the
  // start. The link is valid until the next call. Throws DecoderError when epsilon links form a cycle.
  const Link *Next();

  // The boundary of the source of the last link.
  int32_t Boundary() const { return boundary_; }
  const Token &SourceToken() const { return lattice_.Frame(boundary_).tokens[token_]; }

 private:
  const TokenLattice &lattice_;
  int32_t boundary_;
  int32_t token_;
  Link link_;                // the last one
  size_t num_epsilons_ = 0;  // taken on this boundary
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_TOKEN_LATTICE_H_
