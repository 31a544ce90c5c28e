#include "csrc/decoder/raw-lattice.h"

#include <limits>

#include "csrc/base/error.h"

namespace pykaldi {
namespace {

// Gives the tokens of a boundary numbers from `first` on, so that epsilon links lead to higher ones (Kahn's
// algorithm).
std::vector<int32_t> NumberTokens(const TokenFrame &frame, int32_t first) {
  const size_t num_tokens = frame.tokens.size();
  std::vector<int32_t> num_entering(num_tokens, 0);
  std::vector<int32_t> begin(num_tokens + 1, 0);  // of the targets of each token
  for (const Link &link : frame.epsilon_links) {
    ++num_entering[link.target];
    ++begin[link.source + 1];
  }
  for (size_t i = 0; i < num_tokens; ++i) begin[i + 1] += begin[i];
  std::vector<int32_t> targets(frame.epsilon_links.size());
  std::vector<int32_t> place(begin.begin(), begin.end() - 1);
  for (const Link &link : frame.epsilon_links) targets[place[link.source]++] = link.target;

  std::vector<int32_t> order;
  order.reserve(num_tokens);
  for (size_t i = 0; i < num_tokens; ++i) {
    if (num_entering[i] == 0) order.push_back(static_cast<int32_t>(i));
  }
  std::vector<int32_t> number(num_tokens);
  for (size_t next = 0; next < order.size(); ++next) {
    const int32_t token = order[next];
    number[token] = first + static_cast<int32_t>(next);
    for (int32_t i = begin[token]; i < begin[token + 1]; ++i) {
      if (--num_entering[targets[i]] == 0) order.push_back(targets[i]);
    }
  }
  if (order.size() < num_tokens) throw DecoderError("the decoding graph has a cycle of input epsilons");
  return number;
}

LatticeArc ArcOf(const Link &link, const std::vector<int32_t> &targets) {
  return {link.ilabel, link.olabel, {link.graph_cost, link.acoustic_cost}, targets[link.target]};
}

}  // namespace

Lattice BuildRawLattice(const TokenLattice &tokens, const std::vector<float> &final_costs) {
  Lattice lattice;
  const int32_t last = tokens.NumFrames();
  int64_t num_states = 0, num_arcs = 0;
  for (int32_t f = 0; f <= last; ++f) {
    const TokenFrame &frame = tokens.Frame(f);
    num_states += static_cast<int64_t>(frame.tokens.size());
    num_arcs += static_cast<int64_t>(frame.epsilon_links.size());
    if (f < last) num_arcs += static_cast<int64_t>(tokens.NumEmittingLinks(f));
  }
  if (num_states > std::numeric_limits<int32_t>::max()) throw DecoderError("the lattice has too many states");
  lattice.ReserveArcs(num_arcs);
  lattice.AddStates(static_cast<int32_t>(num_states));
  lattice.SetStart(0);  // the start token is the only one of the first boundary that no link enters
  std::vector<int32_t> numbers = NumberTokens(tokens.Frame(0), 0);
  for (int32_t f = 0, first = 0; f <= last; ++f) {
    const TokenFrame &frame = tokens.Frame(f);
    first += static_cast<int32_t>(frame.tokens.size());
    for (const Link &link : frame.epsilon_links) lattice.AddArc(numbers[link.source], ArcOf(link, numbers));
    if (f == last) break;
    std::vector<int32_t> next_numbers = NumberTokens(tokens.Frame(f + 1), first);
    for (size_t i = 0; i < tokens.NumEmittingLinks(f); ++i) {
      const Link link = tokens.EmittingLink(f, i);
      lattice.AddArc(numbers[link.source], ArcOf(link, next_numbers));
    }
    numbers = std::move(next_numbers);
  }
  for (size_t i = 0; i < final_costs.size(); ++i) {
    if (final_costs[i] < std::numeric_limits<float>::infinity()) {
      lattice.SetFinal(numbers[i], {final_costs[i], 0});
    }
  }
  return lattice;
}

}  // namespace pykaldi
