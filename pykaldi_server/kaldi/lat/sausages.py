"""Word confidences and minimum Bayes risk decoding (``lat/sausages.cc``).

`MinimumBayesRisk` aligns all paths of a lattice with one word sequence and so finds, for each of its
words, how probable it is (the confidence), its mean times, and the alternatives (the sausage). With
``decode_mbr`` it also changes the words to those with the fewest expected errors. The algorithm is
described in ``csrc/lat/sausages.h``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pykaldi_server.kaldi import _core
from pykaldi_server.kaldi._core import CompactLatticeVectorFst
from pykaldi_server.kaldi.util.options import Options, option

__all__ = ["MinimumBayesRisk", "MinimumBayesRiskOptions"]


@dataclass
class MinimumBayesRiskOptions(Options):
    """Options of `MinimumBayesRisk`."""

    decode_mbr: bool = option(
        True, "do Minimum Bayes Risk decoding; otherwise the words are those of the best path"
    )
    print_silence: bool = option(False, "keep the positions where most paths have no word (word 0)")

    def validate(self) -> None:
        """There is nothing to check."""


class MinimumBayesRisk(_core.MinimumBayesRisk):
    """Does the whole computation when it is made; the methods only return results.

    Methods (lists have one element for each word of the output, or each position of the sausage):
        get_one_best: the words.
        get_one_best_times: (begin, end) of each word, in decoder frames, with fractions.
        get_one_best_confidences: probability of each word, 0 to 1.
        get_bayes_risk: expected number of word errors.
        get_sausage_stats: for each position the (word, probability) pairs by descending probability; word 0
            is no word.
        get_sausage_times: (begin, end) of each position.
        get_times: for each position the (begin, end) of each of its words.
    """

    def __init__(
        self,
        clat: CompactLatticeVectorFst,
        opts: MinimumBayesRiskOptions | None = None,
        words: Sequence[int] | None = None,
    ):
        """Computes everything.

        Args:
            clat: a lattice with the acoustic scale applied. Times are those of words when it is aligned with
                words; it is not changed.
            opts: None for the defaults.
            words: the words to start from, or to compute confidences of; None takes the best path.

        Raises:
            LatticeError: the lattice has a cycle or no complete path.
        """
        opts = opts or MinimumBayesRiskOptions()
        super().__init__(clat, None if words is None else list(words), opts.decode_mbr, opts.print_silence)
