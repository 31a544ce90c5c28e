"""Lookahead graphs composed in the search beside the same graph compiled: time, memory, size.

Compiles the graph, then decodes every recording of a file of log-likelihoods with each form of it, each
in a process of its own: composed while nothing is known yet ("first"), composed by earlier utterances
("again"), compiled, and, if one is given, static as OpenFst has it. Usage:

    compose.py models/english/graph models/english/am/final.mdl tests/data/golden/general/loglikes.npz

with ``--hclg ../shared/golden/general/HCLG.fst`` for the static graph.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from search import Cost, decode, resident_mb

from pykaldi_server.kaldi.decoder import LatticeFasterDecoderOptions, LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import (
    CompiledGraph,
    DecodingGraph,
    LookaheadFst,
    compile_graph,
    read_decoding_graph,
    read_lookahead_graph,
)
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.util.io import KaldiReader

ROUNDS = 5


def private_mb() -> float:
    """Memory of this process that it shares with no other."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def load(path: Path) -> DecodingGraph:
    """Loads a graph in any form."""
    if path.is_dir():
        return read_lookahead_graph(path)
    return read_decoding_graph(path) if path.suffix == ".fst" else CompiledGraph.read(str(path))


def search_all(
    graph: DecodingGraph, args: argparse.Namespace, id2pdf: NDArray[np.int32], rounds: int
) -> float:
    """Decodes all recordings; returns CPU seconds per second of audio of the fastest round."""
    options = LatticeFasterDecoderOptions(
        beam=args.beam, max_active=args.max_active, lattice_beam=args.lattice_beam
    )
    costs = []
    with np.load(args.loglikes) as file:
        utterances = [file[name] for name in file.files]
    for _ in range(rounds):
        cost = Cost()
        for loglikes in utterances:
            decode(LatticeFasterOnlineDecoder(graph, options, id2pdf), loglikes, cost)
        costs.append(cost.cpu_s / cost.audio_s)
    return min(costs)


def measure(name: str, path: Path, args: argparse.Namespace) -> None:
    """Prints the lines of one form of the graph."""
    id2pdf = TransitionModel.read(KaldiReader.open(args.model)).id2pdf
    shared_before, private_before = resident_mb() - private_mb(), private_mb()
    start = time.process_time()
    graph = load(path)
    load_s = time.process_time() - start
    names = [f"{name}, first", f"{name}, again"] if isinstance(graph, LookaheadFst) else [name]
    for line in names:
        cpu = search_all(graph, args, id2pdf, 1 if line.endswith("first") else ROUNDS)
        private = private_mb() - private_before
        shared = resident_mb() - private_mb() - shared_before
        print(f"{line:16}{load_s:8.2f}{cpu:10.4f}{private:12.1f}{shared:10.1f}", flush=True)
    if isinstance(graph, LookaheadFst):
        print(f"{graph.num_visited_states():,} states in {graph.num_store_bytes() / 2**20:.1f} MB")


def compile_and_report(folder: Path, out: Path) -> None:
    """Compiles a graph and prints what that takes."""
    start, cpu = time.perf_counter(), time.process_time()
    most_mb = 0.0

    def progress(_what: str, _done: int, _total: int) -> None:
        nonlocal most_mb
        most_mb = max(most_mb, private_mb())

    compile_graph(folder, out, progress)
    graph = CompiledGraph.read(str(out))
    size = out.stat().st_size
    plain = 20 * graph.num_states() + 16 * graph.num_arcs()
    print(f"{graph.num_states():,} states, {graph.num_arcs():,} arcs, {size / 1e6:.1f} MB on disk,")
    print(f"{100 * size / plain:.0f} % of a const FST, {size / graph.num_arcs():.1f} bytes an arc;")
    print(
        f"compiled in {time.perf_counter() - start:.1f} s ({time.process_time() - cpu:.1f} s of the CPU) "
        f"with up to {most_mb:.0f} MB of private memory"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="folder with HCLr.fst and Gr.fst")
    parser.add_argument("model", type=Path, help="final.mdl, for its transition-ids")
    parser.add_argument("loglikes", type=Path, help=".npz with (frames, pdfs) for each recording")
    parser.add_argument("--hclg", type=Path, help="the same graph, composed by OpenFst")
    parser.add_argument("--beam", type=float, default=13.0)
    parser.add_argument("--max-active", type=int, default=7000)
    parser.add_argument("--lattice-beam", type=float, default=6.0)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "composed.graph"
        run(compile_and_report, args.graph, out)
        print("graph             load s   CPU s/s  private MB shared MB", flush=True)
        run(measure, "composed", args.graph, args)
        run(measure, "compiled", out, args)
        if args.hclg is not None:
            run(measure, "static", args.hclg, args)


def run(function: object, *args: object) -> None:
    """Calls a function in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
