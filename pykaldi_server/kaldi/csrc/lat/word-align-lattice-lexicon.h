// Aligns the arcs of a lattice with words, by a lexicon.
//
// For models whose phones do not show their position in the word. Along each path of the phone-aligned
// lattice it gathers words and phones, and puts out a word with its transition-ids when the lexicon has the
// word with the first phones that are pending. An entry for word 0 means phones without a word (silence).
//
// Entries (align_lexicon.int) are "word-in word-out phone phone ...": word-in is the word of the lattice,
// word-out the one to put on the arc, usually the same.
//
// Each way to split the symbols of a path is found once only: phones and words are tried when they are fresh,
// that is, since the last thing that was added or put out.
// Source: lat/word-align-lattice-lexicon.cc.
#ifndef PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_LEXICON_H_
#define PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_LEXICON_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

// The lexicon as a tree of phones. Immutable, shared by all sessions.
class WordAlignLatticeLexiconInfo {
 public:
  static constexpr int32_t kNoNode = -1;

  struct NumPhones {
    int32_t least;
    int32_t most;
  };

  // Entries: word-in, word-out, phones. Throws ConfigError when an entry is too short, has a negative number,
  // contradicts another one, or gives word 0 no phones.
  explicit WordAlignLatticeLexiconInfo(const std::vector<std::vector<int32_t>> &lexicon);

  // The node of a sequence of phones; kNoNode when no entry begins with it.
  int32_t FindNode(const int32_t *begin, const int32_t *end) const;
  // The output word of the entry with this input word and the phones of the node; 0 when there is none.
  // An output word 0 is given as kTemporaryLabel.
  int32_t OutputWord(int32_t word, int32_t node) const;
  // Whether the word has an entry that begins with the phones of the node and has more.
  bool HasLongerEntry(int32_t word, int32_t node) const { return longer_.count(Key(word, node)) != 0; }
  // The least and greatest number of phones of a word; nullptr when it has no entry.
  const NumPhones *FindNumPhones(int32_t word) const;

 private:
  static uint64_t Key(int32_t label, int32_t node) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(node)) << 32) | static_cast<uint32_t>(label);
  }
  void AddEntry(const std::vector<int32_t> &entry);

  int32_t num_nodes_ = 1;                              // node 0 is the empty sequence
  std::unordered_map<uint64_t, int32_t> children_;     // (phone, node) to node
  std::unordered_map<uint64_t, int32_t> outputs_;      // (word, node) to output word
  std::unordered_set<uint64_t> longer_;                // (word, node)
  std::unordered_map<int32_t, NumPhones> num_phones_;  // by word
};

struct WordAlignLatticeLexiconOpts {
  int32_t partial_word_label = 0;  // of an incomplete word at the end
  bool reorder = true;             // self-loops come behind the transitions out of their state
  double max_expand = -1;          // give up above 1000 + max_expand times the states of the phone-aligned
                                   // lattice; no limit of this kind when not positive
};

// Returns false when something in the lattice was not as it should be: then the words at its end are partial,
// or the result is empty. Throws LatticeError when the lattice has transition-ids that the model does not
// have, a word that the lexicon does not have, or a cycle.
bool WordAlignLatticeLexicon(const CompactLattice &lattice, const TransitionInformation &model,
                             const WordAlignLatticeLexiconInfo &lexicon,
                             const WordAlignLatticeLexiconOpts &options, CompactLattice *aligned);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_LEXICON_H_
