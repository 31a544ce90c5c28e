"""What silence costs with and without voice activity detection, and whether the results are the same.

A stream of silence, an hour by default, has ten sentences in it. It is decoded twice, without and with the
option use-vad; the CPU time of both, their ratio, and every difference in words and times are printed.

Where a model has i-vectors, minutes of silence are learned as if they were of the speaker, unless they are
not decoded; so words may differ. --silence-weight shows that this is the reason: with a weight near 0 for
frames of silence in i-vectors, they are the same. Usage:
silence.py [--model DIR[:GRAPH]] [--minutes N] [--silence-weight W] [WAV ...]
"""

import argparse
import os
import time
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

# One thread for matrix products, as in a worker; it counts when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pykaldi_server.kaldi.util.table import read_wave
from pykaldi_server.session import AlignedWord, Final, Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics

ROOT = Path(__file__).resolve().parents[2]
PACKET_S = 0.25
NUM_SENTENCES = 10
NOISE = 8.0
"""Standard deviation of the noise of a silent line, in the range of 16-bit integers: -72 dB."""


def line(recordings: list[np.ndarray], num_samples: int, rate_hz: int) -> Iterator[np.ndarray]:
    """A line that is silent but for recordings at equal distances, in packets."""
    generator = np.random.default_rng(1)
    period = num_samples // NUM_SENTENCES
    starts = [number * period + period // 2 for number in range(NUM_SENTENCES)]
    step = int(PACKET_S * rate_hz)
    for begin in range(0, num_samples, step):
        packet = generator.normal(0.0, NOISE, step).astype(np.float32)
        for number, start in enumerate(starts):
            samples = recordings[number % len(recordings)]
            first, last = max(begin, start), min(begin + step, start + len(samples))
            if first < last:
                packet[first - begin : last - begin] += samples[first - start : last - start]
        yield packet


def decode(model: Model, packets: Iterator[np.ndarray], use_vad: bool) -> tuple[list[AlignedWord], float]:
    """Decodes a stream; returns its words, and the CPU seconds of the session alone."""
    words: list[AlignedWord] = []
    cpu_s = 0.0
    with model.session(options={"use_vad": use_vad}) as session:
        for packet in packets:
            start_s = time.process_time()
            events = session.accept(packet)
            cpu_s += time.process_time() - start_s
            words += [word for event in events if isinstance(event, Final) for word in event.words]
        start_s = time.process_time()
        words += [word for event in session.finish() if isinstance(event, Final) for word in event.words]
        cpu_s += time.process_time() - start_s
    return words, cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--silence-weight", type=float, help="as Kaldi's option; the model's if not given")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    paths = args.wav or sorted((ROOT / "tests" / "data" / "golden" / "wav").glob("ps-*.wav"))
    model = Model.load(args.model)
    if args.silence_weight is not None:
        if not isinstance(model.acoustics, Nnet3Acoustics):
            parser.error("--silence-weight: expected a model with an nnet3 network")
        model.acoustics.features.silence_weighting_config.silence_weight = args.silence_weight
    rate_hz = model.sample_rate_hz
    waves = [read_wave(path) for path in paths]
    recordings = [wave.data()[0] for wave in waves if wave.samp_freq == rate_hz][:NUM_SENTENCES]
    num_samples = int(60 * args.minutes * rate_hz)

    plain, plain_s = decode(model, line(recordings, num_samples, rate_hz), use_vad=False)
    gated, gated_s = decode(model, line(recordings, num_samples, rate_hz), use_vad=True)
    print(f"{model.name}: {args.minutes:g} minutes with {NUM_SENTENCES} sentences, {len(plain)} words")
    print(f"CPU s without use-vad {plain_s:8.2f}")
    print(f"CPU s with use-vad    {gated_s:8.2f}   {gated_s / plain_s:.1%}")
    texts = [[word.word for word in words] for words in (plain, gated)]
    matching = SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
    pairs = [(plain[m.a + i], gated[m.b + i]) for m in matching for i in range(m.size)]
    print(f"words                 {len(plain)} without use-vad, {len(gated)} with it, {len(pairs)} the same")
    worst_s = max((abs(one.start_s - other.start_s) for one, other in pairs), default=0.0)
    print(f"their times           differ by up to {worst_s:.3f} s")
    if texts[0] != texts[1]:
        print("  without:", *texts[0], "\n  with:   ", *texts[1])


if __name__ == "__main__":
    main()
