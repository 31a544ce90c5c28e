#include "csrc/lat/word-align-lattice-lexicon.h"

#include <algorithm>
#include <string>
#include <utility>

#include "csrc/base/error.h"
#include "csrc/lat/alignment-search.h"
#include "csrc/lat/lattice-structure.h"
#include "csrc/lat/phone-align-lattice.h"
#include "csrc/lat/remove-epsilons.h"

namespace pykaldi {
namespace {

constexpr int64_t kMaxStatesOffset = 1000;

// What of the pending symbols has not been tried yet.
enum class Freshness : int8_t {
  kNotFresh,
  kFresh,     // the last one is new: try only what includes it
  kAllFresh,  // something before was put out: try everything
};

struct PendingPhones {
  std::vector<int32_t> phones;
  std::vector<std::vector<int32_t>> transition_ids;  // of each phone
  std::vector<int32_t> words;
  Freshness phone_freshness = Freshness::kNotFresh;
  Freshness word_freshness = Freshness::kNotFresh;  // of the first word

  bool IsEmpty() const { return phones.empty() && words.empty(); }
  int32_t NumPhones() const { return static_cast<int32_t>(phones.size()); }
  bool operator==(const PendingPhones &other) const {
    return transition_ids == other.transition_ids && words == other.words &&
           phone_freshness == other.phone_freshness && word_freshness == other.word_freshness;
  }
  size_t Hash() const {
    size_t hash = HashLabels(words, HashLabels(phones, 0));
    for (const auto &ids : transition_ids) hash = HashLabels(ids, hash);
    return hash * 9 + static_cast<size_t>(phone_freshness) * 3 + static_cast<size_t>(word_freshness);
  }
};

std::vector<int32_t> Join(const std::vector<std::vector<int32_t>> &parts, size_t num_parts) {
  std::vector<int32_t> joined;
  for (size_t i = 0; i < num_parts; ++i) joined.insert(joined.end(), parts[i].begin(), parts[i].end());
  return joined;
}

class LatticeLexiconWordAligner {
 public:
  LatticeLexiconWordAligner(CompactLattice phone_aligned, const TransitionInformation &model,
                            const WordAlignLatticeLexiconInfo &lexicon, int32_t partial_word_label,
                            CompactLattice *output)
      : lattice_(std::move(phone_aligned)),
        model_(model),
        lexicon_(lexicon),
        partial_word_label_(partial_word_label != 0 ? partial_word_label : kTemporaryLabel),
        output_(output),
        states_(output) {
    CreateSuperFinal(&lattice_);
  }

  bool Align(int64_t max_states) {
    if (lattice_.Start() == kNoLatticeState) return false;
    output_->SetStart(states_.StateFor({lattice_.Start(), {}}));
    States::Tuple tuple;
    int32_t state = 0;
    while (states_.Next(&tuple, &state)) {
      if (output_->NumStates() > max_states) {
        output_->Clear();
        return false;
      }
      TryWithoutWord(tuple, state);
      TryWord(tuple, state);
      Advance(tuple, state);
      if (lattice_.IsFinal(tuple.input_state)) ends_.emplace_back(std::move(tuple), state);
    }
    bool ok = true;
    if (!SetFinals()) {
      ok = false;
      ForceOut();
      SetFinals();
    }
    Connect(output_);
    RemoveEpsilons(output_);
    ReplaceLabel(kTemporaryLabel, 0, output_);
    return ok;
  }

 private:
  using States = AlignmentStates<PendingPhones>;
  using NumPhones = WordAlignLatticeLexiconInfo::NumPhones;

  // Puts out phones that have no word.
  void TryWithoutWord(const States::Tuple &tuple, int32_t state) {
    const NumPhones *range = lexicon_.FindNumPhones(0);
    if (range == nullptr) return;
    const int32_t pending = tuple.pending.NumPhones();
    switch (tuple.pending.phone_freshness) {
      case Freshness::kAllFresh:
        TryLengths(tuple, state, 0, range->least, std::min(range->most, pending));
        break;
      case Freshness::kFresh:
        if (pending >= range->least && pending <= range->most) TryLengths(tuple, state, 0, pending, pending);
        break;
      case Freshness::kNotFresh:
        break;
    }
  }

  // Puts out the first pending word.
  void TryWord(const States::Tuple &tuple, int32_t state) {
    if (tuple.pending.words.empty()) return;
    const int32_t word = tuple.pending.words.front(), pending = tuple.pending.NumPhones();
    if (tuple.pending.word_freshness == Freshness::kFresh ||
        tuple.pending.phone_freshness == Freshness::kAllFresh) {
      const NumPhones *range = lexicon_.FindNumPhones(word);
      if (range == nullptr) {
        throw LatticeError("expected words of the alignment lexicon, found " + std::to_string(word));
      }
      TryLengths(tuple, state, word, range->least, std::min(range->most, pending));
    } else if (tuple.pending.phone_freshness == Freshness::kFresh) {
      TryLengths(tuple, state, word, pending, pending);
    }
  }

  // Puts out `word` with each number of phones from `least` to `most` for which the lexicon has an entry.
  void TryLengths(const States::Tuple &tuple, int32_t state, int32_t word, int32_t least, int32_t most) {
    const PendingPhones &pending = tuple.pending;
    for (int32_t n = least; n <= most; ++n) {
      const int32_t node = lexicon_.FindNode(pending.phones.data(), pending.phones.data() + n);
      const int32_t output_word =
          node == WordAlignLatticeLexiconInfo::kNoNode ? 0 : lexicon_.OutputWord(word, node);
      if (output_word == 0) continue;
      CompactLatticeArc arc{output_word,
                            {LatticeWeight::One(), Join(pending.transition_ids, n)},
                            states_.StateFor({tuple.input_state, Rest(pending, word, n)})};
      output_->AddArc(state, std::move(arc));
    }
  }

  // What is left after `word` (or no word, if 0) and the first n phones were put out.
  static PendingPhones Rest(const PendingPhones &pending, int32_t word, int32_t n) {
    PendingPhones rest;
    rest.phones.assign(pending.phones.begin() + n, pending.phones.end());
    rest.transition_ids.assign(pending.transition_ids.begin() + n, pending.transition_ids.end());
    rest.words.assign(pending.words.begin() + (word != 0 ? 1 : 0), pending.words.end());
    if (word != 0 && !rest.words.empty()) rest.word_freshness = Freshness::kFresh;
    // Also behind a word without phones: phones without a word may follow it.
    if (!rest.phones.empty() && (n != 0 || word != 0)) rest.phone_freshness = Freshness::kAllFresh;
    return rest;
  }

  // Whether more phones could make a word of what is pending, as far as the lexicon shows it quickly.
  bool IsViable(const PendingPhones &pending) const {
    if (pending.phones.empty() || pending.words.empty()) return true;
    const int32_t *phones = pending.phones.data();
    const int32_t node = lexicon_.FindNode(phones, phones + pending.phones.size());
    return node != WordAlignLatticeLexiconInfo::kNoNode &&
           (lexicon_.HasLongerEntry(0, node) || lexicon_.HasLongerEntry(pending.words.front(), node));
  }

  // Follows the arcs of the input.
  void Advance(const States::Tuple &tuple, int32_t state) {
    if (!IsViable(tuple.pending)) return;
    for (const CompactLatticeArc &in : lattice_.Arcs(tuple.input_state)) {
      States::Tuple next{in.nextstate, tuple.pending};
      PendingPhones &pending = next.pending;
      pending.word_freshness = Freshness::kNotFresh;
      pending.phone_freshness = Freshness::kNotFresh;
      if (in.label != 0) {
        pending.words.push_back(in.label);
        if (pending.words.size() == 1) pending.word_freshness = Freshness::kFresh;
      }
      if (!in.weight.string.empty()) {
        pending.phones.push_back(model_.Phone(in.weight.string.front()));
        pending.transition_ids.push_back(in.weight.string);
        pending.phone_freshness = Freshness::kFresh;
      }
      const int32_t next_state = states_.StateFor(std::move(next));
      output_->AddArc(state, {0, {in.weight.weight, {}}, next_state});
    }
  }

  // Makes the states final in which nothing is pending; false when there are none.
  bool SetFinals() {
    bool any = false;
    for (const auto &[tuple, state] : ends_) {
      if (!tuple.pending.IsEmpty()) continue;
      output_->SetFinal(state, CompactLatticeWeight::One());
      any = true;
    }
    return any;
  }

  // Puts out whatever is pending at the end of the lattice, where nothing could be put out regularly.
  void ForceOut() {
    std::vector<std::pair<States::Tuple, int32_t>> forced;
    for (const auto &[tuple, state] : ends_) {
      const auto arcs = output_->Arcs(state);
      const bool went_on = std::any_of(arcs.begin(), arcs.end(), [](const CompactLatticeArc &arc) {
        return arc.label != 0 || !arc.weight.string.empty();
      });
      if (went_on) continue;
      const PendingPhones &pending = tuple.pending;
      CompactLatticeArc arc{
          pending.words.empty() ? partial_word_label_ : pending.words.front(),
          {LatticeWeight::One(), Join(pending.transition_ids, pending.transition_ids.size())},
          0};
      PendingPhones nothing;
      nothing.phone_freshness = nothing.word_freshness = Freshness::kFresh;
      States::Tuple end{tuple.input_state, nothing};
      const int32_t end_state = states_.StateFor(end);
      arc.nextstate = end_state;
      output_->AddArc(state, std::move(arc));
      forced.emplace_back(std::move(end), end_state);
    }
    ends_.swap(forced);
  }

  CompactLattice lattice_;
  const TransitionInformation &model_;
  const WordAlignLatticeLexiconInfo &lexicon_;
  const int32_t partial_word_label_;
  CompactLattice *output_;
  States states_;
  std::vector<std::pair<States::Tuple, int32_t>> ends_;  // where the input is final
};

}  // namespace

WordAlignLatticeLexiconInfo::WordAlignLatticeLexiconInfo(const std::vector<std::vector<int32_t>> &lexicon) {
  for (const auto &entry : lexicon) AddEntry(entry);
}

void WordAlignLatticeLexiconInfo::AddEntry(const std::vector<int32_t> &entry) {
  const auto is_negative = [](int32_t number) { return number < 0; };
  if (entry.size() < 2 || std::any_of(entry.begin(), entry.end(), is_negative)) {
    throw ConfigError(
        "expected entries of an alignment lexicon with two words of 0 or more, and phones; "
        "found one of " +
        std::to_string(entry.size()) + " numbers");
  }
  const int32_t word = entry[0], output_word = entry[1] != 0 ? entry[1] : kTemporaryLabel;
  const int32_t length = static_cast<int32_t>(entry.size()) - 2;
  if (word == 0 && length == 0) {
    throw ConfigError("expected phones for word 0 in the alignment lexicon, found none");
  }
  int32_t node = 0;
  for (int32_t i = 0; i < length; ++i) {
    if (i > 0) longer_.insert(Key(word, node));
    const auto [child, is_new] = children_.try_emplace(Key(entry[i + 2], node), num_nodes_);
    if (is_new) ++num_nodes_;
    node = child->second;
  }
  const auto output = outputs_.try_emplace(Key(word, node), output_word).first;
  if (output->second != output_word) {
    throw ConfigError(
        "expected one output word for each word and pronunciation in the alignment lexicon, "
        "found two for word " +
        std::to_string(word));
  }
  NumPhones &range = num_phones_.try_emplace(word, NumPhones{length, length}).first->second;
  range.least = std::min(range.least, length);
  range.most = std::max(range.most, length);
}

int32_t WordAlignLatticeLexiconInfo::FindNode(const int32_t *begin, const int32_t *end) const {
  int32_t node = 0;
  for (const int32_t *phone = begin; phone != end; ++phone) {
    const auto child = children_.find(Key(*phone, node));
    if (child == children_.end()) return kNoNode;
    node = child->second;
  }
  return node;
}

int32_t WordAlignLatticeLexiconInfo::OutputWord(int32_t word, int32_t node) const {
  const auto found = outputs_.find(Key(word, node));
  return found != outputs_.end() ? found->second : 0;
}

const WordAlignLatticeLexiconInfo::NumPhones *WordAlignLatticeLexiconInfo::FindNumPhones(int32_t word) const {
  const auto found = num_phones_.find(word);
  return found != num_phones_.end() ? &found->second : nullptr;
}

bool WordAlignLatticeLexicon(const CompactLattice &lattice, const TransitionInformation &model,
                             const WordAlignLatticeLexiconInfo &lexicon,
                             const WordAlignLatticeLexiconOpts &options, CompactLattice *aligned) {
  PhoneAlignLatticeOptions phone_options;
  phone_options.reorder = options.reorder;
  phone_options.remove_epsilon = false;
  CompactLattice phone_aligned;
  const bool phones_ok = PhoneAlignLattice(lattice, model, phone_options, &phone_aligned);
  int64_t max_states = kMaxAlignedStates;
  if (options.max_expand > 0) {
    const double limit = kMaxStatesOffset + options.max_expand * phone_aligned.NumStates();
    max_states = static_cast<int64_t>(std::min(limit, static_cast<double>(kMaxAlignedStates)));
  }
  aligned->Clear();
  LatticeLexiconWordAligner aligner(std::move(phone_aligned), model, lexicon, options.partial_word_label,
                                    aligned);
  return aligner.Align(max_states) && phones_ok;
}

}  // namespace pykaldi
