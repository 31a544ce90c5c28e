// The weight of a lattice arc: two costs (negative logarithms) kept apart.
//
//   graph cost     language model, transition probabilities, pronunciation, silence probabilities
//   acoustic cost  minus the acoustic log-likelihood
//
// Times adds both. Plus takes the better of two weights: the one with the lower sum of costs and, when the
// sums are equal, the one with the lower difference (graph - acoustic), which is then the one with the lower
// graph cost. Zero, (inf, inf), is the weight of a path that does not exist. The costs are float32, as in
// Kaldi: comparisons of sums round as Kaldi's do.
//
// Source: fstext/lattice-weight.h.
#ifndef PYKALDI_SERVER_LAT_LATTICE_WEIGHT_H_
#define PYKALDI_SERVER_LAT_LATTICE_WEIGHT_H_

#include <cstdint>
#include <limits>
#include <vector>

namespace pykaldi {

struct LatticeWeight {
  float graph_cost = 0;
  float acoustic_cost = 0;

  static LatticeWeight One() { return {0, 0}; }
  static LatticeWeight Zero() {
    return {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
  }

  bool IsZero() const { return Cost() == std::numeric_limits<float>::infinity(); }
  // The sum by which weights are ordered.
  float Cost() const { return graph_cost + acoustic_cost; }

  bool operator==(const LatticeWeight &other) const {
    return graph_cost == other.graph_cost && acoustic_cost == other.acoustic_cost;
  }
  bool operator!=(const LatticeWeight &other) const { return !(*this == other); }
};

inline LatticeWeight Times(const LatticeWeight &a, const LatticeWeight &b) {
  return {a.graph_cost + b.graph_cost, a.acoustic_cost + b.acoustic_cost};
}

// The weight that, multiplied with b, gives a.
inline LatticeWeight Divide(const LatticeWeight &a, const LatticeWeight &b) {
  if (a.IsZero()) return LatticeWeight::Zero();
  return {a.graph_cost - b.graph_cost, a.acoustic_cost - b.acoustic_cost};
}

// 1 when a is better (of lower cost) than b, -1 when it is worse, 0 when they are equal.
inline int Compare(const LatticeWeight &a, const LatticeWeight &b) {
  const float cost_a = a.Cost(), cost_b = b.Cost();
  if (cost_a < cost_b) return 1;
  if (cost_a > cost_b) return -1;
  if (a.graph_cost < b.graph_cost) return 1;
  if (a.graph_cost > b.graph_cost) return -1;
  return 0;
}

inline LatticeWeight Plus(const LatticeWeight &a, const LatticeWeight &b) {
  return Compare(a, b) >= 0 ? a : b;
}

// A weight of a compact lattice: costs, and the transition-ids that belong to the same stretch.
struct CompactLatticeWeight {
  LatticeWeight weight;
  std::vector<int32_t> string;

  static CompactLatticeWeight One() { return {LatticeWeight::One(), {}}; }
  static CompactLatticeWeight Zero() { return {LatticeWeight::Zero(), {}}; }

  bool IsZero() const { return weight.IsZero(); }
  float Cost() const { return weight.Cost(); }

  bool operator==(const CompactLatticeWeight &other) const {
    return weight == other.weight && string == other.string;
  }
  bool operator!=(const CompactLatticeWeight &other) const { return !(*this == other); }
};

// Multiplies the costs and joins the strings.
inline CompactLatticeWeight Times(const CompactLatticeWeight &a, const CompactLatticeWeight &b) {
  CompactLatticeWeight product{Times(a.weight, b.weight), {}};
  product.string.reserve(a.string.size() + b.string.size());
  product.string.insert(product.string.end(), a.string.begin(), a.string.end());
  product.string.insert(product.string.end(), b.string.begin(), b.string.end());
  return product;
}

// As for LatticeWeight; of equal costs the shorter string is better, then the lexicographically larger one.
int Compare(const CompactLatticeWeight &a, const CompactLatticeWeight &b);

}  // namespace pykaldi

#endif  // PYKALDI_SERVER_LAT_LATTICE_WEIGHT_H_
