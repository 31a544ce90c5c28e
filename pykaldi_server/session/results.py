"""From the lattice of a segment to hypotheses: transcripts, costs, times and confidences.

The best paths of the lattice, determinised and perhaps rescored, are the hypotheses. Word times and
confidences come from minimum Bayes risk statistics over the lattice, with the words of the hypothesis kept
(as the original's plugin does), so that a confidence is the probability of the word at its place.
"""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.lat import CompactLatticeVectorFst
from pykaldi_server.kaldi.lat.align import (
    PhoneAlignLatticeOptions,
    phone_align_lattice,
    phone_alignment,
    word_align_lattice,
)
from pykaldi_server.kaldi.lat.functions import get_linear_symbol_sequence, nbest
from pykaldi_server.kaldi.lat.sausages import MinimumBayesRisk, MinimumBayesRiskOptions
from pykaldi_server.session.events import AlignedPhone, AlignedWord, Hypothesis
from pykaldi_server.session.model import Model

logger = logging.getLogger(__name__)

_KEEP_WORDS = MinimumBayesRiskOptions(decode_mbr=False)


def transcript(model: Model, words: NDArray[np.int32] | Sequence[int]) -> str:
    """Joins the symbols of words by single spaces."""
    return " ".join(model.words.find_symbol(int(word)) for word in words)


def final_hypotheses(model: Model, lattice: CompactLatticeVectorFst) -> tuple[Hypothesis, ...]:
    """Makes the hypotheses of a segment.

    Args:
        model: the model that the segment was decoded with.
        lattice: the determinised lattice; it may be changed.

    Returns:
        Up to ``num-nbest`` hypotheses, the best first; none where nothing was decoded.
    """
    if model.rescorer is not None:
        lattice = model.rescorer.rescore(lattice)
    _scale(model, lattice)
    aligned, has_times = _align(model, lattice)
    paths = nbest(lattice, model.options.num_nbest)
    hypotheses = []
    for rank, path in enumerate(paths):
        _, words, weight = get_linear_symbol_sequence(path)
        if model.options.decode_mbr and rank == 0:
            words = MinimumBayesRisk(aligned).get_one_best()
        aligned_words = _align_words(model, aligned, words)
        confidences = [word.confidence for word in aligned_words]
        hypotheses.append(
            Hypothesis(
                transcript=transcript(model, words),
                likelihood=-(weight.value1 + weight.value2),
                confidence=sum(confidences) / len(confidences) if confidences else None,
                words=aligned_words if has_times else (),
                phones=_align_phones(model, lattice, path) if model.options.do_phone_alignment else (),
            )
        )
    return tuple(hypotheses)


def _align(model: Model, lattice: CompactLatticeVectorFst) -> tuple[CompactLatticeVectorFst, bool]:
    """Aligns a lattice with words where that is possible; tells whether its times are those of words."""
    if model.word_boundary is None:
        return lattice, False
    complete, aligned = word_align_lattice(lattice, model.transitions, model.word_boundary)
    if aligned.num_states() == 0:
        logger.warning("a lattice could not be aligned with words; its result has no times")
        return lattice, False
    if not complete:
        logger.debug("a word at the end of a segment is not complete")
    return aligned, True


def _scale(model: Model, lattice: CompactLatticeVectorFst) -> None:
    """Applies the scales that the options ask for."""
    acoustic_scale = 1.0 / model.acoustics.acoustic_scale if model.options.inverse_scale else 1.0
    if (model.options.lmwt_scale, acoustic_scale) != (1.0, 1.0):
        lattice.scale(model.options.lmwt_scale, acoustic_scale)


def _align_words(
    model: Model, aligned: CompactLatticeVectorFst, words: Sequence[int]
) -> tuple[AlignedWord, ...]:
    """Times and confidences of the words of a hypothesis; the times mean something in an aligned lattice."""
    if not words:
        return ()
    statistics = MinimumBayesRisk(aligned, _KEEP_WORDS, words)
    return tuple(
        AlignedWord(
            model.words.find_symbol(word),
            begin * model.frame_shift_s,
            (end - begin) * model.frame_shift_s,
            confidence,
        )
        for word, (begin, end), confidence in zip(
            statistics.get_one_best(),
            statistics.get_one_best_times(),
            statistics.get_one_best_confidences(),
            strict=True,
        )
    )


def _align_phones(
    model: Model, lattice: CompactLatticeVectorFst, path: CompactLatticeVectorFst
) -> tuple[AlignedPhone, ...]:
    """Times of the phones of a hypothesis, and how probable each is among the lattice's phones."""
    timed = phone_alignment(path, model.transitions)
    _, phones = phone_align_lattice(
        lattice, model.transitions, PhoneAlignLatticeOptions(replace_output_symbols=True)
    )
    statistics = MinimumBayesRisk(phones, _KEEP_WORDS, [phone for phone, _, _ in timed])
    return tuple(
        AlignedPhone(
            model.phones.find_symbol(phone) if model.phones is not None else str(phone),
            first * model.frame_shift_s,
            frames * model.frame_shift_s,
            confidence,
        )
        for (phone, first, frames), confidence in zip(
            timed, statistics.get_one_best_confidences(), strict=True
        )
    )
