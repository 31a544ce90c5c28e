// Minimum Bayes risk decoding: the words with the least expected number of errors, with times, confidences
// and the distribution over words in each position (the sausage).
//
// Concept. With R a word sequence and W one of the lattice, the Bayes risk of R is the sum over W of P(W)
// times the edit distance between W and R. Starting from the best path, each position of R is replaced by the
// word that most paths have there until nothing changes. R is kept with an empty word (0) before, between and
// after its words, where insertions go.
//
//   alpha(n)           log-probability of reaching node n
//   alpha_dash(n, q)   expected edit distance between the partial paths to node n and the first q of R
//   beta_dash(n, q)    probability that a path goes through n with the first q of R aligned before it
//   gamma(q, w)        probability that word w is at position q: the confidence of w there
//   tau_b, tau_e       gamma times the begin and end time
//
// An error against the empty word costs `kDelta` more than other errors, so that words find a place in the
// sausage whenever they can.
//
// Options: decode_mbr (true) gives the words of least risk; without it they are those of the best path and
// only times and confidences are computed. print_silence (false) keeps the empty words in the output.
//
// Source: lat/sausages.cc; "Minimum Bayes Risk decoding and system combination based on a recursion for edit
// distance", Xu, Povey, Mangu, Zhu, Computer Speech and Language, 2011 (figures 4 to 6, appendix C).
#ifndef PYKALDI_SERVER_LAT_SAUSAGES_H_
#define PYKALDI_SERVER_LAT_SAUSAGES_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "csrc/lat/lattice.h"

namespace pykaldi {

struct MinimumBayesRiskOptions {
  bool decode_mbr = true;
  bool print_silence = false;
};

class MinimumBayesRisk {
 public:
  using Times = std::pair<float, float>;       // begin and end, in decoder frames
  using WordProb = std::pair<int32_t, float>;  // word (0 for none) and its probability

  // Any acoustic scale must have been applied to the lattice. Times are those of words only when it is
  // word-aligned. Throws LatticeError when the lattice has a cycle or no complete path.
  MinimumBayesRisk(const CompactLattice &lattice, const MinimumBayesRiskOptions &options);
  // Starts from these words instead of the best path.
  MinimumBayesRisk(const CompactLattice &lattice, std::vector<int32_t> words,
                   const MinimumBayesRiskOptions &options);

  const std::vector<int32_t> &GetOneBest() const { return words_; }
  // One entry for each word of GetOneBest().
  const std::vector<Times> &GetOneBestTimes() const { return one_best_times_; }
  const std::vector<float> &GetOneBestConfidences() const { return one_best_confidences_; }
  // The expected number of word errors.
  double GetBayesRisk() const { return risk_; }
  // For each position the words by descending probability.
  const std::vector<std::vector<WordProb>> &GetSausageStats() const { return gamma_; }
  // For each position the mean times; positions do not overlap.
  const std::vector<Times> &GetSausageTimes() const { return sausage_times_; }
  // For each word of each position its mean times.
  const std::vector<std::vector<Times>> &GetTimes() const { return times_; }

 private:
  struct Arc {
    int32_t word;
    int32_t start_node;
    int32_t end_node;
    float loglike;
  };
  // What a word has gathered at one position.
  struct Stats {
    double gamma = 0;
    double tau_b = 0;
    double tau_e = 0;
  };
  // Quantities over nodes and positions of R, in one array.
  class Matrix {
   public:
    Matrix(size_t rows, size_t columns) : columns_(columns), values_(rows * columns, 0.0) {}
    double *operator[](size_t row) { return values_.data() + row * columns_; }

   private:
    size_t columns_;
    std::vector<double> values_;
  };

  void PrepareLattice(CompactLattice lattice);
  void MbrDecode();
  void AccumulateStats();
  double ForwardPass(Matrix *alpha_dash);
  void BackwardPass(Matrix *alpha_dash, std::vector<std::map<int32_t, Stats>> *bins);
  void StoreStats(const std::vector<std::map<int32_t, Stats>> &bins);
  void AlignArc(const Arc &arc, const double *alpha_dash, double *distance, char *operation) const;
  void AddOneBestWord(size_t position);
  double ArcPosterior(const Arc &arc) const;

  MinimumBayesRiskOptions options_;
  std::vector<Arc> arcs_;  // by end node
  std::vector<int32_t> node_times_;
  std::vector<double> alpha_;

  std::vector<int32_t> words_;  // R; with empty words while decoding
  double risk_ = 0;
  std::vector<std::vector<WordProb>> gamma_;
  std::vector<std::vector<Times>> times_;
  std::vector<Times> sausage_times_;
  std::vector<Times> one_best_times_;
  std::vector<float> one_best_confidences_;
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_SAUSAGES_H_
