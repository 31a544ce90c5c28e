"""The C++ core compiles for processors and with compilers that the tests do not run on.

The kernels for x86-64 are there only on x86-64, and clang with libc++ is what macOS has: a standard library
with other gaps. Only the compilers' front ends run; warnings count as errors.
"""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pykaldi_server.cores import num_cores

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

KALDI = Path(__file__).resolve().parents[2] / "pykaldi_server" / "kaldi"
FLAGS = ("-std=c++17", "-fsyntax-only", "-fno-math-errno", "-Wall", "-Wextra", "-Werror", "-I.")


def errors(command: list[str], source: Path) -> str:
    ran = subprocess.run([*command, source], cwd=KALDI, capture_output=True, text=True, check=False)
    return ran.stderr if ran.returncode else ""


@pytest.mark.parametrize(
    ("compiler", "options", "packages"),
    [
        pytest.param("aarch64-linux-gnu-g++", (), "g++-aarch64-linux-gnu", id="aarch64"),
        pytest.param("clang++", ("-stdlib=libc++",), "clang libc++-dev libc++abi-dev", id="clang"),
    ],
)
def test_the_core_compiles(compiler: str, options: tuple[str, ...], packages: str, tmp_path: Path) -> None:
    probe = tmp_path / "probe.cc"
    probe.write_text("#include <vector>\nstd::vector<int> numbers;\n")
    command = [compiler, *options, *FLAGS]
    if shutil.which(compiler) is None or errors(command, probe):
        pytest.skip(f"needs another compiler (Debian: apt-get install {packages})")
    sources = sorted(KALDI.glob("csrc/**/*.cc"))
    assert len(sources) > 50
    with ThreadPoolExecutor(num_cores()) as pool:
        found = list(pool.map(lambda source: errors(command, source), sources))
    assert "".join(found) == ""
