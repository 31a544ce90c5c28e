#include "csrc/lat/lattice-determinizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace pykaldi {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// What Kaldi counts for an entry of the string repository, an arc and an element, so that max_mem means the
// same here.
constexpr int64_t kStringBytes = 32, kArcBytes = 32, kElementBytes = 24;
// After forgetting unused strings, less than this part of the memory must be in use to go on.
constexpr double kMemoryMargin = 0.8;

double Cost(const LatticeWeight &w) { return static_cast<double>(w.graph_cost) + w.acoustic_cost; }

}  // namespace

LatticeDeterminizer::LatticeDeterminizer(const DeterminizerInput &input, double beam,
                                         const DeterminizeLatticePrunedOptions &options)
    : input_(input),
      beam_(beam),
      options_(options),
      backward_costs_(input.BackwardCosts()),
      effective_beam_(beam),
      closure_position_(input.NumStates(), -1) {}

bool LatticeDeterminizer::Determinize() {
  if (input_.NumStates() == 0 || backward_costs_[0] == kInfinity) return true;
  cutoff_ = backward_costs_[0] + beam_;
  subset_.push_back({0, StringRepository::kEmpty, LatticeWeight::One()});
  MinimalEpsilonClosure();
  // The start is not normalised: there is no arc to take what its elements have in common.
  AddOutputState(subset_, 0);
  while (!queue_.empty()) {
    if (ReachedLimit()) {
      effective_beam_ = queue_.top().priority_cost - backward_costs_[0];
      return false;
    }
    const Task task = queue_.top();
    queue_.pop();
    MakeArc(task);
  }
  return true;
}

CompactLattice LatticeDeterminizer::Output(int32_t first_removed_label) const {
  CompactLattice result;
  if (states_.empty()) return result;
  result.AddStates(static_cast<int32_t>(states_.size()));
  result.ReserveArcs(num_arcs_);
  result.SetStart(0);
  for (size_t s = 0; s < states_.size(); ++s) {
    const OutputState &state = states_[s];
    if (!state.final_weight.IsZero()) {
      CompactLatticeWeight final{state.final_weight, {}};
      strings_.AppendTo(state.final_string, &final.string);
      result.SetFinal(static_cast<int32_t>(s), std::move(final));
    }
    for (const OutputArc &arc : state.arcs) {
      const bool removed = first_removed_label > 0 && arc.label >= first_removed_label;
      CompactLatticeArc out{removed ? 0 : arc.label, {arc.weight, {}}, arc.nextstate};
      out.weight.string.reserve(strings_.Length(arc.prefix) + strings_.Length(arc.suffix));
      strings_.AppendTo(arc.prefix, &out.weight.string);
      strings_.AppendTo(arc.suffix, &out.weight.string);
      result.AddArc(static_cast<int32_t>(s), std::move(out));
    }
  }
  return result;
}

// Elements and subsets

int LatticeDeterminizer::Compare(const LatticeWeight &a, StringId a_string, const LatticeWeight &b,
                                 StringId b_string) const {
  if (const int order = pykaldi::Compare(a, b)) return order;
  return strings_.Compare(a_string, b_string);
}

LatticeDeterminizer::StringId LatticeDeterminizer::Extend(StringId string, const StringSpan &labels) {
  for (const int32_t *p = input_.StringBegin(labels); p != input_.StringEnd(labels); ++p) {
    string = strings_.Successor(string, *p);
  }
  return string;
}

bool LatticeDeterminizer::IsLabelledOrFinal(int32_t state) const {
  return !input_.LabelArcs(state).empty() || !input_.Final(state).IsZero();
}

void LatticeDeterminizer::MinimalEpsilonClosure() {
  const auto has_epsilons = [this](const Element &e) { return !input_.EpsilonArcs(e.state).empty(); };
  const auto is_dropped = [this](const Element &e) { return !IsLabelledOrFinal(e.state); };
  if (std::none_of(subset_.begin(), subset_.end(), has_epsilons)) {
    subset_.erase(std::remove_if(subset_.begin(), subset_.end(), is_dropped), subset_.end());
    return;
  }
  closure_.clear();
  closure_heap_.clear();
  for (const Element &element : subset_) {
    closure_position_[element.state] = static_cast<int32_t>(closure_.size());
    closure_.push_back(element);
    closure_heap_.push_back(element.state);  // ascending, hence a heap already
  }
  subset_.clear();
  // Arcs lead to higher states: when a state comes up, nothing can improve it any more.
  while (!closure_heap_.empty()) {
    std::pop_heap(closure_heap_.begin(), closure_heap_.end(), std::greater<>());
    const int32_t state = closure_heap_.back();
    closure_heap_.pop_back();
    const Element element = closure_[closure_position_[state]];
    ClosureStep(element);
    if (!is_dropped(element)) subset_.push_back(element);
  }
  for (const Element &element : closure_) closure_position_[element.state] = -1;
}

void LatticeDeterminizer::ClosureStep(const Element &element) {
  for (const DeterminizerArc &arc : input_.EpsilonArcs(element.state)) {
    const LatticeWeight weight = Times(element.weight, arc.weight);
    int32_t &position = closure_position_[arc.nextstate];
    if (position == -1) {
      position = static_cast<int32_t>(closure_.size());
      closure_.push_back({arc.nextstate, Extend(element.string, arc.string), weight});
      closure_heap_.push_back(arc.nextstate);
      std::push_heap(closure_heap_.begin(), closure_heap_.end(), std::greater<>());
      continue;
    }
    Element &other = closure_[position];
    const int order = pykaldi::Compare(weight, other.weight);
    if (order < 0) continue;
    const StringId string = Extend(element.string, arc.string);
    if (order == 0 && strings_.Compare(string, other.string) <= 0) continue;
    other.weight = weight;
    other.string = string;
  }
}

LatticeWeight LatticeDeterminizer::Normalize(Element *elements, size_t size, StringId *common_prefix) {
  LatticeWeight total = elements[0].weight;
  StringId prefix = elements[0].string;
  for (size_t i = 1; i < size; ++i) {
    total = Plus(total, elements[i].weight);
    if (prefix != StringRepository::kEmpty) prefix = strings_.CommonPrefix(prefix, elements[i].string);
  }
  const int32_t length = strings_.Length(prefix);
  for (size_t i = 0; i < size; ++i) {
    elements[i].weight = Divide(elements[i].weight, total);
    elements[i].string = strings_.RemovePrefix(elements[i].string, length);
  }
  *common_prefix = prefix;
  return total;
}

LatticeDeterminizer::Span LatticeDeterminizer::Store(const std::vector<Element> &subset) {
  const Span span{elements_.size(), subset.size()};
  elements_.insert(elements_.end(), subset.begin(), subset.end());
  return span;
}

// The costs take no part, as they need not be equal exactly.
uint64_t LatticeDeterminizer::Hash(const Element *elements, size_t size) const {
  uint64_t hash = size;
  for (size_t i = 0; i < size; ++i) {
    const uint64_t key = (static_cast<uint64_t>(static_cast<uint32_t>(elements[i].state)) << 32) |
                         static_cast<uint32_t>(elements[i].string);
    hash = (hash ^ key) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash;
}

bool LatticeDeterminizer::IsEqual(const Element *a, const Element *b, size_t size) const {
  for (size_t i = 0; i < size; ++i) {
    if (a[i].state != b[i].state || a[i].string != b[i].string) return false;
    if (!(std::fabs(a[i].weight.Cost() - b[i].weight.Cost()) <= options_.delta)) return false;
  }
  return true;
}

// States of the result

int32_t LatticeDeterminizer::AddOutputState(const std::vector<Element> &subset, double forward_cost) {
  const int32_t state = static_cast<int32_t>(states_.size());
  minimal_table_.Insert(Hash(subset.data(), subset.size()), state);
  states_.push_back({Store(subset), forward_cost, LatticeWeight::Zero(), StringRepository::kEmpty, {}});
  num_elements_ += static_cast<int64_t>(subset.size());
  SetFinal(&states_.back());
  QueueArcs(state);
  return state;
}

int32_t LatticeDeterminizer::MinimalToState(const std::vector<Element> &subset, double forward_cost) {
  const int32_t found = minimal_table_.Find(Hash(subset.data(), subset.size()), [&](int32_t state) {
    const Span &other = states_[state].minimal_subset;
    return other.size == subset.size() && IsEqual(&elements_[other.begin], subset.data(), other.size);
  });
  return found != SubsetTable::kNotFound ? found : AddOutputState(subset, forward_cost);
}

const LatticeDeterminizer::Initial &LatticeDeterminizer::InitialToState(const Span &span,
                                                                        double forward_cost) {
  const uint64_t hash = Hash(&elements_[span.begin], span.size);
  const int32_t found = initial_table_.Find(hash, [&](int32_t index) {
    const Span &other = initials_[index].subset;
    return other.size == span.size && IsEqual(&elements_[other.begin], &elements_[span.begin], span.size);
  });
  if (found != SubsetTable::kNotFound) return initials_[found];
  subset_.assign(elements_.begin() + span.begin, elements_.begin() + span.begin + span.size);
  MinimalEpsilonClosure();
  Initial initial{span, 0, LatticeWeight::One(), StringRepository::kEmpty};
  initial.weight = Normalize(subset_.data(), subset_.size(), &initial.string);
  initial.state = MinimalToState(subset_, forward_cost + Cost(initial.weight));
  initial_table_.Insert(hash, static_cast<int32_t>(initials_.size()));
  initials_.push_back(initial);
  num_elements_ += static_cast<int64_t>(span.size);
  return initials_.back();
}

void LatticeDeterminizer::SetFinal(OutputState *state) {
  const Span &span = state->minimal_subset;
  bool is_final = false;
  for (size_t i = span.begin; i < span.begin + span.size; ++i) {
    const Element &element = elements_[i];
    if (input_.Final(element.state).IsZero()) continue;
    const LatticeWeight weight = Times(element.weight, input_.Final(element.state));
    const StringId string = Extend(element.string, input_.FinalString(element.state));
    if (is_final && Compare(weight, string, state->final_weight, state->final_string) <= 0) continue;
    is_final = true;
    state->final_weight = weight;
    state->final_string = string;
  }
  if (is_final && Cost(state->final_weight) + state->forward_cost > cutoff_) {
    state->final_weight = LatticeWeight::Zero();
  }
}

// Arcs of the result

void LatticeDeterminizer::QueueArcs(int32_t state) {
  candidates_.clear();
  const Span &span = states_[state].minimal_subset;
  for (size_t i = span.begin; i < span.begin + span.size; ++i) {
    const Element &element = elements_[i];
    for (const DeterminizerArc &arc : input_.LabelArcs(element.state)) {
      candidates_.push_back(
          {arc.label, arc.nextstate, Times(element.weight, arc.weight), element.string, &arc});
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate &a, const Candidate &b) {
    return a.label != b.label ? a.label < b.label : a.state < b.state;
  });
  const Candidate *begin = candidates_.data(), *end = begin + candidates_.size();
  while (begin != end) {
    const Candidate *next = std::find_if(
        begin, end, [begin](const Candidate &candidate) { return candidate.label != begin->label; });
    QueueArc(state, begin, next);
    begin = next;
  }
}

void LatticeDeterminizer::QueueArc(int32_t state, const Candidate *begin, const Candidate *end) {
  double best = kInfinity;
  for (const Candidate *p = begin; p != end; ++p) {
    best = std::min(best, Cost(p->weight) + backward_costs_[p->state]);
  }
  const double priority_cost = best + states_[state].forward_cost;
  if (!(priority_cost <= cutoff_) || priority_cost == kInfinity) return;
  const size_t first = elements_.size();
  for (const Candidate *p = begin; p != end; ++p) {
    const Element element{p->state, Extend(p->source_string, p->arc->string), p->weight};
    if (p == begin || p->state != elements_.back().state) {
      elements_.push_back(element);
    } else if (Compare(element.weight, element.string, elements_.back().weight, elements_.back().string) >
               0) {
      elements_.back() = element;
    }
  }
  queue_.push({priority_cost, state, begin->label, {first, elements_.size() - first}});
}

void LatticeDeterminizer::MakeArc(const Task &task) {
  OutputArc arc{task.label, 0, LatticeWeight::One(), StringRepository::kEmpty, StringRepository::kEmpty};
  arc.weight = Normalize(&elements_[task.subset.begin], task.subset.size, &arc.prefix);
  const Initial &next = InitialToState(task.subset, states_[task.source].forward_cost + Cost(arc.weight));
  arc.weight = Times(arc.weight, next.weight);
  arc.nextstate = next.state;
  arc.suffix = next.string;
  states_[task.source].arcs.push_back(arc);
  ++num_arcs_;
}

// Limits

bool LatticeDeterminizer::ReachedLimit() {
  const int64_t num_states = static_cast<int64_t>(states_.size());
  if (options_.max_states > 0 && num_states > options_.max_states) return true;
  if (options_.max_arcs > 0 && num_arcs_ > options_.max_arcs) return true;
  if (options_.max_mem <= 0 || strings_.Size() * kStringBytes + FixedMemory() <= options_.max_mem)
    return false;
  RebuildRepository();
  return static_cast<double>(strings_.Size() * kStringBytes + FixedMemory()) >
         kMemoryMargin * options_.max_mem;
}

int64_t LatticeDeterminizer::FixedMemory() const {
  return num_arcs_ * kArcBytes + num_elements_ * kElementBytes;
}

void LatticeDeterminizer::RebuildRepository() {
  std::vector<Task> tasks;
  for (; !queue_.empty(); queue_.pop()) tasks.push_back(queue_.top());
  // Calls `use` with every string in use.
  const auto for_each_string = [&](auto use) {
    const auto for_span = [&](const Span &span) {
      for (size_t i = span.begin; i < span.begin + span.size; ++i) use(&elements_[i].string);
    };
    for (OutputState &state : states_) {
      for_span(state.minimal_subset);
      use(&state.final_string);
      for (OutputArc &arc : state.arcs) {
        use(&arc.prefix);
        use(&arc.suffix);
      }
    }
    for (Initial &initial : initials_) {
      for_span(initial.subset);
      use(&initial.string);
    }
    for (const Task &task : tasks) for_span(task.subset);
  };
  std::vector<char> needed(strings_.Size(), 0);
  for_each_string([&](StringId *id) { needed[*id] = 1; });
  const std::vector<StringId> new_id = strings_.Shrink(std::move(needed));
  for_each_string([&](StringId *id) { *id = new_id[*id]; });
  minimal_table_.Clear();
  for (size_t s = 0; s < states_.size(); ++s) {
    const Span &span = states_[s].minimal_subset;
    minimal_table_.Insert(Hash(&elements_[span.begin], span.size), static_cast<int32_t>(s));
  }
  initial_table_.Clear();
  for (size_t i = 0; i < initials_.size(); ++i) {
    const Span &span = initials_[i].subset;
    initial_table_.Insert(Hash(&elements_[span.begin], span.size), static_cast<int32_t>(i));
  }
  for (const Task &task : tasks) queue_.push(task);
}

}  // namespace pykaldi
