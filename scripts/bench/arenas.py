"""What arenas of memory for each thread cost a worker: memory that stays, and CPU time that they save.

Threads recognise recordings at the same time in a process of its own, first with one arena for all, then with
as many as glibc likes, alternately. Printed are the medians of the CPU time, of the memory without mapped
files right afterwards, and of what is left when all free memory has been given back.

Usage: arenas.py [--threads N ...] [--repeats N] [--model MODEL]
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
WAV = ROOT / "tests" / "data" / "golden" / "wav"
VARIABLE = "MALLOC_ARENA_MAX"
ARENAS = {"one": "1", "many": None}


def own_mib() -> float:
    """Memory of this process without mapped files, in MiB."""
    pages, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (pages - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


def recognize(model_name: str, num_threads: int) -> None:
    """Measures in this process; prints the figures as JSON."""
    from pykaldi_server.memory import return_free_memory
    from pykaldi_server.session import Model
    from pykaldi_server.session.transcribe import transcribe

    model = Model.load(model_name)
    recordings = sorted(WAV.glob("*.wav"))

    def recognize_all(first: int) -> None:
        for path in (*recordings[first:], *recordings[:first]):
            list(transcribe(model, path))

    recognize_all(0)
    threads = [
        threading.Thread(target=recognize_all, args=(number % len(recordings),))
        for number in range(num_threads)
    ]
    begin_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s, busy_mib = time.process_time() - begin_s, own_mib()
    return_free_memory()
    print(json.dumps([cpu_s, busy_mib, own_mib()]))


def measure(model: str, num_threads: int, arenas: str | None) -> list[float]:
    """Starts a process that measures."""
    variables = {name: value for name, value in os.environ.items() if name != VARIABLE}
    variables |= {
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        **({VARIABLE: arenas} if arenas else {}),
    }
    command = [sys.executable, __file__, "--model", model, "--measure", str(num_threads)]
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="directory")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        recognize(args.model, args.measure)
        return
    print(f"{'threads':>7} {'arenas':>7} {'CPU s':>8} {'MiB busy':>9} {'MiB left':>9}")
    for num_threads in args.threads:
        figures: dict[str, list[list[float]]] = {name: [] for name in ARENAS}
        for _ in range(args.repeats):
            for name, arenas in ARENAS.items():
                figures[name].append(measure(args.model, num_threads, arenas))
        for name, found in figures.items():
            cpu_s, busy_mib, left_mib = map(median, zip(*found, strict=True))
            print(f"{num_threads:7} {name:>7} {cpu_s:8.2f} {busy_mib:9.1f} {left_mib:9.1f}", flush=True)


if __name__ == "__main__":
    main()
