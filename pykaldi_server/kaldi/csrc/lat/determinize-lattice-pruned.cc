#include "csrc/lat/determinize-lattice-pruned.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/lat/determinizer-input.h"
#include "csrc/lat/lattice-convert.h"
#include "csrc/lat/lattice-determinizer.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/minimize-lattice.h"

namespace pykaldi {
namespace {

constexpr int kMaxTries = 10;

// Determinises one pass; when a limit stops it far from the beam, prunes the input and tries again.
bool DeterminizePass(DeterminizerInput *input, double beam, const DeterminizeLatticePrunedOptions &options,
                     int32_t first_removed_label, CompactLattice *result) {
  if (!(beam > 0)) throw ConfigError("expected a lattice beam above 0, found " + std::to_string(beam));
  for (int i = 1;; ++i) {
    LatticeDeterminizer determinizer(*input, beam, options);
    const bool complete = determinizer.Determinize();
    const double reached = std::max(determinizer.EffectiveBeam(), 0.0);
    if (complete || reached >= beam * options.retry_cutoff || std::isinf(beam) || i == kMaxTries) {
      *result = determinizer.Output(first_removed_label);
      return complete;
    }
    beam = std::max(beam * std::sqrt(reached / beam), 0.5 * beam);
    input->Prune(beam);
  }
}

template <class L>
bool DeterminizeByWords(const L &lattice, double beam, const DeterminizeLatticePrunedOptions &options,
                        CompactLattice *result) {
  DeterminizerInput input(lattice);
  const bool complete = DeterminizePass(&input, beam, options, 0, result);
  Connect(result);
  return complete;
}

}  // namespace

bool DeterminizeLatticePruned(const Lattice &lattice, double beam,
                              const DeterminizeLatticePrunedOptions &options, CompactLattice *result) {
  return DeterminizeByWords(lattice, beam, options, result);
}

bool DeterminizeLatticePruned(const CompactLattice &lattice, double beam,
                              const DeterminizeLatticePrunedOptions &options, CompactLattice *result) {
  return DeterminizeByWords(lattice, beam, options, result);
}

bool DeterminizeLatticePhonePruned(const Lattice &lattice, const TransitionInformation &model, double beam,
                                   const DeterminizeLatticePhonePrunedOptions &options,
                                   CompactLattice *result) {
  DeterminizeLatticePrunedOptions pass_options;
  pass_options.delta = options.delta;
  pass_options.max_mem = options.max_mem;
  bool complete = true;
  if (options.phone_determinize) {
    DeterminizerInput input(lattice, &model);
    complete = DeterminizePass(&input, beam, pass_options, input.FirstPhoneLabel(), result);
    if (options.word_determinize) {
      const CompactLattice by_phones = std::move(*result);
      DeterminizerInput by_phones_input(by_phones);
      complete = DeterminizePass(&by_phones_input, beam, pass_options, 0, result) && complete;
    }
  } else if (options.word_determinize) {
    complete = DeterminizeByWords(lattice, beam, pass_options, result);
  } else {
    *result = ConvertToCompactLattice(lattice);
  }
  Connect(result);
  if (options.minimize) {
    PushCompactLatticeStrings(result);
    PushCompactLatticeWeights(result);
    MinimizeCompactLattice(options.delta, result);
  }
  return complete;
}

}  // namespace pykaldi
