"""A folder in which the commands of a document do what they do for a reader, without a network.

What they name is there. Servers run on free ports, and what follows finds them there. The addresses of
other machines are this one's; what is not at hand, `documented_programs` has.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from dask_processes import DaskProcesses
from documented import ROOT, Block, simple_commands
from documented_programs import JOBS, MIRROR, RECORDING, put_on_path
from mirror import running_mirror
from model_files import DIGITS, link_files
from processes import run_to_end
from ray_machines import kill_all
from sample_clients import CLIENTS, build_javascript

from pykaldi_server.master.certificates import self_signed_certificate
from pykaldi_server.models.catalogue import find_entry

PATIENCE_S = 200
GOLDEN = ROOT / "tests" / "data" / "golden"
WAV = GOLDEN / "wav" / "ps-tidigits-2934z.wav"
READY = {
    "serve": re.compile(r"Serving on (http\S+)/"),
    "master": re.compile(r"listening on (http\S+)"),
    "worker": re.compile(r"model \S+ loaded in"),
    "http.server": re.compile(r"Serving HTTP on \S+ port (\d+)"),
    "ray": re.compile(r"model \S+ loaded in"),
}
"""What programs say that run on when they are ready."""
SHORTER = {
    "scripts/bench/load.py": "--quick",
    "scripts/bench/vosk.py": f"--rounds 1 {WAV}",
}
"""What is added to commands that would take long."""
RECORDINGS = ("speech.wav", "speech.ogg", "speech.mp3", "talk.ogg", "recordings/one.wav")  # content decides
PRINTS_WORDS = re.compile(r"listen|transcribe (?!.*-o )|client\.py|client\.mjs|build/client|Client speech")
"""Commands that print what is said in a recording."""
LISTS = ("list.txt", "recordings.txt")
BATCH_SYSTEMS = ("slurm", "sge", "pbs", "htcondor")
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
users: [{name: me, user: {token: mine}}]
current-context: here
"""

MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
"""Variables by which `make` tells those that it calls what they were given."""


def running_kind(command: str) -> str:
    """What a command starts that runs on, as a key of `READY`; '' if it ends by itself."""
    words = next(simple_commands(command), [])
    match words:
        case ["pykaldi-server", kind, *_] if kind in READY:
            return kind
        case ["make", "serve"]:
            return "serve"
        case ["python", "-m", "http.server", *_]:
            return "http.server"
    return ""


class Folder:
    """The folder; `close` ends what has been started."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._running = ExitStack()
        self._helpers = ExitStack()
        self._num_logs = 0
        self._url = ""
        self._here: dict[str, str] = {}  # what stands in a command -> what is there on this machine
        self._make_files()
        self._variables = {
            **put_on_path(path / "bin"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "XDG_DATA_HOME": str(path / "data"),
            "PIP_NO_INDEX": "1",  # what is installed is enough
            "PIP_NO_DEPS": "1",
            RECORDING: str(WAV),
        }

    def _make_files(self) -> None:
        for name in ("models", "tests", "docs", "deploy"):
            (self.path / name).symlink_to(ROOT / name)
        scripts = self.path / "scripts"
        scripts.mkdir()
        for each in (ROOT / "scripts").iterdir():
            if each != CLIENTS:
                (scripts / each.name).symlink_to(each)
        for name in RECORDINGS:
            (self.path / name).parent.mkdir(exist_ok=True)
            shutil.copy(WAV, self.path / name)
        for name in LISTS:
            (self.path / name).write_text("speech.wav\nrecordings/one.wav\n")
        (self.path / "speech.raw").write_bytes(WAV.read_bytes()[44::2])
        security = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
        (tokens,) = re.findall(r"```yaml\n(# tokens.yaml.*?)```", security, re.DOTALL)
        (self.path / "tokens.yaml").write_text(tokens)
        (worker,) = re.findall(r"workers:\n +\S+: (\S+)", tokens)
        (self.path / "token").write_text(worker)
        self._cwd = self.path / ".cwd"
        self._cwd.write_text(str(self.path))
        self._exports = self.path / ".exports"
        self._exports.touch()

    def environment(self) -> dict[str, str]:
        """That of the tests, without what a `make` that runs them hands on to others: it would win."""
        inherited = {name: value for name, value in os.environ.items() if name not in MAKE}
        return {**inherited, **self._variables}

    def run(self, block: Block) -> None:
        """Runs a block; the first command that fails, or has another output, fails the test."""
        for pattern, prepare in PREPARATIONS.items():
            if re.search(pattern, block.code, re.MULTILINE):
                prepare(self)
        kinds = [running_kind(command) for command, _ in block.steps()]
        if "worker" in kinds and "master" not in kinds:
            self._start("pykaldi-server master --open --port 0", "master")
        elif re.search(r"localhost:8888|cd scripts/clients", block.code) and "serve" not in kinds:
            self._start("pykaldi-server serve models/english", "serve")
        if "cd scripts/clients" in block.code:
            self._copy_clients()
        for command, promised in block.steps():
            if kind := running_kind(command):
                self._start(command, kind)
                continue
            out = self._run(self._line(command), block.shell)
            if promised:
                pattern = re.escape(promised).replace(re.escape("..."), ".*")
                assert re.fullmatch(pattern, out.strip(), re.DOTALL), out

    def _run(self, line: str, shell: str) -> str:
        """Runs a command that ends; returns its output."""
        output = self._clear_output(line)
        command = [shell, "-c", self._script(line) if shell == "bash" else line]
        cwd = self._cwd.read_text().strip()
        code, out, err = run_to_end(command, PATIENCE_S, cwd=cwd, env=self.environment())
        assert code == 0, f"{line}\n{out}{err}"
        if output is not None:
            assert len(list(output.glob("**/*.*"))) > 2, err  # transcripts, and the ledger
        if PRINTS_WORDS.search(line):
            assert re.search(r"\w", out), f"{line}\n{err}"
        for answer in re.finditer(rf'"id": "({UUID.pattern})"', out):
            self._here[UUID.pattern] = answer[1]
        return out

    def _clear_output(self, line: str) -> Path | None:
        """Lets a command do what one before it has done; returns where transcripts will be."""
        if "--scheduler" not in line:
            return None
        words = shlex.split(line)
        output = self.path / words[words.index("-o") + 1]
        shutil.rmtree(output, ignore_errors=True)
        return output

    def _script(self, line: str) -> str:
        """A command in the place and with the variables that those before it have left."""
        exports, place = (shlex.quote(str(each)) for each in (self._exports, self._cwd))
        return f"set -euo pipefail\n. {exports}\n{line}\nexport -p > {exports}\npwd > {place}\n"

    def _line(self, command: str) -> str:
        """A command for this machine."""
        addresses = {
            "http://localhost:8888": self._url,
            "ws://(?:localhost|master|MASTER):8888": self._url.replace("http", "ws", 1),
            "/srv/models": str(ROOT / "models"),
        }
        for pattern, here in {**addresses, **self._here}.items():
            command = re.sub(pattern, here, command)
        for script, arguments in SHORTER.items():
            if f"python {script}" in command:
                command = f"{command.partition(' #')[0]} {arguments}"
        return command

    def _start(self, command: str, kind: str) -> None:
        """Starts a program that runs on, and waits until it is ready."""
        line = self._line(command).partition(" #")[0]
        line = re.sub(r"(-port[ =])\d+", r"\g<1>0", line).replace(" MODEL", " models/english")
        if line.startswith("pykaldi-server serve"):
            line += f" --references {shlex.quote(str(self.path / 'references.jsonl'))}"
            line += "" if "--port" in shlex.split(line) else " --port 0"
        elif kind == "worker" and " -u " not in line:
            line += f" -u {self._url.replace('http', 'ws', 1)}/worker/ws/speech"
        elif kind == "http.server":
            line = line.replace("8000", "0")
        self._num_logs += 1
        log = self.path / f"log-{self._num_logs}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", self._script(f"exec {line}")],
                cwd=self._cwd.read_text().strip(),
                env=self.environment(),
                stdout=output,
                stderr=output,
            )
        self._running.callback(_end, process, line, log)
        deadline = time.monotonic() + PATIENCE_S
        while not (ready := READY[kind].search(log.read_text(errors="replace"))):
            assert process.poll() is None, f"{line}\n{log.read_text(errors='replace')}"
            assert time.monotonic() < deadline, f"{line}\n{log.read_text(errors='replace')}"
            time.sleep(0.05)
        if kind == "http.server":
            (page,) = re.findall(r"http://localhost:8000(/\S+\.html)", command)
            with urllib.request.urlopen(f"http://localhost:{ready[1]}{page}") as answer:
                assert b"<script" in answer.read()
        elif ready.re.groups:
            self._url = ready[1]

    def end_running(self) -> None:
        """Ends what runs on; what it keeps is then on the disk."""
        self._running.close()

    def close(self) -> None:
        """Ends everything."""
        with self._helpers:
            self.end_running()

    def _copy_clients(self) -> None:
        """Copies the clients, whose servers are on this machine unless their options say otherwise."""
        target = self.path / "scripts" / "clients"
        shutil.copytree(
            CLIENTS, target, ignore=shutil.ignore_patterns("build", "__pycache__", "node_modules")
        )
        address = self._url.removeprefix("http://")
        for source in [path for path in target.glob("*/*") if path.is_file()]:
            text = source.read_text(encoding="utf-8")
            source.write_text(text.replace("localhost:8888", address), encoding="utf-8")
        for folder in [path for path in target.iterdir() if path.is_dir()]:
            for name in ("speech.wav", "speech.mp3"):
                shutil.copy(WAV, folder / name)

    def prepare_tree(self) -> None:
        """The rest of the repository, and an environment in which everything is installed already."""
        for name in ("Makefile", "pyproject.toml", "setup.py", "setup.cfg", "pykaldi_server"):
            (self.path / name).symlink_to(ROOT / name)
        programs = self.path / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (programs / "python").chmod(0o755)
        (programs / "pykaldi-server").symlink_to(self.path / "bin" / "pykaldi-server")
        (self.path / ".venv" / ".setup-done").touch()
        self._variables |= {"PORT": "0", "PROCESSES": "1", "PYTEST_ARGS": "-q tests/test_version.py"}

    def prepare_mirror(self) -> None:
        """A server with the archives, all of which have the same small model."""
        folder = self.path / "mirror"
        for name in (find_entry("de").name, "vosk-model-en-us-0.22", "vosk-model-small-en-us-0.15"):
            self._pack(name, folder)
        self._pack("vosk-model-small-fr-0.22", self.path)
        mirror = self._helpers.enter_context(running_mirror(folder))
        self._variables[MIRROR] = f"{folder}={mirror.url}"

    def _pack(self, name: str, folder: Path) -> None:
        """Makes the archive of a model, as Vosk's are laid out."""
        laid = self.path / "laid" / name
        link_files(ROOT / "models" / "english", laid / name, DIGITS)
        shutil.make_archive(str(folder / name), "zip", laid)

    def prepare_node(self) -> None:
        """The switch that a version of Node.js needs which is not the newest."""
        _, *switches, _ = build_javascript(self.path)
        self._variables["NODE_OPTIONS"] = " ".join(switches)

    def prepare_cluster(self) -> None:
        """A Dask cluster with a worker, which finds recordings under the names that the command uses."""
        cluster = self._helpers.enter_context(DaskProcesses(self.path / "cluster"))
        cluster.add_worker(directory=self.path)
        self._here["tcp://host:8786"] = cluster.address

    def prepare_batch_systems(self) -> None:
        """What is always the same for batch systems: that jobs reach the command on the loopback device."""
        jobs, config = self.path / "jobs", self.path / "dask"
        jobs.mkdir()
        config.mkdir()
        always = "{interface: lo, scheduler-options: {dashboard_address: '127.0.0.1:0'}}"
        lines = [f"  {system}: {always}" for system in BATCH_SYSTEMS]
        (config / "jobqueue.yaml").write_text("\n".join(["jobqueue:", *lines]))
        self._variables |= {JOBS: str(jobs), "DASK_CONFIG": str(config)}

    def prepare_kubectl(self) -> None:
        """A configuration, and the files of secrets."""
        (self.path / "kubeconfig").write_text(KUBECONFIG)
        self._variables["KUBECONFIG"] = str(self.path / "kubeconfig")
        for name in ("worker-token", "monitoring-token", "pg_service.conf", "password"):
            (self.path / name).write_text("secret")
        made = self_signed_certificate(self.path / "tls", ["localhost"])
        for source, name in zip(made, ("fullchain.pem", "privkey.pem"), strict=True):
            shutil.copy(source, self.path / name)

    def prepare_ray(self) -> None:
        """A master, and what Ray needs to run beside other clusters on a small machine."""
        # Ray's sockets are far below this directory, and their paths may have no more than 107 bytes.
        directory = tempfile.mkdtemp(prefix="ray")
        self._helpers.callback(shutil.rmtree, directory)
        self._helpers.callback(kill_all, "RAY_TMPDIR", directory)
        self._start("pykaldi-server master --open --port 0", "master")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._here |= {r"\b6379\b": str(port), r"\bHEAD\b": "127.0.0.1"}
        self._variables |= {
            "RAY_TMPDIR": directory,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_OVERRIDE_RESOURCES": '{"CPU": 4}',
        }


PREPARATIONS: dict[str, Callable[[Folder], None]] = {
    r"^make ": Folder.prepare_tree,
    r"model download ": Folder.prepare_mirror,
    r"--scheduler tcp:": Folder.prepare_cluster,
    rf"--scheduler ({'|'.join(BATCH_SYSTEMS)})": Folder.prepare_batch_systems,
    r"^kubectl ": Folder.prepare_kubectl,
    r"^node ": Folder.prepare_node,
    r"^ray start": Folder.prepare_ray,
}
"""What has to be there before a block with such a text runs."""


def _end(process: "subprocess.Popen[bytes]", line: str, log: Path) -> None:
    """Ends a program as a service manager does, and looks whether it ends well."""
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    by_signal = line.startswith(("make", "python -m http.server"))  # which say so in this way
    assert code == (-signal.SIGTERM if by_signal else 0), f"{line}: {code}\n{log.read_text(errors='replace')}"
