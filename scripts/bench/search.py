"""CPU seconds per second of audio of the search alone, tokens and arcs per second, and memory.

Every recording of a file of log-likelihoods is an utterance: decoded in blocks as a stream brings them, with
partial results after each block, and finalized. Prints the least of several rounds for each beam; with
``--minutes`` also decodes so much audio without a break, to show that memory stays flat. Usage:

    golden=../shared/golden/general
    search.py $golden/HCLG.fst models/english/am/final.mdl $golden/loglikes.npz

A graph that ``pykaldi-server model compile`` has made, ``.graph``, does as well.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import CompiledGraph, StdConstFst, read_decoding_graph
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader

BLOCK_FRAMES = 7
FRAME_SHIFT_S = 0.03
ROUNDS = 5


@dataclass
class Cost:
    """What decoding has cost."""

    cpu_s: float = 0.0
    audio_s: float = 0.0
    tokens: int = 0
    arcs: int = 0

    def row(self) -> str:
        """The figures of one line."""
        return (
            f"{self.cpu_s / self.audio_s:10.5f} {self.tokens / self.cpu_s / 1e6:10.2f} "
            f"{self.arcs / self.cpu_s / 1e6:10.2f} {self.tokens / self.audio_s * FRAME_SHIFT_S:10.0f} "
            f"{resident_mb():8.1f}"
        )


def resident_mb() -> float:
    """Memory of this process, mapped pages of the graph included."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def load(path: Path) -> StdConstFst | CompiledGraph:
    """Loads a static or a compiled graph."""
    return CompiledGraph.read(str(path)) if path.suffix == ".graph" else read_decoding_graph(path)


def decode(decoder: LatticeFasterOnlineDecoder, loglikes: NDArray[np.float32], cost: Cost) -> None:
    """Decodes one utterance and adds what it costs."""
    start = time.process_time()
    decoder.init_decoding()
    for begin in range(0, len(loglikes), BLOCK_FRAMES):
        decoder.advance_decoding(loglikes[begin : begin + BLOCK_FRAMES])
        decoder.partial_words()
    statistics = decoder.statistics()
    decoder.finalize_decoding()
    decoder.get_best_path()
    cost.cpu_s += time.process_time() - start
    cost.audio_s += len(loglikes) * FRAME_SHIFT_S
    cost.tokens += statistics.num_tokens
    cost.arcs += statistics.num_arcs


def measure(decoder: LatticeFasterOnlineDecoder, utterances: list[NDArray[np.float32]]) -> Cost:
    """Decodes all utterances several times; the fastest time counts."""
    costs = []
    for _ in range(ROUNDS):
        costs.append(Cost())
        for loglikes in utterances:
            decode(decoder, loglikes, costs[-1])
    return min(costs, key=lambda cost: cost.cpu_s)


def endless(decoder: LatticeFasterOnlineDecoder, utterances: list[NDArray[np.float32]]) -> Iterator[Cost]:
    """Decodes the utterances again and again; yields the sums after each minute of audio."""
    cost, minutes = Cost(), 0
    while True:
        for loglikes in utterances:
            decode(decoder, loglikes, cost)
            if cost.audio_s >= 60 * (minutes + 1):
                minutes += 1
                yield cost


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="HCLG.fst, or a compiled .graph")
    parser.add_argument("model", type=Path, help="final.mdl, for its transition-ids")
    parser.add_argument("loglikes", type=Path, help=".npz with (frames, pdfs) for each recording")
    parser.add_argument("--beams", default="10,13,16")
    parser.add_argument("--max-active", type=int, default=7000)
    parser.add_argument("--lattice-beam", type=float, default=6.0)
    parser.add_argument("--minutes", type=int, default=0, help="then decode so much audio without a break")
    args = parser.parse_args()

    empty_mb = resident_mb()
    graph = load(args.graph)
    id2pdf = TransitionModel.read(KaldiReader.open(args.model)).id2pdf
    with np.load(args.loglikes) as file:
        utterances = [file[name] for name in file.files]
    print(f"{args.graph}: {graph.num_states()} states, {graph.num_arcs()} arcs")
    print(f"before loading {empty_mb:.1f} MB, loaded {resident_mb():.1f} MB")
    print("  beam  CPU s/s   M tokens/s  M arcs/s  tokens/frame  MB")
    for beam in map(float, args.beams.split(",")):
        options = LatticeFasterDecoderOptions(
            beam=beam, max_active=args.max_active, lattice_beam=args.lattice_beam
        )
        decoder = LatticeFasterOnlineDecoder(graph, options, id2pdf)
        print(f"{beam:6.1f}", measure(decoder, utterances).row())
    for minute, cost in zip(range(1, args.minutes + 1), endless(decoder, utterances), strict=False):
        if minute % 10 == 0 or minute == args.minutes:
            print(f"after {minute} min:", cost.row())


if __name__ == "__main__":
    main()
