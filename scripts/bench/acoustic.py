"""CPU seconds per second of audio of each part of the acoustic side, alone, for one and more streams.

The network is compared with what NumPy needs for its matrix products alone: the same sizes, one after the
other, in the same run, in turn with the network. Prints the least of several rounds.

Usage: acoustic.py [--model FILE.mdl] [--streams N ...] [--rounds N] [--part PART ...]
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# One thread for matrix products, as in a worker; it counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet3 import (
    AmNnetSimple,
    DecodableNnetSimpleLoopedInfo,
    LoopedStream,
    NnetSimpleLoopedComputationOptions,
)
from pykaldi_server.kaldi.util.io import KaldiReader

ROOT = Path(__file__).resolve().parents[2]
FRAME_SHIFT_S = 0.01
ROUND_S = 0.3  # CPU time of one round of one measurement


def blas_kernel() -> str:
    """Says which library and which kernel multiplies matrices, and with how many threads."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "BLAS unknown (threadpoolctl is not installed)"
    libraries = [entry for entry in threadpool_info() if entry["user_api"] == "blas"]
    return ", ".join(
        f"{entry['internal_api']} {entry['version']}, kernel {entry.get('architecture')}, "
        f"{entry['num_threads']} thread(s)"
        for entry in libraries
    )


def least_cpu_s(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Returns the least CPU time of a call of each, measured in turn so that load hits all alike."""
    repeats = []
    for call in calls:
        start = time.process_time()
        call()
        repeats.append(max(1, int(ROUND_S / max(time.process_time() - start, 1e-5))))
    least = [float("inf")] * len(calls)
    for _ in range(rounds):
        for place, (call, repeat) in enumerate(zip(calls, repeats, strict=True)):
            start = time.process_time()
            for _ in range(repeat):
                call()
            least[place] = min(least[place], (time.process_time() - start) / repeat)
    return least


def plain_products(products: Sequence[tuple[int, int, int]]) -> Callable[[], None]:
    """Returns a function that multiplies matrices of these sizes, (rows, inner, columns), one after the
    other."""
    random = np.random.default_rng(0)
    operands = []
    for rows, inner, columns in products:
        x = random.standard_normal((rows, inner), np.float32)
        weight = random.standard_normal((columns, inner), np.float32)
        operands.append((x, weight.T, np.empty((rows, columns), np.float32)))

    def multiply() -> None:
        for x, weight, y in operands:
            np.matmul(x, weight, y)

    return multiply


def running_network(info: DecodableNnetSimpleLoopedInfo, num_streams: int) -> Callable[[], object]:
    """Returns a function that computes the next chunk of some streams, which are past their first chunks."""
    random = np.random.default_rng(0)
    streams = [LoopedStream(info) for _ in range(num_streams)]
    ivectors = [random.standard_normal(info.ivector_dim, np.float32) for _ in streams]

    def chunk() -> None:
        begin, end = info.input_frames(streams[0].chunks)
        info.compute_chunks(streams, [features[: end - begin]] * num_streams, ivectors)

    begin, end = info.input_frames(0)
    features = random.standard_normal((end - begin, info.input_dim), np.float32)
    for _ in range(10):
        chunk()
    return chunk


def measure_network(model: Path, num_streams: Sequence[int], rounds: int) -> None:
    """Prints the figures of the network."""
    reader = KaldiReader.open(model)
    TransitionModel.read(reader)
    start = time.process_time()
    options = NnetSimpleLoopedComputationOptions(frame_subsampling_factor=3, acoustic_scale=1.0)
    info = DecodableNnetSimpleLoopedInfo(options, AmNnetSimple.read(reader))
    load_s = time.process_time() - start
    chunk_s = info.frames_per_chunk * FRAME_SHIFT_S
    print(f"network: {info.frames_per_chunk} frames a chunk, ready after {load_s:.2f} CPU s")
    for streams in num_streams:
        products = info.matrix_products(streams)
        operations = 2e-9 * sum(rows * inner * columns for rows, inner, columns in products)
        network_s, plain_s = least_cpu_s([running_network(info, streams), plain_products(products)], rounds)
        print(
            f"  {streams:2} streams  {network_s / streams / chunk_s:.5f} CPU s per s of audio and stream  "
            f"{operations / network_s:6.1f} GFLOP/s, plain products {operations / plain_s:6.1f} GFLOP/s: "
            f"{network_s / plain_s:.2f} times their time"
        )
    stream = LoopedStream(info)
    for _ in range(10):
        begin, end = info.input_frames(stream.chunks)
        stream.compute_chunk(np.zeros((end - begin, info.input_dim), np.float32), None)
    print(f"  a stream keeps {sum(array.nbytes for array in stream.state) / 1024:.1f} KiB")


PARTS: dict[str, Callable[[Path, Sequence[int], int], None]] = {"network": measure_network}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "english" / "am" / "final.mdl")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS))
    args = parser.parse_args()
    print(f"{args.model}; {blas_kernel()}")
    for part in args.part:
        PARTS[part](args.model, args.streams, args.rounds)


if __name__ == "__main__":
    main()
