"""Clients of the package `wyoming` on real sockets, with real workers and the English model."""

import asyncio
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live_worker import running_worker
from wyoming_package import wyoming_package

from pykaldi_server.session import Model

SHORT = "ps-tidigits-2934z"


@pytest.fixture(scope="module")
def package() -> SimpleNamespace:
    return wyoming_package()


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


async def transcribe(package: Any, client: Any, path: Path, samples: int = 1024) -> tuple[str, str]:
    """The text of an utterance, and its chunks."""
    await client.write_event(package.Transcribe(language="en").event())
    with wave.open(str(path)) as file:
        for event in package.wav_to_chunks(file, samples, start_event=True, stop_event=True):
            await client.write_event(event.event())
    chunks = ""
    while (event := await client.read_event()) is not None:
        assert event.type != "error", event.data
        if package.TranscriptChunk.is_type(event.type):
            chunks += package.TranscriptChunk.from_event(event).text
        if package.Transcript.is_type(event.type):
            stop = await client.read_event()
            assert stop.type == "transcript-stop"
            return package.Transcript.from_event(event).text, chunks
    raise AssertionError("closed")


async def native_transcript(harness: Any, master: Any, path: Path) -> str:
    client = await harness.client(master)
    await client.send(path.read_bytes())
    await client.send("EOS")
    finals = [each for each in await client.read_all() if each.get("result", {}).get("final")]
    return " ".join(each["result"]["hypotheses"][0]["transcript"] for each in finals)


def test_utterances_one_after_the_other(
    harness: Any, package: SimpleNamespace, english: Model, golden: Path
) -> None:
    """The words of the native protocol; the long one has several segments."""

    async def scenario() -> None:
        long = harness.directory / "long.wav"
        with wave.open(str(golden / "long" / "long.wav")) as source, wave.open(str(long), "wb") as target:
            target.setparams(source.getparams())
            target.writeframes(source.readframes(15 * source.getframerate()))
        paths = [golden / "wav" / f"{SHORT}.wav", long]
        async with (
            harness.master(wyoming_port=0) as master,
            running_worker(english, master, sessions=2, language="en-GB"),
            package.AsyncTcpClient("127.0.0.1", master.wyoming_port) as client,
        ):
            await client.write_event(package.Describe().event())
            info = package.Info.from_event(await client.read_event())
            (model,) = info.asr[0].models
            assert (model.name, model.languages) == (english.name, ["en-GB"])
            for path in paths:
                expected = await native_transcript(harness, master, path)
                assert len(expected.split()) >= 5
                assert await transcribe(package, client, path) == (expected, expected)
            await client.write_event(package.AudioStop().event())  # of no utterance
            assert (await transcribe(package, client, paths[0], samples=7))[0] == "two nine three four zero"

    harness.run(scenario)


def test_ten_at_once(harness: Any, package: SimpleNamespace, english: Model, golden: Path) -> None:
    async def scenario() -> None:
        path = golden / "wav" / f"{SHORT}.wav"
        async with harness.master(wyoming_port=0) as master, running_worker(english, master, sessions=10):

            async def serve() -> str:
                async with package.AsyncTcpClient("127.0.0.1", master.wyoming_port) as client:
                    return (await transcribe(package, client, path))[0]

            found = await asyncio.gather(*(serve() for _ in range(10)))
            assert found == ["two nine three four zero"] * 10

    harness.run(scenario)
