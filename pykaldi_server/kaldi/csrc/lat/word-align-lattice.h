// Aligns the arcs of a lattice with words, by the position of each phone in its word.
//
// After determinisation the transition-ids of a word may lie on the arcs of other words. Here each arc of the
// result has one word and exactly its transition-ids, or no word and those of a silence. It works for models
// whose phones show their position: begin, internal, end, singleton, or nonword for silence
// (word_boundary.int). Source: lat/word-align-lattice.cc.
#ifndef PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_H_
#define PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/error.h"
#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

class WordBoundaryInfo {
 public:
  enum PhoneType : int8_t {
    kNoPhone = 0,
    kWordBeginPhone,
    kWordEndPhone,
    kWordBeginAndEndPhone,
    kWordInternalPhone,
    kNonWordPhone,
  };

  // Throws LatticeError for a phone that the word-boundary file does not have.
  PhoneType TypeOfPhone(int32_t phone) const {
    if (phone < 0 || phone >= static_cast<int32_t>(phone_to_type.size()) ||
        phone_to_type[phone] == kNoPhone) {
      throw LatticeError("expected phones of the word-boundary file, found " + std::to_string(phone));
    }
    return phone_to_type[phone];
  }

  std::vector<PhoneType> phone_to_type;  // indexed by phone
  int32_t silence_label = 0;             // of silence
  int32_t partial_word_label = 0;        // of an incomplete word at the end
  bool reorder = true;                   // self-loops come behind the transitions out of their state
};

// Returns false when something in the lattice was not as it should be, such as an incomplete word at its end:
// the result can be used, with a partial word there. With more than `max_states` states (a very high limit
// when not positive) it gives up: the result is empty. Throws LatticeError when the lattice has
// transition-ids or phones that the model and the word-boundary file do not have.
bool WordAlignLattice(const CompactLattice &lattice, const TransitionInformation &model,
                      const WordBoundaryInfo &info, int64_t max_states, CompactLattice *aligned);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_WORD_ALIGN_LATTICE_H_
