"""Whole decodes, samples to words, of pykaldi-server beside Vosk: speed, memory, load time, agreement.

Both decode the same recordings with the same model and Vosk's recipe, each in a process of its own, in turn,
round by round. A graph in two parts is measured twice: composed while it is searched, and compiled. We keep
what was composed, so the second pass over the recordings shows what a worker does that has run for long.
The table says which kernels they took: ours the best that the processor can run, or those that
PYKALDI_SERVER_KERNELS names; for Vosk those of its OpenBLAS, see `vosk_terms.py`.
`server_cost.py` measures the memory of further sessions.
Usage: vosk.py [--model MODEL] [--rounds N] [--json FILE] [WAV ...]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

# Python puts this folder first, where `vosk` would be this very file.
sys.path.append(sys.path.pop(0))

from vosk_terms import OURS, STEP_S, VOSK, VOSK_RECIPE, environment, prepare

ROOT = Path(__file__).resolve().parents[2]

Recording = tuple[bytes, int]
Decode = Callable[[bytes, int], str]


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def load_ours(model: str) -> Decode:
    """Loads the model here; returns a function that decodes."""
    import numpy as np

    from pykaldi_server.session import Final, Model

    loaded = Model.load(model, **VOSK_RECIPE)

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


def load_vosk(model: str) -> Decode:
    """Loads the model with Vosk; returns a function that decodes."""
    import vosk

    vosk.SetLogLevel(-1)
    loaded = vosk.Model(model)

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


def read_recordings(paths: Sequence[Path]) -> list[Recording]:
    """16-bit samples and rate of each recording.

    `recordings.py` reads them as well, but would load our library into the process that measures Vosk.
    """
    recordings = []
    for path in paths:
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise SystemExit(f"{path}: expected mono audio of 16 bits")
            recordings.append((file.readframes(file.getnframes()), file.getframerate()))
    return recordings


def run_side(side: str, model: str, paths: Sequence[Path]) -> dict:
    """Measures one side in this process."""
    recordings = read_recordings(paths)
    audio_s = sum(len(pcm) / 2 / rate_hz for pcm, rate_hz in recordings)

    def decode_all() -> tuple[float, list[str]]:
        start_s = time.process_time()
        texts = [decode(*recording) for recording in recordings]
        return (time.process_time() - start_s) / audio_s, texts

    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    decode = (load_vosk if side == VOSK else load_ours)(model)
    load_s, load_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    passes = [decode_all(), decode_all()]
    figures = {
        "audio_s": audio_s,
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "first_cpu_s": passes[0][0],
        "cpu_s": min(cpu_s for cpu_s, _ in passes),
        "memory_mib": resident_mib(),
        "texts": [texts for _, texts in passes],
    }
    if side != VOSK:
        from pykaldi_server.kaldi._core import default_cpu_kernels

        figures["kernels"] = default_cpu_kernels()
        figures["parts"] = profile(decode_all, audio_s)
    return figures


def profile(decode_all: Callable[[], tuple[float, list[str]]], audio_s: float) -> dict[str, float]:
    """CPU seconds per second of audio of each part of ours."""
    from parts import REST, watch_parts

    seconds = watch_parts()
    cpu_s, _ = decode_all()
    parts = {part: part_s / audio_s for part, part_s in seconds.items()}
    return {**parts, REST: cpu_s - sum(parts.values())}


def measure(side: str, model: Path, args: argparse.Namespace) -> dict:
    """Runs one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--model", str(model)]
    command += map(str, args.wav)
    variables = environment(model / "cache")  # an empty one: only graphs of the model's directory count
    ran = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    if ran.returncode != 0:
        sys.exit(f"{side} failed:\n{ran.stderr}")
    figures = json.loads(ran.stdout.splitlines()[-1])
    cores = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Core: ")]
    figures.setdefault("kernels", cores[-1].removeprefix("Core: ") if cores else "unknown")
    return figures


def agreement(left: Sequence[str], right: Sequence[str]) -> float:
    """Part of the words of the left transcripts that the right ones share."""
    import jiwer

    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a]
    return 1.0 - jiwer.wer([a for a, _ in pairs], [b for _, b in pairs])


def best_rounds(rounds: dict[str, list[dict]]) -> dict[str, dict]:
    """The round of each side that decoded in the least CPU time, with the least times of loading of all."""
    return {
        side: {
            **min(figures, key=lambda each: each["cpu_s"]),
            **{key: min(each[key] for each in figures) for key in ("load_s", "load_cpu_s")},
        }
        for side, figures in rounds.items()
    }


def report(rounds: dict[str, list[dict]]) -> None:
    """Prints the best round of each side, ratios, our parts, and how far transcripts agree."""
    best = best_rounds(rounds)
    ours = [side for side in best if side != VOSK]
    rows = [
        ("kernels", "kernels", "{}"),
        ("CPU s per s, first pass", "first_cpu_s", "{:.4f}"),
        ("CPU s per s, best pass", "cpu_s", "{:.4f}"),
        ("load, s", "load_s", "{:.2f}"),
        ("load, CPU s", "load_cpu_s", "{:.2f}"),
        ("memory with one session, MiB", "memory_mib", "{:.0f}"),
    ]
    print(f"{'':30}" + "".join(f"{name:>16}" for name in [*best, *(f"{VOSK} / {side}" for side in ours)]))
    for title, key, form in rows:
        cells = [form.format(figures[key]) for figures in best.values()]
        for side in ours:
            value = best[side][key]
            comparable = isinstance(value, float) and value > 0
            cells.append(f"{best[VOSK][key] / value:.2f}" if comparable else "")
        print(f"{title:30}" + "".join(f"{cell:>16}" for cell in cells))
    for part in best[OURS]["parts"]:
        print(f"  {part:28}" + "".join(f"{best[side]['parts'][part]:16.4f}" for side in ours))
    first, second = rounds[VOSK][0]["texts"]
    print(f"{VOSK} agrees with itself on {agreement(first, second):.1%} of the words")
    for side in ours:
        found = rounds[side][0]["texts"][0]
        shares = [agreement(texts, found) for texts in (first, second)]
        print(f"{VOSK} agrees with {side} on {sum(shares) / 2:.1%} of the words")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="directory or package")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the figures of the best rounds")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    args.wav = args.wav or sorted((ROOT / "tests" / "data" / "golden" / "wav").glob("*.wav"))
    if args.side:
        print(json.dumps(run_side(args.side, args.model, args.wav)))
        return
    from pykaldi_server.session import packaged_model

    model = packaged_model(args.model) or Path(args.model)
    with tempfile.TemporaryDirectory() as folder:
        places = prepare(model, Path(folder))
        rounds: dict[str, list[dict]] = {side: [] for side in places}
        for _ in range(args.rounds):
            for side, place in places.items():
                rounds[side].append(measure(side, place, args))
    audio_s = rounds[OURS][0]["audio_s"]
    print(f"{args.model}, {audio_s:.1f} s of audio, best of {args.rounds} rounds of two passes")
    report(rounds)
    if args.json:
        args.json.write_text(json.dumps(best_rounds(rounds)))


if __name__ == "__main__":
    main()
