// Basic computations on lattices: scales, times, forward and backward scores, pruning, the best path.
//
// Terms
//   score     a log-probability: minus (graph cost + acoustic cost)
//   alpha     of a state: the log of the sum (Viterbi: the maximum) of the probabilities of the paths from
//             the start to it; beta: the same from it to the end, with the final weights
//   time      of a state: the number of transition-ids before it, in decoder frames
//   depth     the mean number of arcs that cross a frame
//
// Every function here sorts a copy of the lattice when it is not in topological order, and throws
// LatticeError when it has a cycle. Source: lat/lattice-functions.cc.
#ifndef PYKALDI_SERVER_LAT_LATTICE_FUNCTIONS_H_
#define PYKALDI_SERVER_LAT_LATTICE_FUNCTIONS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "csrc/lat/lattice.h"

namespace pykaldi {

// Multiplies all graph costs and all acoustic costs, as `lattice-scale` does. Zero stays Zero. Throws
// ConfigError when a scale is not finite.
template <class L>
void ScaleLattice(float graph_scale, float acoustic_scale, L *lattice);

// Adds a penalty to the graph cost of each arc that has a word.
void AddWordInsPenToCompactLattice(float word_ins_penalty, CompactLattice *lattice);

// Sets the time of each state and returns the number of frames of the utterance. The lattice must be in
// topological order. States that cannot be reached get -1. Throws LatticeError when the paths to a state have
// different lengths.
int32_t LatticeStateTimes(const Lattice &lattice, std::vector<int32_t> *times);
int32_t CompactLatticeStateTimes(const CompactLattice &lattice, std::vector<int32_t> *times);

struct LatticeScores {
  double total = 0;  // log-probability of the lattice, or score of its best path; -inf without any path
  std::vector<double> alpha;
  std::vector<double> beta;
};

// Computes alphas and betas, in topological order of the states only (LatticeError otherwise).
template <class L>
LatticeScores ComputeLatticeAlphasAndBetas(const L &lattice, bool viterbi);

struct LatticePosteriors {
  double total = 0;              // log-probability of the lattice
  double acoustic_like_sum = 0;  // sum over arcs of posterior times minus the acoustic cost
  // For each frame: transition-id and its posterior, by ascending transition-id.
  std::vector<std::vector<std::pair<int32_t, float>>> frames;
};

LatticePosteriors LatticeForwardBackward(const Lattice &lattice);

// The depth (1 for the empty lattice); sets the number of frames.
float CompactLatticeDepth(const CompactLattice &lattice, int32_t *num_frames);
std::vector<int32_t> CompactLatticeDepthPerFrame(const CompactLattice &lattice);

// Removes the arcs and final weights that are on no path within `beam` of the best path.
// Returns false when nothing is left.
template <class L>
bool PruneLattice(double beam, L *lattice);

// The path of lowest cost as a linear lattice; empty when there is no complete path.
CompactLattice CompactLatticeShortestPath(const CompactLattice &lattice);

// The number of words of the longest path.
int32_t LongestSentenceLength(const CompactLattice &lattice);

struct WordTime {
  int32_t word = 0;  // 0 for silence
  int32_t begin_frame = 0;
  int32_t num_frames = 0;
};

// The labels of a linear lattice with their times; throws LatticeError when it is empty or branches.
// Times are those of the words only when the lattice was word-aligned.
std::vector<WordTime> CompactLatticeToWordAlignment(const CompactLattice &linear);

extern template void ScaleLattice(float, float, Lattice *);
extern template void ScaleLattice(float, float, CompactLattice *);
extern template LatticeScores ComputeLatticeAlphasAndBetas(const Lattice &, bool);
extern template LatticeScores ComputeLatticeAlphasAndBetas(const CompactLattice &, bool);
extern template bool PruneLattice(double, Lattice *);
extern template bool PruneLattice(double, CompactLattice *);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_FUNCTIONS_H_
