"""OpenAI's realtime API, by OpenAI's own Python client and over plain sockets, with the English model."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openai
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK
from live_worker import running_worker
from phone import mu_law
from realtime_events import (
    CLEAR,
    COMMIT,
    Event,
    append,
    check_events,
    transcripts_of,
    types_of,
    update,
)

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.kaldi.feat import LinearResample
from pykaldi_server.session import Model

SHORT = "ps-tidigits-2934z"
WORDS = "two nine three four zero"
CAPS = "audio/x-raw,layout=(string)interleaved,format=(string)S16LE,channels=(int)1,rate=(int)"
INTENT = {"intent": "transcription"}
MANUAL = update(turn_detection=None)

Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)


def recording(path: Path, seconds: int | None = None) -> Samples:
    """The first seconds of a recording, at 16 kHz."""
    with AudioDecoder(None, 16000) as decoder:
        samples = np.concatenate([*decoder.decode(path.read_bytes()), *decoder.decode_rest()])
    return samples[: None if seconds is None else 16000 * seconds].astype(np.int16)


def at_24_khz(samples: Samples) -> Samples:
    resampler = LinearResample(16000, 24000, 8000.0, 6)
    found = resampler.resample(samples.astype(np.float32), flush=True)
    return np.clip(np.round(found), -32768, 32767).astype(np.int16)


def a_law(samples: Samples) -> bytes:
    """G.711: a sign, the position of the highest bit, the four bits after it, every other bit inverted."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32767) >> 4
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 3, 0)
    mantissa = (magnitude >> np.maximum(exponent - 1, 0)) & 0x0F
    sign = np.where(samples >= 0, 0x80, 0)
    return bytes(((sign | exponent << 4 | mantissa) ^ 0x55).astype(np.uint8))


@pytest.fixture(scope="module")
def short(golden: Path) -> Samples:
    return recording(golden / "wav" / f"{SHORT}.wav")


@pytest.fixture(scope="module")
def sentences(golden: Path) -> Samples:
    """With pauses between them."""
    return recording(golden / "long" / "long.wav", seconds=15)


async def native(harness: Any, master: Any, samples: Samples, rate_hz: int) -> list[dict[str, Any]]:
    """The final results in the original protocol."""
    client = await harness.client(master, f"content-type={CAPS}{rate_hz}")
    await client.send(samples.tobytes())
    await client.send("EOS")
    return [event for event in await client.read_all() if event.get("result", {}).get("final")]


def texts_of(finals: list[dict[str, Any]]) -> list[str]:
    return [final["result"]["hypotheses"][0]["transcript"] for final in finals]


@asynccontextmanager
async def client_of(master: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def audio_events(samples: bytes, size: int = 9600) -> list[Event]:
    return [append(samples[begin : begin + size]) for begin in range(0, len(samples), size)]


class Session:
    """A session over a plain socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.events: list[Event] = []
        self.is_beta = False

    async def say(self, *events: Event) -> None:
        for event in events:
            await self.socket.send(event)

    async def read(self) -> Event:
        event: Event = await self.socket.read_json()
        self.events.append(event)
        return event

    async def until(self, kind: str) -> Event:
        """Reads until an event of a type has come, and returns it."""
        while not (event := await self.read())["type"].endswith(kind):
            pass
        return event

    async def until_complete(self, audio_s: float) -> list[Event]:
        """Reads until there are transcripts of so much audio; returns all events."""
        while heard_s(self.events) < audio_s - 0.01:
            await self.read()
        return check_events(self.events, self.is_beta)

    async def rest(self) -> list[Event]:
        """All events, once the server has closed."""
        self.events += await self.socket.read_all()
        return check_events(self.events, self.is_beta)


def heard_s(events: list[Event]) -> float:
    """Length of the audio whose transcripts are complete."""
    seconds = [event["usage"]["seconds"] for event in events if event["type"].endswith(".completed")]
    return float(sum(seconds))


async def session(harness: Any, master: Any, query: str = "intent=transcription") -> Session:
    url = f"{master.url.replace('http', 'ws')}/v1/realtime?{query}"
    return Session(await harness.connect(url))


def check_times(events: list[Event], finals: list[dict[str, Any]]) -> None:
    """Compares when turns began and ended with the times of the original protocol."""
    starts_ms = [event["audio_start_ms"] for event in events if event["type"].endswith("speech_started")]
    for start_ms, final in zip(starts_ms, finals, strict=True):
        word = final["result"]["hypotheses"][0]["word-alignment"][0]
        padded_s = final["segment-start"] + word["start"] - 0.3
        assert start_ms / 1000 == pytest.approx(max(padded_s, final["segment-start"]), abs=0.4)
    ends_ms = [event["audio_end_ms"] for event in events if event["type"].endswith("speech_stopped")]
    totals_ms = [round(1000 * final["total-length"]) for final in finals]
    assert ends_ms == totals_ms[: len(ends_ms)]


def test_the_words_are_those_of_the_original_protocol(
    harness: Any, english: Model, short: Samples, sentences: Samples
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            for samples in (short, sentences):
                expected = await native(harness, master, samples, 16000)
                wide = at_24_khz(samples)
                resampled = await native(harness, master, wide, 24000)
                assert texts_of(resampled) == texts_of(expected)
                for one, other in zip(resampled, expected, strict=True):
                    assert one["segment-start"] == pytest.approx(other["segment-start"], abs=0.05)
                    words = zip(
                        one["result"]["hypotheses"][0]["word-alignment"],
                        other["result"]["hypotheses"][0]["word-alignment"],
                        strict=True,
                    )
                    for word, same in words:
                        start_s = one["segment-start"] + word["start"]
                        assert start_s == pytest.approx(other["segment-start"] + same["start"], abs=0.05)

                client = await session(harness, master)
                await client.say(*audio_events(wide.tobytes()), COMMIT)
                events = await client.until_complete(len(wide) / 24000)
                assert [text for text in transcripts_of(events) if text] == texts_of(expected)
                check_times(events, resampled)

                client = await session(harness, master)
                await client.say(MANUAL, *audio_events(wide.tobytes()), COMMIT)
                events = await client.until_complete(len(wide) / 24000)
                assert transcripts_of(events) == [" ".join(texts_of(expected))]

    harness.run(scenario)


def test_text_comes_while_a_person_speaks(harness: Any, english: Model, golden: Path) -> None:
    """Over all recordings: `check_events` sees that the pieces join to the transcripts."""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            num_early = 0
            for path in sorted((golden / "wav").glob("*.wav")):
                wide = at_24_khz(recording(path))
                client = await session(harness, master)
                await client.say(*audio_events(wide.tobytes()), COMMIT)
                events = await client.until_complete(len(wide) / 24000)
                client.socket.close()
                types = types_of(events)
                assert "delta" in types
                num_early += types.index("delta") < types.index("input_audio_buffer.committed") - 2
            assert num_early > 5

    harness.run(scenario)


def test_the_asynchronous_client(harness: Any, english: Model, short: Samples) -> None:
    wide = at_24_khz(short).tobytes()

    async def scenario() -> None:
        async with (
            harness.master() as master,
            running_worker(english, master),
            client_of(master) as client,
            client.realtime.connect(extra_query=INTENT) as connection,
        ):
            created = await connection.recv()
            assert created.type == "session.created"
            await connection.session.update(
                session={
                    "type": "transcription",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcm", "rate": 24000},
                            "transcription": {"model": "gpt-4o-transcribe"},
                            "turn_detection": None,
                        }
                    },
                }
            )
            for begin in range(0, len(wide), 9600):
                audio = base64.b64encode(wide[begin : begin + 9600]).decode()
                await connection.input_audio_buffer.append(audio=audio)
            await connection.input_audio_buffer.commit()
            text, types = "", []
            async for event in connection:
                types.append(event.type)
                if event.type == "conversation.item.input_audio_transcription.delta":
                    text += event.delta or ""
                if event.type == "conversation.item.input_audio_transcription.completed":
                    assert event.transcript == text == WORDS
                    break
            assert types[0] == "session.updated"
            await connection.input_audio_buffer.clear()
            assert (await connection.recv()).type == "input_audio_buffer.cleared"
            await connection.response.create()
            error = await connection.recv()
            assert error.type == "error"
            assert "holds no conversation" in error.error.message

    harness.run(scenario)


# openai 3.57 calls websockets' connect() in the way that websockets 17 warns of.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
def test_the_synchronous_client_with_a_client_secret(harness: Any, english: Model, short: Samples) -> None:
    encoded = mu_law(short[::2])

    def use(url: str) -> str:
        with openai.OpenAI(base_url=url, api_key="sk-any", max_retries=0) as server:
            secret = server.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={
                    "type": "transcription",
                    "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
                },
            )
        assert secret.value.startswith("ek_")
        assert secret.session.type == "transcription"
        with (
            openai.OpenAI(base_url=url, api_key=secret.value, max_retries=0) as client,
            client.realtime.connect() as connection,
        ):
            for begin in range(0, len(encoded), 1600):
                audio = base64.b64encode(encoded[begin : begin + 1600]).decode()
                connection.input_audio_buffer.append(audio=audio)
            connection.input_audio_buffer.commit()
            for event in connection:
                if event.type == "conversation.item.input_audio_transcription.completed":
                    return event.transcript
        return ""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            assert await asyncio.to_thread(use, f"{master.url}/v1") == WORDS

    harness.run(scenario)


def test_the_client_of_the_beta(harness: Any, english: Model, short: Samples) -> None:
    encoded = a_law(short[::2])

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master), client_of(master) as client:
            made = await client.beta.realtime.transcription_sessions.create(
                input_audio_format="g711_alaw", input_audio_transcription={"model": "whisper-1"}
            )
            assert made.input_audio_format == "g711_alaw"
            # Without an address for WebSockets, the beta's client insists on TLS.
            async with (
                openai.AsyncOpenAI(
                    base_url=f"{master.url}/v1",
                    websocket_base_url=f"ws{master.url[4:]}/v1",
                    api_key=made.client_secret.value,
                ) as browser,
                browser.beta.realtime.connect(model="gpt-4o-transcribe") as connection,
            ):
                assert str((await connection.recv()).type) == "transcription_session.created"
                await connection.transcription_session.update(
                    session={"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}
                )
                updated = await connection.recv()
                assert updated.type == "transcription_session.updated"
                assert updated.session.turn_detection is not None
                assert updated.session.turn_detection.silence_duration_ms == 300
                await connection.input_audio_buffer.append(audio=base64.b64encode(encoded).decode())
                await connection.input_audio_buffer.commit()
                types, texts = [], []
                async for event in connection:
                    types.append(event.type)
                    if event.type == "conversation.item.input_audio_transcription.completed":
                        texts.append(event.transcript)
                        if " ".join(filter(None, texts)) == WORDS:
                            break
                assert "conversation.item.created" in types
                assert "conversation.item.added" not in types

    harness.run(scenario)


def test_telephone_audio_has_the_words_of_the_original_protocol(
    harness: Any, english: Model, sentences: Samples
) -> None:
    narrow = sentences[::2]

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            for encoding, kind, encoded in (
                ("MULAW", "audio/pcmu", mu_law(narrow)),
                ("ALAW", "audio/pcma", a_law(narrow)),
            ):
                caps = f"{CAPS.replace('S16LE', encoding)}8000"
                native_client = await harness.client(master, f"content-type={caps}")
                await native_client.send(encoded)
                await native_client.send("EOS")
                events = await native_client.read_all()
                expected = texts_of([event for event in events if event.get("result", {}).get("final")])
                assert len(expected) > 1
                client = await session(harness, master)
                await client.say(update(format={"type": kind}), *audio_events(encoded, 800), COMMIT)
                found = await client.until_complete(len(encoded) / 8000)
                assert [text for text in transcripts_of(found) if text] == expected

    harness.run(scenario)


def test_turns_end_after_the_silence_that_the_client_asks_for(
    harness: Any, english: Model, short: Samples
) -> None:
    pause = np.zeros(16000, np.int16)
    wide = at_24_khz(np.concatenate([short, pause, short, pause]))

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            found = []
            for silence_ms in (300, 5000):
                client = await session(harness, master)
                turn_detection = {"type": "server_vad", "silence_duration_ms": silence_ms}
                await client.say(update(turn_detection=turn_detection), *audio_events(wide.tobytes()), COMMIT)
                events = await client.until_complete(len(wide) / 24000)
                found.append([text for text in transcripts_of(events) if text])
            assert found == [[WORDS, WORDS], [f"{WORDS} {WORDS}"]]

    harness.run(scenario)


def test_words_of_audio_that_was_cleared_do_not_appear(harness: Any, english: Model, short: Samples) -> None:
    wide = at_24_khz(short).tobytes()
    half = wide[: len(wide) // 4 * 2]

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            for settings in (MANUAL, update(turn_detection={"type": "server_vad"})):
                client = await session(harness, master)
                await client.say(settings, *audio_events(half), CLEAR, *audio_events(wide), COMMIT)
                events = await client.until_complete(len(wide) / 48000)
                assert transcripts_of(events) == [WORDS]
                assert sum(event["type"] == "input_audio_buffer.cleared" for event in events) == 1

    harness.run(scenario)


def test_a_model_and_a_language_by_name(harness: Any, english: Model, short: Samples) -> None:
    wide = at_24_khz(short).tobytes()

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, language="en-US"):
            client = await session(harness, master, f"model={english.name}")  # without the intent
            await client.say(update(transcription={"model": "englisch"}, turn_detection=None))
            error = (await client.until("error"))["error"]
            assert f"there is no model 'englisch'; those that there are: {english.name}" in error["message"]
            await client.say(update(transcription={"language": "de"}))
            error = (await client.until("error"))["error"]
            assert "no model for language 'de'; those that there are: en-US" in error["message"]
            include = ["item.input_audio_transcription.logprobs"]
            await client.say({"type": "session.update", "session": {"include": include}})
            transcription = {"model": english.name, "language": "en"}
            await client.say(update(transcription=transcription, turn_detection=None))
            await client.say(*audio_events(wide), COMMIT)
            completed = await client.until("completed")
            assert completed["transcript"] == WORDS
            assert "".join(each["token"] for each in completed["logprobs"]) == WORDS

    harness.run(scenario)


def test_ten_sessions_at_once(harness: Any, english: Model, short: Samples) -> None:
    wide = at_24_khz(short).tobytes()

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=10):

            async def use() -> list[str]:
                client = await session(harness, master)
                await client.say(MANUAL, *audio_events(wide), COMMIT, *audio_events(wide), COMMIT)
                return transcripts_of(await client.until_complete(2 * len(wide) / 48000))

            found = await asyncio.gather(*(use() for _ in range(10)))
            assert found == [[WORDS, WORDS]] * 10

    harness.run(scenario)
