"""The lattice-generating beam search (``decoder/lattice-faster-online-decoder.cc``).

One decoder serves one stream; it is cheap compared with the graph, which all decoders share. The search is
implemented in the core (``csrc/decoder``), whose header explains it; calls release the GIL.

Example:
    >>> options = LatticeFasterDecoderOptions(beam=13.0)
    >>> decoder = LatticeFasterOnlineDecoder(graph, options, trans_model.id2pdf)
    >>> for block in blocks_of_loglikes:
    ...     decoder.advance_decoding(block)
    ...     print(decoder.partial_words())
    >>> decoder.finalize_decoding()
    >>> lattice = decoder.get_raw_lattice()
"""

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import (
    BestPath,
    CompiledGraph,
    LatticeFasterDecoderConfig,
    LatticeVectorFst,
    SearchStatistics,
    StdConstFst,
)
from pykaldi_server.kaldi.fstext import DecodingGraph
from pykaldi_server.kaldi.util.options import Options, option

__all__ = [
    "LatticeFasterDecoderOptions",
    "LatticeFasterOnlineDecoder",
    "free_idle_workspaces",
]

_INT32_MAX = 2**31 - 1
# The search is compiled for each kind of graph.
_CoreDecoder: TypeAlias = (
    _core.LatticeFasterOnlineDecoder | _core.CompiledFasterOnlineDecoder | _core.LookaheadFasterOnlineDecoder
)
_CORE_FIELDS = [
    *("beam", "max_active", "min_active", "lattice_beam", "prune_interval"),
    *("beam_delta", "hash_ratio", "prune_scale"),
]


@dataclass
class LatticeFasterDecoderOptions(Options):
    """Options of the search; costs are negative natural logarithms."""

    # Options of the incremental decoder, for which Vosk's configurations are written, and of memory pools.
    without_effect: ClassVar[tuple[str, ...]] = (
        "determinize-max-delay",
        "determinize-min-chunk-size",
        "determinize-max-active",
        "memory-pool-tokens-block-size",
        "memory-pool-links-block-size",
    )

    beam: float = option(
        16.0,
        "Hypotheses that cost more than the best one by this are dropped; larger is slower and more "
        "accurate.",
    )
    max_active: int = option(
        _INT32_MAX, "Maximum number of active states per frame; larger is slower and more accurate."
    )
    min_active: int = option(200, "Minimum number of active states per frame, even outside the beam.")
    lattice_beam: float = option(
        10.0,
        "Paths within this cost of the best one stay in the lattice; larger gives more alternatives "
        "and is slower.",
    )
    prune_interval: int = option(25, "Frames between prunings of earlier tokens; larger uses more memory.")
    determinize_lattice: bool = option(
        True, "Determinise lattices, so that each word sequence occurs once; applied after decoding."
    )
    beam_delta: float = option(
        0.5, "Added to the beam that max-active or min-active implies; larger is slower and changes less."
    )
    hash_ratio: float = option(2.0, "Minimum number of hash buckets per active state.")
    prune_scale: float = option(
        0.1,
        "Pruning continues backwards while costs change by more than this times the lattice beam.",
    )

    def validate(self) -> None:
        self.core_config().check()

    def core_config(self) -> LatticeFasterDecoderConfig:
        """Returns the options in the core's form."""
        config = LatticeFasterDecoderConfig()
        for name in _CORE_FIELDS:
            setattr(config, name, getattr(self, name))
        return config


class LatticeFasterOnlineDecoder:
    """Searches a graph frame by frame, keeps a lattice, and provides the best path so far at any time.

    Every method raises `DecoderError` if another thread is using the decoder.
    """

    def __init__(self, fst: DecodingGraph, opts: LatticeFasterDecoderOptions, id2pdf: NDArray[np.int32]):
        """Starts the first utterance.

        Args:
            fst: the decoding graph: HCLG, or its parts, which are composed during the search.
            opts: options of the search.
            id2pdf: pdf of each transition-id, (transition-ids + 1,), int32; element 0 is not used
                (`TransitionModel.id2pdf`).

        Raises:
            ConfigError: an option is invalid, or the graph has transition-ids that the model does not have.
        """
        self._options = opts
        self._core = _core_decoder(fst, opts.core_config(), id2pdf)

    def get_options(self) -> LatticeFasterDecoderOptions:
        """The options of the search."""
        return self._options

    def init_decoding(self) -> None:
        """Starts a new utterance and discards the previous one."""
        self._core.init_decoding()

    def advance_decoding(self, loglikes: NDArray[np.float32]) -> None:
        """Decodes a block of frames.

        Args:
            loglikes: log-likelihoods times the acoustic scale, (frames, pdfs) float32; -inf means impossible.

        Raises:
            DecoderError: a log-likelihood is NaN or +inf; there are fewer pdfs than in the model; no path
                survives a frame, or the costs of one sum up to -inf (earlier frames stay decoded); or
                decoding has been finalized.
        """
        self._core.advance_decoding(loglikes)

    def finalize_decoding(self) -> None:
        """Prunes the lattice exactly and with final costs; no more frames can be decoded."""
        self._core.finalize_decoding()

    def num_frames_decoded(self) -> int:
        """Frames decoded since the utterance began."""
        return self._core.num_frames_decoded()

    def get_best_path(self, use_final_probs: bool = True) -> BestPath:
        """Returns the best path through the frames decoded so far.

        Args:
            use_final_probs: end in a final state and include its cost, if a final state is active. Must be
                true once decoding has been finalized.

        Returns:
            ``words`` and ``alignment`` (one transition-id per frame), int32; ``graph_cost``,
            ``acoustic_cost``.
        """
        return self._core.get_best_path(use_final_probs)

    def get_raw_lattice(self, use_final_probs: bool = True) -> LatticeVectorFst:
        """Returns the state-level lattice, topologically sorted; acoustic costs include the acoustic scale.

        Args:
            use_final_probs: see `get_best_path`.
        """
        return self._core.get_raw_lattice(use_final_probs)

    def traceback(self) -> tuple[int, NDArray[np.int32]]:
        """Returns the part of the best path, without final costs, that has changed since the last call.

        Traces back only to the first token that the previous path contains. As in Kaldi's silence weighting,
        a frame counts as unchanged if the path leaves the same token, even if by another link.

        Returns:
            The first changed frame, and the transition-ids from there to the newest frame, int32.

        Raises:
            DecoderError: decoding has been finalized.
        """
        return self._core.traceback()

    def partial_words(self) -> NDArray[np.int32]:
        """Returns the words of the best path so far, without final costs, int32; needs no full traceback."""
        return self._core.partial_words()

    def num_stable_words(self) -> int:
        """How many of the first `partial_words` will be the first of every later best path as well.

        They are what all paths within the beam have in common. The search goes on from these only, and from
        what ``min_active`` keeps, which hardly ever wins. The call walks back to where the paths meet.

        Raises:
            DecoderError: decoding was finalized.
        """
        return self._core.num_stable_words()

    def trailing_silence_length(self, is_silence: NDArray[np.uint8]) -> int:
        """Counts the frames of silence at the end of the best path, without final costs.

        Args:
            is_silence: non-zero for the transition-ids of silence phones, (transition-ids + 1,) uint8.
        """
        return self._core.trailing_silence_length(is_silence)

    def final_relative_cost(self) -> float:
        """Returns the best final token's cost relative to the best token; inf if no final state is active."""
        return self._core.final_relative_cost()

    def reached_final(self) -> bool:
        """Returns whether a final state is active."""
        return self.final_relative_cost() != math.inf

    def statistics(self) -> SearchStatistics:
        """Returns counts of what the search has done since the utterance began."""
        return self._core.statistics()


def free_idle_workspaces() -> int:
    """Frees the memory that threads keep for their next search, unless a search is running in it.

    Each thread has memory in which all of its searches work, in turn. It grows to what the hardest moment
    needs. A program that runs for long frees it from time to time; the next search takes what it needs.

    Returns:
        Number of bytes. Some may never have been touched, and thus were no memory of the machine.
    """
    return _core.free_idle_workspaces()


def _core_decoder(
    fst: DecodingGraph, config: LatticeFasterDecoderConfig, id2pdf: NDArray[np.int32]
) -> _CoreDecoder:
    if isinstance(fst, StdConstFst):
        return _core.LatticeFasterOnlineDecoder(fst, config, id2pdf)
    if isinstance(fst, CompiledGraph):
        return _core.CompiledFasterOnlineDecoder(fst, config, id2pdf)
    return _core.LookaheadFasterOnlineDecoder(fst, config, id2pdf)
