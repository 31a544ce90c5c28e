"""Runs a short suite with every supported Python that this machine has, and names those that are missing.

Interpreters are looked for on the path, among those of pyenv, and where uv keeps its own. The version of
.venv is tested there; the others get virtual environments in build/pythons. Further arguments go to pytest.
"""

import glob
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERYDAY = ROOT / ".venv"
ENVIRONMENTS = ROOT / "build" / "pythons"
QUIET = {"PYTHONWARNINGS": "ignore:Editable installation"}
SHORT_SUITE = (
    *("tests/test_imports.py", "tests/test_public_face.py", "tests/cli/test_main.py", "tests/protocols"),
    *("tests/audio/test_decoder.py", "tests/master/test_pool.py", "tests/serve/test_server.py"),
    *("tests/kaldi/test_core_safety.py", "tests/kaldi/decoder", "tests/kaldi/fstext", "tests/kaldi/nnet3"),
    *("tests/session/test_session.py", "tests/session/test_streaming.py", "tests/worker/test_program.py"),
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


def prepare(interpreter: str, version: str) -> str:
    """Installs the package into an environment; returns that environment's interpreter."""
    everyday = str(EVERYDAY / "bin" / "python")
    if Path(everyday).exists() and is_version(everyday, version):
        return everyday
    environment = ENVIRONMENTS / version
    python = str(environment / "bin" / "python")
    if not environment.exists():
        subprocess.run([interpreter, "-m", "venv", str(environment)], check=True)
    # Editable: the extensions for several versions have several names, and so lie side by side.
    install = [python, "-m", "pip", "install", "-qq", "--editable", ".[dev]"]
    subprocess.run(install, cwd=ROOT, env={**os.environ, **QUIET}, check=True)
    return python


def run_suite(interpreter: str, version: str, arguments: list[str]) -> str:
    """Runs the short suite with one version of Python; returns what came of it, for people to read."""
    start_s = time.monotonic()
    try:
        python = prepare(interpreter, version)
    except subprocess.CalledProcessError as error:
        return f"FAILED to install: {error}"
    installed_s = time.monotonic()
    command = [python, "-m", "pytest", "-q", *SHORT_SUITE, *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = f"installed in {installed_s - start_s:.0f} s, tested in {time.monotonic() - installed_s:.0f} s"
    return f"{'passed' if code == 0 else 'FAILED'} ({seconds})"


def main() -> int:
    results = {}
    for version in supported_versions():
        found = interpreters(version)
        print(f"Python {version}: {found[0] if found else 'not found'}", flush=True)
        if found:
            results[version] = run_suite(found[0], version, sys.argv[1:])
        else:
            results[version] = "not found on this machine"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return 1 if any(result.startswith("FAILED") for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
