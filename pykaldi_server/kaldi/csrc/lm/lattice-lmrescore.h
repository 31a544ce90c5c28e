// Changes the language model scores of a lattice: adds lm_scale times the cost of a language model to the
// graph cost of each path.
//
// To replace the model that a lattice was made with, subtract the old one (scale -1, an automaton with
// backoff arcs), then add the new one (scale 1). Composition multiplies paths: each word sequence gets all
// ways through the model. The best of them counts, whatever the sign of the scale: the graph costs are
// divided by the scale first, the composed lattice is determinised, and its graph costs are multiplied again.
//
// Each pair of a path of the lattice and a path of the model that accepts its words is one path of the
// result, however arcs without a word and arcs that back off follow each other: those of the lattice come
// first.
//
// Source: latbin/lattice-lmrescore.cc, latbin/lattice-lmrescore-const-arpa.cc, and
// ComposeCompactLatticeDeterministic in lat/lattice-functions.cc; SequenceComposeFilter in OpenFst's
// fst/compose-filter.h.
#ifndef PYKALDI_SERVER_LM_LATTICE_LMRESCORE_H_
#define PYKALDI_SERVER_LM_LATTICE_LMRESCORE_H_

#include <memory>

#include "csrc/lat/lattice.h"
#include "csrc/lm/backoff-lm.h"
#include "csrc/lm/const-arpa-lm.h"
#include "csrc/lm/deterministic-fst.h"

namespace pykaldi {

// The paths of the lattice that the model accepts, the model's costs added to the graph costs. Arcs without
// a word leave the model where it is. Throws LatticeError when the lattice has a cycle, or when the result
// would be absurdly large.
CompactLattice ComposeCompactLatticeDeterministic(const CompactLattice &lattice,
                                                  DeterministicOnDemandFst *lm);
CompactLattice ComposeCompactLatticeBackoff(const CompactLattice &lattice, const BackoffLm &lm);

// Rescoring as described above. The result is deterministic; it is empty when the model accepts no path of
// the lattice, and the lattice itself when the scale is 0.
CompactLattice LatticeLmRescore(const CompactLattice &lattice, const BackoffLm &lm, float lm_scale);
CompactLattice LatticeLmRescoreConstArpa(const CompactLattice &lattice, std::shared_ptr<const ConstArpaLm> lm,
                                         float lm_scale);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LM_LATTICE_LMRESCORE_H_
