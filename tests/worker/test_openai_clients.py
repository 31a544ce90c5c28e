"""OpenAI's own Python client against a master and a worker with the English model."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK
from live_worker import running_worker

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

SHORT = "ps-tidigits-2934z"
WORDS = "two nine three four zero"


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)


@asynccontextmanager
async def client_of(harness: Any, english: Model) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        harness.master(queue_s=0.1) as master,
        running_worker(english, master),
        openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def test_every_format(harness: Any, english: Model, golden: Path) -> None:
    async def scenario() -> None:
        async with client_of(harness, english) as client:
            file = golden / "wav" / f"{SHORT}.wav"
            create = client.audio.transcriptions.create
            assert (await create(file=file, model="whisper-1")).text == WORDS
            assert (await create(file=file, model=english.name, response_format="text")).strip() == WORDS
            srt = await create(file=file, model="whisper-1", response_format="srt")
            assert srt.startswith("1\n00:00:0")
            assert WORDS in srt
            vtt = await create(file=file, model="whisper-1", response_format="vtt")
            assert vtt.startswith("WEBVTT\n\n00:00:0")

            verbose = await create(
                file=file,
                model="whisper-1",
                language="en",
                response_format="verbose_json",
                timestamp_granularities=["word", "segment"],
            )
            assert (verbose.text, verbose.language) == (WORDS, "en")
            assert verbose.duration == pytest.approx(2.4, abs=0.05)
            finals = [event for event in transcribe(english, file) if isinstance(event, Final)]
            assert verbose.words is not None
            assert [(word.word, word.start, word.end) for word in verbose.words] == [
                (word.word, round(word.start_s, 3), round(word.end_s, 3))
                for final in finals
                for word in final.words
            ]
            assert verbose.segments is not None
            (segment,) = verbose.segments
            assert segment.text == WORDS
            assert -1 < segment.avg_logprob <= 0
            only_words = await create(
                file=file,
                model="whisper-1",
                response_format="verbose_json",
                timestamp_granularities=["word"],
            )
            assert only_words.segments is None

    harness.run(scenario)


def test_a_stream_of_events(harness: Any, english: Model, golden: Path) -> None:
    async def scenario() -> None:
        async with client_of(harness, english) as client:
            file = golden / "wav" / f"{SHORT}.wav"
            stream = await client.audio.transcriptions.create(file=file, model="whisper-1", stream=True)
            events = [event async for event in stream]
            assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
            deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
            assert "".join(deltas) == WORDS
            assert events[-1].type == "transcript.text.done"
            assert events[-1].text == WORDS

            page = ("x.html", b"<!DOCTYPE html><html><body>no</body></html>")
            with pytest.raises(openai.BadRequestError, match="expected audio"):  # no stream has begun
                await client.audio.transcriptions.create(file=page, model="whisper-1", stream=True)

    harness.run(scenario)


def test_the_synchronous_client(harness: Any, english: Model, golden: Path) -> None:
    def use(url: str) -> str:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == [english.name]
            assert client.models.retrieve(english.name).owned_by == "pykaldi-server"
            with open(golden / "wav" / f"{SHORT}.wav", "rb") as file:
                return client.audio.transcriptions.create(file=file, model=english.name).text

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            assert await asyncio.to_thread(use, f"{master.url}/v1") == WORDS

    harness.run(scenario)


def test_errors_have_openais_form(harness: Any, english: Model, golden: Path) -> None:
    async def scenario() -> None:
        async with client_of(harness, english) as client:
            file = golden / "wav" / f"{SHORT}.wav"
            create = client.audio.transcriptions.create
            with pytest.raises(openai.NotFoundError, match="there is no model 'englisch'") as not_found:
                await create(file=file, model="englisch")
            assert (not_found.value.param, not_found.value.code) == ("model", "model_not_found")
            with pytest.raises(openai.NotFoundError, match=english.name):
                await client.models.retrieve("englisch")
            with pytest.raises(openai.BadRequestError, match="response_format: expected one of") as invalid:
                await create(file=file, model="whisper-1", response_format="diarized_json")
            assert (invalid.value.param, invalid.value.code) == ("response_format", "unsupported_value")
            with pytest.raises(openai.BadRequestError, match="timestamp_granularities: expected"):
                await create(
                    file=file,
                    model="whisper-1",
                    timestamp_granularities=["phone"],  # type: ignore[list-item]
                )
            with pytest.raises(openai.BadRequestError, match="expected audio"):
                await create(file=("x.json", json.dumps({"a": "b"}).encode()), model="whisper-1")
            with (
                pytest.warns(DeprecationWarning, match="deprecated"),  # OpenAI has given translations up, too
                pytest.raises(openai.BadRequestError, match="does not translate"),
            ):
                await client.audio.translations.create(file=file, model="whisper-1")

    harness.run(scenario)


def test_without_a_worker_the_client_may_try_again(harness: Any, golden: Path) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.01) as master:
            client = openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0)
            file = golden / "wav" / f"{SHORT}.wav"
            with pytest.raises(openai.InternalServerError, match="try again later"):
                await client.audio.transcriptions.create(file=file, model="whisper-1")
            await client.close()

    harness.run(scenario)
