"""Reads golden data; see tests/data/golden/README.md."""

import gzip
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The recordings were decoded with this `frames-per-chunk` (options.txt); Kaldi's default is 24.
GOLDEN_FRAMES_PER_CHUNK = 20


def read_wav(path: Path) -> tuple[int, NDArray[np.float32]]:
    """Rate in Hz and samples of a 16-bit mono WAV file, float32 in int16 range."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        return file.getframerate(), samples


def lines(path: Path) -> Iterator[list[str]]:
    """The words of each line of a text file, compressed or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        for line in file:
            yield line.split()


@dataclass(frozen=True)
class BestPath:
    """One line of best_path.txt or partials.txt."""

    graph_cost: float
    acoustic_cost: float
    words: list[str]
    alignment: list[int]


def parse_best_path(fields: list[str]) -> BestPath:
    """Parses ``graph cost, acoustic cost, words ..., alignment ...``."""
    rest = fields[3:]
    end = rest.index("alignment") if "alignment" in rest else len(rest)
    return BestPath(float(fields[0]), float(fields[1]), rest[:end], [int(word) for word in rest[end + 1 :]])


def best_paths(path: Path) -> dict[str, BestPath]:
    """best_path.txt: the best path of each recording."""
    return {fields[0]: parse_best_path(fields[1:]) for fields in lines(path)}


@dataclass(frozen=True)
class GoldenPartial:
    """The best path after a chunk; without a path when nothing was decoded yet."""

    segment: int
    samples: int
    frames: int
    path: BestPath | None


def partials(path: Path) -> dict[str, list[GoldenPartial]]:
    """partials.txt.gz: the best path of each recording after each chunk."""
    found: dict[str, list[GoldenPartial]] = {}
    for name, segment, samples, frames, *rest in lines(path):
        best = parse_best_path(rest) if rest else None
        found.setdefault(name, []).append(GoldenPartial(int(segment), int(samples), int(frames), best))
    return found


def delta_weights(path: Path) -> dict[str, list[tuple[int, list[tuple[int, float]]]]]:
    """delta_weights.txt.gz: for each recording, samples accepted and (frame, delta) pairs, chunk by chunk."""
    found: dict[str, list[tuple[int, list[tuple[int, float]]]]] = {}
    for name, samples, *pairs in lines(path):
        split = [pair.split(":") for pair in pairs]
        deltas = [(int(frame), float(delta)) for frame, delta in split]
        found.setdefault(name, []).append((int(samples), deltas))
    return found


def ivector_frames(path: Path) -> dict[str, list[int]]:
    """ivector_frames.txt: the input frames for which the network asked for i-vectors."""
    return {fields[0]: [int(word) for word in fields[1:]] for fields in lines(path)}
