"""Our search beside Kaldi's FasterDecoder (the package kaldi-decoder), on the same graph and log-likelihoods.

FasterDecoder finds the best path and nothing else. Ours keeps lattices, and shows the best path so far every
0.2 s; it is measured so, and with the lattice of each recording determinised. Both sides take turns, and the
least of several rounds counts. Fails if the words of the two sides differ.
Usage: faster_decoder.py [--model DIR:GRAPH] [--hclg HCLG.fst] [--rounds N] [--json FILE] [WAV ...]
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # counts when NumPy is imported

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.kaldi.fstext import DecodingGraph, read_decoding_graph
from pykaldi_server.kaldi.lat.functions import determinize_lattice_phone_pruned
from pykaldi_server.kaldi.util.table import read_wave
from pykaldi_server.session import Model

ROOT = Path(__file__).resolve().parents[2]
BLOCK_S = 0.2
THEIRS = "kaldi-decoder: best path"
BEST_PATHS, LATTICES = "ours: best paths, lattice kept", "ours: determinised lattices"

LogLikelihoods = list[NDArray[np.float32]]


def log_likelihoods(model: Model, paths: list[Path]) -> LogLikelihoods:
    """What the acoustic model finds in recordings: (frames, pdfs), times the acoustic scale, of each."""
    found: LogLikelihoods = []
    decode = LatticeFasterOnlineDecoder.advance_decoding

    def keep(decoder: LatticeFasterOnlineDecoder, loglikes: NDArray[np.float32]) -> None:
        blocks.append(np.array(loglikes))
        decode(decoder, loglikes)

    LatticeFasterOnlineDecoder.advance_decoding = keep
    try:
        for path in paths:
            wave = read_wave(path)
            blocks: list[NDArray[np.float32]] = []
            with model.session(sample_rate_hz=wave.samp_freq) as session:
                session.accept(wave.data()[0])
                session.finish()
            found.append(np.concatenate(blocks))
    finally:
        LatticeFasterOnlineDecoder.advance_decoding = decode
    return found


def ours(
    model: Model, graph: DecodingGraph, with_lattice: bool
) -> Callable[[NDArray[np.float32]], list[int]]:
    """Decodes with our search; returns word-ids."""
    acoustics = model.acoustics
    options = acoustics.search_options
    block = max(1, round(BLOCK_S / acoustics.frame_shift_s))

    def decode(loglikes: NDArray[np.float32]) -> list[int]:
        decoder = LatticeFasterOnlineDecoder(graph, options, acoustics.transition_model.id2pdf)
        for begin in range(0, len(loglikes), block):
            decoder.advance_decoding(loglikes[begin : begin + block])
            words = decoder.partial_words()
        if with_lattice:
            decoder.finalize_decoding()
            determinize_lattice_phone_pruned(
                decoder.get_raw_lattice(True),
                acoustics.transitions,
                options.lattice_beam,
                acoustics.determinizer_options,
            )
        return [int(word) for word in words]

    return decode


def theirs(model: Model, hclg: Path) -> Callable[[NDArray[np.float32]], list[int]]:
    """Decodes with FasterDecoder; returns word-ids. The scores of all transition-ids are laid out before."""
    import kaldi_decoder
    import kaldifst

    graph = kaldifst.StdConstFst.read(str(hclg)) or kaldifst.StdVectorFst.read(str(hclg))
    ours = model.acoustics.search_options
    options = kaldi_decoder.FasterDecoderOptions(
        beam=ours.beam,
        max_active=ours.max_active,
        min_active=ours.min_active,
        beam_delta=ours.beam_delta,
        hash_ratio=ours.hash_ratio,
    )

    def decode(scores: Any) -> list[int]:
        decoder = kaldi_decoder.FasterDecoder(graph, options)
        decoder.decode(scores)
        found, path = decoder.get_best_path()
        if not found:
            return []
        _, _, words, _ = kaldifst.get_linear_symbol_sequence(path)
        return [int(word) for word in words]

    return decode


def scores_of_transitions(model: Model, loglikes: NDArray[np.float32]) -> Any:
    """The same scores, one per transition-id, as FasterDecoder takes them."""
    import kaldi_decoder

    id2pdf = np.asarray(model.acoustics.transition_model.id2pdf)
    return kaldi_decoder.DecodableCtc(np.ascontiguousarray(loglikes[:, id2pdf[1:]]))


def measure(sides: dict[str, tuple[Callable, list]], rounds: int) -> dict[str, tuple[float, list[list[int]]]]:
    """The least CPU seconds of each side, and what it found."""
    best: dict[str, tuple[float, list[list[int]]]] = {}
    for _ in range(rounds):
        for side, (decode, inputs) in sides.items():
            begin_s = time.process_time()
            found = [decode(each) for each in inputs]
            cpu_s = time.process_time() - begin_s
            best[side] = min(best.get(side, (cpu_s, found)), (cpu_s, found), key=lambda each: each[0])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    demo = ROOT / "models" / "english"
    parser.add_argument("--model", default=f"{demo}:graph-digits", help="a model with its graph")
    parser.add_argument(
        "--hclg", type=Path, default=demo / "graph-digits" / "HCLG.fst", help="the same graph"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    paths = args.wav or sorted((ROOT / "tests" / "data" / "golden" / "wav").glob("*.wav"))
    model = Model.load(args.model)
    loglikes = log_likelihoods(model, paths)
    audio_s = sum(map(len, loglikes)) * model.frame_shift_s
    graph = read_decoding_graph(args.hclg)
    measured = measure(
        {
            THEIRS: (theirs(model, args.hclg), [scores_of_transitions(model, each) for each in loglikes]),
            BEST_PATHS: (ours(model, graph, False), loglikes),
            LATTICES: (ours(model, graph, True), loglikes),
        },
        args.rounds,
    )
    their_s, their_words = measured[THEIRS]
    print(f"search alone, {args.hclg.parent.name}, {audio_s:.1f} s of audio, CPU s per s")
    num_other = 0
    for side, (cpu_s, words) in measured.items():
        same = sum(a == b for a, b in zip(words, their_words, strict=True))
        print(
            f"  {side:32} {cpu_s / audio_s:.5f}   {their_s / cpu_s:5.2f} times as fast   "
            f"{same} of {len(words)} recordings with the same words"
        )
        num_other += len(words) - same
    if num_other:
        raise SystemExit("the words differ")
    if args.json:
        args.json.write_text(json.dumps({side: cpu_s / audio_s for side, (cpu_s, _) in measured.items()}))


if __name__ == "__main__":
    main()
