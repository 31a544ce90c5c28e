"""The commands in README, docs/, models/ and scripts/: every one would be taken, and what can run is run.

A block of commands has one of these marks in a comment of HTML above it:

* ``runs``: it is run in a folder that has what it names (`documented_folder`);
* ``runs after the block above``: the same, in the folder that the block above it has left;
* ``runs with a container engine``: a test of its own runs it (`ELSEWHERE`);
* ``not run: REASON``: nobody can run it in a test. There are few reasons (`REASONS`).

What a comment right below a command says is its output; ``...`` in it is anything.
"""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import (
    BLOCK,
    ROOT,
    SHELL,
    Block,
    all_blocks,
    blocks,
    documents,
    mentioned_commands,
    refusal,
    simple_commands,
)
from documented_folder import Folder

REASONS = {
    "needs Docker, and images of others": "tests/deploy/test_compose.py",
    "needs Asterisk": "tests/test_documented_formats.py",
}
"""Why blocks are not run, and which test checks what they say as far as that can be."""
RUNS, RUNS_ON = "runs", "runs after the block above"
ELSEWHERE = {"runs with a container engine": "tests/deploy/test_engine.py"}
"""Which test runs blocks that need more than a folder."""
PROGRAMS = ("apt-get", "curl", "docker", "eval", "kubectl", "make", "node", "pip", "pykaldi-server", "python")


def runs(document: Path) -> Iterator[list[Block]]:
    """The blocks to run, each after those that it needs."""
    before: list[Block] = []
    for block in blocks(document):
        if block.mark in (RUNS, RUNS_ON):
            before = [*before, block] if block.mark == RUNS_ON else [block]
            yield before


RUN = [each for document in documents() for each in runs(document)]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_commands_has_a_mark(document: Path) -> None:
    marks = [RUNS, RUNS_ON, *ELSEWHERE, *(f"not run: {reason}" for reason in REASONS)]
    found = all_blocks(document)
    for block in found:
        assert block.mark in (marks if block.language in SHELL else ["", *marks]), block.code
    assert not found or found[0].mark != RUNS_ON


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_in_blocks_that_can_have_a_mark(document: Path) -> None:
    """Between backquotes, with a language, and not merely indented."""
    text = document.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(all_blocks(document))
    assert [block.code for block in all_blocks(document) if not block.language] == []
    indented = re.findall(rf"^ {{4}}(?:{'|'.join(PROGRAMS)}) .*$", BLOCK.sub("", text), re.MULTILINE)
    assert document.suffix != ".md" or indented == []


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_needed_and_something_is_checked(reason: str) -> None:
    marked = [block for document in documents() for block in all_blocks(document) if reason in block.mark]
    assert marked
    checker = (ROOT / REASONS[reason]).read_text(encoding="utf-8")
    assert any(Path(block.document).name in checker for block in marked)


@pytest.mark.parametrize("mark", ELSEWHERE)
def test_somebody_runs_what_needs_more_than_a_folder(mark: str) -> None:
    """As many blocks as have the mark."""
    marked = [block for document in documents() for block in all_blocks(document) if block.mark == mark]
    runner = (ROOT / ELSEWHERE[mark]).read_text(encoding="utf-8")
    assert f'"{mark}"' in runner
    assert len(marked) == len(set(re.findall(r"= documented\((.*)\)", runner)))


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_would_be_taken(document: Path) -> None:
    in_blocks = [command for block in blocks(document) for command, _ in block.steps()]
    lines = [*((line, True) for line in in_blocks), *((line, False) for line in mentioned_commands(document))]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    refused = {}
    for line, is_whole in lines:
        for program, *arguments in simple_commands(line):
            if program == "pykaldi-server":
                reason = refusal(arguments, is_whole=is_whole)
            elif program == "make":
                targets = [word for word in arguments if "=" not in word]
                reason = next((f"no target {t}" for t in targets if f"\n{t}:" not in makefile), None)
            elif program == "python" and arguments[0].startswith("scripts/"):
                reason = script_refusal(arguments)
            else:
                continue
            if reason is not None:
                refused[line] = reason
    assert refused == {}


def script_refusal(arguments: list[str]) -> str | None:
    """Why a script of the repository would not run: there is none, or it does not name an option."""
    script = ROOT / arguments[0]
    if not script.is_file():
        return f"no file {arguments[0]}"
    text = script.read_text(encoding="utf-8")
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    return next((f"no option {option}" for option in options if option not in text), None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("transcribe --beem 11 FILE", "--beem"),
        ("serve --port many", "expected a whole number, found 'many'"),
        ("serve --workers", "--workers"),
        ("sreve", "No such command 'sreve'"),
        ("model const-arpa LM.arpa", "'OUTPUT'"),
        ("worker -c FILE.yaml -f 0", "0 is not in the range"),
        ("doctor -h extra", None),
    ],
)
def test_what_would_not_be_taken(arguments: str, expected: str | None) -> None:
    reason = refusal(arguments.split(), is_whole=True)
    assert reason is None if expected is None else expected in str(reason)


def test_extras_that_documents_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for document in documents()
        for group in re.findall(r"pykaldi-server\[([\w,]+)\]", document.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert named <= extras.keys()


def need_what_is_called(block: Block) -> None:
    """Skips the test where a program or a package is missing that nothing can stand in for."""
    if shutil.which(block.shell) is None:
        pytest.skip(f"needs {block.shell}")
    programs = {words[0] for command, _ in block.steps() for words in simple_commands(command)}
    for name in programs & {"curl", "ghc", "javac", "kubectl", "make"}:
        if shutil.which(name) is None:
            pytest.skip(f"needs {name}")
    if "ray" in programs and importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray (pip install 'pykaldi-server[ray]')")
    if "apt-get" in programs and not knows_packages():
        pytest.skip("needs Debian's lists of packages (apt-get update)")
    packages = {"scripts/bench/bounded_cost.py": ("jiwer",), "scripts/bench/load.py": ("psutil", "vosk")}
    for script, needed in packages.items():
        for package in needed if script in block.code else ():
            pytest.importorskip(package, reason=f"needs the package {package}")


def knows_packages() -> bool:
    """Whether apt-get could install one that every Debian has."""
    if shutil.which("apt-get") is None:
        return False
    return subprocess.run(["apt-get", "--simulate", "install", "make"], capture_output=True).returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.close()


@pytest.mark.parametrize(
    "code", ["echo one two\n# one\n", "false\n", "false | cat\n", "cat no-such-file\n", "echo $NO_VARIABLE\n"]
)
def test_a_block_that_does_not_hold(folder: Folder, code: str) -> None:
    with pytest.raises(AssertionError):
        folder.run(Block("", RUNS, code))


def test_a_block_that_holds(folder: Folder) -> None:
    """Each command finds the place and the variables that those before it have left."""
    folder.run(
        Block(
            "",
            RUNS,
            "# to begin with\necho one \\\n    two three\n# one ... three\nls tokens.yaml\n"
            "cd recordings && export WORD='it is'\nls one.wav\necho '$WORD\nbold'; echo $WORD\n"
            "# $WORD\n# bold\n# it is\n",
        )
    )


def test_stand_ins_refuse_what_programs_would_refuse(folder: Folder) -> None:
    for command in ("arecord -f S24_LE -r 16000", "arecord -f S16_LE", "kubectl delete namespace a"):
        with pytest.raises(AssertionError):
            folder.run(Block("", RUNS, f"{command} > /dev/null\n"))


def test_the_shell_completes(folder: Folder) -> None:
    """With what the document has people put into their startup files."""
    (bash,) = (block for block in blocks(ROOT / "docs" / "running.md") if block.language == "bash")
    complete = (
        "complete=$(complete -p pykaldi-server); complete=${complete#*-F }; "
        "COMP_WORDS=(pykaldi-server trans); COMP_CWORD=1; ${complete% *} pykaldi-server; echo ${COMPREPLY[@]}"
    )
    folder.run(Block("", RUNS, f"{bash.code.strip()}; {complete}\n# transcribe\n"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chain", RUN, ids=[f"{each[0].document}-{n}" for n, each in enumerate(RUN)])
def test_a_marked_block_runs(folder: Folder, chain: list[Block]) -> None:
    for block in chain:
        need_what_is_called(block)
        folder.end_running()
        folder.run(block)
