"""Rescoring of final lattices with a larger language model (``latbin/lattice-lmrescore*.cc``).

The small model's costs, which the graph has put into the lattice, are taken away, and those of the large
model are added. The small model is a backoff model (``G.fst``), the large one a constant n-gram model
(``G.carpa``); both have the graph's word ids.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.kaldi.fstext import SymbolTable, read_fst_kaldi
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lm import (
    BackoffLm,
    ConstArpaLm,
    lattice_lmrescore,
    lattice_lmrescore_const_arpa,
    read_const_arpa,
)
from pykaldi_server.session.formats.checks import check_language_models

__all__ = ["Rescorer", "RescoringFiles"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RescoringFiles:
    """The language model of the graph, and the one that replaces it."""

    old_lm: Path
    new_lm: Path


@dataclass(frozen=True)
class Rescorer:
    """Both language models; immutable, shared by all sessions."""

    old_lm: BackoffLm
    new_lm: ConstArpaLm

    @classmethod
    def read(cls, files: RescoringFiles, labels: Sequence[int], words: SymbolTable) -> "Rescorer":
        """Loads the small model and maps the large one.

        Args:
            files: where they are.
            labels: the output labels of the graph.
            words: the table of the graph's words.

        Raises:
            FileNotFoundError: a file does not exist.
            ModelFormatError: a file is damaged or of another kind.
            ConfigError: a model has words that the table does not have.
        """
        old_fst, new_lm = read_fst_kaldi(files.old_lm), read_const_arpa(files.new_lm)
        old_labels = old_fst.output_labels()
        check_language_models(files.old_lm, old_labels, files.new_lm, new_lm.num_words(), labels, words)
        return cls(BackoffLm(old_fst), new_lm)

    def rescore(self, lattice: CompactLatticeVectorFst) -> CompactLatticeVectorFst:
        """Returns a lattice with the costs of the large model.

        Where one of the models accepts none of the word sequences, the lattice is returned as it is.
        """
        without = lattice_lmrescore(lattice, self.old_lm, -1.0)
        rescored = lattice_lmrescore_const_arpa(without, self.new_lm, 1.0)
        if rescored.num_states() == 0:
            logger.warning("a lattice was not rescored: a language model accepts none of its sentences")
            return lattice
        return rescored
