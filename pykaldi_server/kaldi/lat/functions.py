"""What is done with lattices after decoding: determinise, prune, scale, find the best paths.

From a decoder's raw lattice to results::

    clat = determinize_lattice_phone_pruned(raw, trans_model, lattice_beam)
    for path in nbest(clat, 10):
        alignment, words, weight = get_linear_symbol_sequence(path)

All functions run in the core without the interpreter lock. A lattice may be read by several threads, but
not changed by one while another one uses it.
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

    delta: float = option(_DELTA, "costs that differ by at most this are equal")
    max_mem: int = option(-1, "approximate memory in bytes at which to stop early (0 or less: no limit)")
    max_states: int = option(-1, "states of the result at which to stop early (0 or less: no limit)")
    max_arcs: int = option(-1, "arcs of the result at which to stop early (0 or less: no limit)")
    retry_cutoff: float = option(
        0.5, "prune the lattice and start again when less than this part of the beam was reached"
    )

    def validate(self) -> None:
        _check_delta(self.delta)
        if not 0 <= self.retry_cutoff < 1:
            raise ConfigError(f"retry-cutoff: expected 0 or more and below 1, found {self.retry_cutoff}")


@dataclass
class DeterminizeLatticePhonePrunedOptions(Options):
    """Options of determinisation by phones and words (``lat/determinize-lattice-pruned.h``)."""

    delta: float = option(_DELTA, "tolerance used in determinization")
    max_mem: int = option(
        50_000_000, "maximum approximate memory usage in determinization (0 or less: no limit)"
    )
    phone_determinize: bool = option(True, "do an initial pass of determinization on both phones and words")
    word_determinize: bool = option(True, "do a second pass of determinization on words only")
    minimize: bool = option(False, "push and minimize after determinization")

    def validate(self) -> None:
        _check_delta(self.delta)


def _check_delta(delta: float) -> None:
    if not delta >= 0:
        raise ConfigError(f"delta: expected 0 or more, found {delta}")


def transition_information(model: TransitionModel | TransitionInformation) -> TransitionInformation:
    """Returns what the core needs of a transition model; made once, it need not be copied for each call."""
    if isinstance(model, TransitionInformation):
        return model
    return TransitionInformation(model.id2phone, model.id2self_loop, model.id2final, model.id2phone_start)


def determinize_lattice_phone_pruned(
    ifst: LatticeVectorFst,
    trans_model: TransitionModel | TransitionInformation,
    prune: float,
    opts: DeterminizeLatticePhonePrunedOptions | None = None,
) -> CompactLatticeVectorFst:
    """Determinises a raw lattice: of all paths with one word sequence the best is kept.

    A first pass by phones and words makes the second one, by words, cheaper. When memory runs short the
    result is good within a smaller beam; a warning is logged.

    Args:
        ifst: the raw lattice of a decoder; it is not changed.
        trans_model: of the model it was decoded with.
        prune: the lattice beam: what is on no path within it is left out.
        opts: None for the defaults.

    Returns:
        A connected compact lattice; empty when ``ifst`` has no complete path.

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
        lat: a lattice of either kind; it is not changed.
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
        logger.warning("lattice determinization stopped before the beam of %g: a limit was reached", beam)


def nbest(clat: CompactLatticeVectorFst, n: int) -> list[CompactLatticeVectorFst]:
    """Returns the ``n`` best paths with different words, best first (``lattice-to-nbest``).

    Fewer when the lattice has fewer. Each is a linear lattice for `get_linear_symbol_sequence`, or to be
    aligned with words.
    """
    if n < 0:
        raise ConfigError(f"expected a number of paths of 0 or more, found {n}")
    return _core.nbest(clat, n)


def get_linear_symbol_sequence(lat: _AnyLattice) -> tuple[list[int], list[int], LatticeWeight]:
    """Returns the transition-ids (one a frame), the words and the total weight of a linear lattice.

    An empty lattice gives empty lists and infinite costs.

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
    """Removes in place what is on no path within ``beam`` of the best; false when nothing is left."""
    return _core.prune_lattice(beam, lat)


def top_sort_lattice_if_needed(lat: _AnyLattice) -> None:
    """Sorts the states topologically in place.

    Raises:
        LatticeError: the lattice has a cycle.
    """
    lat.topsort()


def lattice_state_times(lat: _AnyLattice) -> tuple[int, list[int]]:
    """Returns the number of frames and the time of each state, in frames (-1: cannot be reached).

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
        viterbi: take the maximum over paths instead of the sum.

    Returns:
        The total log-probability, and for each state the log of the sum (or the maximum) over the paths to
        it, and from it to the end.

    Raises:
        LatticeError: the lattice is not sorted topologically.
    """
    return _core.compute_lattice_alphas_and_betas(lat, viterbi)


def longest_sentence_length_in_lattice(lat: _AnyLattice) -> int:
    """Returns the number of words of the longest path."""
    if isinstance(lat, LatticeVectorFst):
        lat = convert_lattice_to_compact_lattice(lat)
    return _core.longest_sentence_length(lat)


def sentence_level_confidence(clat: CompactLatticeVectorFst) -> tuple[float, int, list[int], list[int]]:
    """Returns how much better the best sentence is than the second best (``lat/confidence.cc``).

    Returns:
        The difference of their costs (infinity when there is one path only, 0 when there is none), the
        number of paths found (up to 2), and their words.
    """
    paths = [get_linear_symbol_sequence(path) for path in nbest(clat, 2)]
    words = [path[1] for path in paths] + [[], []]
    costs = [path[2].value1 + path[2].value2 for path in paths]
    confidence = 0.0 if not costs else float("inf") if len(costs) == 1 else costs[1] - costs[0]
    return confidence, len(paths), words[0], words[1]
