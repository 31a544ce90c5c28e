"""CPU milliseconds of what follows the search: lattice, rescoring, n-best list, times, confidences.

Decodes every recording of a file of log-likelihoods, then does each step several times and prints the least.
Usage:

    golden=../shared/golden/general
    lattices.py $golden/HCLG.fst models/english $golden/loglikes.npz --lattice-beam 6
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.lat.align import (
    WordBoundaryInfo,
    WordBoundaryInfoNewOpts,
    phone_alignment,
    word_align_lattice,
)
from pykaldi_server.kaldi.lat.functions import determinize_lattice_phone_pruned, nbest, transition_information
from pykaldi_server.kaldi.lat.sausages import MinimumBayesRisk, MinimumBayesRiskOptions
from pykaldi_server.kaldi.lm import (
    lattice_lmrescore,
    lattice_lmrescore_const_arpa,
    read_backoff_lm,
    read_const_arpa,
)
from pykaldi_server.kaldi.util.io import KaldiReader

FRAME_SHIFT_S = 0.03
ROUNDS = 5
NUM_PATHS = 10
KEEP_WORDS = MinimumBayesRiskOptions(decode_mbr=False)

T = TypeVar("T")


def least_ms(work: Callable[[], T]) -> tuple[T, float]:
    """The result of some work, and the least CPU time of several rounds of it."""
    times_ms = []
    for _ in range(ROUNDS):
        start = time.process_time()
        result = work()
        times_ms.append((time.process_time() - start) * 1e3)
    return result, min(times_ms)


def main() -> None:
    """Prints a line for each recording."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graph", type=Path, help="HCLG.fst, a static graph")
    parser.add_argument("model", type=Path, help="folder of the model (am, graph/phones, rescore)")
    parser.add_argument("loglikes", type=Path, help="log-likelihoods of recordings (.npz)")
    parser.add_argument("--lattice-beam", type=float, default=6.0)
    args = parser.parse_args()

    trans_model = TransitionModel.read(KaldiReader.open(args.model / "am/final.mdl"))
    transitions = transition_information(trans_model)
    boundaries = WordBoundaryInfo.from_file(
        WordBoundaryInfoNewOpts(), args.model / "graph/phones/word_boundary.int"
    )
    old_lm = read_backoff_lm(args.model / "rescore/G.fst")
    new_lm = read_const_arpa(args.model / "rescore/G.carpa")
    options = LatticeFasterDecoderOptions(beam=13.0, max_active=7000, lattice_beam=args.lattice_beam)
    decoder = LatticeFasterOnlineDecoder(read_decoding_graph(args.graph), options, trans_model.id2pdf)

    steps = ["determinize", "rescore", "nbest", "align", "confidences", "phones"]
    print(
        f"{'audio s':>8} {'raw arcs':>9} {'arcs':>6} " + " ".join(f"{step:>11}" for step in steps) + "   (ms)"
    )
    loglikes = np.load(args.loglikes)
    for name in loglikes.files:
        decoder.init_decoding()
        decoder.advance_decoding(loglikes[name])
        decoder.finalize_decoding()
        raw = decoder.get_raw_lattice()
        costs_ms = []
        clat, cost_ms = least_ms(
            lambda raw=raw: determinize_lattice_phone_pruned(raw, transitions, args.lattice_beam)
        )
        costs_ms.append(cost_ms)
        clat, cost_ms = least_ms(
            lambda clat=clat: lattice_lmrescore_const_arpa(lattice_lmrescore(clat, old_lm, -1.0), new_lm, 1.0)
        )
        costs_ms.append(cost_ms)
        paths, cost_ms = least_ms(lambda clat=clat: nbest(clat, NUM_PATHS))
        costs_ms.append(cost_ms)
        (_, aligned), cost_ms = least_ms(lambda clat=clat: word_align_lattice(clat, transitions, boundaries))
        costs_ms.append(cost_ms)
        costs_ms.append(least_ms(lambda aligned=aligned: MinimumBayesRisk(aligned, KEEP_WORDS))[1])
        costs_ms.append(least_ms(lambda paths=paths: phone_alignment(paths[0], transitions))[1])
        print(
            f"{len(loglikes[name]) * FRAME_SHIFT_S:8.2f} {raw.num_arcs():9} {clat.num_arcs():6} "
            + " ".join(f"{cost:11.3f}" for cost in costs_ms)
        )


if __name__ == "__main__":
    main()
