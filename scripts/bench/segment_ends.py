"""Word errors of long speech without pauses: in one segment, cut as Kaldi does, and cut at pauses.

Recordings whose words are known are put one after the other, without the silence around them, in several
random orders; so segments reach the 20 s of Kaldi's endpoint rule 5. Usage: segment_ends.py [--model MODEL]
[--data FOLDER] [--prefix P] [--orders N]. FOLDER has wav/NAME.wav and a file text with lines
"NAME words ...". Needs the extra `bench`.
"""

import argparse
import os
import random
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent.parent

import jiwer
import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio import read_audio_file
from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

GAPS_S = (0.02, 0.08, 0.15, 0.25)
WAYS = {
    "one segment": {"do-endpointing": False},
    "where Kaldi cuts": {"end-at-pauses": False},
    "at pauses": {"end-at-pauses": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--data", type=Path, default=ROOT / "tests" / "data" / "golden")
    parser.add_argument("--prefix", default="ps-librivox", help="only recordings whose names start so")
    parser.add_argument("--orders", type=int, default=4, help="number of random orders")
    args = parser.parse_args()
    model = Model.load(args.model)
    lines = [line.partition(" ") for line in (args.data / "text").read_text().splitlines()]
    words = {name: text for name, _, text in lines if name.startswith(args.prefix)}
    speech = {
        name: without_silence(
            read_audio_file(args.data / "wav" / f"{name}.wav", model.sample_rate_hz), model.sample_rate_hz
        )
        for name in words
    }
    errors, num_words = dict.fromkeys(WAYS, 0), 0
    for seed in range(args.orders):
        order = [*words] * max(2, 20 // len(words))
        random.Random(seed).shuffle(order)
        samples = joined([speech[name] for name in order], model.sample_rate_hz, seed)
        reference = " ".join(words[name] for name in order)
        num_words += len(reference.split())
        for way, options in WAYS.items():
            finals = [each for each in transcribe(model, samples, options=options) if isinstance(each, Final)]
            found = jiwer.process_words(reference, " ".join(each.transcript for each in finals))
            errors[way] += found.substitutions + found.deletions + found.insertions
    for way, number in errors.items():
        print(f"{way:<18} {number:4} errors in {num_words} words: {100 * number / num_words:.2f} %")


def without_silence(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Cuts the silence before and after speech off."""
    size = rate_hz // 40
    loudness = np.convolve(np.abs(samples), np.ones(size) / size, "same")
    loud = np.flatnonzero(loudness > 0.06 * loudness.max())
    return samples[max(0, loud[0] - size) : loud[-1] + 2 * size]


def joined(recordings: list[NDArray[np.float32]], rate_hz: int, seed: int) -> NDArray[np.float32]:
    """Puts recordings one after the other, with gaps that are shorter than pauses."""
    generator = np.random.default_rng(seed)
    pieces = []
    for recording in recordings:
        gap = generator.normal(0, 5, int(rate_hz * generator.choice(GAPS_S)))
        pieces += [recording, gap.astype(np.float32)]
    return np.concatenate(pieces)


if __name__ == "__main__":
    main()
