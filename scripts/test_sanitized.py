"""Builds the C++ core with a sanitizer, runs the tests that use it most, and says what came of it.

    python scripts/test_sanitized.py address [ARGUMENT OF PYTEST]...
    python scripts/test_sanitized.py thread [ARGUMENT OF PYTEST]...

``address`` also finds undefined behaviour. Python itself is not built with the sanitizers: their library is
loaded before it, what Python does not free at its end does not count, and neither do races in modules without
the sanitizer.
"""

import glob
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILER = os.environ.get("CXX", "c++")
LIMIT_S = 1200
"""How long a run of the tests may take before it counts as hung."""
# Optimised, as races and overflows depend on it, but not so much that the compiler takes minutes.
COMMON_FLAGS = "-O1 -g1 -fno-omit-frame-pointer"
CHECK_BUILD = "import sys; from pykaldi_server.kaldi import _core; print(_core.__file__)"


@dataclass(frozen=True)
class Sanitizer:
    """How one kind of sanitizer is built and run.

    Attributes:
        flags: for the compiler and the linker.
        library: what must be loaded before Python.
        symbol: what all that is built with the sanitizer calls.
        environment: options of the sanitizer, and what keeps Python out of its way.
        tests: patterns of files and folders, relative to the repository.
        left_out: tests that spend minutes in Python, and call nothing of the core that others do not; and one
            in which memory runs out, of which the sanitizer's own allocator dies.
    """

    flags: str
    library: str
    symbol: bytes
    tests: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


SANITIZERS = {
    "address": Sanitizer(
        flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined",
        library="libasan.so",
        symbol=b"__asan_init",
        tests=(
            "tests/kaldi/test_core_*.py",
            *(f"tests/kaldi/{folder}" for folder in ("fstext", "decoder", "lat", "lm", "matrix")),
            "tests/kaldi/feat/test_pitch.py",
            "tests/kaldi/online2/test_endpoint.py",
        ),
        left_out=(
            "tests/kaldi/test_core_safety.py::test_an_array_for_which_there_is_no_memory_is_an_error",
            "tests/kaldi/feat/test_pitch.py::test_equals_the_definition",
            "tests/kaldi/lm/test_rescore.py::test_composition_has_every_way_through_the_model",
            "tests/kaldi/lm/test_rescore.py::test_composition_has_every_way_through_a_backoff_model_once",
        ),
        environment={
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "PYTHONMALLOC": "malloc",
        },
    ),
    "thread": Sanitizer(
        flags="-fsanitize=thread",
        library="libtsan.so",
        symbol=b"__tsan_init",
        tests=("tests/kaldi/test_core_threads.py",),
        environment={"TSAN_OPTIONS": "halt_on_error=1 ignore_noninstrumented_modules=1"},
    ),
}


def build(name: str, sanitizer: Sanitizer) -> Path:
    """Builds the package with a sanitizer; returns the folder that has it."""
    base = ROOT / "build" / f"sanitized-{name}"
    # Which of them is for C++ depends on the version of setuptools.
    flags = {
        **dict.fromkeys(("CFLAGS", "CXXFLAGS"), f"{sanitizer.flags} {COMMON_FLAGS}"),
        "LDFLAGS": sanitizer.flags,
    }
    command = [
        sys.executable,
        "setup.py",
        "--quiet",
        "build",
        "--build-base",
        base,
        "--build-lib",
        base / "lib",
    ]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **flags}, check=True)
    (extension,) = (base / "lib").glob("pykaldi_server/kaldi/_core.*.so")
    if sanitizer.symbol not in extension.read_bytes():
        raise SystemExit(f"{extension}: expected calls of {sanitizer.symbol.decode()}, found none")
    return base / "lib"


def library_path(library: str) -> str:
    """Where the compiler has one of its libraries."""
    command = [COMPILER, f"-print-file-name={library}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def fixed_addresses() -> list[str]:
    """What runs a command without random addresses, of which some kernels have more than sanitizers can take.

    Returns:
        The beginning of a command; empty where the system does not allow it, such as in some containers.
    """
    setarch = shutil.which("setarch")
    if (
        setarch is None
        or subprocess.run([setarch, "-R", "true"], capture_output=True, check=False).returncode
    ):
        return []
    return [setarch, "-R"]


def run_tests(name: str, sanitizer: Sanitizer, folder: Path, arguments: list[str]) -> int:
    """Runs the tests on what was built; returns an exit code."""
    preloaded = [library_path(each) for each in (sanitizer.library, "libstdc++.so")]
    environment = {
        **os.environ,
        **sanitizer.environment,
        "LD_PRELOAD": " ".join(preloaded),
        "PYTHONPATH": str(folder),
        "OPENBLAS_NUM_THREADS": "1",
    }
    python = [*fixed_addresses(), sys.executable]
    # Safe path: the folder of the repository, with the extension in everyday use, does not come first.
    check = subprocess.run(
        [*python, "-P", "-c", CHECK_BUILD], env=environment, capture_output=True, text=True
    )
    if not check.stdout.startswith(str(folder)):
        print(f"expected the extension in {folder}, found {check.stdout.strip()}{check.stderr}")
        return 1
    left_out = [f"--deselect={each}" for each in sanitizer.left_out]
    tests = sorted(path for pattern in sanitizer.tests for path in glob.glob(pattern, root_dir=ROOT))
    # A sanitizer ends the process after its report, which must not be lost in what pytest captures of stderr.
    command = [
        *python,
        "-P",
        "-m",
        "pytest",
        "-q",
        "--capture=sys",
        "--timeout",
        str(LIMIT_S),
        *left_out,
        *arguments,
        *tests,
    ]
    try:
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        print(f"expected an end within {LIMIT_S} s")
        return 1


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in SANITIZERS:
        print(f"usage: {sys.argv[0]} {'|'.join(SANITIZERS)} [ARGUMENT OF PYTEST]...")
        return 2
    name, arguments = sys.argv[1], sys.argv[2:]
    sanitizer = SANITIZERS[name]
    start_s = time.monotonic()
    folder = build(name, sanitizer)
    built_s = time.monotonic()
    code = run_tests(name, sanitizer, folder, arguments)
    seconds = f"built in {built_s - start_s:.0f} s, tested in {time.monotonic() - built_s:.0f} s"
    result = "found nothing" if code == 0 else f"FAILED with exit code {code}; the report is above"
    print(f"{name} sanitizer: {result} ({seconds})")
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
