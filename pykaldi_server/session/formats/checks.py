"""Checks that the files of a model belong together, when it is loaded.

Each file may be sound and still be that of another model, as happens when a directory is put together by
hand. Kaldi notices late or never: transcripts have blanks, every final result fails, or words are wrong.
What can be compared is compared here, and errors name the file and what to do.
"""

import itertools
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import DecodingGraph, SymbolTable, read_disambig_labels
from pykaldi_server.kaldi.fstext.lookahead import DISAMBIG_NAME, HCL_NAME
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.options import parse_int_list

__all__ = [
    "check_align_lexicon",
    "check_graph",
    "check_language_models",
    "check_phones",
    "check_silence_phones",
    "check_word_boundary",
    "check_words",
    "phones_of",
]

logger = logging.getLogger(__name__)

_MOST_NAMED = 5


def phones_of(model: TransitionModel) -> list[int]:
    """The phones that a model has HMMs for, ascending."""
    return sorted(set(model.id2phone[1:].tolist()))


def check_graph(path: Path, graph: DecodingGraph, model: TransitionModel) -> None:
    """Raises `ConfigError` where a graph's input labels are not transition-ids of the model."""
    transition_ids = model.num_transition_ids()
    disambig = path.parent / DISAMBIG_NAME
    is_lookahead = path.name == HCL_NAME
    if graph.max_input_label() > transition_ids:
        hint = f", or {disambig} is missing or does not list all labels that disambiguate"
        raise ConfigError(
            f"{path}: expected transition-ids up to {transition_ids}, found {graph.max_input_label()}; the "
            f"graph belongs to another model{hint if is_lookahead else ''}"
        )
    if is_lookahead and disambig.exists():
        wrong = [label for label in read_disambig_labels(disambig) if label <= transition_ids]
        if wrong:
            raise ConfigError(
                f"{disambig}: expected labels above {transition_ids}, the highest transition-id, found "
                f"{_some(wrong)}; use the file that was made with {path.name}"
            )


def check_words(path: Path, labels: Sequence[int], words: SymbolTable, words_path: Path | None) -> None:
    """Checks the words of a graph.

    Args:
        path: the graph, for errors.
        labels: its output labels.
        words: their symbols.
        words_path: the file of the symbols; None where they are embedded in the graph.

    Raises:
        ConfigError: a label has no symbol.
    """
    missing = _without_symbol(labels, words)
    if missing:
        raise ConfigError(
            f"{words_path or path}: expected a word for each of the {len(labels)} output labels of {path}, "
            f"found none for {_counted(missing)}; use the words.txt that was made with the graph"
        )


def check_phones(path: Path, phones: SymbolTable, model: TransitionModel) -> None:
    """Raises `ConfigError` where a table of phones lacks one of the model's."""
    missing = _without_symbol(phones_of(model), phones)
    if missing:
        raise ConfigError(
            f"{path}: expected a symbol for each of the model's {len(phones_of(model))} phones, found none "
            f"for {_counted(missing)}; use the model's phones.txt, or remove it to get phones as numbers"
        )


def check_word_boundary(path: Path, known: Collection[int], model: TransitionModel) -> None:
    """Raises `ConfigError` where a word-boundary file, which has ``known``, lacks a phone of the model."""
    missing = [phone for phone in phones_of(model) if phone not in known]
    if missing:
        raise ConfigError(
            f"{path}: expected the position of each of the model's {len(phones_of(model))} phones, found "
            f"none for {_counted(missing)}; use the model's word_boundary.int, or remove the file to go on "
            "without word times"
        )


def check_align_lexicon(
    path: Path, lexicon: Sequence[Sequence[int]], labels: Iterable[int], model: TransitionModel
) -> None:
    """Checks the lexicon for word times.

    Args:
        path: ``align_lexicon.int``, for errors.
        lexicon: its entries: word in the lattice, word to put out, phones.
        labels: the output labels of the graph.
        model: says which phones there are.

    Raises:
        ConfigError: an entry has phones that the model does not have, or a word of the graph has no entry.
    """
    phones = set(phones_of(model))
    unknown = sorted({phone for entry in lexicon for phone in entry[2:] if phone not in phones})
    remedy = "use the model's align_lexicon.int, or remove the file to go on without word times"
    if unknown:
        raise ConfigError(f"{path}: expected phones of the model, found {_counted(unknown)}; {remedy}")
    words = {entry[0] for entry in lexicon}
    missing = [label for label in labels if label not in words]
    if missing:
        raise ConfigError(
            f"{path}: expected an entry for each word of the graph, found none for {_counted(missing)}; "
            f"{remedy}"
        )


def check_language_models(
    old_lm: Path,
    old_labels: Sequence[int],
    new_lm: Path,
    new_words: int,
    labels: Sequence[int],
    words: SymbolTable,
) -> None:
    """Checks the language models for rescoring; warns where the smaller one lacks words of the graph.

    Args:
        old_lm: ``G.fst``, for errors.
        old_labels: its output labels.
        new_lm: ``G.carpa``, for errors.
        new_words: the highest word of ``G.carpa`` plus one.
        labels: the output labels of the graph, which `check_words` has checked.
        words: the table of the graph's words.

    Raises:
        ConfigError: a model has words that the table does not have.
    """
    remedy = "use the language models that have the numbers of the graph's words.txt, or remove them"
    unmatched = set(labels)
    unknown = _without_symbol([label for label in old_labels if label not in unmatched], words)
    if unknown:
        raise ConfigError(
            f"{old_lm}: expected words of the graph's table, found {_counted(unknown, 'other')}; {remedy}"
        )
    if new_words > words.available_key():
        raise ConfigError(
            f"{new_lm}: expected words up to {words.available_key() - 1}, as in the graph's table, found "
            f"{new_words - 1}; {remedy}"
        )
    unmatched.difference_update(old_labels)
    if unmatched:
        logger.warning(
            "%s: there is no n-gram for %s of the graph; results with them are not rescored",
            old_lm,
            _counted(sorted(unmatched), "word"),
        )


def check_silence_phones(place: str, text: str, model: TransitionModel, *, are_needed: bool) -> None:
    """Warns of silence phones that the model does not have.

    Args:
        place: where the option is set, and its name, for messages.
        text: the phones, between colons.
        model: says which phones there are.
        are_needed: at least one of them must exist.

    Raises:
        ConfigError: none of the phones exists, and one is needed.
    """
    phones = parse_int_list(text, place)
    missing = sorted(set(phones).difference(phones_of(model)))
    if not missing:
        return
    there = f"the model has the phones {phones_of(model)[0]} to {phones_of(model)[-1]}"
    if are_needed and len(missing) == len(set(phones)):
        raise ConfigError(f"{place}: expected silence phones of the model, found {_some(missing)}; {there}")
    logger.warning("%s: there is no phone %s in the model; %s", place, _some(missing), there)


def _without_symbol(labels: Iterable[int], table: SymbolTable) -> list[int]:
    """Returns the labels that a table has no symbol for."""
    end = table.available_key()
    if table.num_symbols() == end:  # all numbers below it have one; large tables are mostly so
        return [label for label in labels if not 0 <= label < end]
    return list(itertools.filterfalse(table.member_index, labels))


def _counted(labels: Sequence[int], what: str = "") -> str:
    """Says how many labels there are, and which, as far as they are few."""
    counted = str(len(labels)) if not what else f"{len(labels)} {what}{'s' if len(labels) > 1 else ''}"
    return f"{counted} ({_some(labels)})"


def _some(labels: Sequence[int]) -> str:
    """The first labels."""
    return ", ".join(map(str, labels[:_MOST_NAMED])) + (", ..." if len(labels) > _MOST_NAMED else "")
