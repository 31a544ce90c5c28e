"""The examples of scripts/clients/README.md in python, js, java and haskell, as programs of one's own."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from documented import ROOT, code_blocks
from harness import Harness
from live_worker import running_worker
from processes import running_process
from sample_clients import CLIENTS, build_javascript

from pykaldi_server.session import Model

README = CLIENTS / "README.md"
SAID = "two nine three four zero"
PYTHON = """
import asyncio
import sys

async def sound():
    while piece := sys.stdin.buffer.read(3200):
        yield piece

async def example(microphone):
{code}

asyncio.run(example(sound()))
"""
JAVA = """
import java.io.InputStream;
import java.util.Map;

class Example {{
    public static void main(String[] arguments) throws Exception {{
        InputStream microphone = System.in;
{code}
    }}
}}
"""
HASKELL = """
{{-# LANGUAGE OverloadedStrings #-}}
module Main (main) where

import Control.Monad (unless)
import qualified Data.ByteString as B
import System.IO
{code}

sound :: Source
sound hand = do
  piece <- B.hGetSome stdin 3200
  unless (B.null piece) (hand piece >> sound hand)

main :: IO ()
main = do
  hSetEncoding stdout utf8
  outcome <- follow sound
  case outcome of
    Complete -> return ()
    Failed failure _ -> print failure
"""


def python(code: str, folder: Path) -> list[str]:
    pytest.importorskip("websockets", reason="needs websockets (pip install websockets)")
    program = folder / "example.py"
    program.write_text(PYTHON.format(code=textwrap.indent(code, "    ")))
    return [sys.executable, str(program)]


def js(code: str, folder: Path) -> list[str]:
    *node, _ = build_javascript(folder)
    program = folder / "example.mjs"
    program.write_text(f"const microphone = process.stdin;\n{code}")
    return [*node, str(program)]


def java(code: str, folder: Path) -> list[str]:
    if shutil.which("javac") is None:
        pytest.skip("needs javac (apt install openjdk-17-jdk-headless)")
    (folder / "Example.java").write_text(JAVA.format(code=code))
    sources = [str(each) for each in folder.glob("*.java") if each.name != "Client.java"]
    command = ["javac", "-Xlint:all,-serial", "-Werror", "-d", str(folder), *sources]
    subprocess.run(command, check=True)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Example"]


def haskell(code: str, folder: Path) -> list[str]:
    if shutil.which("ghc") is None:
        pytest.skip("needs ghc (apt install ghc libghc-websockets-dev libghc-aeson-dev)")
    (folder / "Example.hs").write_text(HASKELL.format(code=code))
    program = folder / "example"
    command = ["ghc", "-v0", "-Wall", "-Werror", "-outputdir", str(folder), "-o", str(program), "Example.hs"]
    subprocess.run(command, cwd=folder, check=True)
    return [str(program)]


@pytest.mark.slow
@pytest.mark.parametrize("build", [python, js, java, haskell], ids=lambda build: str(build.__name__))
def test_the_example_has_the_words(
    build: Callable[[str, Path], list[str]], harness: Harness, models: Path, golden: Path, tmp_path: Path
) -> None:
    """As a program beside the module, which hears a recording."""
    language = build.__name__
    (code,) = code_blocks(README, language)
    folder = tmp_path / "clients"
    shutil.copytree(CLIENTS / {"js": "javascript"}.get(language, language), folder)
    raw = tmp_path / "speech.raw"
    raw.write_bytes((golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()[44:])
    model = Model.load(models / "english:graph-digits")

    async def scenario() -> None:
        async with harness.master() as master, running_worker(model, master):
            assert "localhost:8888" in code
            command = build(code.replace("localhost:8888", f"localhost:{master.port}"), folder)
            with raw.open("rb") as audio:
                streams = {"stdin": audio, "stdout": subprocess.PIPE, "cwd": folder}
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                async with running_process(*command, env=environment, **streams) as process:
                    out, _ = await process.communicate()
            assert process.returncode == 0
            assert SAID in out.decode()

    harness.run(scenario)
