"""Word confidences and minimum Bayes risk decoding (``lat/sausages.cc``).

`MinimumBayesRisk` aligns all paths of a lattice with one word sequence. This gives the probability of each
word (its confidence), its mean times, and the alternatives (the sausage). With ``decode_mbr`` it also changes
the words to those with the fewest expected errors. ``csrc/lat/sausages.h`` describes the algorithm.
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
        True, "Choose the words with the fewest expected errors; otherwise use those of the best path."
    )
    print_silence: bool = option(False, "Keep positions where most paths have no word (word 0).")


class MinimumBayesRisk(_core.MinimumBayesRisk):
    """Computes everything on creation; the methods only return results.

    Methods (lists have one element per word of the output, or per position of the sausage):
        get_one_best: the words.
        get_one_best_times: (begin, end) of each word in decoder frames, with fractions.
        get_one_best_confidences: probability of each word, from 0 to 1.
        get_bayes_risk: expected number of word errors.
        get_sausage_stats: the (word, probability) pairs of each position by descending probability; word 0
            means no word.
        get_sausage_times: (begin, end) of each position.
        get_times: (begin, end) of each word of each position.
    """

    def __init__(
        self,
        clat: CompactLatticeVectorFst,
        opts: MinimumBayesRiskOptions | None = None,
        words: Sequence[int] | None = None,
    ):
        """Computes everything.

        Args:
            clat: a lattice with the acoustic scale applied; it is not modified. Times are those of words if
                it is aligned with words.
            opts: None for the defaults.
            words: the words to start from, or whose confidences to compute; None for those of the best path.

        Raises:
            LatticeError: the lattice has a cycle or no complete path.
        """
        opts = opts or MinimumBayesRiskOptions()
        super().__init__(clat, None if words is None else list(words), opts.decode_mbr, opts.print_silence)
