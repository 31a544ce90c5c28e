"""The documented commands of containers with a real engine: the image is built, served from, and stopped."""

import http.client
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from container_engine import ContainerEngine
from documented import ROOT, all_blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MARK = "runs with a container engine"
WAV = ROOT / "tests" / "data" / "golden" / "wav" / "ps-tidigits-2934z.wav"
WORDS = "two nine three four zero"
TOKEN = "client-token-0123456789"
USER = 10001
UPLOADS = "/client/dynamic/recognize"
PATIENCE_S = 600


@pytest.fixture(scope="module")
def engine() -> Iterator[ContainerEngine]:
    with ContainerEngine() as engine:
        yield engine


def documented(word: str) -> list[str]:
    """The commands of the block that has this word; those that build come first."""
    page = ROOT / "docs" / "operations.md"
    (block,) = (each for each in all_blocks(page) if each.mark == MARK and word in each.code)
    return [command for command, _ in block.steps()]


def until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when something is true of a running process."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.05)


def words(answer: bytes) -> str:
    """What the answer to an upload says."""
    (hypothesis,) = json.loads(answer)["hypotheses"]
    return str(hypothesis["utterance"])


class Server:
    """A container with a server.

    Args:
        engine: what runs it.
        process: the command of the document.
        log: file with its output.
    """

    def __init__(self, engine: ContainerEngine, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._engine, self._process, self._log = engine, process, log
        until(lambda: self._has_logged("Serving on "), process, log)
        (self.name,) = engine.run("docker ps --quiet").split()
        self.address = engine.run(f"docker port {self.name} 8888/tcp").split()[-1]

    def _has_logged(self, text: str) -> bool:
        return text in self._log.read_text(errors="replace")

    def run(self, command: str) -> str:
        """Runs a command in the container."""
        return self._engine.run(f"docker exec {self.name} {command}")

    def upload(self, token: str = "") -> str:
        """What the server hears in the recording."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://{self.address}{UPLOADS}", WAV.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return words(answer.read())

    def stop(self) -> "subprocess.Popen[bytes]":
        """Begins to stop the container."""
        command = f"docker stop -t {PATIENCE_S} {self.name}"
        return self._engine.start(command, self._log.with_suffix(".stop"))

    def is_stopped(self, stopping: "subprocess.Popen[bytes]") -> None:
        """Waits for the end, which has to be one of a server that had its time."""
        assert stopping.wait(PATIENCE_S) == 0
        assert self._process.wait(PATIENCE_S) == 0, self._log.read_text(errors="replace")
        assert self._has_logged("stopped")

    def stop_while_audio_comes(self) -> None:
        """Stops it while a recording is on its way, which is recognised to its end."""
        audio = WAV.read_bytes()
        half = len(audio) // 2
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        connection.putrequest("PUT", UPLOADS)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(b"%x\r\n%s\r\n" % (half, audio[:half]))
        until(lambda: self._num_active() == 1, self._process, self._log)
        stopping = self.stop()
        until(lambda: self._has_logged("for 1 running requests"), self._process, self._log)
        connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(audio) - half, audio[half:]))
        assert words(connection.getresponse().read()) == WORDS
        connection.close()
        self.is_stopped(stopping)

    def _num_active(self) -> int:
        """How many requests it serves."""
        with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=PATIENCE_S) as answer:
            return int(json.load(answer)["num_requests_active"])


@contextmanager
def running(engine: ContainerEngine, command: str, log: Path) -> Iterator[Server]:
    """Runs a documented container, whose port is a free one of this machine."""
    command, num = re.subn(r"--publish (127\.0\.0\.1:)?8888:8888", "--publish 127.0.0.1::8888", command)
    assert num == 1
    # A busy machine may need longer than ten seconds for what has begun.
    process = engine.start(f"{command} --drain-s {PATIENCE_S}", log)
    try:
        yield Server(engine, process, log)
    finally:
        engine.run("docker rm --all --force --time 0")
        process.wait(PATIENCE_S)


def test_a_container_as_documented(engine: ContainerEngine, tmp_path: Path) -> None:
    build, run = documented("docker build")
    engine.run(build)
    with running(engine, run, tmp_path / "log") as server:
        assert server.upload() == WORDS
        assert server.run("id -u") == f"{USER}\n"
        status = dict(re.findall(r"^(\w+):\s+(\w+)$", server.run("cat /proc/1/status"), re.MULTILINE))
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        server.run("touch /tmp/here /var/lib/pykaldi-server/here")
        with pytest.raises(AssertionError, match="Read-only file system"):
            server.run("touch /opt/pykaldi-server/here")
        engine.run(f"podman healthcheck run {server.name}")
        server.stop_while_audio_comes()
    with running(engine, run, tmp_path / "log-again") as server:
        server.run("test -f /var/lib/pykaldi-server/here")  # the volume is kept
        server.run("test ! -e /tmp/here")
        server.is_stopped(server.stop())


def test_models_and_tokens_are_mounted(engine: ContainerEngine, tmp_path: Path) -> None:
    build, _ = documented("docker build")
    (run,) = documented("/srv/models")
    engine.run(build)
    settings = tmp_path / "settings"
    settings.mkdir()
    tokens = settings / "tokens.yaml"
    tokens.write_text(f"clients: {{c: {TOKEN}}}\n")
    tokens.chmod(0o600)
    os.chown(tokens, USER, USER)
    settings.chmod(0o755)
    for documented_place, here in (("/srv/models", ROOT / "models"), ("/etc/pykaldi-server", settings)):
        assert f"--volume {documented_place}:" in run
        run = run.replace(f"--volume {documented_place}:", f"--volume {here}:")
    with running(engine, run, tmp_path / "log") as server:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.upload()
        assert server.upload(TOKEN) == WORDS
        engine.run(f"podman healthcheck run {server.name}")
        server.is_stopped(server.stop())
