// Determinisation of lattices, with pruning: of all paths with one word sequence it keeps the best.
//
// Concept. A raw lattice has very many paths for each word sequence: other alignments, pronunciations,
// places of silence. The result is a CompactLattice in which no two paths have the same words, with the costs
// and transition-ids of the best one. A state of the result is a subset of input states, each with the cost
// and the transition-ids that it has beyond what is already on the arcs (the residual). Arcs out of it are
// made best first: the cost of the best complete path through an arc decides the order, and arcs beyond
// `beam` of the best path are never made. So one can also stop early when memory runs short, and still
// have the best part of the lattice.
//
// Terms
//   closure           all states reached from a subset by arcs without a label
//   minimal subset    a closure without the states that are neither final nor have an arc with a label;
//                     normalised: the common part of costs and transition-ids is moved onto the arc. States
//                     of the result are equal when their minimal subsets are (costs within delta)
//   initial subset    the normalised subset before its closure; a cache to skip the closure
//
// Determinising by words alone makes large subsets. So a first pass determinises by words and phones, where
// subsets are small, and the second pass by words. The result is the same in principle.
//
// Defaults: delta 1/1024; max_mem 50 MB for the phone pass wrapper, none for words alone.
// Source: lat/determinize-lattice-pruned.cc; "Generating exact lattices in the WFST framework", Povey et al.,
// ICASSP 2012.
#ifndef PYKALDI_SERVER_LAT_DETERMINIZE_LATTICE_PRUNED_H_
#define PYKALDI_SERVER_LAT_DETERMINIZE_LATTICE_PRUNED_H_

#include <cstdint>

#include "csrc/lat/lattice.h"
#include "csrc/lat/transition-information.h"

namespace pykaldi {

constexpr float kDeterminizeDelta = 1.0f / 1024;

struct DeterminizeLatticePrunedOptions {
  float delta = kDeterminizeDelta;  // costs that differ by at most this are equal
  int64_t max_mem = -1;             // approximate bytes at which to stop early; no limit when not positive
  int64_t max_states = -1;          // of the result; no limit when not positive
  int64_t max_arcs = -1;            // of the result; no limit when not positive
  float retry_cutoff = 0.5f;        // start again with a smaller beam when less than this part was reached
};

struct DeterminizeLatticePhonePrunedOptions {
  float delta = kDeterminizeDelta;
  int64_t max_mem = 50000000;
  bool phone_determinize = true;  // do the pass by words and phones
  bool word_determinize = true;   // do the pass by words
  bool minimize = false;          // push and minimise the result
};

// Determinises by words. `beam` may be infinite. Returns false when a limit stopped it early: the result is
// then good within a smaller beam. States that lead nowhere are removed.
bool DeterminizeLatticePruned(const Lattice &lattice, double beam,
                              const DeterminizeLatticePrunedOptions &options, CompactLattice *result);
bool DeterminizeLatticePruned(const CompactLattice &lattice, double beam,
                              const DeterminizeLatticePrunedOptions &options, CompactLattice *result);

// Determinises by phones and words, then by words: DeterminizeLatticePhonePrunedWrapper. The lattice need not
// be sorted.
bool DeterminizeLatticePhonePruned(const Lattice &lattice, const TransitionInformation &model, double beam,
                                   const DeterminizeLatticePhonePrunedOptions &options,
                                   CompactLattice *result);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_DETERMINIZE_LATTICE_PRUNED_H_
