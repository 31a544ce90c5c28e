// A* search with the exact remaining cost as heuristic: partial paths wait in a queue ordered by the cost of
// the best way to complete them, so that complete paths come out of it in order. In a deterministic lattice
// each state is taken from the queue at most n times.
#include "csrc/lat/nbest.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <string>

#include "csrc/base/error.h"
#include "csrc/lat/determinize-lattice-pruned.h"
#include "csrc/lat/lattice-functions.h"
#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Bounds the work on lattices that cannot be made deterministic in reasonable memory; far above real ones.
constexpr int64_t kDeterminizeMaxMem = 50000000;
constexpr size_t kMaxNodes = std::numeric_limits<int32_t>::max();

double Cost(const CompactLatticeWeight &w) {
  return static_cast<double>(w.weight.graph_cost) + w.weight.acoustic_cost;
}

bool IsDeterministic(const CompactLattice &lattice) {
  std::vector<int32_t> labels;
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    labels.clear();
    for (const CompactLatticeArc &arc : lattice.Arcs(s)) labels.push_back(arc.label);
    std::sort(labels.begin(), labels.end());
    if (!labels.empty() && labels.front() == 0) return false;
    if (std::adjacent_find(labels.begin(), labels.end()) != labels.end()) return false;
  }
  return true;
}

// A partial path: its last arc and the node before it. Nodes without an arc begin or end a path.
struct Node {
  int32_t state;
  int32_t parent;
  const CompactLatticeArc *arc;
  double cost;  // so far
};

CompactLattice PathTo(const CompactLattice &lattice, const std::vector<Node> &nodes, int32_t end) {
  std::vector<const CompactLatticeArc *> arcs;
  for (int32_t i = end; i >= 0; i = nodes[i].parent) {
    if (nodes[i].arc != nullptr) arcs.push_back(nodes[i].arc);
  }
  CompactLattice path;
  int32_t state = path.AddState();
  path.SetStart(state);
  for (auto arc = arcs.rbegin(); arc != arcs.rend(); ++arc) {
    const int32_t next = path.AddState();
    path.AddArc(state, {(*arc)->label, (*arc)->weight, next});
    state = next;
  }
  path.SetFinal(state, lattice.Final(nodes[end].state));
  return path;
}

std::vector<CompactLattice> Search(const CompactLattice &lattice, int32_t n) {
  std::vector<CompactLattice> paths;
  if (lattice.NumStates() == 0) return paths;
  const std::vector<double> beta = ComputeLatticeAlphasAndBetas(lattice, true).beta;
  std::vector<Node> nodes;
  using Entry = std::pair<double, int32_t>;  // cost of the best complete path, node; ends have ~node
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
  const auto push = [&](const Node &node) {
    if (beta[node.state] == -kInfinity) return;
    if (nodes.size() >= kMaxNodes) {
      throw LatticeError("expected at most " + std::to_string(kMaxNodes) +
                         " partial paths in a search for the best ones, found more");
    }
    queue.emplace(node.cost - beta[node.state], static_cast<int32_t>(nodes.size()));
    nodes.push_back(node);
  };
  push({0, -1, nullptr, 0});
  std::vector<int32_t> times_taken(lattice.NumStates(), 0);
  while (!queue.empty() && static_cast<int32_t>(paths.size()) < n) {
    const int32_t entry = queue.top().second;
    queue.pop();
    if (entry < 0) {
      paths.push_back(PathTo(lattice, nodes, ~entry));
      continue;
    }
    const Node node = nodes[entry];
    if (times_taken[node.state]++ >= n) continue;
    if (lattice.IsFinal(node.state)) queue.emplace(node.cost + Cost(lattice.Final(node.state)), ~entry);
    for (const CompactLatticeArc &arc : lattice.Arcs(node.state)) {
      push({arc.nextstate, entry, &arc, node.cost + Cost(arc.weight)});
    }
  }
  return paths;
}

}  // namespace

std::vector<CompactLattice> Nbest(const CompactLattice &lattice, int32_t n) {
  if (IsDeterministic(lattice)) {
    if (IsTopSorted(lattice)) return Search(lattice, n);
    CompactLattice sorted(lattice);
    TopSort(&sorted);
    return Search(sorted, n);
  }
  CompactLattice deterministic;
  DeterminizeLatticePrunedOptions options;
  options.max_mem = kDeterminizeMaxMem;
  DeterminizeLatticePruned(lattice, kInfinity, options, &deterministic);
  TopSort(&deterministic);
  return Search(deterministic, n);
}

LinearPath GetLinearPath(const CompactLattice &linear) {
  LinearPath path;
  int32_t state = linear.Start();
  if (state == kNoLatticeState) {
    path.weight = LatticeWeight::Zero();
    return path;
  }
  const auto take = [&path](const CompactLatticeWeight &weight) {
    path.weight = Times(path.weight, weight.weight);
    path.alignment.insert(path.alignment.end(), weight.string.begin(), weight.string.end());
  };
  for (int32_t steps = 0; !linear.IsFinal(state) || linear.NumArcs(state) != 0; ++steps) {
    if (linear.NumArcs(state) != 1 || linear.IsFinal(state) || steps >= linear.NumStates()) {
      throw LatticeError("expected a linear lattice, found one that branches, ends or repeats at state " +
                         std::to_string(state));
    }
    const CompactLatticeArc &arc = linear.Arcs(state)[0];
    if (arc.label != 0) path.words.push_back(arc.label);
    take(arc.weight);
    state = arc.nextstate;
  }
  take(linear.Final(state));
  return path;
}

}  // namespace pykaldi
