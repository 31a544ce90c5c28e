"""Builds the C++17 extension and puts a demo model into wheels; everything else is in pyproject.toml."""

import os
import shutil
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = "pykaldi_server/kaldi"
SOURCES = sorted(glob(f"{ROOT}/csrc/**/*.cc", recursive=True) + glob(f"{ROOT}/bindings/*.cc"))
HEADERS = sorted(glob(f"{ROOT}/**/*.h", recursive=True))

# What of the English model recognises digits, and what it is called in a wheel: 8 MB that serve at once.
DEMO_MODEL = "pykaldi_server/models/bundled/english-digits"
DEMO_PARTS = {
    "am": "am",
    "conf": "conf",
    "graph-digits": "graph",
    "ivector": "ivector",
    "README.md": "README.md",
    "digits.json": "model.json",
}


class BuildWithDemo(build_py):
    """Puts the demo model into the package. A checkout that is installed as it is has it in models/."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, DEMO_MODEL)
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for part, name in DEMO_PARTS.items():
                source = Path("models/english", part)
                copy = shutil.copytree if source.is_dir() else shutil.copyfile
                copy(source, target / name)


def needs_recompile(object_path: str, source_path: str) -> bool:
    """True when anything that the object was made from is newer; the compiler lists it (-MMD)."""
    try:
        listed = Path(object_path).with_suffix(".d").read_text().partition(":")[2]
        made_from = [source_path, *listed.replace("\\\n", " ").split()]
        return os.path.getmtime(object_path) < max(map(os.path.getmtime, made_from))
    except FileNotFoundError:
        return True


# Newer setuptools reads CXXFLAGS for C++, older ones CFLAGS. What they say wins over the following.
FLAGS = os.environ.get("CXXFLAGS", os.environ.get("CFLAGS", ""))
OPTIMISATION = [] if "-O" in FLAGS else ["-O3"]
# Debugging information takes a third of the compiler's time; whoever wants it asks for it.
DEBUGGING = [] if "-g" in FLAGS else ["-g0"]

ParallelCompile("PYKALDI_SERVER_BUILD_JOBS", needs_recompile=needs_recompile).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "pykaldi_server.kaldi._core",
            SOURCES,
            depends=HEADERS,
            include_dirs=[ROOT],
            cxx_std=17,
            extra_compile_args=[*OPTIMISATION, "-Wall", "-Wextra", "-fno-math-errno", "-MMD", *DEBUGGING],
        )
    ],
    cmdclass={"build_ext": build_ext, "build_py": BuildWithDemo},
)
