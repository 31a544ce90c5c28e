"""CPU seconds per second of audio from samples to words, in all and by part.

Decodes recordings with one session each on one thread, in pieces as a client would send them, and prints the
least of several rounds. Usage: whole_path.py [--model DIR[:GRAPH]] [--rounds N] [WAV ...]
"""

import argparse
import functools
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

# One thread for matrix products, as in a worker; it counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pykaldi_server.kaldi.feat import OnlineMfcc
from pykaldi_server.kaldi.nnet3 import DecodableNnetLoopedOnline
from pykaldi_server.kaldi.online2 import OnlineIvectorFeature, OnlineSilenceWeighting
from pykaldi_server.kaldi.util.table import read_wave
from pykaldi_server.session import Final, Model

ROOT = Path(__file__).resolve().parents[2]
PACKET_S = 0.25

# What counts as which part. Parts nest, because features are pulled by i-vectors and the network: the time of
# an inner call counts for the inner part only.
PARTS = {
    "features": [(OnlineMfcc, "accept_waveform"), (OnlineMfcc, "input_finished")],
    "i-vectors": [
        (OnlineIvectorFeature, "get_frame"),
        (OnlineSilenceWeighting, "compute_current_traceback"),
        (OnlineSilenceWeighting, "get_delta_weights"),
    ],
    "network": [(DecodableNnetLoopedOnline, "advance")],
}


class PartClock:
    """Adds up the CPU time of methods, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def watch(self, part: str, owner: type, name: str) -> None:
        """Replaces a method by one that is timed."""
        method: Callable = getattr(owner, name)

        @functools.wraps(method)
        def timed(*args, **kwargs):
            start = time.thread_time()
            self._inner.append(0.0)
            try:
                return method(*args, **kwargs)
            finally:
                spent = time.thread_time() - start
                self.seconds[part] += spent - self._inner.pop()
                self._inner[-1] += spent

        setattr(owner, name, timed)


def decode(model: Model, samples: np.ndarray) -> str:
    """Decodes a recording; returns its words."""
    session = model.session()
    step = int(PACKET_S * model.sample_rate_hz)
    events = []
    for begin in range(0, len(samples), step):
        events += session.accept(samples[begin : begin + step])
    events += session.finish()
    return " ".join(event.hypotheses[0].transcript for event in events if isinstance(event, Final))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english") + ":graph-digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    paths = args.wav or sorted((ROOT / "tests" / "data" / "golden" / "wav").glob("*.wav"))
    model = Model.load(args.model)
    waves = [read_wave(path) for path in paths]
    recordings = [wave.data()[0] for wave in waves if wave.samp_freq == model.sample_rate_hz]
    audio_s = sum(map(len, recordings)) / model.sample_rate_hz

    rounds = []
    for _ in range(args.rounds + 1):  # the first one warms up
        start = time.process_time()
        for samples in recordings:
            decode(model, samples)
        rounds.append((time.process_time() - start) / audio_s)
    print(f"{model.name}: {len(recordings)} recordings, {audio_s:.1f} s of audio")
    print(f"whole path   {min(rounds[1:]):.4f} CPU s per s of audio (best of {args.rounds} rounds)")

    clock = PartClock()
    for part, methods in PARTS.items():
        for owner, name in methods:
            clock.watch(part, owner, name)
    start = time.process_time()
    for samples in recordings:
        decode(model, samples)
    total = time.process_time() - start
    for part in PARTS:
        print(f"  {part:10} {clock.seconds[part] / audio_s:.4f}")
    print(f"  {'the rest':10} {(total - sum(clock.seconds.values())) / audio_s:.4f} (search, results)")


if __name__ == "__main__":
    main()
