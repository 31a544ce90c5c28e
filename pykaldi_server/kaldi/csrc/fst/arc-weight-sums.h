// Sums over ranges of a state's arcs, in the log semiring:
//
//   sum of costs w_i = -log sum_i exp(-w_i)
//
// Lookahead asks for the sum of all words that can still come; at the start of a word that may be the whole
// vocabulary. Hence cumulative sums are kept for states with many arcs, one every kPeriod arcs, and a range
// is a difference of two of them plus the arcs at its edges.
//
// The sums are part of the composed weights, and decide at their last bits which composed states are equal.
// So the arithmetic is that of OpenFst: costs are rounded to float at each step, cumulative sums are double,
// and log(1 + x) is not log1p(x).
//
// Source: FastLogAccumulator in accumulator.h of OpenFst.
#ifndef PYKALDI_SERVER_FST_ARC_WEIGHT_SUMS_H_
#define PYKALDI_SERVER_FST_ARC_WEIGHT_SUMS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace pykaldi {

class ArcWeightSums {
 public:
  // `grammar` is an NgramFst or a ConstGrammar.
  template <class Grammar>
  explicit ArcWeightSums(const Grammar &grammar) {
    begins_.reserve(static_cast<size_t>(grammar.NumStates()) + 1);
    for (int32_t state = 0; state < grammar.NumStates(); ++state) {
      begins_.push_back(static_cast<uint32_t>(sums_.size()));
      const auto arcs = grammar.Arcs(state);
      if (arcs.Size() < kLeastArcs) continue;
      double sum = kInfinity;
      sums_.push_back(sum);
      for (int32_t i = 0; i < arcs.Size(); ++i) {
        sum = Add(sum, static_cast<double>(arcs.Weight(i)));
        if ((i + 1) % kPeriod == 0) sums_.push_back(sum);
      }
    }
    begins_.push_back(static_cast<uint32_t>(sums_.size()));
  }

  // Adds the arcs from `begin` to `end` - 1 of a state to `sum`.
  template <class ArcView>
  float Sum(float sum, int32_t state, const ArcView &arcs, int32_t begin, int32_t end) const {
    int32_t stored_begin = end;
    int32_t stored_end = end;
    if (begins_[state] != begins_[state + 1]) {
      stored_begin = (begin + kPeriod - 1) / kPeriod * kPeriod;
      stored_end = end / kPeriod * kPeriod;
    }
    for (int32_t i = begin; i < std::min(stored_begin, end); ++i) sum = AddFloat(sum, arcs.Weight(i));
    if (stored_begin < stored_end) {
      const double *sums = sums_.data() + begins_[state];
      const double to_end = sums[stored_end / kPeriod];
      const double to_begin = sums[stored_begin / kPeriod];
      if (to_end < to_begin) sum = AddFloat(sum, static_cast<float>(Subtract(to_end, to_begin)));
    }
    for (int32_t i = std::max(stored_begin, stored_end); i < end; ++i) sum = AddFloat(sum, arcs.Weight(i));
    return sum;
  }

  // The sum of two costs.
  static float AddFloat(float a, float b) {
    return a == kInfinity ? b : static_cast<float>(Add(static_cast<double>(a), static_cast<double>(b)));
  }

 private:
  static constexpr int32_t kLeastArcs = 20;
  static constexpr int32_t kPeriod = 10;
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  static double Add(double a, double b) {
    if (a == kInfinity) return b;
    return a > b ? b - std::log(1.0 + std::exp(b - a)) : a - std::log(1.0 + std::exp(a - b));
  }

  // The cost that, added to `b`, gives `a`, which is less.
  static double Subtract(double a, double b) {
    return b == kInfinity ? a : a - std::log(1.0 - std::exp(a - b));
  }

  std::vector<uint32_t> begins_;  // of the sums of each state; last, their number
  std::vector<double> sums_;      // of the first 0, kPeriod, 2 kPeriod ... arcs
};

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_FST_ARC_WEIGHT_SUMS_H_
