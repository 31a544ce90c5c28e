"""Where words and phones begin and end (``lat/word-align-lattice.cc``, ``lat/phone-align-lattice.cc``).

After determinisation, the transition-ids of a word may be on the arcs of other words. The functions here
return lattices in which each arc has one word (or phone) and exactly its transition-ids, one per decoder
frame, which give its times.

Words are found by the positions of phones in words (``word_boundary.int``) or, if phones do not show these,
with a lexicon (``align_lexicon.int``).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import (
    CompactLatticeVectorFst,
    TransitionInformation,
    WordAlignLatticeLexiconInfo,
    compact_lattice_to_word_alignment,
)
from pykaldi_server.kaldi.hmm.transition_model import TransitionModel
from pykaldi_server.kaldi.lat.functions import transition_information
from pykaldi_server.kaldi.util.files import load_bytes
from pykaldi_server.kaldi.util.options import Options, option
from pykaldi_server.kaldi.util.text_utils import INT32_MAX

__all__ = [
    "PhoneAlignLatticeOptions",
    "WordAlignLatticeLexiconInfo",
    "WordAlignLatticeLexiconOpts",
    "WordBoundaryInfo",
    "WordBoundaryInfoNewOpts",
    "phone_align_lattice",
    "phone_alignment",
    "read_lexicon_for_word_align",
    "read_word_boundary",
    "word_align_lattice",
    "word_align_lattice_lexicon",
]

_PHONE_TYPES = {"begin": 1, "end": 2, "singleton": 3, "internal": 4, "nonword": 5}
_MAX_PHONE = 1 << 20


@dataclass
class WordBoundaryInfoNewOpts(Options):
    """Options of word alignment by phones (``lat/word-align-lattice.h``)."""

    silence_label: int = option(0, "Word (integer) that marks silence in aligned lattices.")
    partial_word_label: int = option(0, "Word (integer) that marks an incomplete word at the end.")
    reorder: bool = option(True, "The graph was made with Kaldi's reorder option.")

    def validate(self) -> None:
        if min(self.silence_label, self.partial_word_label) < 0:
            raise ConfigError(
                "silence-label, partial-word-label: expected at least 0, "
                f"found {self.silence_label}, {self.partial_word_label}"
            )


@dataclass
class WordAlignLatticeLexiconOpts(Options):
    """Options of word alignment with a lexicon (``lat/word-align-lattice-lexicon.h``)."""

    partial_word_label: int = option(0, "Word (integer) that marks an incomplete word at the end.")
    reorder: bool = option(True, "The graph was made with Kaldi's reorder option.")
    max_expand: float = option(
        -1.0,
        "Give up above 1000 states plus this times the states of the phone-aligned lattice; 0 or "
        "less for no limit.",
    )

    def validate(self) -> None:
        if self.partial_word_label < 0:
            raise ConfigError(f"partial-word-label: expected at least 0, found {self.partial_word_label}")


@dataclass
class PhoneAlignLatticeOptions(Options):
    """Options of phone alignment (``lat/phone-align-lattice.h``)."""

    reorder: bool = option(True, "The graph was made with Kaldi's reorder option.")
    remove_epsilon: bool = option(True, "Remove arcs without a label.")
    replace_output_symbols: bool = option(False, "Put phones instead of words on the arcs.")

    def validate(self) -> None:
        pass


class WordBoundaryInfo(_core.WordBoundaryInfo):
    """The position of each phone in its words. Immutable, shared by all sessions."""

    @classmethod
    def from_file(cls, opts: WordBoundaryInfoNewOpts, path: str | os.PathLike[str]) -> "WordBoundaryInfo":
        """Reads ``word_boundary.int``; see `read_word_boundary` for the errors."""
        return cls.from_types(opts, read_word_boundary(path))

    @classmethod
    def from_types(cls, opts: WordBoundaryInfoNewOpts, phone_to_type: Sequence[int]) -> "WordBoundaryInfo":
        """Takes the positions of phones as `read_word_boundary` returns them."""
        opts.validate()
        return cls(phone_to_type, opts.silence_label, opts.partial_word_label, opts.reorder)


def read_word_boundary(path: str | os.PathLike[str]) -> list[int]:
    """Reads ``word_boundary.int``: per line, a phone and one of nonword, begin, end, internal, singleton.

    Returns:
        The position of each phone, indexed by phone, as the core numbers positions; 0 for phones that are not
        in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a line is something else; the text names the line.
    """
    types: dict[int, int] = {}
    for number, fields in _read_fields(path):
        if len(fields) != 2 or not _is_phone(fields[0]) or fields[1] not in _PHONE_TYPES:
            raise _line_error(path, number, "a phone and its position (begin, end, ...)", fields)
        types[int(fields[0])] = _PHONE_TYPES[fields[1]]
    return [types.get(phone, 0) for phone in range(max(types, default=0) + 1)]


def read_lexicon_for_word_align(path: str | os.PathLike[str]) -> list[list[int]]:
    """Reads ``align_lexicon.int``: per line, the word in the lattice, the word to output, and phones.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a line has fewer than two numbers or something else; the text names the line.
    """
    lexicon = []
    for number, fields in _read_fields(path):
        if len(fields) < 2 or not all(map(_is_number, fields)):
            raise _line_error(path, number, "two words and phones (numbers)", fields)
        lexicon.append([int(field) for field in fields])
    return lexicon


def word_align_lattice(
    lat: CompactLatticeVectorFst,
    tmodel: TransitionModel | TransitionInformation,
    info: WordBoundaryInfo,
    max_states: int = 0,
) -> tuple[bool, CompactLatticeVectorFst]:
    """Aligns the arcs with words by the positions of phones.

    Arcs of silence have the silence label (0 by default).

    Args:
        lat: a determinised lattice; it is not modified.
        tmodel: the transition model that it was decoded with.
        info: the contents of ``word_boundary.int``.
        max_states: give up if the result has more states than this (0: a high built-in limit).

    Returns:
        Whether alignment succeeded, and the aligned lattice. If it did not (because a word is cut off at the
        end, for example), the lattice is usually still usable; it is empty if there were too many states.

    Raises:
        LatticeError: the lattice has a cycle, or transition-ids or phones that the model does not have.
    """
    ok, aligned = _core.word_align_lattice(lat, transition_information(tmodel), info, max_states)
    return ok, aligned


def word_align_lattice_lexicon(
    lat: CompactLatticeVectorFst,
    tmodel: TransitionModel | TransitionInformation,
    lexicon_info: WordAlignLatticeLexiconInfo,
    opts: WordAlignLatticeLexiconOpts | None = None,
) -> tuple[bool, CompactLatticeVectorFst]:
    """Aligns the arcs with words by a lexicon; see `word_align_lattice`.

    Raises:
        LatticeError: see `word_align_lattice`; or a word is not in the lexicon.
    """
    opts = opts or WordAlignLatticeLexiconOpts()
    opts.validate()
    ok, aligned = _core.word_align_lattice_lexicon(
        lat,
        transition_information(tmodel),
        lexicon_info,
        opts.partial_word_label,
        opts.reorder,
        opts.max_expand,
    )
    return ok, aligned


def phone_align_lattice(
    lat: CompactLatticeVectorFst,
    tmodel: TransitionModel | TransitionInformation,
    opts: PhoneAlignLatticeOptions | None = None,
) -> tuple[bool, CompactLatticeVectorFst]:
    """Aligns the arcs with phones.

    Returns:
        Whether alignment succeeded, and the aligned lattice.

    Raises:
        LatticeError: the lattice has a cycle, or transition-ids that the model does not have.
    """
    opts = opts or PhoneAlignLatticeOptions()
    opts.validate()
    ok, aligned = _core.phone_align_lattice(
        lat, transition_information(tmodel), opts.reorder, opts.remove_epsilon, opts.replace_output_symbols
    )
    return ok, aligned


def phone_alignment(
    path: CompactLatticeVectorFst,
    tmodel: TransitionModel | TransitionInformation,
    opts: PhoneAlignLatticeOptions | None = None,
) -> list[tuple[int, int, int]]:
    """Returns (phone, first frame, number of frames) for each phone of a linear lattice, silence included.

    Args:
        path: a path of `nbest`, or the shortest path.
        tmodel: the transition model that it was decoded with.
        opts: only ``reorder`` has an effect.

    Raises:
        LatticeError: the path is empty or not linear, or does not fit the model.
    """
    reorder = opts.reorder if opts else True
    _, aligned = phone_align_lattice(
        path, tmodel, PhoneAlignLatticeOptions(reorder=reorder, replace_output_symbols=True)
    )
    phones, begin_frames, num_frames = compact_lattice_to_word_alignment(aligned)
    return list(zip(phones, begin_frames, num_frames, strict=True))


def _read_fields(path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
    try:
        text = bytes(load_bytes(path)).decode("ascii")
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{os.fspath(path)}: expected numbers in text form, found {error}") from error
    lines = ((number, line.split()) for number, line in enumerate(text.split("\n"), 1))
    return [(number, fields) for number, fields in lines if fields]


def _is_phone(field: str) -> bool:
    return _is_number(field) and int(field) <= _MAX_PHONE


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdecimal() and len(field) <= 10 and int(field) <= INT32_MAX


def _line_error(
    path: str | os.PathLike[str], number: int, expected: str, fields: list[str]
) -> ModelFormatError:
    found = " ".join(fields)[:60]
    return ModelFormatError(f"{os.fspath(path)}:{number}: expected {expected}, found {found!r}")
