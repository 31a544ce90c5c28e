"""CPU seconds per second of audio of each part of the acoustic side, alone.

The network is measured with all kinds of kernels that the processor can run, and compared with its matrix
products alone, and with what NumPy needs for those: the same sizes, one after the other, in the same run, in
turn with the network. Prints the least of several rounds.

Usage: acoustic.py [--model DIR[:GRAPH]] [--rounds N] [--part PART ...]
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# One thread for the products of NumPy, with which ours are compared; counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pykaldi_server.kaldi._core import PackedProduct, available_cpu_kernels, default_cpu_kernels
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
    """Says which library and which kernel multiplies NumPy's matrices, and with how many threads."""
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


def plain_products(products: Sequence[tuple[int, int, int]], kernels: str | None) -> Callable[[], None]:
    """Returns a function that multiplies matrices of these sizes, (rows, inner, columns), one after the
    other, with packed matrices and these kernels, or (None) as NumPy does."""
    random = np.random.default_rng(0)
    operands = []
    for rows, inner, columns in products:
        x = random.standard_normal((rows, inner), np.float32)
        weight = random.standard_normal((columns, inner), np.float32)
        packed = None if kernels is None else PackedProduct(weight, kernels=kernels)
        operands.append((x, weight.T, packed, np.empty((rows, columns), np.float32)))

    def multiply() -> None:
        for x, weight, packed, y in operands:
            if packed is None:
                np.matmul(x, weight, y)
            else:
                packed.multiply(x)

    return multiply


def running_network(info: DecodableNnetSimpleLoopedInfo) -> Callable[[], object]:
    """Returns a function that computes the next chunk of a stream, which is past its first chunks."""
    random = np.random.default_rng(0)
    stream = LoopedStream(info)
    ivector = random.standard_normal(info.ivector_dim, np.float32)

    def chunk() -> None:
        begin, end = info.input_frames(stream.chunks)
        stream.compute_chunk(features[: end - begin], ivector)

    begin, end = info.input_frames(0)
    features = random.standard_normal((end - begin, info.input_dim), np.float32)
    for _ in range(10):
        chunk()
    return chunk


def measure_network(model: str, rounds: int) -> None:
    """Prints the figures of the network."""
    names = available_cpu_kernels()
    infos = []
    for name in names:
        os.environ["PYKALDI_SERVER_KERNELS"] = name
        infos.append(read_acoustics(model).network)
    del os.environ["PYKALDI_SERVER_KERNELS"]
    products = infos[0].matrix_products
    chunk_s = infos[0].frames_per_chunk * FRAME_SHIFT_S
    multiply_adds = sum(rows * inner * columns for rows, inner, columns in products)
    print(f"network: {infos[0].frames_per_chunk} frames a chunk, {multiply_adds / 1e6:.1f} M multiply-adds")
    calls = [running_network(info) for info in infos]
    calls += [plain_products(products, name) for name in [*names, None]]
    seconds = least_cpu_s(calls, rounds)
    for name, network_s, plain_s in zip(names, seconds, seconds[len(names) :], strict=False):
        print(
            f"  {name:8}  {network_s / chunk_s:.5f} CPU s per s of audio, "
            f"{multiply_adds / network_s / 1e9:5.1f} GMAC/s; products alone "
            f"{multiply_adds / plain_s / 1e9:5.1f}, NumPy's "
            f"{multiply_adds / seconds[-1] / 1e9:5.1f}"
        )
    stream = LoopedStream(infos[-1])
    for _ in range(10):
        begin, end = stream.info.input_frames(stream.chunks)
        stream.compute_chunk(np.zeros((end - begin, stream.info.input_dim), np.float32), None)
    print(f"  a stream keeps {stream.state.nbytes / 1024:.1f} KiB")


def read_acoustics(model: str) -> Nnet3Acoustics:
    """Loads a model anew.

    Raises:
        ValueError: it is not an nnet3 model.
    """
    acoustics = read_source(model, {}).acoustics
    if not isinstance(acoustics, Nnet3Acoustics):
        raise ValueError(f"{model}: expected an nnet3 model, found {type(acoustics).__name__}")
    return acoustics


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


def measure_pipeline(model: str, rounds: int) -> None:
    """Prints the figures of features and i-vectors, and of everything before the search, for one stream."""
    acoustics = read_acoustics(model)
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


def measure_memory(model: str, rounds: int) -> None:
    """Prints what a further stream of a minute needs, and how an hour of audio in one stream grows."""
    acoustics = read_acoustics(model)
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


Part = Callable[[str, int], None]
PARTS: dict[str, Part] = {"network": measure_network, "pipeline": measure_pipeline, "memory": measure_memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english") + ":graph-digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, nargs="+", default=["network", "pipeline"])
    args = parser.parse_args()
    print(f"{args.model}; kernels {default_cpu_kernels()}; NumPy: {blas_kernel()}")
    for part in args.part:
        PARTS[part](args.model, args.rounds)


if __name__ == "__main__":
    main()
