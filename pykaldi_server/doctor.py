"""`pykaldi-server doctor`: what is installed, and whether it fits together.

Models are loaded as a worker loads them. Graphs and large language models are mapped, not copied: a file that
becomes shorter while it is mapped kills the process (SIGBUS), so each is named with how to replace it.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pykaldi_server.cores import num_cores
from pykaldi_server.version import __version__

if TYPE_CHECKING:
    from pykaldi_server.session import Model

__all__ = ["Finding", "examine"]

PACKAGES = (
    "numpy",
    "tornado",
    "pyyaml",
    "webrtcvad-wheels",
    "av",
    "prometheus-client",
    "python-multipart",
    "sqlalchemy",
    "click",
    "rich",
    "cryptography",
    "ifaddr",
    "platformdirs",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `ok` is False for what keeps the program from working."""

    what: str
    text: str
    ok: bool = True


def examine(models: Sequence[str]) -> Iterator[Finding]:
    """Examines one thing after the other; ``models`` are loaded to see whether that works."""
    yield Finding("pykaldi-server", __version__)
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("CPU", f"{os.cpu_count()} cores, {num_cores()} for this process")
    yield from map(_package, PACKAGES)
    yield _extension()
    yield _blas()
    yield _pykaldi()
    for model in models:
        yield from _model(model)


def _package(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", ok=False)


def _extension() -> Finding:
    try:
        importlib.import_module("pykaldi_server.kaldi._core")
    except ImportError as error:
        return Finding("C++ extension", f"cannot be imported: {error}", ok=False)
    return Finding("C++ extension", "built")


def _blas() -> Finding:
    import numpy as np

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    text = f"{blas.get('name')} {blas.get('version')}"
    if importlib.util.find_spec("threadpoolctl") is not None:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        kernels = [
            f"{each['architecture']} kernels, {each['num_threads']} threads"
            for each in pools
            if "architecture" in each
        ]
        text = ", ".join([text, *kernels])
    return Finding("BLAS", text)


def _pykaldi() -> Finding:
    """PyKaldi's package is called `kaldi`; `pykaldi` on the package index is somebody's empty placeholder."""
    spec = importlib.util.find_spec("kaldi")
    real = spec is not None and spec.origin is not None  # any folder called kaldi has a spec
    try:
        placeholder = importlib.metadata.version("pykaldi") == "0.0.1" and not real
    except importlib.metadata.PackageNotFoundError:
        placeholder = False
    if real:
        return Finding("PyKaldi", "importable (as kaldi); not needed, pykaldi_server.kaldi takes its place")
    if placeholder:
        return Finding(
            "PyKaldi", "only the empty placeholder pykaldi 0.0.1 of the package index; it can be uninstalled"
        )
    return Finding(
        "PyKaldi", "not installed and not needed (pykaldi on the package index is an empty placeholder)"
    )


def _model(path: str) -> Iterator[Finding]:
    from pykaldi_server.errors import PykaldiServerError
    from pykaldi_server.session import Model

    start_s = time.perf_counter()
    try:
        model = Model.load(path)
        model.session().finish()
    except (PykaldiServerError, OSError) as error:
        yield Finding("model", str(error), ok=False)
        return
    taken_s = time.perf_counter() - start_s
    yield Finding("model", f"{model.name}: {model.sample_rate_hz} Hz, loaded in {taken_s:.1f} s")
    mapped = ", ".join(path.name for path in _mapped_files(model))
    if mapped:
        yield Finding("mapped files", f"{mapped}; replace them by renaming new files, never in place")


def _mapped_files(model: "Model") -> list[Path]:
    """The files of a loaded model that this process has mapped, if the system says so."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    folder = model.graph_path.resolve().parent
    if folder.name.startswith("graph"):
        folder = folder.parent
    paths = {Path(line.split(maxsplit=5)[5]) for line in maps.read_text().splitlines() if "/" in line}
    return sorted(path for path in paths if path.is_relative_to(folder))
