"""The clients of `scripts/clients`, built in a folder of their own and run as users run them."""

import asyncio
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parent.parent / "scripts" / "clients"


def build_python(directory: Path) -> list[str]:
    pytest.importorskip("websockets", reason="needs websockets (pip install websockets)")
    return [sys.executable, str(CLIENTS / "python" / "client.py")]


def build_javascript(directory: Path) -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js (apt install nodejs)")
    # Global since version 22, behind a switch in 20.
    for switches in ([], ["--experimental-websocket"]):
        tried = subprocess.run([node, *switches, "-e", "new WebSocket('')"], capture_output=True, text=True)
        if "SyntaxError" in tried.stderr:
            return [node, *switches, str(CLIENTS / "javascript" / "client.mjs")]
    pytest.skip("needs Node.js with WebSocket (version 20 or newer)")


def build_java(directory: Path) -> list[str]:
    if shutil.which("javac") is None:
        pytest.skip("needs javac (apt install openjdk-17-jdk-headless)")
    sources = sorted(map(str, (CLIENTS / "java").glob("*.java")))
    subprocess.run(["javac", "-Xlint:all,-serial", "-Werror", "-d", str(directory), *sources], check=True)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", str(directory), "Client"]


def build_haskell(directory: Path) -> list[str]:
    if shutil.which("ghc") is None:
        pytest.skip("needs ghc (apt install ghc libghc-websockets-dev libghc-aeson-dev)")
    program = directory / "client"
    output = ["-outputdir", str(directory), "-o", str(program)]
    sources = CLIENTS / "haskell"
    subprocess.run(["ghc", "-v0", "-Wall", "-Werror", *output, "Client.hs"], cwd=sources, check=True)
    return [str(program)]


BUILDS: dict[str, Callable[[Path], list[str]]] = {
    "python": build_python,
    "javascript": build_javascript,
    "java": build_java,
    "haskell": build_haskell,
}


class SampleClient:
    """A running client and what it has said."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.lines: list[str] = []  # of its standard error, as far as they have been read
        self.finals: list[str] = []  # lines of its standard output, likewise

    async def until(self, beginning: str) -> str:
        """Reads what it says until a line begins so; returns that line."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode().rstrip("\n"))
            if self.lines[-1].startswith(beginning):
                return self.lines[-1]
        raise AssertionError(f"expected a line {beginning!r}, found {self.lines}")

    async def final(self) -> str:
        """The next final result."""
        assert self._process.stdout is not None
        self.finals.append((await self._process.stdout.readline()).decode().rstrip("\n"))
        return self.finals[-1]

    async def write(self, audio: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(audio)
        await self._process.stdin.drain()

    async def end(self) -> tuple[int, list[str]]:
        """Ends the audio; returns the exit status and all final results."""
        out, err = await self._process.communicate(b"")
        self.lines += err.decode().splitlines()
        assert self._process.returncode is not None
        self.finals += out.decode().splitlines()
        return self._process.returncode, self.finals


@asynccontextmanager
async def running_client(command: list[str], *arguments: str) -> AsyncIterator[SampleClient]:
    process = await asyncio.create_subprocess_exec(*command, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield SampleClient(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
