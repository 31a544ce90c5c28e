"""From the search of a segment to results: transcripts, costs, times and confidences.

The best paths of the segment's lattice, determinised and perhaps rescored, are the hypotheses. Word times and
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
)
from pykaldi_server.kaldi.lat.functions import get_linear_symbol_sequence, nbest
from pykaldi_server.kaldi.lat.sausages import MinimumBayesRisk, MinimumBayesRiskOptions
from pykaldi_server.session.events import AlignedPhone, AlignedWord, Final, Hypothesis, Partial, shifted
from pykaldi_server.session.model_parts import ModelParts
from pykaldi_server.session.options import SessionOptions

__all__ = ["ResultMaker"]

logger = logging.getLogger(__name__)

_NO_SCALES = (1.0, 1.0)
_KEEP_WORDS = MinimumBayesRiskOptions(decode_mbr=False)


class ResultMaker:
    """Makes the results of one session, as its options ask for them."""

    def __init__(self, parts: ModelParts, options: SessionOptions):
        """Takes the model that segments are decoded with, and the session's options."""
        self._parts = parts
        self._options = options
        # Whether final results may have other words than the best path of the search.
        self._weighs_again = (
            parts.acoustics.rescores_segments
            or parts.rescorer is not None
            or options.decode_mbr
            or self._scales() != _NO_SCALES
        )

    def transcript(self, words: NDArray[np.int32] | Sequence[int]) -> str:
        """Joins the symbols of words by single spaces."""
        return " ".join(self._parts.words.find_symbol(int(word)) for word in words)

    def final(
        self, segment: int, start_s: float, length_s: float, lattice: CompactLatticeVectorFst
    ) -> Final | None:
        """Makes the result of a segment that has ended.

        Args:
            segment: number of the segment.
            start_s: where it starts in the stream.
            length_s: how long it is.
            lattice: its determinised lattice, which may be changed.

        Returns:
            Up to ``num-nbest`` hypotheses, the best one first; None if no words were recognised.
        """
        hypotheses = self._hypotheses(lattice)
        if not hypotheses or not hypotheses[0].transcript:
            return None
        return Final(segment, start_s, length_s, start_s + length_s, hypotheses)

    def partial(
        self,
        segment: int,
        start_s: float,
        words: NDArray[np.int32],
        num_stable_words: int,
        lattice: CompactLatticeVectorFst | None = None,
    ) -> Partial:
        """Makes the result of a segment that goes on.

        Args:
            segment: number of the segment.
            start_s: where it starts in the stream.
            words: the best path so far, (n,), int32.
            num_stable_words: how many of the first of them will not change.
            lattice: the determinised lattice so far, which may be changed, to add times and confidences.
        """
        aligned_words: tuple[AlignedWord, ...] = ()
        if lattice is not None:
            self._scale(lattice)
            aligned, has_times = self._align(lattice, logging.DEBUG)  # the last word may be cut off
            if has_times:
                aligned_words = shifted(self._align_words(aligned, words.tolist()), start_s)
        stable_prefix = self.transcript(words[:num_stable_words])
        final_prefix = "" if self._weighs_again else stable_prefix
        return Partial(segment, self.transcript(words), aligned_words, start_s, stable_prefix, final_prefix)

    def _hypotheses(self, lattice: CompactLatticeVectorFst) -> tuple[Hypothesis, ...]:
        if self._parts.rescorer is not None:
            lattice = self._parts.rescorer.rescore(lattice)
        self._scale(lattice)
        aligned, has_times = self._align(lattice) if self._options.do_word_alignment else (lattice, False)
        hypotheses = []
        for rank, path in enumerate(nbest(lattice, self._options.num_nbest)):
            _, words, weight = get_linear_symbol_sequence(path)
            if self._options.decode_mbr and rank == 0:
                words = MinimumBayesRisk(aligned).get_one_best()
            aligned_words = self._align_words(aligned, words) if self._options.do_word_alignment else ()
            confidences = [word.confidence for word in aligned_words]
            hypotheses.append(
                Hypothesis(
                    transcript=self.transcript(words),
                    likelihood=-(weight.value1 + weight.value2),
                    confidence=sum(confidences) / len(confidences) if confidences else None,
                    words=aligned_words if has_times else (),
                    phones=self._align_phones(lattice, path) if self._options.do_phone_alignment else (),
                )
            )
        return tuple(hypotheses)

    def _scale(self, lattice: CompactLatticeVectorFst) -> None:
        """Applies the scales that the options ask for."""
        if self._scales() != _NO_SCALES:
            lattice.scale(*self._scales())

    def _scales(self) -> tuple[float, float]:
        """The scales of graph costs and of acoustic costs."""
        acoustic_scale = 1.0 / self._parts.acoustics.acoustic_scale if self._options.inverse_scale else 1.0
        return self._options.lmwt_scale, acoustic_scale

    def _align(
        self, lattice: CompactLatticeVectorFst, failure_level: int = logging.WARNING
    ) -> tuple[CompactLatticeVectorFst, bool]:
        """Aligns a lattice with words if possible; returns whether its times are those of words."""
        if self._parts.word_aligner is None:
            return lattice, False
        complete, aligned = self._parts.word_aligner.align(lattice, self._parts.transitions)
        if aligned.num_states() == 0:
            logger.log(failure_level, "a lattice could not be aligned with words; its result has no times")
            return lattice, False
        if not complete:
            logger.debug("a word at the end of a segment is not complete")
        return aligned, True

    def _align_words(self, aligned: CompactLatticeVectorFst, words: Sequence[int]) -> tuple[AlignedWord, ...]:
        """Times and confidences of the words of a hypothesis; the times are right in an aligned lattice."""
        if not words:
            return ()
        statistics = MinimumBayesRisk(aligned, _KEEP_WORDS, words)
        shift_s = self._parts.frame_shift_s
        return tuple(
            AlignedWord(
                self._parts.words.find_symbol(word), begin * shift_s, (end - begin) * shift_s, confidence
            )
            for word, (begin, end), confidence in zip(
                statistics.get_one_best(),
                statistics.get_one_best_times(),
                statistics.get_one_best_confidences(),
                strict=True,
            )
        )

    def _align_phones(
        self, lattice: CompactLatticeVectorFst, path: CompactLatticeVectorFst
    ) -> tuple[AlignedPhone, ...]:
        """Times of the phones of a hypothesis, and how probable each is among the lattice's phones."""
        timed = phone_alignment(path, self._parts.transitions)
        _, phones = phone_align_lattice(
            lattice, self._parts.transitions, PhoneAlignLatticeOptions(replace_output_symbols=True)
        )
        statistics = MinimumBayesRisk(phones, _KEEP_WORDS, [phone for phone, _, _ in timed])
        shift_s = self._parts.frame_shift_s
        return tuple(
            AlignedPhone(self._phone_symbol(phone), first * shift_s, frames * shift_s, confidence)
            for (phone, first, frames), confidence in zip(
                timed, statistics.get_one_best_confidences(), strict=True
            )
        )

    def _phone_symbol(self, phone: int) -> str:
        return str(phone) if self._parts.phones is None else self._parts.phones.find_symbol(phone)
