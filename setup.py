"""Builds the one C++17 extension; everything else about the package is in setup.cfg."""

import os
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

ROOT = "pykaldi_server/kaldi"
SOURCES = sorted(glob(f"{ROOT}/csrc/**/*.cc", recursive=True) + glob(f"{ROOT}/bindings/*.cc"))
HEADERS = sorted(glob(f"{ROOT}/**/*.h", recursive=True))


def needs_recompile(object_path: str, source_path: str) -> bool:
    """True when the source or any header is newer than the object: headers are few, so all of them count."""
    return os.path.getmtime(object_path) < max(map(os.path.getmtime, [source_path, *HEADERS]))


ParallelCompile("PYKALDI_SERVER_BUILD_JOBS", needs_recompile=needs_recompile).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "pykaldi_server.kaldi._core",
            SOURCES,
            depends=HEADERS,
            include_dirs=[ROOT],
            cxx_std=17,
            extra_compile_args=["-O3", "-Wall", "-Wextra", "-fno-math-errno"],
        )
    ],
    cmdclass={"build_ext": build_ext},
)
