"""Small lookahead graphs, written in OpenFst's formats, and what composing them must give."""

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

MAGIC = 2125659606
ADD_ON_MAGIC = 446681434

# Input label, output label, cost, next state.
Arc = tuple[int, int, float, int]
# Final cost and arcs of each state; state 0 is the start.
States = list[tuple[float, list[Arc]]]
# The least cost of each pair of label sequences, epsilons left out.
Paths = dict[tuple[tuple[int, ...], tuple[int, ...]], float]

HISTORY_START = (0,)


def pack_string(text: str) -> bytes:
    return struct.pack("<i", len(text)) + text.encode()


def pack_header(fst_type: str, version: int, start: int, num_states: int, num_arcs: int) -> bytes:
    counts = struct.pack("<iiQqqq", version, 0, 0, start, num_states, num_arcs)
    return struct.pack("<i", MAGIC) + pack_string(fst_type) + pack_string("standard") + counts


def pack_const(states: States) -> bytes:
    """A `const` FST, unaligned."""
    arcs = [arc for _, arcs in states for arc in arcs]
    data = pack_header("const", 2, 0, len(states), len(arcs))
    begin = 0
    for final, own in states:
        epsilons = [sum(arc[side] == 0 for arc in own) for side in (0, 1)]
        data += struct.pack("<fIIII", final, begin, len(own), *epsilons)
        begin += len(own)
    return data + b"".join(struct.pack("<iifi", *arc) for arc in arcs)


def first_labels(states: States) -> list[set[int | None]]:
    """The output labels that can come first after each state; None: a final state can."""
    found: list[set[int | None]] = [set() for _ in states]
    changed = True
    while changed:
        changed = False
        for state, (final, arcs) in enumerate(states):
            labels: set[int | None] = {None} if final < math.inf else set()
            for _, olabel, _, nextstate in arcs:
                labels |= {olabel} if olabel else found[nextstate]
            changed |= labels != found[state]
            found[state] = labels
    return found


def pack_olabel_lookahead(states: States, keep_map: bool = False) -> bytes:
    """An `olabel_lookahead` FST; sorts the arcs by output label."""
    states = [(final, sorted(arcs, key=lambda arc: arc[1])) for final, arcs in states]
    final_label = max([arc[1] for _, arcs in states for arc in arcs], default=0) + 1
    data = pack_header("olabel_lookahead", 1, -1, 0, 0) + struct.pack("<i", ADD_ON_MAGIC) + pack_const(states)
    data += bytes([1, 0, 1, 0, keep_map])
    if keep_map:
        data += struct.pack("<qii", 1, 5, 6)
    data += struct.pack("<iq", final_label, len(states))
    for labels in first_labels(states):
        numbers = sorted(final_label if label is None else label for label in labels)
        runs: list[list[int]] = []
        for number in numbers:
            if runs and runs[-1][1] == number:
                runs[-1][1] += 1
            else:
                runs.append([number, number + 1])
        data += struct.pack("<q", len(runs)) + b"".join(struct.pack("<ii", *run) for run in runs)
        data += struct.pack("<i", len(numbers))
    return data


@dataclass
class History:
    """What a backoff model knows after some words."""

    backoff: float = 0.0
    final: float = math.inf
    words: dict[int, float] = field(default_factory=dict)


# By the words, the oldest first. With each history all its ends are there; (0,) is the start.
Model = dict[tuple[int, ...], History]


def in_levels(model: Model) -> list[tuple[int, ...]]:
    """The histories as the file numbers them: level by level, below each by its new oldest word."""
    order: list[tuple[int, ...]] = [()]
    for history in order:
        order += sorted(longer for longer in model if longer[1:] == history and longer)
    return order


def pack_ngram(model: Model) -> bytes:
    """An `ngram` FST."""
    order = in_levels(model)
    context_bits, future_bits = [1, 0], [0]
    for history in order:
        context_bits += [1] * sum(longer[1:] == history for longer in model if longer) + [0]
        future_bits += [1] * len(model[history].words) + [0]
    finals = [model[history].final for history in order]
    futures = [pair for history in order for pair in sorted(model[history].words.items())]
    data = pack_header("ngram", 4, 1, len(order), 0)
    data += struct.pack("<QQQ", len(order), len(futures), sum(final < math.inf for final in finals))
    for bits in (context_bits, future_bits, [int(final < math.inf) for final in finals]):
        number = sum(bit << place for place, bit in enumerate(bits))
        data += number.to_bytes((len(bits) + 63) // 64 * 8, "little")
    data += struct.pack(f"<{len(order) + 1}i", -1, *[history[0] for history in order[1:]], 0)
    data += struct.pack(f"<{len(futures)}i", *[word for word, _ in futures])
    data += struct.pack(f"<{len(order) + 1}f", math.inf, *[model[h].backoff for h in order[1:]], 0)
    data += b"".join(struct.pack("<f", final) for final in finals if final < math.inf)
    return data + struct.pack(f"<{len(futures) + 1}f", *[cost for _, cost in futures], 0)


def ngram_states(model: Model) -> States:
    """The same model as an ordinary FST whose start is state 0."""
    order = in_levels(model)
    order = [HISTORY_START] + [history for history in order if history != HISTORY_START]
    number = {history: i for i, history in enumerate(order)}
    states: States = []
    for history in order:
        known = model[history]
        arcs = [(0, 0, known.backoff, number[history[1:]])] if history else []
        for word, cost in sorted(known.words.items()):
            longest = next(end for end in ends((*history, word)) if end in model)
            arcs.append((word, word, cost, number[longest]))
        states.append((known.final, arcs))
    return states


def ends(words: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [words[i:] for i in range(len(words) + 1)]


def composed_paths(first: States, second: States, without: frozenset[int] = frozenset()) -> Paths:
    """Composes by trying everything; ``without`` are input labels that become epsilon."""
    paths: Paths = {}

    def walk(s1: int, s2: int, inputs: tuple[int, ...], outputs: tuple[int, ...], cost: float) -> None:
        (final1, arcs1), (final2, arcs2) = first[s1], second[s2]
        if final1 + final2 < math.inf:
            key = inputs, outputs
            paths[key] = min(paths.get(key, math.inf), cost + final1 + final2)
        for ilabel, olabel, weight2, next2 in arcs2:
            if ilabel == 0:
                walk(s1, next2, inputs, outputs + (olabel,) * (olabel > 0), cost + weight2)
        for ilabel, label, weight1, next1 in arcs1:
            longer = inputs if ilabel == 0 or ilabel in without else (*inputs, ilabel)
            if label == 0:
                walk(next1, s2, longer, outputs, cost + weight1)
                continue
            for match, olabel, weight2, next2 in arcs2:
                if match == label:
                    walk(next1, next2, longer, outputs + (olabel,) * (olabel > 0), cost + weight1 + weight2)

    walk(0, 0, (), (), 0.0)
    return paths


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


COSTS = st.floats(-2, 8, width=32)
FINAL_COSTS = st.just(math.inf) | COSTS
WORDS = st.integers(1, 4)


@st.composite
def hcl_states(draw: st.DrawFn) -> States:
    """A transducer without cycles, from labels up to 6 to words, most arcs without a word."""
    count = draw(st.integers(1, 7))
    states: States = []
    for state in range(count):
        last = state == count - 1
        arcs = st.tuples(
            st.integers(0, 6), st.just(0) | WORDS, COSTS, st.integers(min(state + 1, count - 1), count - 1)
        )
        states.append(
            (draw(COSTS if last else FINAL_COSTS), [] if last else draw(st.lists(arcs, max_size=3)))
        )
    return states


@st.composite
def ngram_models(draw: st.DrawFn) -> Model:
    """A backoff model of at most three words."""
    histories = draw(st.sets(st.tuples(WORDS) | st.tuples(st.integers(0, 4), WORDS), max_size=6))
    closed = {(), HISTORY_START} | {end for history in histories for end in ends(history)}
    costs = st.dictionaries(WORDS, COSTS, max_size=4)
    return {history: History(draw(COSTS), draw(FINAL_COSTS), draw(costs)) for history in sorted(closed)}


@st.composite
def grammar_states(draw: st.DrawFn) -> States:
    """A transducer of words, sorted by input label; its epsilon arcs lead to higher states."""
    count = draw(st.integers(1, 4))
    anywhere = st.integers(0, count - 1)
    states: States = []
    for state in range(count):
        arcs = draw(st.lists(st.tuples(WORDS, st.integers(0, 9), COSTS, anywhere), max_size=5))
        if state + 1 < count:
            higher = st.integers(state + 1, count - 1)
            arcs += draw(st.lists(st.tuples(st.just(0), st.integers(0, 9), COSTS, higher), max_size=2))
        states.append((draw(FINAL_COSTS), sorted(arcs, key=lambda arc: arc[0])))
    return states
