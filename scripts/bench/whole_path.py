"""CPU seconds per second of audio from samples to words, in all and by part.

Decodes recordings with one session each on one thread, in pieces as a client would send them, and prints the
least of several rounds. Usage: whole_path.py [--model DIR[:GRAPH]] [--rounds N] [WAV ...]
"""

import argparse
import os
import time
from pathlib import Path

# One thread for matrix products, as in a worker; it counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from parts import REST, watch_parts

from pykaldi_server.kaldi._core import default_cpu_kernels
from pykaldi_server.kaldi.util.table import read_wave
from pykaldi_server.session import Final, Model

ROOT = Path(__file__).resolve().parents[2]
PACKET_S = 0.25


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
    print(f"{model.name}: {len(recordings)} recordings, {audio_s:.1f} s; kernels {default_cpu_kernels()}")
    print(f"whole path   {min(rounds[1:]):.4f} CPU s per s of audio (best of {args.rounds} rounds)")

    seconds = watch_parts()
    start = time.process_time()
    for samples in recordings:
        decode(model, samples)
    total = time.process_time() - start
    for part, cpu_s in [*seconds.items(), (REST, total - sum(seconds.values()))]:
        print(f"  {part:26} {cpu_s / audio_s:.4f}")


if __name__ == "__main__":
    main()
