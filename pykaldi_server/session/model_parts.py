"""The parts of a loaded model: data, which sessions and results read and never change.

Only annotations name the classes of the parts here, so that this module, and with it `Model`, can be
imported without the whole runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pykaldi_server.kaldi._core import TransitionInformation
    from pykaldi_server.kaldi.fstext import DecodingGraph, SymbolTable
    from pykaldi_server.kaldi.online2 import OnlineEndpointConfig
    from pykaldi_server.session.acoustics.stream import Acoustics, Endpoint
    from pykaldi_server.session.options import SessionOptions
    from pykaldi_server.session.rescoring import Rescorer
    from pykaldi_server.session.word_alignment import WordAligner

__all__ = ["ModelParts"]


@dataclass(frozen=True)
class ModelParts:
    """An acoustic model, a graph and what goes with them; immutable, shared by all threads.

    Attributes:
        name: what clients call the model.
        options: how sessions work unless a request asks for something else.
        acoustics: features and acoustic model.
        graph: the search graph.
        graph_path: its file; the first one of a graph in two parts.
        words: symbols of the graph's output labels.
        phones: symbols of the phones; None for a model without such a table.
        endpoint_rules: when segments end, if endpointing is on and the model has no rule of its own.
        endpoint: what ends segments; None when endpointing is off.
        word_aligner: finds words in time; None where the model does not say which phones a word has.
        rescorer: replaces the graph's language model in final lattices; None without a larger one.
        language: tag of its language, such as ``en``; "" where nothing says it.
    """

    name: str
    options: SessionOptions = field(repr=False)
    acoustics: Acoustics = field(repr=False)
    graph: DecodingGraph = field(repr=False)
    graph_path: Path
    words: SymbolTable = field(repr=False)
    phones: SymbolTable | None = field(repr=False)
    endpoint_rules: OnlineEndpointConfig = field(repr=False)
    endpoint: Endpoint | None = field(repr=False)
    word_aligner: WordAligner | None = field(repr=False)
    rescorer: Rescorer | None = field(repr=False)
    language: str = ""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples that sessions take unless they are told another one."""
        return self.acoustics.sample_rate_hz

    @property
    def frame_shift_s(self) -> float:
        """Time from one decoder frame to the next."""
        return self.acoustics.frame_shift_s

    @property
    def transitions(self) -> TransitionInformation:
        """What lattice functions need of the transition model."""
        return self.acoustics.transitions
