"""Adaptation kept per user, end to end: every client protocol, SQLite and PostgreSQL, the English model.

What a session starts with shows in what it ends with: the state after the second session is exactly that of a
client which sends the first session's state itself, and not that of an unknown speaker.
"""

import asyncio
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import openai
import pytest
from live_worker import running_worker
from model_files import normalising_model
from phone import Twilio, mu_law
from postgresql import PostgresqlServer
from realtime_events import append
from two_speakers import channels_of_call, wav_of
from wyoming_package import wyoming_package

from pykaldi_server.protocols.messages import Message
from pykaldi_server.session import Model

SHORT = "ps-tidigits-2934z"
S16LE = "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)16000"
MULAW = S16LE.replace("S16LE", "MULAW").replace("16000", "8000")

Speak = Callable[[Any, Any, Path, str], Awaitable[None]]


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture(scope="module")
def recording(golden: Path) -> Path:
    return golden / "wav" / f"{SHORT}.wav"


def samples_of(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        data: bytes = file.readframes(file.getnframes())
        return data


def as_mu_law(audio: bytes) -> bytes:
    """16 kHz S16LE as on the telephone."""
    return mu_law(np.frombuffer(audio, np.int16)[::2])


@asynccontextmanager
async def server(harness: Any, english: Model, states: str, **options: Any) -> AsyncIterator[Any]:
    options = {"wyoming_port": 0, "states_timeout_s": 30.0, **options}
    async with (
        harness.master(default_model=english.name, states=states, **options) as master,
        running_worker(english, master),
    ):
        yield master


async def native_state(
    harness: Any, master: Any, audio: bytes, caps: str, state: Message | None = None, query: str = ""
) -> Message:
    """Speaks the native protocol; returns the state at the end."""
    client = await harness.client(master, f"{urlencode({'content-type': caps})}&{query}")
    if state is not None:
        await client.send({"adaptation_state": state})
    for begin in range(0, len(audio), 8000):
        await client.send(audio[begin : begin + 8000])
    await client.send("EOS")
    messages = await client.read_all()
    assert any(each.get("result", {}).get("final") for each in messages), messages
    found: Message = messages[-1]["adaptation_state"]
    return found


async def kept(master: Any, user: str, model: str) -> Message | None:
    """What a master keeps."""
    state = await master.hub.states.state(model, user)
    return None if state is None else dict(state.properties())


# One session in each protocol, of a user who wants to be remembered


async def speak_native(harness: Any, master: Any, path: Path, user: str) -> None:
    query = f"{urlencode({'user-id': user})}&adaptation=keep"
    await native_state(harness, master, samples_of(path), S16LE, query=query)


async def speak_upload(harness: Any, master: Any, path: Path, user: str) -> None:
    answer = await harness.fetch(
        master,
        "/client/dynamic/recognize?adaptation=keep",
        method="PUT",
        body=path.read_bytes(),
        headers={"User-Id": user.encode().decode("latin-1")},
        request_timeout=200,
    )
    assert json.loads(answer.body)["hypotheses"] == [{"utterance": "two nine three four zero"}]


async def speak_vosk(harness: Any, master: Any, path: Path, user: str) -> None:
    """In lock-step: a reply too many or too few would be found out."""
    client = await harness.connect(f"{master.url.replace('http', 'ws')}/vosk")
    config = {"sample_rate": 16000, "user_id": user, "adaptation": "keep"}
    await client.send({"config": config})
    audio = samples_of(path)
    text = ""
    for begin in range(0, len(audio), 8000):
        await client.send(audio[begin : begin + 8000])
        text += (await client.read_json()).get("text", "")
    await client.send('{"eof" : 1}')
    replies = await client.read_all()
    assert len(replies) == 1
    assert (text + replies[0]["text"]).split() == ["two", "nine", "three", "four", "zero"]


async def speak_openai(harness: Any, master: Any, path: Path, user: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0) as client:
        result = await client.audio.transcriptions.create(
            file=path, model="whisper-1", extra_body={"user": user, "adaptation": "keep"}
        )
    assert result.text == "two nine three four zero"


async def speak_wyoming(harness: Any, master: Any, path: Path, user: str) -> None:
    package = wyoming_package()
    async with package.AsyncTcpClient("127.0.0.1", master.wyoming_port) as client:
        context = {"user_id": user, "adaptation": "keep"}
        await client.write_event(package.Transcribe(language="en", context=context).event())
        with wave.open(str(path)) as file:
            for event in package.wav_to_chunks(file, 1024, start_event=True, stop_event=True):
                await client.write_event(event.event())
        while not package.Transcript.is_type((event := await client.read_event()).type):
            assert event.type != "error", event.data
        assert package.Transcript.from_event(event).text == "two nine three four zero"


async def speak_twilio(harness: Any, master: Any, path: Path, user: str) -> None:
    caller = Twilio(await harness.connect(f"{master.url.replace('http', 'ws')}/twilio"))
    await caller.start(("inbound",), **{"user-id": user, "adaptation": "keep"})
    await caller.speak(as_mu_law(samples_of(path)))
    await caller.send("stop", streamSid="MZ1")
    assert await caller.socket.read() is None


PROTOCOLS = [speak_native, speak_upload, speak_vosk, speak_openai, speak_wyoming, speak_twilio]


@pytest.mark.parametrize("speak", PROTOCOLS, ids=lambda each: each.__name__.removeprefix("speak_"))
def test_the_next_session_of_a_user_starts_with_what_the_last_has_learned(
    harness: Any, english: Model, recording: Path, database_name: str, speak: Speak
) -> None:
    audio, caps = samples_of(recording), S16LE
    if speak is speak_twilio:
        audio, caps = as_mu_law(audio), MULAW

    async def scenario() -> None:
        async with server(harness, english, database_name) as master:
            await speak(harness, master, recording, "anna")
            first = await kept(master, "anna", english.name)
            assert first is not None
            assert first["value"] == (await native_state(harness, master, audio, caps))["value"]
        # Another master, as after a restart
        async with server(harness, english, database_name) as master:
            await speak(harness, master, recording, "anna")
            second = await kept(master, "anna", english.name)
            assert second is not None
            assert second["value"] == (await native_state(harness, master, audio, caps, first))["value"]
            assert second["value"] != first["value"]
            # Nobody else has learned anything.
            await speak(harness, master, recording, "берта")
            assert (await kept(master, "берта", english.name) or {})["value"] == first["value"]

    harness.run(scenario)


def test_the_state_of_cmvn_is_kept_beside(
    harness: Any, models: Path, recording: Path, database_name: str, tmp_path: Path
) -> None:
    model = normalising_model(models / "english", tmp_path / "model")

    async def scenario() -> None:
        audio, query = samples_of(recording), "user-id=anna&adaptation=keep"
        async with server(harness, model, database_name) as master:
            first = await native_state(harness, master, audio, S16LE, query=query)
            second = await native_state(harness, master, audio, S16LE, query=query)
            found = await kept(master, "anna", model.name)
            assert found is not None
            names = ("type", "value", "cmvn_state")
            assert [found[name] for name in names] == [second[name] for name in names]
            expected = await native_state(harness, master, audio, S16LE, first)
            assert [second[name] for name in names] == [expected[name] for name in names]
            del first["cmvn_state"]
            half = await native_state(harness, master, audio, S16LE, first)
            assert half["cmvn_state"] != second["cmvn_state"]

    harness.run(scenario)


def test_realtime_sessions(harness: Any, english: Model, recording: Path, database_name: str) -> None:
    """They end when the client closes the connection; what is left of the audio is recognised then."""

    async def scenario() -> None:
        samples = np.frombuffer(samples_of(recording), np.int16)
        times = np.arange(len(samples) * 3 // 2) / 1.5
        audio = np.interp(times, np.arange(len(samples)), samples).astype(np.int16).tobytes()
        caps = S16LE.replace("16000", "24000")
        async with server(harness, english, database_name) as master:

            async def speak() -> None:
                query = "intent=transcription&user-id=anna&adaptation=keep"
                client = await harness.connect(f"{master.url.replace('http', 'ws')}/v1/realtime?{query}")
                for begin in range(0, len(audio), 9600):
                    await client.send(append(audio[begin : begin + 9600]))
                await client.until(lambda event: "speech_started" in event["type"])
                client.close()

            async def kept_instead_of(value: str) -> Message:
                while (found := await kept(master, "anna", english.name)) is None or found["value"] == value:
                    await asyncio.sleep(0.01)
                return found

            await speak()
            first = await kept_instead_of("")
            assert first["value"] == (await native_state(harness, master, audio, caps))["value"]
            await speak()
            second = await kept_instead_of(first["value"])
            assert second["value"] == (await native_state(harness, master, audio, caps, first))["value"]

    harness.run(scenario)


def test_only_requests_that_ask_for_it(harness: Any, english: Model, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        audio = samples_of(recording)
        async with server(harness, english, str(tmp_path / "states.db")) as master:
            for query in (
                "",
                "user-id=anna",
                "adaptation=keep",
                "user-id=none&adaptation=keep",
                "user-id=&adaptation=keep",
            ):
                await native_state(harness, master, audio, S16LE, query=query)
            assert await master.hub.states.entries(None, None) == []

            refused = await harness.client(master, "user-id=anna&adaptation=always")
            error = await refused.read_json()
            assert error["message"] == "adaptation: expected keep or none, found 'always'"

    harness.run(scenario)


def test_for_all_who_have_a_name(harness: Any, english: Model, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        audio = samples_of(recording)
        name = str(tmp_path / "states.db")
        async with server(harness, english, name, states_for="all") as master:
            for query in ("", "user-id=none", "user-id=berta&adaptation=none", "user-id=anna"):
                await native_state(harness, master, audio, S16LE, query=query)
            entries = await master.hub.states.entries(None, None)
            assert [(each.model, each.user_id) for each in entries] == [(english.name, "anna")]

    harness.run(scenario)


def test_a_state_that_the_client_sends_wins(
    harness: Any, english: Model, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        audio, query = samples_of(recording), "user-id=anna&adaptation=keep"
        async with server(harness, english, str(tmp_path / "states.db")) as master:
            own = await native_state(harness, master, audio[: len(audio) // 2], S16LE)
            await native_state(harness, master, audio, S16LE, query=query)
            found = await native_state(harness, master, audio, S16LE, own, query)
            assert found["value"] == (await native_state(harness, master, audio, S16LE, own))["value"]
            assert (await kept(master, "anna", english.name) or {})["value"] == found["value"]

    harness.run(scenario)


def test_of_several_channels_the_first_is_the_users(
    harness: Any, english: Model, golden: Path, tmp_path: Path
) -> None:
    wav = wav_of(*channels_of_call(golden))

    async def scenario() -> None:
        async with server(harness, english, str(tmp_path / "states.db")) as master:
            client = await harness.client(master, "user-id=anna&adaptation=keep&channels=split")
            await client.send(wav)
            await client.send("EOS")
            states = [
                each["adaptation_state"] for each in await client.read_all() if "adaptation_state" in each
            ]
            assert [each["channel"] for each in states] == [0, 1]
            found = await kept(master, "anna", english.name)
            assert found is not None
            assert found["value"] == states[0]["value"] != states[1]["value"]

    harness.run(scenario)


@pytest.mark.parametrize(
    "damage", ["UPDATE adaptation_states SET value = 'x'", "UPDATE adaptation_states SET type = 'old'"]
)
def test_a_damaged_state(
    harness: Any,
    english: Model,
    recording: Path,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Is not used, and the end of the session puts a good one in its place."""
    from sqlalchemy import create_engine, text

    async def scenario() -> None:
        audio, query = samples_of(recording), "user-id=anna&adaptation=keep"
        async with server(harness, english, str(tmp_path / "states.db")) as master:
            good = await native_state(harness, master, audio, S16LE, query=query)
            await kept(master, "anna", english.name)
            engine = create_engine(f"sqlite:///{tmp_path / 'states.db'}")
            with engine.begin() as connection:
                connection.execute(text(damage))
            engine.dispose()
            again = await native_state(harness, master, audio, S16LE, query=query)
            assert again["value"] == good["value"]
            assert (await kept(master, "anna", english.name) or {})["value"] == good["value"]

    harness.run(scenario)
    (warning,) = [each for each in caplog.messages if "is not used" in each]
    assert (
        f"the kept state of user anna for model {english.name} is not used: adaptation state: expected"
        in warning
    )


def test_a_server_that_is_killed_in_the_middle_of_a_session(
    harness: Any,
    english: Model,
    recording: Path,
    postgresql: PostgresqlServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Recognition goes on, the log says so once, and afterwards states are kept again."""

    async def scenario() -> None:
        audio, query = samples_of(recording), "user-id=anna&adaptation=keep"
        async with server(harness, english, postgresql.url) as master:
            first = await native_state(harness, master, audio, S16LE, query=query)
            client = await harness.client(master, f"{urlencode({'content-type': S16LE})}&{query}")
            middle = len(audio) // 4 * 2
            await client.send(audio[:middle])
            await client.until(lambda message: "result" in message)
            await asyncio.to_thread(postgresql.kill)
            await client.send(audio[middle:])
            await client.send("EOS")
            messages = await client.read_all()
            assert messages[-1]["adaptation_state"]["value"] != first["value"]
            for _ in range(3):
                unknown = await native_state(harness, master, audio, S16LE, query=query)
                assert unknown["value"] == first["value"]
            metrics = (await harness.fetch(master, "/metrics")).body.decode()
            assert "\npykaldi_server_database_up 0.0\n" in metrics
            assert len([each for each in caplog.messages if "cannot be used" in each]) == 1

            await asyncio.to_thread(postgresql.start)
            second = await native_state(harness, master, audio, S16LE, query=query)
            assert second["value"] == (await native_state(harness, master, audio, S16LE, first))["value"]
            metrics = (await harness.fetch(master, "/metrics")).body.decode()
            assert "\npykaldi_server_database_up 1.0\n" in metrics

    try:
        harness.run(scenario)
    finally:
        postgresql.start_again()
        postgresql.clear()
    assert len([each for each in caplog.messages if "can be used again" in each]) == 1


def test_a_server_that_does_not_answer(
    harness: Any, english: Model, recording: Path, postgresql: PostgresqlServer
) -> None:
    """Requests wait for their state for a moment, and while it hangs no longer at all."""

    async def scenario() -> None:
        audio, query = samples_of(recording), "user-id=anna&adaptation=keep"
        async with server(harness, english, postgresql.url, states_timeout_s=0.5) as master:
            first = await native_state(harness, master, audio, S16LE, query=query)
            await kept(master, "anna", english.name)
            postgresql.freeze()
            try:
                for _ in range(3):
                    unknown = await native_state(harness, master, audio, S16LE, query=query)
                    assert unknown["value"] == first["value"]
                assert master.hub.states.failure.endswith("no answer within 0.5 s")
            finally:
                postgresql.thaw()
            while master.hub.states.failure:
                await asyncio.sleep(0.01)
            # What ended in the meantime has been waiting.
            assert await kept(master, "anna", english.name) is not None

    try:
        harness.run(scenario)
    finally:
        postgresql.clear()
