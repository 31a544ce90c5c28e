// Composition of HCLr with a language model, with lookahead: the arcs of any composed state, on demand.
//
// HCLr turns transition-ids into words, whose labels are anywhere within the words; the language model G
// turns words into words at a cost. Composed naively, G's costs come late, and most states lead nowhere.
// Lookahead mends both. Whenever HCLr takes an arc without a word, to state p say, while G stays in state g:
//
//   reachability   if no word that p can come to is an arc of g (and p and g do not both end), the arc is
//                  dropped
//   label pushing  if exactly one word is possible, G takes its arc at once, and its output is put on this
//                  arc; the word itself, which HCLr still has to come to, becomes part of the composed state
//   weight pushing otherwise the log-sum of the costs of all possible words is put on this arc, and becomes
//                  part of the composed state, to be taken off what follows. There it is rounded to 1/1024,
//                  so that composed states with nearly the same weight are one
//
// Epsilon arcs of G (backoff) have to be taken before epsilon arcs of HCLr, so that no path exists twice.
//
// A composed state is thus (state of HCLr, state of G, whether G's epsilons are still allowed, label pushed,
// weight pushed). Input labels that only served to make HCLr deterministic (disambig_tid.int) become epsilon.
//
// The results are those of OpenFst to the last bit, and in its order: compose.h, compose-filter.h
// (AltSequenceComposeFilter), lookahead-filter.h (LookAheadComposeFilter, PushWeightsComposeFilter,
// PushLabelsComposeFilter), lookahead-matcher.h (LabelLookAheadMatcher with olabel_lookahead_flags), combined
// as DefaultLookAhead does for standard arcs. Theory: the paper cited in label-reachable.h.
#ifndef PYKALDI_SERVER_FST_LOOKAHEAD_COMPOSITION_H_
#define PYKALDI_SERVER_FST_LOOKAHEAD_COMPOSITION_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "csrc/fst/olabel-lookahead-fst.h"
#include "csrc/fst/symbol-table.h"

namespace pykaldi {

struct ComposedState {
  static constexpr int32_t kNoLabel = -1;

  uint32_t hcl_state : 31;
  uint32_t after_epsilon : 1;  // an epsilon of HCLr was taken, so those of G are not allowed
  int32_t grammar_state;
  int32_t label;  // pushed: taken in G, still to come in HCLr; or kNoLabel
  float weight;   // pushed

  bool operator==(const ComposedState &other) const { return std::memcmp(this, &other, sizeof(*this)) == 0; }
  uint64_t Hash() const {
    uint64_t words[2];
    std::memcpy(words, this, sizeof(words));
    uint64_t hash = words[0] * 0x9E3779B97F4A7C15u ^ (words[1] + (words[1] << 32 | words[1] >> 32));
    hash = (hash ^ hash >> 29) * 0xBF58476D1CE4E5B9u;
    return hash ^ hash >> 32;
  }
};
static_assert(sizeof(ComposedState) == 16, "it is compared and hashed as 16 bytes");

struct ComposedArc {
  int32_t ilabel;
  int32_t olabel;
  float weight;
  ComposedState nextstate;
};

// Immutable, so any number of threads may use it.
class LookaheadComposition {
 public:
  virtual ~LookaheadComposition() = default;

  // Reads HCLr.fst and Gr.fst (ngram, const or vector). Input labels of `disambig_labels` become epsilon.
  // Throws FileError, ModelFormatError, or ConfigError when one of those labels is not a label.
  static std::unique_ptr<LookaheadComposition> Read(const std::string &hcl_path,
                                                    const std::string &grammar_path,
                                                    const std::vector<int32_t> &disambig_labels);

  // Gives the start state; false when there is none.
  virtual bool Start(ComposedState *start) const = 0;
  // +infinity when the state is not final.
  virtual float Final(const ComposedState &state) const = 0;
  // Replaces `arcs` by the arcs of a state.
  virtual void Expand(const ComposedState &state, std::vector<ComposedArc> *arcs) const = 0;

  // The output labels of the language model but 0, ascending: the words that the composition may have.
  virtual std::vector<int32_t> OutputLabels() const = 0;

  // No input label is higher.
  int32_t MaxInputLabel() const { return max_ilabel_; }
  // The table of words that is embedded in the language model, or null.
  const std::shared_ptr<SymbolTable> &OutputSymbols() const { return output_symbols_; }

 protected:
  LookaheadComposition(std::shared_ptr<const OLabelLookaheadFst> hcl, std::shared_ptr<SymbolTable> symbols,
                       const std::vector<int32_t> &disambig_labels);

  // An input label of HCLr, or epsilon for one that only disambiguates.
  int32_t InputLabel(int32_t ilabel) const { return is_disambig_[ilabel] ? 0 : ilabel; }
  const OLabelLookaheadFst &Hcl() const { return *hcl_; }

 private:
  std::shared_ptr<const OLabelLookaheadFst> hcl_;
  std::shared_ptr<SymbolTable> output_symbols_;
  std::vector<uint8_t> is_disambig_;  // of each input label of HCLr
  int32_t max_ilabel_ = 0;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_LOOKAHEAD_COMPOSITION_H_
