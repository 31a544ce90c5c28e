"""Runs the containers of a manifest as a cluster does, as far as one machine can.

Arguments, user, variables and mounts are those of the manifest, there are no capabilities, and the root file
system cannot be written to: bubblewrap makes the sandbox, in a user namespace. What differs is the network,
which is that of the test: ports are free ones, and masters are on this machine.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from harness import Harness, Socket, until
from manifests import Container
from processes import children, running_process
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

__all__ = [
    "ADMINISTRATOR",
    "CLIENT",
    "WORKER",
    "Pod",
    "connect",
    "digits_model",
    "master_pod",
    "need_bubblewrap",
    "speak",
    "worker_pod",
]

REPOSITORY = Path(__file__).resolve().parent.parent
SPEECH = "/client/ws/speech"
DOCKERFILE = REPOSITORY / "deploy" / "container" / "Dockerfile"
CLIENT, WORKER, ADMINISTRATOR = (f"{role}-token-0123456789" for role in ("client", "worker", "administrator"))
SECRETS = {
    "tokens": (
        "tokens.yaml",
        f"clients: {{c: {CLIENT}}}\nworkers: {{w: {WORKER}}}\nadministrators: {{a: {ADMINISTRATOR}}}\n",
    ),
    "token": ("token", f"{WORKER}\n"),
    "database": ("pg_service.conf", "[pykaldi-server]\nhost=127.0.0.1\nport=1\n"),
}


def need_bubblewrap() -> None:
    """Skips the test where there is no sandbox."""
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap (Debian: apt-get install bubblewrap)")
    tried = subprocess.run(
        ["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"], capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"needs bubblewrap, and user namespaces for it: {tried.stderr.strip()}")


class Pod:
    """A pod with one container.

    Args:
        container: what runs in it.
        process: bubblewrap, which ends as the program does.
        volumes: the folders that are mounted, by the names of the volumes.

    Attributes:
        volumes: see above.
        log: the messages of its log so far.
    """

    def __init__(self, container: Container, process: Process, volumes: Mapping[str, Path]) -> None:
        self.volumes = volumes
        self.log: list[str] = []
        self._container = container
        self._process = process
        self._ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where clients find the only port of the container."""
        (port,) = self._ports.values()
        return f"http://127.0.0.1:{port}"

    async def read_log(self) -> None:
        """Reads the log until its end."""
        (name,) = self._container.ports
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            try:
                message = json.loads(line)["message"]
            except ValueError:
                message = line.decode()  # of bubblewrap or Python itself
            self.log.append(message)
            if found := re.search(r"^(?:listening on .*:|health and metrics on .*, port )(\d+)$", message):
                self._ports[name] = int(found[1])

    async def listening(self) -> None:
        """Returns when the port of the container is open."""
        await until(lambda: bool(self._ports) or self._process.returncode is not None)
        assert self._ports, self.log

    async def probe(self, name: str) -> int:
        """What one of the probes of the container gets: HTTP's code."""
        probe = self._container.body[f"{name}Probe"]["httpGet"]
        assert probe["port"] in self._container.ports
        return (await self.fetch(probe["path"])).code

    async def becomes(self, name: str, code: int) -> None:
        """Returns when a probe gets this code."""
        while await self.probe(name) != code:
            await asyncio.sleep(0.02)

    async def fetch(self, path: str, token: str = "") -> HTTPResponse:
        """One HTTP request, whatever its answer's code."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await AsyncHTTPClient().fetch(self.url + path, headers=headers, raise_error=False)

    def signal(self, number: signal.Signals) -> None:
        """Sends the program a signal."""
        (program,) = children(self._process.pid)
        os.kill(program, number)

    async def exit_code(self) -> int:
        """Waits for the end of the program."""
        return await self._process.wait()


def digits_model(folder: Path, models: Path) -> Path:
    """Makes a model that loads fast, as a folder of its own."""
    model = folder / "digits"
    model.mkdir()
    for part in ("am", "conf", "ivector"):
        (model / part).symlink_to(models / "english" / part)
    (model / "graph").symlink_to(models / "english" / "graph-digits")
    return model


async def connect(harness: Harness, pod: Pod, path: str = SPEECH, **query: str) -> Socket:
    """A WebSocket of a client that shows its token."""
    url = f"{pod.url.replace('http', 'ws')}{path}?{urlencode(query)}"
    return await harness.connect(HTTPRequest(url, headers={"Authorization": f"Bearer {CLIENT}"}))


async def speak(harness: Harness, pod: Pod, samples: bytes, **query: str) -> Socket:
    """A client that has said something, and has seen words of it."""
    socket = await connect(harness, pod, **query)
    await socket.send(samples)
    await socket.until(lambda each: "result" in each)
    return socket


@asynccontextmanager
async def master_pod(
    container: Container, folder: Path, service: str = SECRETS["database"][1], sockets: Path | None = None
) -> AsyncIterator[Pod]:
    """A master, which listens on a port of its own.

    Args:
        container: of a manifest.
        folder: where its volumes are made.
        service: how the database is reached, in PostgreSQL's form.
        sockets: folder of the sockets of a database on this machine.
    """
    secrets = {**SECRETS, "database": (SECRETS["database"][0], service)}
    async with _running(container, folder, secrets, {"--port": ["0"]}, sockets) as pod:
        yield pod


@asynccontextmanager
async def worker_pod(
    container: Container, folder: Path, model: Path, *masters: Pod, sessions: int
) -> AsyncIterator[Pod]:
    """A worker of masters on this machine.

    Args:
        container: of a manifest.
        folder: where its volumes are made.
        model: a model directory; it may have links to places below the repository.
        masters: whom it serves.
        sessions: how many requests it serves at once.
    """
    urls = [f"{each.url.replace('http', 'ws')}/worker/ws/speech" for each in masters]
    changed = {"--uri": urls, "--health-port": ["0"], "--sessions": [str(sessions)]}
    models = folder / "models"
    shutil.copytree(model, models / container.pods["metadata"]["labels"]["pool"], symlinks=True)
    async with _running(container, folder, SECRETS, changed) as pod:
        yield pod


@asynccontextmanager
async def _running(
    container: Container,
    folder: Path,
    secrets: Mapping[str, tuple[str, str]],
    changed: Mapping[str, list[str]],
    sockets: Path | None = None,
) -> AsyncIterator[Pod]:
    volumes = _make_volumes(container, folder, secrets)
    user = container.spec["securityContext"]["runAsUser"]
    (folder / "passwd").write_text(f"pykaldi-server:x:{user}:{user}::{_image('WORKDIR')}:/bin/sh\n")
    mounts = ["--ro-bind", str(folder / "passwd"), "/etc/passwd"]
    for each in container.body["volumeMounts"]:
        how = "--ro-bind" if each.get("readOnly") else "--bind"
        mounts += [how, str(volumes[each["name"]]), each["mountPath"]]
    if sockets is not None:
        mounts += ["--bind", str(sockets), str(sockets)]
    command = [*_sandbox(container), *mounts, *_program(), "--remount-ro", "/"]
    program = [sys.executable, "-m", "pykaldi_server", *_changed(container.arguments, changed)]
    async with running_process(*command, *program, stderr=PIPE) as process:
        pod = Pod(container, process, volumes)
        reading = asyncio.create_task(pod.read_log())
        try:
            await pod.listening()
            yield pod
        finally:
            if process.returncode is None:
                process.kill()  # and with it the program
            await reading


def _make_volumes(
    container: Container, folder: Path, secrets: Mapping[str, tuple[str, str]]
) -> dict[str, Path]:
    """A folder for each volume, those of secrets with their files, as links to what may be replaced."""
    volumes = {}
    for each in container.body["volumeMounts"]:
        name = each["name"]
        volumes[name] = folder / name
        if name in secrets:
            file, content = secrets[name]
            (folder / name / "..data").mkdir(parents=True)
            (folder / name / "..data" / file).write_text(content)
            (folder / name / "..data" / file).chmod(0o440)
            (folder / name / file).symlink_to(Path("..data") / file)
        else:
            volumes[name].mkdir(parents=True, exist_ok=True)
    return volumes


def _sandbox(container: Container) -> Iterator[str]:
    """The command of bubblewrap, without what a container mounts and its program."""
    user = container.spec["securityContext"]
    assert container.body["securityContext"]["readOnlyRootFilesystem"]
    yield from ("bwrap", "--die-with-parent", "--clearenv", "--unshare-user", "--cap-drop", "ALL")
    yield from ("--uid", str(user["runAsUser"]), "--gid", str(user["runAsGroup"]))
    yield from ("--proc", "/proc", "--dev", "/dev")
    for system in (Path("/usr"), *(Path("/") / name for name in ("bin", "lib", "lib32", "lib64", "sbin"))):
        if system.is_symlink():
            yield from ("--symlink", os.readlink(system), str(system))
        elif system.exists():
            yield from ("--ro-bind", str(system), str(system))
    variables = {each["name"]: each["value"] for each in container.body.get("env", ()) if "value" in each}
    home = _image("WORKDIR")
    for name, value in {**variables, "HOME": home, "PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin"}.items():
        yield from ("--setenv", name, value)
    yield from ("--dir", home, "--chdir", home)


def _program() -> Iterator[str]:
    """What shows the program in a sandbox; it may lie in a folder that the container mounts, such as /tmp."""
    prefixes = (sys.base_prefix, str(Path(sys.prefix).resolve()), sys.prefix)
    for each in dict.fromkeys((*prefixes, str(REPOSITORY))):
        yield from ("--ro-bind", each, each)


def _image(instruction: str) -> str:
    """What the last instruction of a name says in the container file."""
    return str(re.findall(rf"^{instruction} (.*)$", DOCKERFILE.read_text(), re.MULTILINE)[-1])


def _changed(arguments: list[str], changed: Mapping[str, list[Any]]) -> list[str]:
    """Arguments with other values of some options, all of which have to be there."""
    kept = [each for each in arguments if each.partition("=")[0] not in changed]
    for option in changed:
        assert any(each.startswith(f"{option}=") for each in arguments), option
    return [*kept, *(f"{option}={value}" for option, values in changed.items() for value in values)]
