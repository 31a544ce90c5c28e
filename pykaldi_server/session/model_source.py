"""What every way to describe a model leads to: paths of its parts, options, and loaded feature models."""

from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.kaldi.online2 import OnlineNnetFeaturePipelineInfo
from pykaldi_server.session.options import RecognizerOptions


@dataclass(frozen=True)
class ModelSource:
    """A model that is described, but not loaded.

    Attributes:
        name: what clients call it.
        acoustic_model: ``final.mdl``.
        graph: the search graph, ``HCLG.fst``.
        words: table of the graph's output symbols.
        phones: table of phones, if there is one.
        word_boundary: which phones begin and end words, if known.
        features: the feature pipeline, loaded.
        options: how it is decoded.
        given: names of the options that the description sets itself.
    """

    name: str
    acoustic_model: Path
    graph: Path
    words: Path
    phones: Path | None
    word_boundary: Path | None
    features: OnlineNnetFeaturePipelineInfo
    options: RecognizerOptions
    given: frozenset[str] = frozenset()
