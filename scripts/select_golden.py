"""Copies into tests/data/golden what a clone may and needs to have of the golden data.

Of the recordings only the freely licensed ``ps-*`` ones are copied, with what Kaldi computed for them; of
the large arrays and of the random networks a selection. Usage: select_golden.py SHARED_GOLDEN [TARGET]
"""

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np

PREFIX = "ps-"
FOLDERS = ("digits", "digits-005", "general", "returning", "gmm", "gmm/fresh", "gmm/returning")
WHOLE_FILES = ("options.txt",)
# Arrays of log-likelihoods and features are large: these recordings are enough for a clone.
ARRAY_RECORDINGS = ("ps-cards-001", "ps-librivox-0880", "ps-tidigits-2934z")
GMM_LIKES_RECORDINGS = ("ps-tidigits-2934z",)
# Adaptation states of a GMM are large: the last one of each chain is enough.
GMM_STATES = ("ps-tidigits-2934z", "ps-cards-005", "ps-librivox-0930")
NETWORKS = (
    "attention",
    "cnn-tdnn",
    "fast-lstmp",
    "gru",
    "hand-components",
    "hand-descriptors",
    "nnet2-multisplice",
    "nnet2-pnorm",
    "res2-block",
    "stats",
    "tdnn-collapse3",
    "tdnnf",
)


def select_lines(text: str) -> str:
    """Keeps the lines, or in archives of lattices the paragraphs, that are about copied recordings."""
    lines = text.splitlines(keepends=True)
    if "\n\n" in text:  # an archive: a line with the key, then lines up to an empty one
        paragraphs = text.split("\n\n")
        return "".join(f"{p}\n\n" for p in paragraphs if p.lstrip("\n").startswith(PREFIX))
    return "".join(line for line in lines if line.startswith(PREFIX))


def select_arrays(source: Path, target: Path) -> None:
    """Copies the arrays of the selected recordings; small archives keep all copied recordings."""
    arrays = np.load(source)
    wanted = GMM_LIKES_RECORDINGS if source.name.startswith("likes_") else ARRAY_RECORDINGS
    everything = source.name == "ivectors.npz"
    names = [n for n in arrays.files if n in wanted or (everything and n.startswith(PREFIX))]
    if names:
        np.savez_compressed(target, **{name: arrays[name] for name in names})


def copy_folder(source: Path, target: Path) -> None:
    """Copies the selected part of one folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_dir() or path.suffix == ".fst":
            continue
        if path.name in WHOLE_FILES or path.name.startswith(GMM_STATES):
            shutil.copyfile(path, target / path.name)
        elif path.suffix == ".npz":
            select_arrays(path, target / path.name)
        elif path.suffix == ".wav" and path.name.startswith(PREFIX):
            shutil.copyfile(path, target / path.name)
        elif path.suffix == ".gz" and ".adaptation" not in path.name:
            selected = select_lines(gzip.decompress(path.read_bytes()).decode())
            (target / path.name).write_bytes(gzip.compress(selected.encode(), mtime=0))
        elif path.suffix == ".txt" and ".adaptation" not in path.name:
            (target / path.name).write_text(select_lines(path.read_text()))


def copy_networks(source: Path, target: Path) -> None:
    """Copies the selected networks with their inputs and outputs."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        name = path.name.split(".")[0]
        if name in (*NETWORKS, "features", "networks", "README"):
            shutil.copyfile(path, target / path.name)


def main(source: Path, target: Path) -> None:
    for folder in ("wav", *FOLDERS):
        copy_folder(source / folder, target / folder)
    for name in ("text", "utt2spk"):
        (target / name).write_text(select_lines((source / name).read_text()))
    (target / "long").mkdir(exist_ok=True)
    shutil.copyfile(source / "long" / "reference.txt", target / "long" / "reference.txt")
    shutil.copyfile(source / "long" / "long.wav", target / "long" / "long.wav")
    segments = target / "segments"
    segments.mkdir(exist_ok=True)
    for path in sorted((source / "segments").iterdir()):
        shutil.copyfile(path, segments / path.name)
    copy_networks(source / "networks", target / "networks")
    total = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    default = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default)
