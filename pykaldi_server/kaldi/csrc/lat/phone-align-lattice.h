// Aligns the arcs of a lattice with phones: each arc has the transition-ids of exactly one phone, so that
// times and lengths of phones can be read off a path.
//
// Words stay where they are or move a little later; they are not aligned with the phones. Phones without a
// word on their arc are joined with what follows when epsilons are removed and the words are kept.
// Source: lat/phone-align-lattice.cc.
#ifndef PYKALDI_SERVER_LAT_PHONE_ALIGN_LATTICE_H_
#define PYKALDI_SERVER_LAT_PHONE_ALIGN_LATTICE_H_

#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

struct PhoneAlignLatticeOptions {
  bool reorder = true;                  // self-loops come behind the transitions out of their state
  bool remove_epsilon = true;           // remove arcs without a label
  bool replace_output_symbols = false;  // put the phones on the arcs instead of the words
};

// Returns false when something in the lattice was not as it should be, such as an incomplete phone at its
// end, or when it would have far too many states (then the result is empty). Throws LatticeError when it has
// transition-ids that the model does not have, or a cycle.
bool PhoneAlignLattice(const CompactLattice &lattice, const TransitionInformation &model,
                       const PhoneAlignLatticeOptions &options, CompactLattice *aligned);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_PHONE_ALIGN_LATTICE_H_
