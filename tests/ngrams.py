"""Small n-gram models for tests: random ones, ARPA text, and the probability by its definition."""

import math
from dataclasses import dataclass, field

from hypothesis import strategies as st

BOS, EOS, UNK = 8, 9, 7
WORDS = [1, 2, 3, UNK]


@dataclass
class NgramModel:
    """n-grams with their log10 probability and log10 backoff."""

    order: int
    ngrams: dict[tuple[int, ...], tuple[float, float]] = field(default_factory=dict)

    def log_prob(self, word: int, history: tuple[int, ...]) -> float:
        """Natural log-probability of a word, by the definition of backoff."""
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        if (*history, word) in self.ngrams:
            return self.ngrams[(*history, word)][0] * math.log(10)
        if not history:
            return -math.inf
        backoff = self.ngrams.get(history, (0.0, 0.0))[1]
        return backoff * math.log(10) + self.log_prob(word, history[1:])

    def sentence_cost(self, words: tuple[int, ...]) -> float:
        """Minus the log-probability of a sentence with its end."""
        sentence = (BOS, *words, EOS)
        return -sum(self.log_prob(sentence[i], sentence[:i]) for i in range(1, len(sentence)))

    def best_cost(self, words: tuple[int, ...]) -> float:
        """The lowest cost of a sentence when one may back off even where the model has the word."""
        best: dict[tuple[int, ...], float] = {(BOS,): 0.0}
        for word in (*words, EOS):
            following: dict[tuple[int, ...], float] = {}
            for history, cost in self._backed_off(best).items():
                if (*history, word) in self.ngrams:
                    next_history = self.state((*history, word))
                    total = cost - self.ngrams[(*history, word)][0] * math.log(10)
                    following[next_history] = min(total, following.get(next_history, math.inf))
            best = following
        return min(best.values(), default=math.inf)

    def _backed_off(self, costs: dict[tuple[int, ...], float]) -> dict[tuple[int, ...], float]:
        """The costs of histories, and of all that they back off to."""
        found = dict(costs)
        for length in range(self.order, 0, -1):
            for history in [history for history in found if len(history) == length]:
                total = found[history] - self.ngrams[history][1] * math.log(10)
                shorter = self.state(history[1:])
                found[shorter] = min(total, found.get(shorter, math.inf))
        return found

    def state(self, history: tuple[int, ...]) -> tuple[int, ...]:
        """The longest end of a history that the automaton has a state for."""
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        while history and history not in self.states():
            history = history[1:]
        return history

    def states(self) -> set[tuple[int, ...]]:
        """The histories of n-grams that are n-grams themselves, and the start's."""
        histories = {ngram[:-1] for ngram in self.ngrams if len(ngram) > 1}
        return {()} | {history for history in histories if history in self.ngrams} | {(BOS,)}

    def arpa(self, names: dict[int, str] | None = None) -> str:
        """The model as an ARPA file."""
        lines = ["", "\\data\\"]
        by_order = [
            sorted(ngram for ngram in self.ngrams if len(ngram) == n) for n in range(1, self.order + 1)
        ]
        lines += [f"ngram {n}={len(ngrams)}" for n, ngrams in enumerate(by_order, 1)]
        for n, ngrams in enumerate(by_order, 1):
            lines += ["", f"\\{n}-grams:"]
            for ngram in ngrams:
                log_prob, backoff = self.ngrams[ngram]
                text = " ".join(names[word] if names else str(word) for word in ngram)
                lines.append(f"{log_prob}\t{text}" + (f"\t{backoff}" if backoff and n < self.order else ""))
        return "\n".join([*lines, "", "\\end\\", ""])


@st.composite
def ngram_models(draw: st.DrawFn, max_order: int = 3) -> NgramModel:
    """Random models in which every word has a probability."""
    order = draw(st.integers(1, max_order))
    # Halves and quarters, which float32 keeps exactly.
    logs = st.integers(-12, -1).map(lambda n: n / 4)
    model = NgramModel(order)
    for word in [*WORDS, BOS, EOS]:
        backoff = draw(st.one_of(st.just(0.0), logs)) if order > 1 and word != EOS else 0.0
        model.ngrams[(word,)] = (draw(logs), backoff)
    for length in range(2, order + 1):
        histories = [ngram for ngram in model.ngrams if len(ngram) == length - 1 and ngram[-1] != EOS]
        for history in (
            draw(st.lists(st.sampled_from(histories), unique=True, max_size=5)) if histories else []
        ):
            for word in draw(st.lists(st.sampled_from([*WORDS, EOS]), unique=True, min_size=1, max_size=3)):
                backoff = draw(st.one_of(st.just(0.0), logs)) if length < order and word != EOS else 0.0
                model.ngrams[(*history, word)] = (draw(logs), backoff)
    # Kaldi's automaton forgets a history that nothing follows, and with it its backoff.
    followed = {ngram[:-1] for ngram in model.ngrams}
    for ngram, (log_prob, backoff) in model.ngrams.items():
        model.ngrams[ngram] = (log_prob, backoff if ngram in followed else 0.0)
    return model
