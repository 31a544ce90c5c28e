"""One table of what `make bench` measures: ours beside Vosk, Kaldi's FasterDecoder and the bare library.

Runs `vosk.py`, `faster_decoder.py` and `server_cost.py` one after the other, each of which measures both of
its sides in one run, and shows what they print meanwhile. Usage: table.py [--model MODEL] [--quick]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Python puts this folder first, where `vosk` would be the script of that name.
sys.path.append(sys.path.pop(0))

from faster_decoder import BEST_PATHS, LATTICES, THEIRS
from vosk_terms import COMPILED, OURS, VOSK

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
QUICK = {
    "vosk.py": ("--rounds", "1"),
    "faster_decoder.py": ("--rounds", "1"),
    "server_cost.py": ("--rounds", "1", "--seconds", "15", "--streams", "8", "--sessions", "16"),
}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        title: what was measured.
        ours: what we take.
        other: what the other side takes; None if there is none.
        beside: the other side.
        digits: how many are shown.
    """

    title: str
    ours: float
    other: float | None = None
    beside: str = ""
    digits: int = 4

    def __str__(self) -> str:
        other = "" if self.other is None else f"{self.other:.{self.digits}f}"
        ratio = "" if self.other is None else f"{self.other / self.ours:.2f}"
        return f"{self.title:46}{self.ours:>9.{self.digits}f}{other:>9}{ratio:>8}  {self.beside}".rstrip()


def whole_decodes(figures: Figures) -> list[Row]:
    """What `vosk.py` has found."""
    main = figures.get(COMPILED, figures[OURS])
    vosk = figures[VOSK]
    rows = [
        Row("library, best pass", main["cpu_s"], vosk["cpu_s"], VOSK),
        *(Row(f"  {part}", part_s) for part, part_s in main["parts"].items()),
        Row("library, first pass", main["first_cpu_s"], vosk["first_cpu_s"], VOSK),
    ]
    if COMPILED in figures:
        composed = figures[OURS]
        rows += [
            Row("graph composed in the search, best pass", composed["cpu_s"], vosk["cpu_s"], VOSK),
            Row(
                "graph composed in the search, first pass", composed["first_cpu_s"], vosk["first_cpu_s"], VOSK
            ),
        ]
    return [
        *rows,
        Row("load, CPU s", main["load_cpu_s"], vosk["load_cpu_s"], VOSK, 2),
        Row("memory with one session, MiB", main["memory_mib"], vosk["memory_mib"], VOSK, 0),
    ]


def searches(figures: Figures) -> list[Row]:
    """What `faster_decoder.py` has found."""
    beside = "kaldi-decoder, best path"
    return [
        Row("search alone, best paths and lattice", figures[BEST_PATHS], figures[THEIRS], beside),
        Row("search alone, lattice determinised", figures[LATTICES], figures[THEIRS], beside),
    ]


def server(figures: Figures) -> list[Row]:
    """What `server_cost.py` has found."""
    beside = "the library in the same packets"
    title = f"server, {figures['streams']:.0f} live streams"
    return [
        Row(title, figures["server"], figures["live library"], f"{beside}, in real time"),
        Row("  the same", figures["server"], figures["library"], f"{beside}, as fast as it goes"),
        Row("  master", figures["master"]),
        Row(
            "memory of a further session, MiB",
            figures["server session"],
            figures["library session"],
            beside,
            2,
        ),
    ]


def run(script: str, folder: Path, *arguments: str) -> Figures:
    """Runs one of the scripts; returns its figures."""
    path = folder / f"{script}.json"
    subprocess.run([sys.executable, str(HERE / script), "--json", str(path), *arguments], check=True)
    figures: Figures = json.loads(path.read_text())
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="directory or package")
    parser.add_argument("--quick", action="store_true", help="one round of each, with fewer streams")
    args = parser.parse_args()
    more = QUICK if args.quick else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        decodes = run("vosk.py", folder, "--model", args.model, *more.get("vosk.py", ()))
        found = [
            *whole_decodes(decodes),
            *searches(run("faster_decoder.py", folder, *more.get("faster_decoder.py", ()))),
            *server(run("server_cost.py", folder, "--model", args.model, *more.get("server_cost.py", ()))),
        ]
    kernels = decodes.get(COMPILED, decodes[OURS])["kernels"]
    print(f"\n{args.model}; kernels: ours {kernels}, {VOSK} {decodes[VOSK]['kernels']}")
    print(
        f"{'CPU s per s of audio, where nothing else is said':46}{'ours':>9}{'other':>9}{'ratio':>8}  beside"
    )
    print(*found, sep="\n")


if __name__ == "__main__":
    main()
