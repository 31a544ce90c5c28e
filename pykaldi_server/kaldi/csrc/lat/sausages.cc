#include "csrc/lat/sausages.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/base/error.h"
#include "csrc/lat/lattice-functions.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/nbest.h"

namespace pykaldi {
namespace {

constexpr double kLogZero = -std::numeric_limits<double>::infinity();
constexpr double kDelta = 1.0e-05f;
constexpr int kMaxIterations = 102;  // as in Kaldi; a handful is enough in practice

double LogAdd(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == kLogZero ? a : a + std::log1p(std::exp(b - a));
}

// The edit distance of two words.
double Distance(int32_t a, int32_t b) { return a == b ? 0.0 : 1.0; }
double PenalizedDistance(int32_t a, int32_t b) { return a == b ? 0.0 : 1.0 + kDelta; }

// How an arc is aligned with position q of R.
enum Operation : char { kMatch, kInsertion, kDeletion };

void RemoveEmptyWords(std::vector<int32_t> *words) {
  words->erase(std::remove(words->begin(), words->end(), 0), words->end());
}

// Puts one empty word before, between and after the words.
void NormalizeEmptyWords(std::vector<int32_t> *words) {
  RemoveEmptyWords(words);
  std::vector<int32_t> spaced{0};
  for (int32_t word : *words) {
    spaced.push_back(word);
    spaced.push_back(0);
  }
  words->swap(spaced);
}

}  // namespace

MinimumBayesRisk::MinimumBayesRisk(const CompactLattice &lattice, const MinimumBayesRiskOptions &options)
    : MinimumBayesRisk(lattice, GetLinearPath(CompactLatticeShortestPath(lattice)).words, options) {}

MinimumBayesRisk::MinimumBayesRisk(const CompactLattice &lattice, std::vector<int32_t> words,
                                   const MinimumBayesRiskOptions &options)
    : options_(options), words_(std::move(words)) {
  PrepareLattice(lattice);
  MbrDecode();
}

void MinimumBayesRisk::PrepareLattice(CompactLattice lattice) {
  Connect(&lattice);
  if (lattice.NumStates() == 0) throw LatticeError("expected a lattice with a complete path, found none");
  CreateSuperFinal(&lattice);
  TopSort(&lattice);
  CompactLatticeStateTimes(lattice, &node_times_);
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    for (const CompactLatticeArc &arc : lattice.Arcs(s)) {
      arcs_.push_back({arc.label, s, arc.nextstate, -arc.weight.Cost()});
    }
  }
  std::stable_sort(arcs_.begin(), arcs_.end(),
                   [](const Arc &a, const Arc &b) { return a.end_node < b.end_node; });
}

void MinimumBayesRisk::MbrDecode() {
  for (int iteration = 0; iteration < kMaxIterations; ++iteration) {
    NormalizeEmptyWords(&words_);
    AccumulateStats();
    double change = 0;  // of the risk: a bound
    one_best_times_.clear();
    one_best_confidences_.clear();
    for (size_t q = 0; q < words_.size(); ++q) {
      if (options_.decode_mbr) {
        double old_gamma = 0;
        for (const WordProb &entry : gamma_[q]) {
          if (entry.first == words_[q]) old_gamma = entry.second;
        }
        change += old_gamma - gamma_[q][0].second;
        words_[q] = gamma_[q][0].first;
      }
      if (words_[q] != 0 || options_.print_silence) AddOneBestWord(q);
    }
    if (change == 0) break;
  }
  if (!options_.print_silence) RemoveEmptyWords(&words_);
}

void MinimumBayesRisk::AddOneBestWord(size_t position) {
  const auto &bin = gamma_[position];
  const auto entry = std::find_if(
      bin.begin(), bin.end(), [&](const WordProb &word_prob) { return word_prob.first == words_[position]; });
  const bool found = entry != bin.end();
  one_best_confidences_.push_back(found ? std::min(1.0f, entry->second) : 0);
  one_best_times_.push_back(times_[position][found ? entry - bin.begin() : 0]);
  const size_t n = one_best_times_.size();
  if (n < 2) return;
  Times &previous = one_best_times_[n - 2], &current = one_best_times_[n - 1];
  if (previous.second <= current.first) return;
  // Mean times of neighbours may overlap: share out the time of both by their durations.
  const float floor = n > 2 ? one_best_times_[n - 3].second : 0;
  const float left = std::max(floor, std::min(previous.first, current.first));
  const float right = std::max(previous.second, current.second);
  const float first = previous.second - previous.first, second = current.second - current.first;
  const float middle = first > 0 ? left + (right - left) * first / (first + second) : left;
  previous = {left, middle};
  current = {middle, right};
}

void MinimumBayesRisk::AccumulateStats() {
  Matrix alpha_dash(node_times_.size(), words_.size() + 1);
  std::vector<std::map<int32_t, Stats>> bins(words_.size());
  risk_ = ForwardPass(&alpha_dash);
  BackwardPass(&alpha_dash, &bins);
  StoreStats(bins);
}

double MinimumBayesRisk::ArcPosterior(const Arc &arc) const {
  // Rounding of huge costs must not make it more than one.
  return std::min(1.0, std::exp(alpha_[arc.start_node] + arc.loglike - alpha_[arc.end_node]));
}

// Computes for q = 0 ... |R| the distance of the best alignment that ends with this arc before position q,
// and how the arc or position q is used there. `alpha_dash` is the row of the arc's start.
void MinimumBayesRisk::AlignArc(const Arc &arc, const double *alpha_dash, double *distance,
                                char *operation) const {
  const double insertion_cost = PenalizedDistance(arc.word, 0);
  distance[0] = alpha_dash[0] + insertion_cost;
  for (size_t q = 1; q <= words_.size(); ++q) {
    const double match = alpha_dash[q - 1] + Distance(arc.word, words_[q - 1]);
    const double insertion = alpha_dash[q] + insertion_cost;
    const double deletion = distance[q - 1] + Distance(0, words_[q - 1]);
    if (match <= insertion && match <= deletion) {
      operation[q] = kMatch;
      distance[q] = match;
    } else if (insertion < match && insertion <= deletion) {
      operation[q] = kInsertion;
      distance[q] = insertion;
    } else {
      operation[q] = kDeletion;
      distance[q] = deletion;
    }
  }
}

// Figure 4: fills alpha and alpha_dash, and returns the risk of R.
double MinimumBayesRisk::ForwardPass(Matrix *alpha_dash) {
  const size_t num_words = words_.size();
  alpha_.assign(node_times_.size(), kLogZero);
  alpha_[0] = 0;
  for (size_t q = 1; q <= num_words; ++q) {
    (*alpha_dash)[0][q] = (*alpha_dash)[0][q - 1] + Distance(0, words_[q - 1]);
  }
  std::vector<double> distance(num_words + 1);
  std::vector<char> operation(num_words + 1);
  for (auto arc = arcs_.begin(); arc != arcs_.end();) {
    const auto end =
        std::find_if(arc, arcs_.end(), [arc](const Arc &other) { return other.end_node != arc->end_node; });
    const int32_t node = arc->end_node;
    for (auto i = arc; i != end; ++i) alpha_[node] = LogAdd(alpha_[node], alpha_[i->start_node] + i->loglike);
    for (; arc != end; ++arc) {
      AlignArc(*arc, (*alpha_dash)[arc->start_node], distance.data(), operation.data());
      const double posterior = ArcPosterior(*arc);
      for (size_t q = 0; q <= num_words; ++q) (*alpha_dash)[node][q] += posterior * distance[q];
    }
  }
  return (*alpha_dash)[node_times_.size() - 1][num_words];
}

// Figure 5: gathers gamma and the times.
void MinimumBayesRisk::BackwardPass(Matrix *alpha_dash, std::vector<std::map<int32_t, Stats>> *bins) {
  const size_t num_words = words_.size();
  const auto add = [bins](size_t q, int32_t word, double probability, int32_t begin, int32_t end) {
    if (probability == 0) return;
    Stats &stats = (*bins)[q - 1][word];
    stats.gamma += probability;
    stats.tau_b += begin * probability;
    stats.tau_e += end * probability;
  };
  Matrix beta_dash(node_times_.size(), num_words + 1);
  beta_dash[node_times_.size() - 1][num_words] = 1;
  std::vector<double> distance(num_words + 1), beta_dash_arc(num_words + 1);
  std::vector<char> operation(num_words + 1);
  // Nodes in descending order, the arcs of one node in the order in which they came.
  for (auto block_end = arcs_.end(); block_end != arcs_.begin();) {
    const int32_t node = (block_end - 1)->end_node;
    auto block = block_end;
    while (block != arcs_.begin() && (block - 1)->end_node == node) --block;
    for (auto arc = block; arc != block_end; ++arc) {
      AlignArc(*arc, (*alpha_dash)[arc->start_node], distance.data(), operation.data());
      const double posterior = ArcPosterior(*arc);
      const int32_t begin = node_times_[arc->start_node], end = node_times_[node];
      double *const start_beta = beta_dash[arc->start_node], *const node_beta = beta_dash[node];
      std::fill(beta_dash_arc.begin(), beta_dash_arc.end(), 0.0);
      for (size_t q = num_words; q >= 1; --q) {
        beta_dash_arc[q] += posterior * node_beta[q];
        if (operation[q] == kMatch) {
          start_beta[q - 1] += beta_dash_arc[q];
          add(q, arc->word, beta_dash_arc[q], begin, end);
        } else if (operation[q] == kInsertion) {
          start_beta[q] += beta_dash_arc[q];
        } else {
          beta_dash_arc[q - 1] += beta_dash_arc[q];
          add(q, 0, beta_dash_arc[q], end, end);
        }
      }
      beta_dash_arc[0] += posterior * node_beta[0];
      start_beta[0] += beta_dash_arc[0];
    }
    block_end = block;
  }
  double left_over = 0;  // positions of R before the first arc
  for (size_t q = num_words; q >= 1; --q) {
    left_over += beta_dash[0][q];
    add(q, 0, left_over, node_times_[0], node_times_[0]);
  }
}

void MinimumBayesRisk::StoreStats(const std::vector<std::map<int32_t, Stats>> &bins) {
  gamma_.assign(bins.size(), {});
  times_.assign(bins.size(), {});
  sausage_times_.assign(bins.size(), {0.0f, 0.0f});
  for (size_t q = 0; q < bins.size(); ++q) {
    for (const auto &[word, stats] : bins[q]) gamma_[q].emplace_back(word, static_cast<float>(stats.gamma));
    // A bin is never empty: the probabilities of a position sum to one, up to rounding.
    if (gamma_[q].empty()) gamma_[q].emplace_back(0, 0.0f);
    std::sort(gamma_[q].begin(), gamma_[q].end(), [](const WordProb &a, const WordProb &b) {
      return a.second != b.second ? a.second > b.second : a.first > b.first;
    });
    double begin = 0, end = 0;
    for (const WordProb &entry : gamma_[q]) {
      const auto found = bins[q].find(entry.first);
      const Stats stats = found != bins[q].end() ? found->second : Stats{1, 0, 0};
      times_[q].emplace_back(static_cast<float>(stats.tau_b / stats.gamma),
                             static_cast<float>(stats.tau_e / stats.gamma));
      begin += stats.tau_b;
      end += stats.tau_e;
    }
    sausage_times_[q] = {static_cast<float>(begin), static_cast<float>(end)};
    if (q > 0 && sausage_times_[q - 1].second > sausage_times_[q].first) {
      const float middle = 0.5f * (sausage_times_[q - 1].second + sausage_times_[q].first);
      sausage_times_[q - 1].second = sausage_times_[q].first = middle;
    }
  }
}

}  // namespace pykaldi
