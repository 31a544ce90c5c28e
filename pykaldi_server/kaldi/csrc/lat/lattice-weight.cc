#include "csrc/lat/lattice-weight.h"

#include <algorithm>

namespace pykaldi {

int Compare(const CompactLatticeWeight &a, const CompactLatticeWeight &b) {
  if (const int order = Compare(a.weight, b.weight)) return order;
  if (a.string.size() != b.string.size()) return a.string.size() < b.string.size() ? 1 : -1;
  const auto [in_a, in_b] = std::mismatch(a.string.begin(), a.string.end(), b.string.begin());
  if (in_a == a.string.end()) return 0;
  return *in_a > *in_b ? 1 : -1;
}

}  // namespace pykaldi
