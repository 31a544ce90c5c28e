#include "csrc/lat/lattice-functions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

#include "csrc/base/error.h"
#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

constexpr double kLogZero = -std::numeric_limits<double>::infinity();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double LogAdd(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == kLogZero ? a : a + std::log1p(std::exp(b - a));
}

// The cost in double precision: not the float sum by which weights are compared.
double Cost(const LatticeWeight &w) { return static_cast<double>(w.graph_cost) + w.acoustic_cost; }
double Cost(const CompactLatticeWeight &w) { return Cost(w.weight); }

LatticeWeight &Costs(LatticeWeight &w) { return w; }
LatticeWeight &Costs(CompactLatticeWeight &w) { return w.weight; }

// Calls `use` with the lattice itself when it is in topological order, else with a sorted copy.
template <class L, class F>
auto WithTopSorted(const L &lattice, F use) {
  if (IsTopSorted(lattice)) return use(lattice);
  L sorted(lattice);
  TopSort(&sorted);
  return use(sorted);
}

template <class L>
void ExpectTopSorted(const L &lattice) {
  if (!IsTopSorted(lattice)) throw LatticeError("expected a lattice in topological order");
}

int32_t Length(const LatticeArc &arc) { return arc.ilabel != 0 ? 1 : 0; }
int32_t Length(const CompactLatticeArc &arc) { return static_cast<int32_t>(arc.weight.string.size()); }
int32_t FinalLength(const LatticeWeight &) { return 0; }
int32_t FinalLength(const CompactLatticeWeight &w) { return static_cast<int32_t>(w.string.size()); }

template <class L>
int32_t StateTimes(const L &lattice, std::vector<int32_t> *times) {
  ExpectTopSorted(lattice);
  times->assign(lattice.NumStates(), -1);
  if (times->empty()) return 0;
  (*times)[0] = 0;
  int32_t num_frames = 0;
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    const int32_t now = (*times)[s];
    if (now == -1) continue;
    for (const auto &arc : lattice.Arcs(s)) {
      int32_t &next = (*times)[arc.nextstate];
      const int32_t then = now + Length(arc);
      if (next != -1 && next != then) {
        throw LatticeError("expected paths of one length to state " + std::to_string(arc.nextstate) +
                           ", found " + std::to_string(next) + " and " + std::to_string(then) + " frames");
      }
      next = then;
    }
    if (lattice.IsFinal(s)) num_frames = std::max(num_frames, now + FinalLength(lattice.Final(s)));
  }
  return num_frames;
}

}  // namespace

template <class L>
void ScaleLattice(float graph_scale, float acoustic_scale, L *lattice) {
  if (!std::isfinite(graph_scale) || !std::isfinite(acoustic_scale)) {
    throw ConfigError("expected finite scales of costs, found " + std::to_string(graph_scale) + " and " +
                      std::to_string(acoustic_scale));
  }
  const auto scale = [=](LatticeWeight &w) {
    if (w.IsZero()) return;
    w.graph_cost *= graph_scale;
    w.acoustic_cost *= acoustic_scale;
  };
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (auto &arc : lattice->Arcs(s)) scale(Costs(arc.weight));
    if (!lattice->IsFinal(s)) continue;
    typename L::Weight final = lattice->Final(s);
    scale(Costs(final));
    lattice->SetFinal(s, std::move(final));
  }
}

void AddWordInsPenToCompactLattice(float word_ins_penalty, CompactLattice *lattice) {
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    for (CompactLatticeArc &arc : lattice->Arcs(s)) {
      if (arc.label != 0) arc.weight.weight.graph_cost += word_ins_penalty;
    }
  }
}

int32_t LatticeStateTimes(const Lattice &lattice, std::vector<int32_t> *times) {
  return StateTimes(lattice, times);
}

int32_t CompactLatticeStateTimes(const CompactLattice &lattice, std::vector<int32_t> *times) {
  return StateTimes(lattice, times);
}

template <class L>
LatticeScores ComputeLatticeAlphasAndBetas(const L &lattice, bool viterbi) {
  ExpectTopSorted(lattice);
  const auto add = [=](double a, double b) { return viterbi ? std::max(a, b) : LogAdd(a, b); };
  const int32_t num_states = lattice.NumStates();
  LatticeScores scores{kLogZero, std::vector<double>(num_states, kLogZero),
                       std::vector<double>(num_states, kLogZero)};
  if (num_states == 0) return scores;
  scores.alpha[0] = 0;
  for (int32_t s = 0; s < num_states; ++s) {
    if (scores.alpha[s] == kLogZero) continue;
    for (const auto &arc : lattice.Arcs(s)) {
      double &alpha = scores.alpha[arc.nextstate];
      alpha = add(alpha, scores.alpha[s] - Cost(arc.weight));
    }
  }
  for (int32_t s = num_states - 1; s >= 0; --s) {
    double beta = -Cost(lattice.Final(s));
    for (const auto &arc : lattice.Arcs(s)) {
      beta = add(beta, scores.beta[arc.nextstate] - Cost(arc.weight));
    }
    scores.beta[s] = beta;
  }
  scores.total = scores.beta[0];
  return scores;
}

LatticePosteriors LatticeForwardBackward(const Lattice &unsorted) {
  return WithTopSorted(unsorted, [](const Lattice &lattice) {
    std::vector<int32_t> times;
    const int32_t num_frames = LatticeStateTimes(lattice, &times);
    const LatticeScores scores = ComputeLatticeAlphasAndBetas(lattice, false);
    LatticePosteriors result;
    result.total = scores.total;
    if (scores.total == kLogZero) return result;
    std::vector<std::map<int32_t, double>> sums(num_frames);
    for (int32_t s = 0; s < lattice.NumStates(); ++s) {
      if (scores.alpha[s] == kLogZero) continue;
      for (const LatticeArc &arc : lattice.Arcs(s)) {
        const double posterior =
            std::exp(scores.alpha[s] - Cost(arc.weight) + scores.beta[arc.nextstate] - scores.total);
        // Also what is no number, where costs are infinite: that is on no complete path, and its time may be
        // past the last frame.
        if (!(posterior > 0)) continue;
        result.acoustic_like_sum -= posterior * arc.weight.acoustic_cost;
        if (arc.ilabel != 0) sums[times[s]][arc.ilabel] += posterior;
      }
      if (lattice.IsFinal(s)) {
        const double posterior = std::exp(scores.alpha[s] - Cost(lattice.Final(s)) - scores.total);
        result.acoustic_like_sum -= posterior * lattice.Final(s).acoustic_cost;
      }
    }
    for (const auto &frame : sums) result.frames.emplace_back(frame.begin(), frame.end());
    return result;
  });
}

std::vector<int32_t> CompactLatticeDepthPerFrame(const CompactLattice &unsorted) {
  return WithTopSorted(unsorted, [](const CompactLattice &lattice) {
    std::vector<int32_t> times;
    const int32_t num_frames = CompactLatticeStateTimes(lattice, &times);
    // Where the depth changes; arcs on no complete path may go past the last frame and are cut off there.
    std::vector<int32_t> change(num_frames + 1, 0);
    const auto count = [&](int32_t begin, int32_t length) {
      ++change[std::min(begin, num_frames)];
      --change[std::min(begin + length, num_frames)];
    };
    for (int32_t s = 0; s < lattice.NumStates(); ++s) {
      if (times[s] == -1) continue;
      for (const CompactLatticeArc &arc : lattice.Arcs(s)) count(times[s], Length(arc));
      count(times[s], FinalLength(lattice.Final(s)));
    }
    std::vector<int32_t> depth(num_frames);
    int32_t open = 0;
    for (int32_t t = 0; t < num_frames; ++t) depth[t] = open += change[t];
    return depth;
  });
}

float CompactLatticeDepth(const CompactLattice &lattice, int32_t *num_frames) {
  const std::vector<int32_t> depth = CompactLatticeDepthPerFrame(lattice);
  *num_frames = static_cast<int32_t>(depth.size());
  if (depth.empty()) return 1;
  double sum = 0;
  for (int32_t d : depth) sum += d;
  return static_cast<float>(sum / static_cast<double>(depth.size()));
}

template <class L>
bool PruneLattice(double beam, L *lattice) {
  if (!(beam > 0)) throw ConfigError("expected a beam above 0, found " + std::to_string(beam));
  TopSort(lattice);
  const LatticeScores scores = ComputeLatticeAlphasAndBetas(*lattice, true);
  const double cutoff = scores.total - beam;
  for (int32_t s = 0; s < lattice->NumStates(); ++s) {
    if (scores.alpha[s] - Cost(lattice->Final(s)) < cutoff) lattice->SetFinal(s, L::Weight::Zero());
    auto arcs = lattice->Arcs(s);
    size_t kept = 0;
    for (size_t i = 0; i < arcs.size(); ++i) {
      const double score = scores.alpha[s] - Cost(arcs[i].weight) + scores.beta[arcs[i].nextstate];
      if (score < cutoff) continue;
      if (i != kept) arcs[kept] = std::move(arcs[i]);
      ++kept;
    }
    lattice->TruncateArcs(s, static_cast<int64_t>(kept));
  }
  Connect(lattice);
  return lattice->NumStates() > 0;
}

CompactLattice CompactLatticeShortestPath(const CompactLattice &unsorted) {
  return WithTopSorted(unsorted, [](const CompactLattice &lattice) {
    struct Best {
      double cost = kInfinity;
      int32_t state = kNoLatticeState;  // before this one, and the arc from there
      const CompactLatticeArc *arc = nullptr;
    };
    std::vector<Best> best(lattice.NumStates());
    CompactLattice path;
    if (best.empty()) return path;
    best[0].cost = 0;
    Best end;
    for (int32_t s = 0; s < lattice.NumStates(); ++s) {
      for (const CompactLatticeArc &arc : lattice.Arcs(s)) {
        const double cost = best[s].cost + Cost(arc.weight);
        if (cost < best[arc.nextstate].cost) best[arc.nextstate] = {cost, s, &arc};
      }
      const double cost = best[s].cost + Cost(lattice.Final(s));
      if (cost < end.cost) end = {cost, s, nullptr};
    }
    if (end.state == kNoLatticeState) return path;
    std::vector<const CompactLatticeArc *> arcs;
    for (int32_t s = end.state; best[s].arc != nullptr; s = best[s].state) arcs.push_back(best[s].arc);
    int32_t state = path.AddState();
    path.SetStart(state);
    for (auto arc = arcs.rbegin(); arc != arcs.rend(); ++arc) {
      const int32_t next = path.AddState();
      path.AddArc(state, {(*arc)->label, (*arc)->weight, next});
      state = next;
    }
    path.SetFinal(state, lattice.Final(end.state));
    return path;
  });
}

int32_t LongestSentenceLength(const CompactLattice &unsorted) {
  return WithTopSorted(unsorted, [](const CompactLattice &lattice) {
    std::vector<int32_t> words(lattice.NumStates(), -1);
    int32_t longest = 0;
    if (!words.empty()) words[0] = 0;
    for (int32_t s = 0; s < lattice.NumStates(); ++s) {
      if (words[s] == -1) continue;
      for (const CompactLatticeArc &arc : lattice.Arcs(s)) {
        words[arc.nextstate] = std::max(words[arc.nextstate], words[s] + (arc.label != 0 ? 1 : 0));
      }
      if (lattice.IsFinal(s)) longest = std::max(longest, words[s]);
    }
    return longest;
  });
}

std::vector<WordTime> CompactLatticeToWordAlignment(const CompactLattice &linear) {
  std::vector<WordTime> words;
  int32_t state = linear.Start(), now = 0;
  if (state == kNoLatticeState) throw LatticeError("expected a linear lattice, found an empty one");
  while (!linear.IsFinal(state) || linear.NumArcs(state) != 0) {
    if (linear.NumArcs(state) != 1 || linear.IsFinal(state) ||
        words.size() >= static_cast<size_t>(linear.NumStates())) {
      throw LatticeError("expected a linear lattice, found one that branches, ends or repeats at state " +
                         std::to_string(state));
    }
    const CompactLatticeArc &arc = linear.Arcs(state)[0];
    words.push_back({arc.label, now, Length(arc)});
    now += Length(arc);
    state = arc.nextstate;
  }
  return words;
}

template void ScaleLattice(float, float, Lattice *);
template void ScaleLattice(float, float, CompactLattice *);
template LatticeScores ComputeLatticeAlphasAndBetas(const Lattice &, bool);
template LatticeScores ComputeLatticeAlphasAndBetas(const CompactLattice &, bool);
template bool PruneLattice(double, Lattice *);
template bool PruneLattice(double, CompactLattice *);

}  // namespace pykaldi
