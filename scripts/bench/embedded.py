"""What the library costs in a program that sets no environment variables.

NumPy's BLAS starts as many threads as there are cores, which wait for work by spinning; a program that embeds
the library would pay for them if recognition multiplied matrices there. Decodes a recording as the README's
example does, in fresh processes: with no variable, and with OPENBLAS_NUM_THREADS=1, in turn. Prints the CPU
seconds of loading and decoding of both, their ratio, and what threads that are not Python's have used. Fails
if decoding takes more than a tenth longer without the variable.

Usage: embedded.py [--model DIR[:GRAPH]] [--recording FILE] [--rounds N] [--busy N]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "english"
RECORDING = ROOT / "tests" / "data" / "golden" / "long" / "long.wav"
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
COMPILES_AGAIN = "PYTHONDONTWRITEBYTECODE"  # for NumPy it takes as long as loading a model

# Runs in a process of its own, so that nothing but the library decides when NumPy is imported. Times are
# CPU seconds; the first thread of the process is Python's.
EXAMPLE = """
import json, os, sys, time
begin = time.process_time()
from pykaldi_server import Final, Model, transcribe
model = Model.load(sys.argv[1])
loaded = time.process_time()
words = [event.transcript for event in transcribe(model, sys.argv[2]) if isinstance(event, Final)]
decoded = time.process_time()
own = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
print(json.dumps({
    "load_s": loaded - begin, "decode_s": decoded - loaded, "other_threads_s": decoded - own,
    "words": " ".join(words),
}))
"""
BUSY = "while True: pass"
MOST_RATIO = 1.1


def run_example(model: str, recording: str, variables: dict[str, str]) -> dict[str, float]:
    """Runs the example with these variables, and without others that have the same effect."""
    left_out = {*VARIABLES, COMPILES_AGAIN}
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-c", EXAMPLE, model, recording]
    done = subprocess.run(
        command, env={**inherited, **variables}, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"the example failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--recording", default=str(RECORDING))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, help="Processes that keep cores busy meanwhile.")
    args = parser.parse_args()
    settings: dict[str, dict[str, str]] = {"no variable": {}, "one thread": {"OPENBLAS_NUM_THREADS": "1"}}
    least: dict[str, dict[str, float]] = {}
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(args.busy)]
    try:
        for _ in range(args.rounds):
            for name, variables in settings.items():
                found = run_example(args.model, args.recording, variables)
                known = least.get(name, found)
                load_s = min(found["load_s"], known["load_s"])
                best = min(found, known, key=lambda each: each["decode_s"])
                least[name] = {**best, "load_s": load_s}
    finally:
        for process in busy:
            process.kill()
            process.wait()
    for name, found in least.items():
        print(
            f"{name:12} load {found['load_s']:.3f} CPU s, decode {found['decode_s']:.3f} CPU s, "
            f"of both in other threads {found['other_threads_s']:.3f}"
        )
    plain, single = (least[name] for name in settings)
    if plain["words"] != single["words"]:
        raise SystemExit("the words differ")
    ratio = plain["decode_s"] / single["decode_s"]
    print(f"ratio of decoding: {ratio:.3f}")
    if ratio > MOST_RATIO:
        raise SystemExit(f"expected a ratio of at most {MOST_RATIO}; found {ratio:.3f}")


if __name__ == "__main__":
    main()
