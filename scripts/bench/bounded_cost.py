"""What no speech, or too much of it, costs beside clean speech, and what `max-active` does about it.

Music, several voices at once, or another language have no path that is much better than the others, so the
beam holds far more states than for clear speech. `max-active` bounds them. For each limit, this prints how
many words of clean recordings are wrong, and how many tokens and arcs a frame of other sounds takes in
multiples of clean speech. Counts, unlike times, are the same on any machine. Usage:

    bounded_cost.py [--model MODEL] [--limits 7000,4000,3000] REFERENCE.txt WAV ...

Each line of the reference has the name of a recording and its words. The recordings are mono, of
16 bits and one rate.
"""

import argparse
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray
from recordings import read_recordings

from pykaldi_server.kaldi.decoder import LatticeFasterOnlineDecoder
from pykaldi_server.session import Final, Model

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10
LOUDNESS = 3000.0
VOICES = 4
TONES_HZ = (220, 440, 660, 1320)

Samples = NDArray[np.float32]


def made_sounds(recordings: list[Samples], rate_hz: int) -> dict[str, Samples]:
    """Ten seconds of each sound that is not clean speech."""
    size = SECONDS * rate_hz
    time_s = np.arange(size) / rate_hz
    voices = sum(np.resize(samples, size) for samples in recordings[:VOICES])
    tones = sum(np.sin(2 * np.pi * hz * time_s * (1 + 0.1 * np.sin(time_s))) for hz in TONES_HZ)
    sounds = {
        f"{VOICES} voices": voices,
        "reversed": np.concatenate(recordings)[::-1][:size],
        "tones": tones,
        "white noise": np.random.default_rng(0).normal(size=size),
    }
    return {name: np.asarray(LOUDNESS * sound / np.std(sound), np.float32) for name, sound in sounds.items()}


class Counts:
    """Sums what the decoders of this process do."""

    def __init__(self) -> None:
        self.tokens = self.arcs = self.frames = 0
        advance = LatticeFasterOnlineDecoder.advance_decoding

        def counted(decoder: LatticeFasterOnlineDecoder, loglikes: NDArray[np.float32]) -> None:
            before = decoder.statistics()
            advance(decoder, loglikes)
            after = decoder.statistics()
            self.tokens += after.num_tokens - before.num_tokens
            self.arcs += after.num_arcs - before.num_arcs
            self.frames += len(loglikes)

        LatticeFasterOnlineDecoder.advance_decoding = counted  # type: ignore[method-assign, assignment]

    def take(self) -> NDArray[np.float64]:
        """Tokens and arcs per frame since the last call."""
        per_frame = np.array([self.tokens, self.arcs]) / max(1, self.frames)
        self.tokens = self.arcs = self.frames = 0
        return per_frame


def transcribe(model: Model, samples: Samples, rate_hz: int) -> str:
    """The words of a recording."""
    session = model.session(sample_rate_hz=rate_hz)
    events = [*session.accept(samples), *session.finish()]
    return " ".join(event.hypotheses[0].transcript for event in events if isinstance(event, Final))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--limits", default="7000,5000,4000,3000,2500,2000,1500")
    parser.add_argument("reference", type=Path)
    parser.add_argument("wav", type=Path, nargs="+")
    args = parser.parse_args()
    words = {
        line.split()[0]: line.lower().split()[1:] for line in args.reference.read_text().splitlines() if line
    }
    read = read_recordings(args.wav)
    rate_hz = read[0].rate_hz
    for path, recording in zip(args.wav, read, strict=True):
        if recording.rate_hz != rate_hz:
            raise SystemExit(f"{path}: expected {rate_hz} Hz as in {args.wav[0]}; found {recording.rate_hz}")
        if recording.name not in words:
            raise SystemExit(f"{args.reference}: expected a line that begins with {recording.name}")
    recordings = [each.samples.astype(np.float32) for each in read]
    expected = [" ".join(words[each.name]) for each in read]
    sounds = made_sounds(recordings, rate_hz)
    counts = Counts()
    print("max-active  word errors  clean: tokens, arcs per frame  others / clean: tokens, arcs")
    for limit in map(int, args.limits.split(",")):
        model = Model.load(args.model, max_active=limit)
        counts.take()
        found = [transcribe(model, samples, rate_hz) for samples in recordings]
        clean = counts.take()
        row = [f"{limit:10}  {jiwer.wer(expected, found):11.2%}  {clean[0]:12.0f} {clean[1]:8.0f}      "]
        for name, sound in sounds.items():
            transcribe(model, sound, rate_hz)
            tokens, arcs = counts.take() / clean
            row.append(f"{name} {tokens:.2f} {arcs:.2f}")
        print("  ".join(row), flush=True)


if __name__ == "__main__":
    main()
