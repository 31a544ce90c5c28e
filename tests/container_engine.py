"""Podman in place of Docker, as root, with a base image that is made here: no registry is asked.

The container file is built as it is. What it begins with has the name that the file asks for, and is Debian
with that version of Python; the C++ core is compiled without optimisation. Containers, images, volumes and
networks are in a folder of their own, which is removed in the end.
"""

import os
import re
import resource
import shlex
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from processes import run_to_end

__all__ = ["ContainerEngine"]

DOCKERFILE = Path(__file__).resolve().parent.parent / "deploy" / "container" / "Dockerfile"
PATIENCE_S = 1800  # to install packages and to compile on a busy machine
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "debootstrap")
PROGRAMS = ("podman", "runc", "iptables", "debootstrap")
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Debian's releases by the Python that they have."""
CONTENT = "ca-certificates,libpython3-dev,python3-venv"
"""What is needed to compile and to install, beside what every Debian has."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
CONTAINERS = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
"""


def need_programs() -> None:
    """Skips the test where there is no engine."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing or os.geteuid() != 0:
        packages = " ".join(PACKAGES)
        pytest.skip(f"needs podman, its tools and root rights (Debian: apt-get install {packages})")


def lower(limit: int) -> int:
    """A limit that containers may have: less than this process has itself."""
    _, hard = resource.getrlimit(limit)
    return 4096 if hard == resource.RLIM_INFINITY else min(4096, hard // 2)


class ContainerEngine:
    """The engine; where it cannot run containers, the test is skipped.

    Attributes:
        environment: the variables with which programs find it, as `docker`.
    """

    def __init__(self) -> None:
        need_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="engine"))  # paths of sockets have to be short
        files = {"storage.conf": STORAGE, "containers.conf": CONTAINERS}
        limits = {"files": lower(resource.RLIMIT_NOFILE), "processes": lower(resource.RLIMIT_NPROC)}
        for name, text in files.items():
            (self._folder / name).write_text(text.format(folder=self._folder, **limits))
        programs = self._folder / "bin"
        programs.mkdir()
        (programs / "docker").write_text('#!/bin/sh\nexec podman "$@"\n')
        (programs / "docker").chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"], "/usr/sbin"]),
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
            "CONTAINERS_CONF": str(self._folder / "containers.conf"),
            "BUILDAH_FORMAT": "docker",  # the only one that has health checks
        }

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._remove)
            self._make_base()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, command: str) -> str:
        """Runs a command of the shell in the repository, which has to succeed; returns its output."""
        code, out, err = self._finish(command)
        assert code == 0, f"{command}\n{out}{err}"
        return out

    def start(self, command: str, log: Path) -> "subprocess.Popen[bytes]":
        """Starts a command of the shell that runs on."""
        with log.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=DOCKERFILE.parents[2],
                env=self.environment,
                stdout=output,
                stderr=output,
            )

    def _make_base(self) -> None:
        """Makes the image that the container file begins with, and sees whether it can be run."""
        (base,) = set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE))
        (version,) = re.findall(r"^python:([\d.]+)-", base)
        system = self._folder / "system"
        command = f"debootstrap --variant=minbase --include={CONTENT} {SUITES[version]} {system}"
        self._run_or_skip(command, "Debian's packages")
        (system / "usr/bin/python").symlink_to("python3")
        if CERTIFICATES.exists():  # with an authority of this machine's network, if there is one
            shutil.copy(CERTIFICATES, system / CERTIFICATES.relative_to("/"))
        load = f"podman import --change 'ENV CXXFLAGS=-O0' - docker.io/library/{base}"
        self.run(f"tar -C {shlex.quote(str(system))} -c . | {load}")
        shutil.rmtree(system)
        self._run_or_skip(f"docker run --rm --publish 127.0.0.1::80 {base} true", "to run containers")

    def _run_or_skip(self, command: str, need: str) -> None:
        code, out, err = self._finish(command)
        if code:
            pytest.skip(f"needs podman, and {need}: {(err or out).strip()[-500:]}")

    def _finish(self, command: str) -> tuple[int, str, str]:
        """Runs a command until it ends, or takes too long; returns its code, output and errors."""
        bash = ["bash", "-euo", "pipefail", "-c", command]
        return run_to_end(bash, PATIENCE_S, cwd=DOCKERFILE.parents[2], env=self.environment)

    def _remove(self) -> None:
        """Removes all containers with their networks and volumes, and the folder."""
        self.run("podman rm --all --force --time 0 && podman network prune --force")
        mounted = self._folder / "images" / "overlay"
        if mounted.is_mount():
            self.run(f"umount {shlex.quote(str(mounted))}")
        shutil.rmtree(self._folder)
