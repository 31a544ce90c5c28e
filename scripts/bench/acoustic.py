"""CPU seconds per second of audio of each part of the acoustic side, alone, for one and more streams.

The network is compared with what NumPy needs for its matrix products alone: the same sizes, one after the
other, in the same run, in turn with the network. Prints the least of several rounds.

Usage: acoustic.py [--model DIR[:GRAPH]] [--streams N ...] [--rounds N] [--part PART ...]
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# One thread for matrix products, as in a worker; it counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pykaldi_server.kaldi.feat import OnlineMatrixFeature
from pykaldi_server.kaldi.feat.online_feature import FloatFrames
from pykaldi_server.kaldi.nnet3 import DecodableNnetLoopedOnline, DecodableNnetSimpleLoopedInfo, LoopedStream
from pykaldi_server.kaldi.online2 import OnlineIvectorFeature, OnlineNnetFeaturePipeline
from pykaldi_server.kaldi.online2.base_feature import make_base_feature
from pykaldi_server.kaldi.util.table import read_wave
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics
from pykaldi_server.session.loading import read_source

ROOT = Path(__file__).resolve().parents[2]
FRAME_SHIFT_S = 0.01
LONG_RECORDING = ROOT / "tests" / "data" / "golden" / "long" / "long.wav"
QUANTUM_S = 0.05  # audio that a session takes at a time
MEMORY_STREAMS = 20
HOUR_MINUTES = 54  # the recording is 67 s long
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


def measure_network(acoustics: Nnet3Acoustics, num_streams: Sequence[int], rounds: int) -> None:
    """Prints the figures of the network."""
    info = acoustics.network
    chunk_s = info.frames_per_chunk * FRAME_SHIFT_S
    print(f"network: {info.frames_per_chunk} frames a chunk")
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


def speech(sample_rate_hz: int) -> FloatFrames:
    """A minute of speech, (samples,), float32."""
    recording = read_wave(LONG_RECORDING)
    assert recording.samp_freq == sample_rate_hz
    return recording.data()[0]


def run_features(acoustics: Nnet3Acoustics, samples: FloatFrames) -> None:
    """Computes the base features of a recording, quantum by quantum."""
    feature = make_base_feature(acoustics.features.feature_opts)
    step = int(QUANTUM_S * acoustics.sample_rate_hz)
    for begin in range(0, len(samples), step):
        feature.accept_waveform(acoustics.sample_rate_hz, samples[begin : begin + step])


def run_ivectors(acoustics: Nnet3Acoustics, features: OnlineMatrixFeature) -> None:
    """Computes an i-vector for each of the network's chunks from finished base features."""
    ivectors = OnlineIvectorFeature(acoustics.features.ivector_extractor_info, features)
    for frame in range(0, features.num_frames_ready(), acoustics.network.frames_per_chunk):
        ivectors.get_frame(frame)


def run_acoustics(acoustics: Nnet3Acoustics, samples: FloatFrames) -> None:
    """Does all that comes before the search, as a session does (but without silence weighting)."""
    pipeline = OnlineNnetFeaturePipeline(acoustics.features)
    decodable = acoustics.decodable(pipeline)
    step = int(QUANTUM_S * acoustics.sample_rate_hz)
    for begin in range(0, len(samples), step):
        pipeline.accept_waveform(acoustics.sample_rate_hz, samples[begin : begin + step])
        decodable.advance()


def measure_pipeline(acoustics: Nnet3Acoustics, num_streams: Sequence[int], rounds: int) -> None:
    """Prints the figures of features and i-vectors, and of everything before the search, for one stream."""
    samples = speech(acoustics.sample_rate_hz)
    audio_s = len(samples) / acoustics.sample_rate_hz
    base = make_base_feature(acoustics.features.feature_opts)
    base.accept_waveform(acoustics.sample_rate_hz, samples)
    frames = OnlineMatrixFeature(base.get_frames(0, base.num_frames_ready()))
    parts = {"features": lambda: run_features(acoustics, samples)}
    if acoustics.features.ivector_extractor_info is not None:
        parts["i-vectors"] = lambda: run_ivectors(acoustics, frames)
    parts["features + i-vectors + network"] = lambda: run_acoustics(acoustics, samples)
    for name, seconds in zip(parts, least_cpu_s(list(parts.values()), rounds), strict=True):
        print(f"{name}: {seconds / audio_s:.5f} CPU s per s of audio")


def measure_memory(acoustics: Nnet3Acoustics, num_streams: Sequence[int], rounds: int) -> None:
    """Prints what a further stream of a minute needs, and how an hour of audio in one stream grows."""
    samples = speech(acoustics.sample_rate_hz)
    step = int(QUANTUM_S * acoustics.sample_rate_hz)

    def advance(pipeline: OnlineNnetFeaturePipeline, decodable: DecodableNnetLoopedOnline) -> None:
        for begin in range(0, len(samples), step):
            pipeline.accept_waveform(acoustics.sample_rate_hz, samples[begin : begin + step])
            decodable.advance()

    def start() -> tuple[OnlineNnetFeaturePipeline, DecodableNnetLoopedOnline]:
        pipeline = OnlineNnetFeaturePipeline(acoustics.features)
        return pipeline, acoustics.decodable(pipeline)

    advance(*start())
    before = resident_mib()
    streams = [start() for _ in range(MEMORY_STREAMS)]
    for stream in streams:
        advance(*stream)
    print(f"memory: {(resident_mib() - before) / MEMORY_STREAMS:.2f} MiB a further stream")
    minutes = []
    for _ in range(HOUR_MINUTES):
        advance(*streams[0])
        minutes.append(resident_mib())
    print(
        f"  an hour of audio in one stream: {minutes[4]:.1f} MiB after 5 minutes, {minutes[-1]:.1f} at last"
    )


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


Part = Callable[[Nnet3Acoustics, Sequence[int], int], None]
PARTS: dict[str, Part] = {"network": measure_network, "pipeline": measure_pipeline, "memory": measure_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english") + ":graph-digits")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=["network", "pipeline"])
    args = parser.parse_args()
    acoustics = read_source(args.model, {}).acoustics
    if not isinstance(acoustics, Nnet3Acoustics):
        parser.error(f"{args.model} is no nnet3 model")
    print(f"{args.model}; {blas_kernel()}")
    for part in args.part:
        PARTS[part](acoustics, args.streams, args.rounds)


if __name__ == "__main__":
    main()
