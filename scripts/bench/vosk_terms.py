"""What makes a comparison with Vosk fair: the same model and recipe on both sides, and one thread."""

import os
from pathlib import Path

__all__ = ["COMPILED", "OURS", "STEP_S", "VOSK", "VOSK_RECIPE", "environment", "prepare"]

ROOT = Path(__file__).resolve().parents[2]
OURS, COMPILED, VOSK = "ours", "compiled", "Vosk"
STEP_S = 0.2
# Vosk's recipe, where it is not the model's own configuration.
VOSK_RECIPE = {"lmwt_scale": 0.9, "decode_mbr": True, "chunk_length_in_secs": STEP_S}
# Kernels that OpenBLAS has had for many years, for all processors with these instructions.
KERNELS, INSTRUCTIONS = "Haswell", "avx2"


def environment(cache: Path) -> dict[str, str]:
    """The environment of a process of either side.

    OpenBLAS falls back to its slowest kernels on a CPU that it does not know, and the copy inside Vosk is an
    old one. So it is told which kernels to use, unless OPENBLAS_CORETYPE is set. What Python compiles may be
    kept: otherwise each process would compile NumPy again, which takes as long as loading a model.

    Args:
        cache: a directory for what is kept from one run to the next.
    """
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(cache),
        "OPENBLAS_NUM_THREADS": "1",
        "OPENBLAS_VERBOSE": "2",  # tells on stderr which kernels it chose
    }
    if INSTRUCTIONS in Path("/proc/cpuinfo").read_text():
        variables.setdefault("OPENBLAS_CORETYPE", KERNELS)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def prepare(model: Path, folder: Path) -> dict[str, Path]:
    """The directory of the model for each side: links to the model, with and without a compiled graph."""
    from pykaldi_server.kaldi.fstext import compile_graph
    from pykaldi_server.session.graph import COMPILED_NAME

    def linked(name: str) -> Path:
        for path in model.rglob("*"):
            link = folder / name / path.relative_to(model)
            if path.is_file() and path.name != COMPILED_NAME:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
        return folder / name

    plain = linked("plain")
    if (model / "graph" / "HCLG.fst").exists():
        return {OURS: plain, VOSK: plain}
    compiled = linked("compiled")
    compile_graph(compiled / "graph", compiled / "graph" / COMPILED_NAME)
    return {OURS: plain, COMPILED: compiled, VOSK: plain}
