"""The commands in README, docs/ and models/: every one would be taken, and those of marked blocks are run.

A block of commands below the comment ``<!-- runs -->`` is run in a folder that has what it names. What a
comment right below a command says is its output; ``...`` in it is anything.
"""

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from documented import (
    ROOT,
    Block,
    blocks,
    code_blocks,
    documents,
    mentioned_commands,
    refusal,
    simple_commands,
)

from pykaldi_server.cli.settings import SECTIONS, read_config
from pykaldi_server.master.access.tokens import read_tokens
from pykaldi_server.session.formats.gstreamer_yaml import MODEL_KEYS
from pykaldi_server.worker.settings import WORKER_KEYS, WorkerSettings

PATIENCE_S = 200
READY = {
    "serve": re.compile(r"Serving on (http\S+)/"),
    "master": re.compile(r"listening on (http\S+)"),
    "worker": re.compile(r"model \S+ loaded in"),
}
"""What programs say that run on when they are ready."""
RUN = [block for document in documents() for block in blocks(document) if block.mark == "runs"]


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


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_json_is_json(document: Path) -> None:
    """Each block has one value or more."""
    for text in code_blocks(document, "json"):
        rest = text.strip()
        while rest:
            _, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].strip()


def test_configuration_files_are_understood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each YAML file in the documents is read by what reads such files, without a warning."""
    found: list[str] = []
    for document in documents():
        for text in code_blocks(document, "yaml"):
            file = tmp_path / f"{len(found)}.yaml"
            file.write_text(text, encoding="utf-8")
            file.chmod(0o600)  # as a file of tokens has to be
            keys = set(yaml.safe_load(text))
            if keys <= SECTIONS.keys():
                assert read_config(file).keys() == keys
                found.append("settings")
            elif "clients" in keys:
                assert len(read_tokens(file)) > 3
                found.append("tokens")
            else:
                assert keys <= {*WORKER_KEYS, *MODEL_KEYS}
                with caplog.at_level(logging.WARNING):
                    WorkerSettings.read(str(file))
                found.append("model")
    assert set(found) == {"settings", "tokens", "model"}
    assert caplog.messages == []


class Folder:
    """A folder with what the commands name, in which they are run.

    Programs that run on are started on free ports, and what follows finds them there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._url = ""
        self._make_files()

    def _make_files(self) -> None:
        for name in ("models", "scripts", "tests", "docs"):
            (self.path / name).symlink_to(ROOT / name)
        wav = ROOT / "tests" / "data" / "golden" / "wav" / "ps-tidigits-2934z.wav"
        for name in (
            "speech.wav",
            "speech.ogg",
            "talk.ogg",
            "recordings/one.wav",
        ):  # content decides, not names
            (self.path / name).parent.mkdir(exist_ok=True)
            shutil.copy(wav, self.path / name)
        (self.path / "speech.raw").write_bytes(wav.read_bytes()[44::2])
        security = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
        (tokens,) = re.findall(r"```yaml\n(# tokens.yaml.*?)```", security, re.DOTALL)
        (self.path / "tokens.yaml").write_text(tokens)
        (worker,) = re.findall(r"workers:\n +\S+: (\S+)", tokens)
        (self.path / "token").write_text(worker)
        program = self.path / "bin" / "pykaldi-server"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pykaldi_server "$@"\n')
        program.chmod(0o755)

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def run(self, block: Block) -> None:
        """Runs a block; the first command that fails, or has another output, fails the test."""
        if re.search(r"\blocalhost:8888\b", block.code):
            self._start("pykaldi-server serve models/english", "serve")
        for command, promised in block.steps():
            program, *words = next(simple_commands(command))
            kind = words[0] if program == "pykaldi-server" else ""
            if kind in READY:
                self._start(command, kind)
                continue
            line = re.sub(r"http://localhost:8888", self._url, command)
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],
                cwd=self.path,
                env=self.environment(),
                timeout=PATIENCE_S,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
            if promised:
                pattern = re.escape(promised).replace(re.escape("..."), ".*")
                assert re.fullmatch(pattern, ran.stdout.strip(), re.DOTALL), ran.stdout

    def _start(self, command: str, kind: str) -> None:
        """Starts a program that runs on, and waits until it is ready."""
        line = (
            re.sub(r"(-port[ =])\d+", r"\g<1>0", command)
            .partition(" #")[0]
            .replace(" MODEL", " models/english")
        )
        if kind == "serve":
            line += f" --references {shlex.quote(str(self.path / 'references.jsonl'))}"
            line += "" if "--port" in shlex.split(line) else " --port 0"
        line = re.sub(r"ws://(localhost|master):8888", self._url.replace("http", "ws", 1), line)
        log = self.path / f"log-{len(self._running)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                cwd=self.path,
                env=self.environment(),
                stdout=output,
                stderr=output,
            )
        self._running.append((line, process))
        deadline = time.monotonic() + PATIENCE_S
        while not (ready := READY[kind].search(log.read_text(errors="replace"))):
            assert process.poll() is None, f"{line}\n{log.read_text(errors='replace')}"
            assert time.monotonic() < deadline, f"{line}\n{log.read_text(errors='replace')}"
            time.sleep(0.05)
        if ready.re.groups:
            self._url = ready[1]

    def close(self) -> None:
        """Ends what runs on."""
        for line, process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, line


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.close()


@pytest.mark.parametrize("code", ["echo one two\n# one\n", "false\n", "false | cat\n", "cat no-such-file\n"])
def test_a_block_that_does_not_hold(folder: Folder, code: str) -> None:
    with pytest.raises(AssertionError):
        folder.run(Block("", "runs", code))


def test_a_block_that_holds(folder: Folder) -> None:
    folder.run(
        Block("", "runs", "# to begin with\necho one \\\n    two three\n# one ... three\nls tokens.yaml\n")
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=[f"{block.document}-{n}" for n, block in enumerate(RUN)])
def test_a_marked_block_runs(folder: Folder, block: Block) -> None:
    folder.run(block)


def test_the_documents_have_marked_blocks() -> None:
    assert {"README.md", "docs/running.md", "docs/transcribing.md", "docs/protocol.md"} <= {
        block.document for block in RUN
    }
