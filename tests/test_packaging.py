"""What users install: the archives have what they should, and the wheel works away from the checkout."""

import email
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pykaldi_server.version import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DEMO = "pykaldi_server/models/bundled/english-digits/"
MOST_BYTES = 10_000_000
"""Of a wheel: 8 MB are the demo model, 1 MB each the extension and all the rest."""
BUILT_FROM = {".cc", ".h", ".so", ".pyc"}
NOT_SHIPPED = {".gitignore"}
# Those of pip when it reaches no package index.
NO_INDEX = ("No matching distribution found", "Failed to establish a new connection", "Read timed out")
USERS_PROGRAM = """
import sys

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

model: Model = Model.load(sys.argv[1])
for event in transcribe(model, sys.argv[2]):
    if isinstance(event, Final):
        words: str = event.hypotheses[0].transcript
        start_s: float = event.start_s
        print(words if start_s >= 0 else "")
"""


def clean_environment() -> dict[str, str]:
    """The environment without what would lead Python to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a command elsewhere, free of what the tests set for themselves; returns its output.

    The test is skipped where the command fails for lack of a package index.
    """
    ran = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if ran.returncode and any(text in ran.stderr + ran.stdout for text in NO_INDEX):
        pytest.skip("needs a package index")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("archives")
    run([sys.executable, "-m", "build", "--outdir", folder, REPOSITORY], folder)
    return folder


@pytest.fixture(scope="module")
def installed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment with the wheel."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run([sys.executable, "-m", "venv", folder / "venv"], folder)
    programs = folder / "venv" / "bin"
    (wheel,) = archives.glob("*.whl")
    run([programs / "python", "-m", "pip", "install", "--quiet", wheel], folder)
    return programs


def test_the_source_archive_has_what_the_repository_has(archives: Path) -> None:
    (archive,) = archives.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        members = file.getmembers()
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert {
        "setup.py",
        "pyproject.toml",
        "Makefile",
        "tests/conftest.py",
        "models/english/am/final.mdl",
    } <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    assert {member.uname for member in members} == {"root"}
    if (REPOSITORY / ".git").exists():
        listed = run(["git", "ls-files", "-z"], REPOSITORY).rstrip("\0").split("\0")
        present = {name for name in listed if (REPOSITORY / name).exists()}
        assert present - names == NOT_SHIPPED


def test_the_wheel_has_what_is_used_and_no_sources_of_the_extension(archives: Path) -> None:
    (archive,) = archives.glob("*.whl")
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(metadata_name))
    package = REPOSITORY / "pykaldi_server"
    kept = [path for path in package.rglob("*") if path.suffix not in BUILT_FROM and path.is_file()]
    expected = {str(path.relative_to(REPOSITORY)) for path in kept}
    (extension,) = (name for name in names if name.endswith(".so"))
    assert extension.startswith("pykaldi_server/kaldi/_core.")
    ours = {name for name in names if ".dist-info/" not in name and not name.startswith(DEMO)}
    assert ours == expected | {extension}
    demo = {name.removeprefix(DEMO) for name in names if name.startswith(DEMO)}
    assert {"README.md", "model.json", "am/final.mdl", "graph/HCLG.fst", "graph/words.txt"} <= demo
    english = REPOSITORY / "models" / "english"
    sources = (name.replace("graph/", "graph-digits/").replace("model.json", "digits.json") for name in demo)
    assert all((english / name).is_file() for name in sources)
    assert archive.stat().st_size < MOST_BYTES
    assert any(name.endswith("licenses/LICENSE") for name in names)
    required = {
        str(Requirement(each)) for each in metadata.get_all("Requires-Dist", []) if "extra" not in each
    }
    assert required == {str(Requirement(each)) for each in PROJECT["dependencies"]}


def test_the_versions_are_one(archives: Path, installed: Path) -> None:
    names = {path.name.split("-")[1].removesuffix(".tar.gz") for path in archives.iterdir() if path.is_file()}
    assert names == {__version__}
    assert run([installed / "pykaldi-server", "version"], installed) == f"{__version__}\n"


def test_the_installed_command_transcribes(
    installed: Path, models: Path, golden: Path, tmp_path: Path
) -> None:
    recording = golden / "wav" / "ps-tidigits-2934z.wav"
    command: list[str | Path] = [installed / "pykaldi-server", "transcribe", recording]
    assert run([*command, "-m", models / "english"], tmp_path) == "two nine three four zero\n"
    said = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert said.stdout == "two nine three four zero\n"
    assert "this is the demo model, which knows English digits only" in said.stderr
    assert run([*command, "-m", "en"], tmp_path) == "two nine three four zero\n"
    assert "english-digits" in run([installed / "pykaldi-server", "model", "list", "--installed"], tmp_path)


def test_the_check_of_wheels_for_other_systems_runs(installed: Path, golden: Path, tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "check_package.py"
    recording = golden / "wav" / "ps-tidigits-2934z.wav"
    said = run([installed / "python", script, recording], tmp_path)
    assert said.endswith("found 'two nine three four zero'\n")


def test_wheels_are_built_for_the_supported_pythons_and_systems(archives: Path) -> None:
    supported = {f"cp3{each.rpartition('.')[2]}" for each in PROJECT["classifiers"] if "Python :: 3." in each}
    systems = {"linux": {"manylinux_x86_64", "manylinux_aarch64"}, "macos": {"macosx_x86_64", "macosx_arm64"}}
    for platform, expected in systems.items():
        listed = run(
            [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform, "."],
            REPOSITORY,
        )
        names = [name.split("-") for name in listed.split()]
        assert {python for python, _ in names} == supported
        assert {system for _, system in names} == expected


def test_the_wheel_needs_no_library_that_a_system_may_lack(archives: Path) -> None:
    """What it is linked with is all in the standard of wheels for Linux (manylinux)."""
    (wheel,) = archives.glob("*.whl")
    said = " ".join(run([sys.executable, "-m", "auditwheel", "show", wheel], archives).split())
    assert re.search(r'following platform tag: "manylinux_2_\d+_\w+"', said), said


def test_the_model_of_the_wheel_has_a_name_and_a_language(
    installed: Path, golden: Path, tmp_path: Path
) -> None:
    program = installed / "pykaldi-server"
    (listed,) = run([program, "model", "list", "--installed", "english"], tmp_path).splitlines()
    assert listed.split()[:2] == ["english-digits", "en"]
    for name in ("english-digits", "en"):
        recording = golden / "wav" / "ps-tidigits-2934z.wav"
        assert run([program, "transcribe", "-m", name, recording], tmp_path) == "two nine three four zero\n"


@pytest.mark.parametrize("model", ["", "english"])
def test_the_installed_server_serves(
    installed: Path, models: Path, golden: Path, tmp_path: Path, model: str
) -> None:
    """A model that is named, and in an empty folder the one that the wheel brings."""
    arguments = [str(models / model)] if model else []
    command: list[str | Path] = [installed / "pykaldi-server", "serve", *arguments, "--port", "0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        assert server.stdout is not None
        try:
            url = next(line.split()[-1] for line in server.stdout if line.startswith("Serving on "))
            page = urllib.request.urlopen(url).read().decode()
            assert "<html" in page
            audio = (golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()
            request = urllib.request.Request(f"{url}client/dynamic/recognize", audio, method="PUT")
            answer = json.load(urllib.request.urlopen(request))
            assert answer["hypotheses"] == [{"utterance": "two nine three four zero"}]
            served = json.load(urllib.request.urlopen(f"{url}v1/models"))["data"]
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert [each["id"] for each in served] == [model or "english-digits"]
    assert ("knows English digits only" in (tmp_path / "log").read_text()) == (not model)


def test_a_users_program_is_checked_and_runs(
    installed: Path, models: Path, golden: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(USERS_PROGRAM)
    mypy: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--python-executable",
        installed / "python",
    ]
    assert run([*mypy, program], tmp_path).startswith("Success")
    arguments = [models / "english", golden / "wav" / "ps-tidigits-2934z.wav"]
    assert run([installed / "python", program, *arguments], tmp_path) == "two nine three four zero\n"
    program.write_text(USERS_PROGRAM.replace("words: str", "words: int"))
    checked = subprocess.run(
        [*mypy, program], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert 'expression has type "str", variable has type "int"' in checked.stdout
