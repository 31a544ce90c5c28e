"""Finds the words of a lattice in time: with the positions of phones in words, or with a lexicon.

Phones of most models say whether they begin or end a word (``word_boundary.int``). Others do not; then the
lexicon says which phones a word has (``align_lexicon.int``), which takes longer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi._core import TransitionInformation, WordAlignLatticeLexiconInfo
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.align import (
    WordAlignLatticeLexiconOpts,
    WordBoundaryInfo,
    WordBoundaryInfoNewOpts,
    read_lexicon_for_word_align,
    read_word_boundary,
    word_align_lattice,
    word_align_lattice_lexicon,
)
from pykaldi_server.session.formats.checks import check_align_lexicon, check_word_boundary

__all__ = ["LexiconAligner", "PhonePositionAligner", "WordAligner", "read_word_aligner"]

# The lexicon may allow very many ways to cut a lattice into words; Kaldi's scripts give up at the same size.
_LEXICON_OPTIONS = WordAlignLatticeLexiconOpts(max_expand=10.0)


class WordAligner(ABC):
    """Aligns lattices with words; immutable, shared by all sessions."""

    @abstractmethod
    def align(
        self, lattice: CompactLatticeVectorFst, transitions: TransitionInformation
    ) -> tuple[bool, CompactLatticeVectorFst]:
        """Aligns the arcs of a determinised lattice with words.

        Returns:
            Whether all words were complete, and the aligned lattice, which is empty where it was too large.

        Raises:
            LatticeError: the lattice is not one of this model's.
        """


class PhonePositionAligner(WordAligner):
    """Finds words by the positions of phones in them."""

    def __init__(self, info: WordBoundaryInfo):
        self._info = info

    def align(
        self, lattice: CompactLatticeVectorFst, transitions: TransitionInformation
    ) -> tuple[bool, CompactLatticeVectorFst]:
        return word_align_lattice(lattice, transitions, self._info)


class LexiconAligner(WordAligner):
    """Finds words by their pronunciations."""

    def __init__(self, info: WordAlignLatticeLexiconInfo):
        self._info = info

    def align(
        self, lattice: CompactLatticeVectorFst, transitions: TransitionInformation
    ) -> tuple[bool, CompactLatticeVectorFst]:
        return word_align_lattice_lexicon(lattice, transitions, self._info, _LEXICON_OPTIONS)


def read_word_aligner(
    word_boundary: Path | None, align_lexicon: Path | None, labels: Sequence[int], model: TransitionModel
) -> WordAligner | None:
    """Reads what word times are found with.

    Args:
        word_boundary: ``word_boundary.int``, which is taken where both files exist.
        align_lexicon: ``align_lexicon.int``.
        labels: the output labels of the graph.
        model: says which phones there are.

    Returns:
        The aligner; None where there is neither file.

    Raises:
        FileNotFoundError: a file does not exist.
        ModelFormatError: a file is damaged.
        ConfigError: the file belongs to another model.
    """
    if word_boundary is not None:
        phone_to_type = read_word_boundary(word_boundary)
        known = {phone for phone, phone_type in enumerate(phone_to_type) if phone_type}
        check_word_boundary(word_boundary, known, model)
        return PhonePositionAligner(WordBoundaryInfo.from_types(WordBoundaryInfoNewOpts(), phone_to_type))
    if align_lexicon is not None:
        lexicon = read_lexicon_for_word_align(align_lexicon)
        check_align_lexicon(align_lexicon, lexicon, labels, model)
        try:
            return LexiconAligner(WordAlignLatticeLexiconInfo(lexicon))
        except ConfigError as error:
            raise ConfigError(f"{align_lexicon}: {error}") from None
    return None
