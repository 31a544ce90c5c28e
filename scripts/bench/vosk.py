"""Whole decodes, samples to words, of pykaldi-server beside Vosk: speed, memory, load time, agreement.

Both sides decode the same recordings with the same model and Vosk's recipe, each in a process of its own,
one after the other, round by round. Usage: vosk.py [--model DIR] [--rounds N] [--sessions N] [WAV ...]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# One thread for matrix products on both sides; OpenBLAS tells on stderr which kernel it chose.
os.environ.update(OPENBLAS_NUM_THREADS="1", OPENBLAS_VERBOSE="2")

# Python puts this folder first, where `vosk` would be this very file.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

ROOT = Path(__file__).resolve().parents[2]
STEP_S = 0.2
SIDES = ("ours", "vosk")
# Vosk's recipe, where it is not the model's own configuration.
VOSK_RECIPE = {"lmwt_scale": 0.9, "decode_mbr": True, "chunk_length_in_secs": STEP_S}

Decode = Callable[[bytes, int], str]


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def load_ours(model: str) -> Callable[[], Decode]:
    """Loads the model here; returns a function that starts sessions."""
    import numpy as np

    from pykaldi_server.session import Final, Model

    loaded = Model.load(model, **VOSK_RECIPE)

    def start() -> Decode:
        def decode(pcm: bytes, rate_hz: int) -> str:
            session = loaded.session(sample_rate_hz=rate_hz)
            samples = np.frombuffer(pcm, "<i2").astype(np.float32)
            step = int(STEP_S * rate_hz)
            events = []
            for begin in range(0, len(samples), step):
                events += session.accept(samples[begin : begin + step])
            events += session.finish()
            decode.session = session  # a session that somebody still holds
            return " ".join(event.hypotheses[0].transcript for event in events if isinstance(event, Final))

        return decode

    return start


def load_vosk(model: str) -> Callable[[], Decode]:
    """Loads the model with Vosk; returns a function that starts recognizers."""
    import vosk

    vosk.SetLogLevel(-1)
    loaded = vosk.Model(model)

    def start() -> Decode:
        def decode(pcm: bytes, rate_hz: int) -> str:
            recognizer = vosk.KaldiRecognizer(loaded, rate_hz)
            step = 2 * int(STEP_S * rate_hz)
            texts = []
            for begin in range(0, len(pcm), step):
                if recognizer.AcceptWaveform(pcm[begin : begin + step]):
                    texts.append(json.loads(recognizer.Result())["text"])
                else:
                    recognizer.PartialResult()
            texts.append(json.loads(recognizer.FinalResult())["text"])
            decode.session = recognizer
            return " ".join(text for text in texts if text)

        return decode

    return start


def read_recordings(paths: Sequence[Path]) -> list[tuple[bytes, int]]:
    """16-bit samples and rate of each recording."""
    import wave

    recordings = []
    for path in paths:
        with wave.open(str(path)) as file:
            recordings.append((file.readframes(file.getnframes()), file.getframerate()))
    return recordings


def run_side(side: str, model: str, sessions: int, paths: Sequence[Path]) -> None:
    """Measures one side in this process; prints a line of JSON."""
    recordings = read_recordings(paths)
    audio_s = sum(len(pcm) / 2 / rate_hz for pcm, rate_hz in recordings)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    start = {"ours": load_ours, "vosk": load_vosk}[side](model)
    load_s, load_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    decode = start()
    decode(*recordings[0])  # warms up
    before_s = time.process_time()
    texts = [decode(*recording) for recording in recordings]
    cpu_s = (time.process_time() - before_s) / audio_s
    first_mib = resident_mib()
    more = [start() for _ in range(sessions)]
    for each in more:
        each(*recordings[0])
    figures = {
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "cpu_s": cpu_s,
        "first_mib": first_mib,
        "further_mib": (resident_mib() - first_mib) / max(1, sessions),
        "audio_s": audio_s,
        "texts": texts,
    }
    print(json.dumps(figures))


def measure(side: str, args: argparse.Namespace) -> dict:
    """Runs one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--model", args.model]
    command += ["--sessions", str(args.sessions), *map(str, args.wav)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ran.returncode != 0:
        sys.exit(f"{side} failed:\n{ran.stderr}")
    figures = json.loads(ran.stdout.splitlines()[-1])
    cores = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Core: ")]
    figures["blas"] = cores[-1].removeprefix("Core: ") if cores else "unknown"
    return figures


def agreement(left: Sequence[str], right: Sequence[str]) -> float:
    """Part of the words of the left transcripts that the right ones share."""
    import jiwer

    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a]
    return 1.0 - jiwer.wer([a for a, _ in pairs], [b for _, b in pairs])


def report(rounds: dict[str, list[dict]]) -> None:
    """Prints the best round of each side, ratios, and how far transcripts agree."""
    best = {side: min(figures, key=lambda each: each["cpu_s"]) for side, figures in rounds.items()}
    rows = [
        ("BLAS kernel", "blas", "{}"),
        ("CPU s per s of audio", "cpu_s", "{:.4f}"),
        ("load, s", "load_s", "{:.2f}"),
        ("load, CPU s", "load_cpu_s", "{:.2f}"),
        ("memory with one session, MiB", "first_mib", "{:.0f}"),
        ("a further session, MiB", "further_mib", "{:.2f}"),
    ]
    print(f"{'':30}{'ours':>12}{'Vosk':>12}{'Vosk / ours':>14}")
    for title, key, form in rows:
        ours, theirs = best["ours"][key], best["vosk"][key]
        ratio = f"{theirs / ours:.2f}" if isinstance(ours, float) and ours > 0 else ""
        print(f"{title:30}{form.format(ours):>12}{form.format(theirs):>12}{ratio:>14}")
    texts = {side: [figures["texts"] for figures in rounds[side]] for side in SIDES}
    if len(texts["vosk"]) > 1:
        print(f"Vosk agrees with itself on {agreement(texts['vosk'][0], texts['vosk'][1]):.1%} of the words")
    print(f"we agree with Vosk on      {agreement(texts['vosk'][0], texts['ours'][0]):.1%} of the words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="a model directory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=5, help="further sessions for the measure of memory")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    args.wav = args.wav or sorted((ROOT / "tests" / "data" / "golden" / "wav").glob("*.wav"))
    if args.side:
        run_side(args.side, args.model, args.sessions, args.wav)
        return
    rounds: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            rounds[side].append(measure(side, args))
    print(f"{args.model}, {rounds['ours'][0]['audio_s']:.1f} s of audio, best of {args.rounds} rounds")
    report(rounds)


if __name__ == "__main__":
    main()
