"""Runs a short suite with every supported Python that this machine has, and names those that are missing.

Interpreters are looked for on the path, among those of pyenv, and where uv keeps its own. Each gets a virtual
environment in build/pythons. Further arguments go to pytest.
"""

import glob
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / "build" / "pythons"
QUIET = {"PYTHONWARNINGS": "ignore:Editable installation"}
SHORT_SUITE = (
    *("tests/test_imports.py", "tests/audio", "tests/cli", "tests/client", "tests/protocols", "tests/master"),
    *("tests/kaldi/decoder", "tests/kaldi/fstext", "tests/kaldi/lat", "tests/kaldi/nnet3", "tests/session"),
)


def supported_versions() -> list[str]:
    """The versions of Python that pyproject.toml names, such as 3.12."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    return sorted(words, key=lambda word: int(word.partition(".")[2]))


def interpreters(version: str) -> list[str]:
    """Paths of interpreters of a version that may be there, the preferred one first."""
    places = [shutil.which(f"python{version}") or ""]
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    places += sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python{version}"))
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
        places.append(found.stdout.strip())
    return [place for place in places if place and is_version(place, version)]


def is_version(interpreter: str, version: str) -> bool:
    """Whether an interpreter runs and is of a version; pyenv puts names on the path that do not."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    return ran.stdout.strip() == version


def run_suite(interpreter: str, version: str, arguments: list[str]) -> bool:
    """Installs the package into an environment of its own and runs the short suite; True if it passed."""
    environment = ENVIRONMENTS / version
    python = str(environment / "bin" / "python")
    if not environment.exists():
        subprocess.run([interpreter, "-m", "venv", str(environment)], check=True)
    # Editable: the extensions for several versions have several names, and so lie side by side.
    install = [python, "-m", "pip", "install", "--quiet", "--editable", ".[dev]"]
    subprocess.run(install, cwd=ROOT, env={**os.environ, **QUIET}, check=True)
    command = [python, "-m", "pytest", "-q", *SHORT_SUITE, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    results = {}
    for version in supported_versions():
        found = interpreters(version)
        print(f"Python {version}: {found[0] if found else 'not found'}", flush=True)
        if found:
            passed = run_suite(found[0], version, sys.argv[1:])
            results[version] = "passed" if passed else "FAILED"
        else:
            results[version] = "not found on this machine"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return 1 if "FAILED" in results.values() else 0


if __name__ == "__main__":
    sys.exit(main())
