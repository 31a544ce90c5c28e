"""Operations on lattices after decoding: determinise, prune, scale, find the best paths.

From a decoder's raw lattice to results::

    clat = determinize_lattice_phone_pruned(raw, trans_model, lattice_beam)
    for path in nbest(clat, 10):
        alignment, words, weight = get_linear_symbol_sequence(path)

All functions run in the core and release the GIL. Several threads may read a lattice, but none may modify it
while another one uses it.
"""

import logging
from dataclasses import dataclass
from typing import TypeAlias

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import (
    CompactLatticeVectorFst,
    LatticeVectorFst,
    LatticeWeight,
    TransitionInformation,
    add_word_ins_pen_to_compact_lattice,
    compact_lattice_depth,
    compact_lattice_depth_per_frame,
    compact_lattice_shortest_path,
    compact_lattice_to_word_alignment,
    convert_compact_lattice_to_lattice,
    convert_lattice_to_compact_lattice,
    lattice_forward_backward,
    minimize_compact_lattice,
    push_compact_lattice_strings,
    push_compact_lattice_weights,
    rescore_lattice,
)
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel
from pykaldi_server.kaldi.util.options import Options, option

__all__ = [
    "CompactLatticeVectorFst",
    "DeterminizeLatticePhonePrunedOptions",
    "DeterminizeLatticePrunedOptions",
    "LatticeVectorFst",
    "add_word_ins_pen_to_compact_lattice",
    "compact_lattice_depth",
    "compact_lattice_depth_per_frame",
    "compact_lattice_shortest_path",
    "compact_lattice_to_word_alignment",
    "compute_lattice_alphas_and_betas",
    "convert_compact_lattice_to_lattice",
    "convert_lattice_to_compact_lattice",
    "determinize_lattice_phone_pruned",
    "determinize_lattice_pruned",
    "get_linear_symbol_sequence",
    "lattice_forward_backward",
    "lattice_state_times",
    "longest_sentence_length_in_lattice",
    "minimize_compact_lattice",
    "nbest",
    "prune_lattice",
    "push_compact_lattice_strings",
    "push_compact_lattice_weights",
    "rescore_lattice",
    "scale_lattice",
    "sentence_level_confidence",
    "top_sort_lattice_if_needed",
    "transition_information",
]

logger = logging.getLogger(__name__)

_AnyLattice: TypeAlias = LatticeVectorFst | CompactLatticeVectorFst

_DELTA = 1.0 / 1024


@dataclass
class DeterminizeLatticePrunedOptions(Options):
    """Options of determinisation by words (``lat/determinize-lattice-pruned.h``)."""

    delta: float = option(_DELTA, "Costs that differ by at most this are equal.")
    max_mem: int = option(-1, "Approximate memory in bytes at which to stop early; 0 or less for no limit.")
    max_states: int = option(
        -1, "Number of states of the result at which to stop early; 0 or less for no limit."
    )
    max_arcs: int = option(-1, "Number of arcs of the result at which to stop early; 0 or less for no limit.")
    retry_cutoff: float = option(
        0.5, "If less than this fraction of the beam was reached, prune the lattice and start again."
    )

    def validate(self) -> None:
        _check_delta(self.delta)
        if not 0 <= self.retry_cutoff < 1:
            raise ConfigError(f"retry-cutoff: expected 0 or more and below 1, found {self.retry_cutoff}")


@dataclass
class DeterminizeLatticePhonePrunedOptions(Options):
    """Options of determinisation by phones and words (``lat/determinize-lattice-pruned.h``)."""

    delta: float = option(_DELTA, "Costs that differ by at most this are equal.")
    max_mem: int = option(
        50_000_000,
        "Approximate memory in bytes at which determinisation stops early; 0 or less for no limit.",
    )
    phone_determinize: bool = option(True, "Determinise by phones and words first; faster.")
    word_determinize: bool = option(
        True, "Determinise by words; without it, sentences may occur several times."
    )
    minimize: bool = option(False, "Push and minimise afterwards; gives smaller lattices and takes longer.")

    def validate(self) -> None:
        _check_delta(self.delta)


def _check_delta(delta: float) -> None:
    if not delta >= 0:
        raise ConfigError(f"delta: expected 0 or more, found {delta}")


def transition_information(model: TransitionModel | TransitionInformation) -> TransitionInformation:
    """Returns what the core needs of a transition model; create it once to avoid a copy per call."""
    if isinstance(model, TransitionInformation):
        return model
    # The core takes numbers out of a list many times faster than out of an array.
    arrays = (model.id2phone, model.id2self_loop, model.id2final, model.id2phone_start)
    return TransitionInformation(*(array.tolist() for array in arrays))


def determinize_lattice_phone_pruned(
    ifst: LatticeVectorFst,
    trans_model: TransitionModel | TransitionInformation,
    prune: float,
    opts: DeterminizeLatticePhonePrunedOptions | None = None,
) -> CompactLatticeVectorFst:
    """Determinises a raw lattice: of all paths with the same words, the best one is kept.

    A first pass by phones and words makes the second pass, by words, cheaper. If memory runs short, the
    result is complete within a smaller beam and a warning is logged.

    Args:
        ifst: the raw lattice of a decoder; it is not modified.
        trans_model: the transition model that it was decoded with.
        prune: the lattice beam; arcs that are on no path within it are dropped.
        opts: None for the defaults.

    Returns:
        A connected compact lattice; empty if ``ifst`` has no complete path.

    Raises:
        LatticeError: the lattice has a cycle, or transition-ids that the model does not have.
    """
    opts = opts or DeterminizeLatticePhonePrunedOptions()
    opts.validate()
    complete, clat = _core.determinize_lattice_phone_pruned(
        ifst,
        transition_information(trans_model),
        prune,
        opts.delta,
        opts.max_mem,
        opts.phone_determinize,
        opts.word_determinize,
        opts.minimize,
    )
    _warn_if_stopped(complete, prune)
    return clat


def determinize_lattice_pruned(
    lat: _AnyLattice, prune: float, opts: DeterminizeLatticePrunedOptions | None = None
) -> CompactLatticeVectorFst:
    """Determinises a lattice by words in one pass; see `determinize_lattice_phone_pruned`.

    Args:
        lat: a lattice of either kind; it is not modified.
        prune: the lattice beam; may be ``math.inf``.
        opts: None for the defaults.

    Raises:
        LatticeError: the lattice has a cycle.
    """
    opts = opts or DeterminizeLatticePrunedOptions()
    opts.validate()
    complete, clat = _core.determinize_lattice_pruned(
        lat, prune, opts.delta, opts.max_mem, opts.max_states, opts.max_arcs, opts.retry_cutoff
    )
    _warn_if_stopped(complete, prune)
    return clat


def _warn_if_stopped(complete: bool, beam: float) -> None:
    if not complete:
        logger.warning(
            "lattice determinisation stopped before the beam of %g, because a limit was reached", beam
        )


def nbest(clat: CompactLatticeVectorFst, n: int) -> list[CompactLatticeVectorFst]:
    """Returns the ``n`` best paths with different words, best first (``lattice-to-nbest``).

    There are fewer if the lattice has fewer. Each path is a linear lattice, for `get_linear_symbol_sequence`
    or word alignment.
    """
    if n < 0:
        raise ConfigError(f"expected at least 0 paths, found {n}")
    return _core.nbest(clat, n)


def get_linear_symbol_sequence(lat: _AnyLattice) -> tuple[list[int], list[int], LatticeWeight]:
    """Returns the transition-ids (one per frame), the words and the total weight of a linear lattice.

    An empty lattice has no ids, no words and infinite costs.

    Raises:
        LatticeError: the lattice is not linear.
    """
    if isinstance(lat, LatticeVectorFst):
        lat = convert_lattice_to_compact_lattice(lat)
    return _core.linear_path(lat)


def scale_lattice(lat: _AnyLattice, graph_scale: float = 1.0, acoustic_scale: float = 1.0) -> None:
    """Multiplies the graph costs and the acoustic costs in place (``lattice-scale``)."""
    lat.scale(graph_scale, acoustic_scale)


def prune_lattice(beam: float, lat: _AnyLattice) -> bool:
    """Removes, in place, arcs on no path within ``beam`` of the best one; False if nothing is left."""
    return _core.prune_lattice(beam, lat)


def top_sort_lattice_if_needed(lat: _AnyLattice) -> None:
    """Sorts the states topologically in place.

    Raises:
        LatticeError: the lattice has a cycle.
    """
    lat.topsort()


def lattice_state_times(lat: _AnyLattice) -> tuple[int, list[int]]:
    """Returns the number of frames and the time of each state in frames (-1 if unreachable).

    Raises:
        LatticeError: the lattice is not sorted topologically, or two paths to a state differ in length.
    """
    if isinstance(lat, LatticeVectorFst):
        return _core.lattice_state_times(lat)
    return _core.compact_lattice_state_times(lat)


def compute_lattice_alphas_and_betas(
    lat: _AnyLattice, viterbi: bool
) -> tuple[float, list[float], list[float]]:
    """Computes forward (alpha) and backward (beta) scores of the states.

    Args:
        lat: a lattice in topological order.
        viterbi: use the maximum over paths instead of the sum.

    Returns:
        The total log-probability, and, for each state, the logarithm of the sum (or maximum) over all paths
        to it, and over all paths from it to the end.

    Raises:
        LatticeError: the lattice is not sorted topologically.
    """
    return _core.compute_lattice_alphas_and_betas(lat, viterbi)


def longest_sentence_length_in_lattice(lat: _AnyLattice) -> int:
    """Returns the number of words on the longest path."""
    if isinstance(lat, LatticeVectorFst):
        lat = convert_lattice_to_compact_lattice(lat)
    return _core.longest_sentence_length(lat)


def sentence_level_confidence(clat: CompactLatticeVectorFst) -> tuple[float, int, list[int], list[int]]:
    """Returns by how much the best sentence is better than the second best (``lat/confidence.cc``).

    Returns:
        The difference of their costs (infinite if there is only one path, 0 if there is none), the number of
        paths found (up to 2), and their words.
    """
    paths = [get_linear_symbol_sequence(path) for path in nbest(clat, 2)]
    words = [path[1] for path in paths] + [[], []]
    costs = [path[2].value1 + path[2].value2 for path in paths]
    confidence = 0.0 if not costs else float("inf") if len(costs) == 1 else costs[1] - costs[0]
    return confidence, len(paths), words[0], words[1]
