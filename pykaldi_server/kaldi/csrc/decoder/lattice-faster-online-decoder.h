// Beam search for the best paths through a decoding graph, which keeps a lattice and can be asked for its
// best path at any time.
//
// Token passing, one frame at a time: every token within the beam takes all emitting arcs of its state to the
// next boundary (ProcessEmitting), then epsilon arcs are followed there (ProcessNonemitting). Of the tokens
// that meet in a state the best one stays, and all links are kept for the lattice. The beam, max_active and
// min_active bound the tokens that are expanded.
//
// A frame has two halves. Arcs of all active tokens are filtered first (arc-filter.h); what is left of them
// by the final cutoff then becomes tokens and links, so these do not depend on the order of the visits, as
// they do in Kaldi at the very edge of the beam.
//
// The graph is a template parameter with these members, so that a graph that is composed while it is searched
// is decoded by the same code:
//
//   int32_t Start()                      the start state, kNoStateId when there is none
//   int32_t NumStates()                  as far as they are known
//   float Final(state)                   the final cost, +infinity when the state is not final
//   bool HasInputEpsilons(state)         whether some of its arcs have no input label
//   EpsilonArcs(state)                   these arcs: Size(), and ForEach(take), which calls
//                                        take(cost, output label, next state) for each
//   int32_t MaxInputLabel()              no input label is higher
//   void PrefetchState(state)            a hint that the members above, or arcs, will be asked for
//   void RenewStates(tokens)             called between frames: may renumber states, if it gives the newest
//                                        tokens (Token, with a member `state`) their new numbers
//   kRenewsStates                        whether it ever does so
//   kHasColumns                          which of the following it has:
//     EmittingArcsOf(state), Words(), OutputLabel(state, arc), Label(position), NumLabels(), IsState(state),
//     FailAtState(state)
//     range Arcs(state), PrefetchArcs(state)    all arcs as StdArc, in an array
//
// Sources: decoder/lattice-faster-decoder.cc, decoder/lattice-faster-online-decoder.cc, and "Generating exact
// lattices in the WFST framework", Povey et al., ICASSP 2012.
#ifndef PYKALDI_SERVER_DECODER_LATTICE_FASTER_ONLINE_DECODER_H_
#define PYKALDI_SERVER_DECODER_LATTICE_FASTER_ONLINE_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "csrc/base/cpu-kernels.h"
#include "csrc/decoder/best-path.h"
#include "csrc/decoder/lattice-faster-decoder-config.h"
#include "csrc/decoder/search-workspace.h"
#include "csrc/decoder/token-lattice.h"
#include "csrc/fst/const-fst.h"
#include "csrc/lat/lattice.h"

namespace pykaldi {

// Log-likelihoods of a block of frames, row-major, already multiplied by the acoustic scale.
struct LoglikeBlock {
  const float *data;
  int64_t num_frames;
  int64_t num_pdfs;

  const float *Row(int64_t frame) const { return data + frame * num_pdfs; }
};

// What the search has done since InitDecoding.
struct SearchStatistics {
  int64_t num_tokens = 0;  // created
  int64_t num_arcs = 0;    // visited
  int64_t num_links = 0;   // created
};

template <class Graph>
class LatticeFasterOnlineDecoder : private ArcLookup {
 public:
  // `id2pdf` gives the pdf of each transition-id; element 0 is not used. Throws ConfigError when an option
  // is invalid, or when the graph has transition-ids that `id2pdf` does not have.
  LatticeFasterOnlineDecoder(std::shared_ptr<Graph> graph, const LatticeFasterDecoderConfig &config,
                             const std::vector<int32_t> &id2pdf);
  // The lattice looks arcs up here.
  LatticeFasterOnlineDecoder(const LatticeFasterOnlineDecoder &) = delete;
  LatticeFasterOnlineDecoder &operator=(const LatticeFasterOnlineDecoder &) = delete;

  // Starts a new utterance; the constructor has done so already.
  void InitDecoding();
  // Decodes a block of frames. Throws DecoderError when a log-likelihood is NaN or +infinity, when pdfs are
  // missing, when no token survives a frame or one costs minus infinity (that frame then does not count), or
  // after FinalizeDecoding.
  void AdvanceDecoding(const LoglikeBlock &loglikes);
  // Prunes the lattice with final costs, when no more frames come. Throws DecoderError, as all do that use
  // final costs, when one makes a path cost minus infinity, or NaN.
  void FinalizeDecoding();

  int32_t NumFramesDecoded() const { return lattice_.NumFrames(); }
  // How much worse than the best token the best final one is, with its final cost; infinity when no final
  // state is active.
  float FinalRelativeCost() const;

  // With `use_final_costs`, and when a final state is active, paths end in final states, and their final
  // costs count. After FinalizeDecoding final costs must be used.
  BestPath GetBestPath(bool use_final_costs) const;
  Lattice GetRawLattice(bool use_final_costs) const;

  // The best path so far, without final costs. Not after FinalizeDecoding.
  CurrentBestPath &UpdateBestPath();

  // How many of its first words later best paths of the utterance will have, too: those that all tokens
  // within the beam share. (Tokens beyond it, which min_active keeps, hardly ever win.) Not after
  // FinalizeDecoding.
  int32_t NumStableWords();

  int32_t MaxTransitionId() const { return static_cast<int32_t>(pdf_of_label_.size()) - 1; }
  const SearchStatistics &Statistics() const { return statistics_; }

 private:
  struct Cutoff {
    float cost;           // tokens up to this cost are expanded
    float adaptive_beam;  // the beam that this cost means
  };
  struct FinalCosts {
    std::vector<float> costs;  // of each newest token; infinity: not final
    float best_cost;
    float best_cost_with_final;  // infinity when no token is final
  };

  void CheckBlock(const LoglikeBlock &loglikes) const;
  Cutoff GetCutoff(const TokenVector &tokens, float best_cost, SearchWorkspace *work) const;
  // Sets the costs of a frame in the workspace; returns those that arcs are compared with.
  FrameCosts SetFrameCosts(const float *loglikes, float cost_offset, SearchWorkspace *work) const;
  // Decodes a frame: builds a boundary in the workspace, and adds it to the lattice.
  void DecodeFrame(const float *loglikes, SearchWorkspace *work);
  // Builds the tokens of the next boundary that emitting arcs reach; returns the cutoff for further ones.
  float ProcessEmitting(const float *loglikes, SearchWorkspace *work);
  // Collects those arcs of the active tokens that are below the next cutoff, and lowers it.
  void FilterEmitting(const FrameCosts &costs, float *next_cutoff, SearchWorkspace *work);
  void FilterArrays(const FrameCosts &costs, float *next_cutoff, SearchWorkspace *work);
  // Makes the tokens of the newest boundary up to a cost the active ones.
  void Activate(float cutoff, SearchWorkspace *work) const;
  ActiveToken Activated(int32_t token) const;
  // Makes tokens of the collected arcs. Until their links are made, candidates stand for those.
  void TakeCandidates(float next_cutoff, SearchWorkspace *work);
  // Makes links of the collected arcs, when all costs of the tokens are known.
  FrameLinks LinkCandidates(SearchWorkspace *work) const;
  // Adds the tokens that epsilon arcs reach, up to a cutoff.
  void ProcessNonemitting(float cutoff, SearchWorkspace *work);
  void ExpandNextEpsilons(float cutoff, SearchWorkspace *work);
  template <class Arcs>
  void ExpandEpsilons(int32_t token, const Arcs &arcs, float cutoff, SearchWorkspace *work);
  void QueueEpsilons(int32_t token, int32_t state, SearchWorkspace *work) const;
  // Finds or creates the new token of a state, and gives it the cost and the link if the cost is lower.
  // Returns whether it is.
  bool Relax(int32_t state, float tot_cost, int32_t link, int32_t *token, SearchWorkspace *work);
  LinkArc LookUpArc(int32_t state, uint32_t arc) const override;
  void PrefetchState(int32_t state) const override { graph_->PrefetchState(state); }
  void PrefetchArc(int32_t state, uint32_t arc) const override;
  FinalCosts ComputeFinalCosts() const;
  // Final costs as paths are to be ended by, according to the caller's wish and to what is active.
  std::vector<float> EndCosts(bool use_final_costs) const;

  const std::shared_ptr<Graph> graph_;
  const LatticeFasterDecoderConfig config_;
  const CpuKernels kernels_ = DefaultCpuKernels();
  const int32_t num_pdfs_;
  std::vector<int32_t> pdf_of_label_;     // epsilon: num_pdfs_, whose cost is infinite
  std::vector<int32_t> pdf_of_position_;  // in the columns of a graph that has them

  TokenLattice lattice_;
  CurrentBestPath best_path_;
  bool is_finalized_ = false;
  float final_relative_cost_ = 0;  // once finalized
  SearchStatistics statistics_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_DECODER_LATTICE_FASTER_ONLINE_DECODER_H_
