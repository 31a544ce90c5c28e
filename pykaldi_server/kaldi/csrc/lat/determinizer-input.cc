#include "csrc/lat/determinizer-input.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "csrc/base/error.h"
#include "csrc/lat/lattice-structure.h"

namespace pykaldi {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int32_t kMaxFirstPhoneLabel = 1 << 30;

double Cost(const LatticeWeight &w) { return static_cast<double>(w.graph_cost) + w.acoustic_cost; }

// The states in topological order: without a search when they are in order already.
template <class L>
std::vector<int32_t> Order(const L &lattice) {
  if (!IsTopSorted(lattice)) return TopologicalOrder(lattice);
  std::vector<int32_t> order(lattice.NumStates());
  std::iota(order.begin(), order.end(), 0);
  return order;
}

int32_t HighestWord(const Lattice &lattice) {
  int32_t highest = 0;
  for (int32_t s = 0; s < lattice.NumStates(); ++s) {
    for (const LatticeArc &arc : lattice.Arcs(s)) highest = std::max(highest, arc.olabel);
  }
  return highest;
}

}  // namespace

void DeterminizerInput::AddState(const LatticeWeight &final, StringSpan final_string,
                                 std::vector<DeterminizerArc> *arcs) {
  std::stable_partition(arcs->begin(), arcs->end(),
                        [](const DeterminizerArc &arc) { return arc.label == 0; });
  const int64_t begin = arcs_begin_.back();
  arcs_.insert(arcs_.end(), arcs->begin(), arcs->end());
  labels_begin_.push_back(
      begin + std::count_if(arcs->begin(), arcs->end(), [](const auto &arc) { return arc.label == 0; }));
  arcs_begin_.push_back(static_cast<int64_t>(arcs_.size()));
  finals_.push_back(final);
  final_strings_.push_back(final_string);
  arcs->clear();
}

StringSpan DeterminizerInput::AddString(const int32_t *begin, const int32_t *end) {
  const int64_t start = static_cast<int64_t>(strings_.size());
  strings_.insert(strings_.end(), begin, end);
  return {start, static_cast<int64_t>(strings_.size())};
}

DeterminizerInput::DeterminizerInput(const CompactLattice &lattice) {
  const std::vector<int32_t> order = Order(lattice);
  std::vector<int32_t> new_state(lattice.NumStates(), 0);
  for (size_t i = 0; i < order.size(); ++i) new_state[order[i]] = static_cast<int32_t>(i);
  const auto add_string = [this](const std::vector<int32_t> &string) {
    return AddString(string.data(), string.data() + string.size());
  };
  std::vector<DeterminizerArc> arcs;
  for (int32_t s : order) {
    for (const CompactLatticeArc &arc : lattice.Arcs(s)) {
      if (arc.weight.IsZero()) continue;
      arcs.push_back({arc.label, new_state[arc.nextstate], arc.weight.weight, add_string(arc.weight.string)});
    }
    AddState(lattice.Final(s).weight, add_string(lattice.Final(s).string), &arcs);
  }
}

DeterminizerInput::DeterminizerInput(const Lattice &lattice, const TransitionInformation *model) {
  const std::vector<int32_t> order = Order(lattice);
  if (model != nullptr) {
    first_phone_label_ = HighestWord(lattice) + 1;
    if (first_phone_label_ > kMaxFirstPhoneLabel) {
      throw LatticeError("expected words below " + std::to_string(kMaxFirstPhoneLabel) +
                         " (leaving room for phones), found " + std::to_string(first_phone_label_ - 1));
    }
  }
  const auto phone_on = [&](int32_t state, const LatticeArc &arc) {
    if (model == nullptr || arc.ilabel == 0) return 0;
    const int32_t phone = model->PhoneStart(arc.ilabel);
    return state == lattice.Start() ? 0 : phone;
  };
  // An arc with a word and a phone needs one more state, which comes right behind the arc's own.
  std::vector<int32_t> new_state(lattice.NumStates(), 0);
  int32_t num_states = 0;
  for (int32_t s : order) {
    new_state[s] = num_states++;
    for (const LatticeArc &arc : lattice.Arcs(s)) {
      if (arc.olabel != 0 && !arc.weight.IsZero() && phone_on(s, arc) != 0) ++num_states;
    }
  }
  finals_.reserve(num_states);
  arcs_.reserve(lattice.NumArcs());
  strings_.reserve(lattice.NumArcs());
  std::vector<DeterminizerArc> arcs, phone_arcs, one_arc;
  for (int32_t s : order) {
    for (const LatticeArc &arc : lattice.Arcs(s)) {
      if (arc.weight.IsZero()) continue;
      const StringSpan string = AddString(&arc.ilabel, &arc.ilabel + (arc.ilabel != 0 ? 1 : 0));
      const int32_t phone = phone_on(s, arc), phone_label = phone == 0 ? 0 : first_phone_label_ + phone;
      int32_t next = new_state[arc.nextstate];
      if (arc.olabel != 0 && phone != 0) {
        phone_arcs.push_back({phone_label, next, LatticeWeight::One(), {}});
        next = new_state[s] + static_cast<int32_t>(phone_arcs.size());
      }
      arcs.push_back({arc.olabel != 0 ? arc.olabel : phone_label, next, arc.weight, string});
    }
    AddState(lattice.Final(s), {}, &arcs);
    for (const DeterminizerArc &arc : phone_arcs) {
      one_arc.push_back(arc);
      AddState(LatticeWeight::Zero(), {}, &one_arc);
    }
    phone_arcs.clear();
  }
}

std::vector<double> DeterminizerInput::BackwardCosts() const {
  std::vector<double> costs(NumStates());
  for (int32_t s = NumStates() - 1; s >= 0; --s) {
    double cost = Cost(finals_[s]);
    for (const DeterminizerArc &arc : Arcs(s)) cost = std::min(cost, Cost(arc.weight) + costs[arc.nextstate]);
    costs[s] = cost;
  }
  return costs;
}

void DeterminizerInput::Prune(double beam) {
  if (NumStates() == 0) return;
  const std::vector<double> backward = BackwardCosts();
  const double cutoff = backward[0] + beam;
  std::vector<double> forward(NumStates(), kInfinity);
  forward[0] = 0;
  std::vector<DeterminizerArc> kept;
  int64_t begin = 0;
  for (int32_t s = 0; s < NumStates(); ++s) {
    const int64_t labels_begin = labels_begin_[s], end = arcs_begin_[s + 1];
    for (int64_t i = begin; i < end; ++i) {
      if (i == labels_begin) labels_begin_[s] = static_cast<int64_t>(kept.size());
      const double cost = forward[s] + Cost(arcs_[i].weight);
      double &next = forward[arcs_[i].nextstate];
      if (!(cost + backward[arcs_[i].nextstate] <= cutoff)) continue;
      next = std::min(next, cost);
      kept.push_back(arcs_[i]);
    }
    if (labels_begin == end) labels_begin_[s] = static_cast<int64_t>(kept.size());
    arcs_begin_[s + 1] = static_cast<int64_t>(kept.size());
    if (!(forward[s] + Cost(finals_[s]) <= cutoff)) finals_[s] = LatticeWeight::Zero();
    begin = end;
  }
  arcs_.swap(kept);
}

}  // namespace pykaldi
