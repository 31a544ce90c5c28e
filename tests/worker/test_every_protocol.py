"""The same recording through every protocol gives the same words at the same times.

It is one that every protocol can carry without a loss: 8 kHz, and only values that mu-law has.
"""

import base64
import json
import wave
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import openai
import pytest
from live_worker import running_worker
from phone import CALL, Asterisk, listener, mu_law, twilio
from wyoming_package import wyoming_package

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.client.recognize import recognize_file
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.transcript import Segment
from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

RATE_HZ = 8000
SECONDS = 20
PIECE_BYTES = 3200
CAPS = f"audio/x-raw,format=S16LE,rate={RATE_HZ},channels=1"


@dataclass(frozen=True)
class Recording:
    """The recording in the forms in which protocols carry it: mono, mu-law and S16LE; in a file, S16LE."""

    mu_law: bytes
    linear: bytes
    wav: Path

    def pieces(self) -> list[bytes]:
        return [self.linear[at : at + PIECE_BYTES] for at in range(0, len(self.linear), PIECE_BYTES)]


Word = tuple[str, float, float]
"""The word, its start and its end in milliseconds from the start of the stream."""


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english")


@pytest.fixture(scope="module")
def recording(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Some sentences with pauses between them."""
    with wave.open(str(golden / "long" / "long.wav")) as file:
        samples = np.frombuffer(file.readframes(SECONDS * file.getframerate()), np.int16)
    encoded = mu_law(samples[:: file.getframerate() // RATE_HZ])
    with AudioDecoder(f"audio/x-mulaw; rate={RATE_HZ}", None) as decoder:
        linear = np.concatenate([decoder.push(encoded), decoder.finish()]).astype("<i2").tobytes()
    path = tmp_path_factory.mktemp("recording") / "sentences.wav"
    with wave.open(str(path), "wb") as target:
        target.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
        target.writeframes(linear)
    return Recording(encoded, linear, path)


@pytest.fixture(scope="module")
def expected(english: Model, recording: Recording) -> list[Word]:
    """What the library makes of it."""
    finals = [event for event in transcribe(english, recording.wav) if isinstance(event, Final)]
    words = [timed(word.word, word.start_s, word.end_s) for final in finals for word in final.words]
    assert len(finals) >= 3
    assert len(words) >= 25
    return words


def timed(text: str, start_s: float, end_s: float) -> Word:
    return text, round(1000 * start_s), round(1000 * end_s)


def of_events(messages: Iterable[Message]) -> list[Word]:
    """The words of final results in the form of the original server."""
    segments = filter(None, map(Segment.from_event, messages))
    words = [word for segment in segments for word in segment.words]
    return [timed(word.text, word.start_s, word.end_s) for word in words]


async def finals_of_call(follower: Any) -> list[Word]:
    return of_events(await follower.read_all())


async def websocket(harness: Any, master: Any, recording: Recording) -> list[Word]:
    client = await harness.client(master, urlencode({"content-type": CAPS}))
    for piece in recording.pieces():
        await client.send(piece)
    await client.send("EOS")
    return of_events(await client.read_all())


async def own_client(harness: Any, master: Any, recording: Recording) -> list[Word]:
    url = f"{master.url.replace('http', 'ws')}/client/ws/speech"
    with recording.wav.open("rb") as file:
        return of_events([message async for message in recognize_file(url, file, bytes_per_s=0)])


async def upload(harness: Any, master: Any, recording: Recording) -> list[Word]:
    path = "/client/dynamic/recognize?words=1"
    answer = json.loads((await put(harness, master, recording, path)).body)
    assert answer["status"] == 0
    words = [word for segment in answer["segments"] for word in segment["words"]]
    return [timed(word["word"], word["start"], word["end"]) for word in words]


async def vosk(harness: Any, master: Any, recording: Recording) -> list[Word]:
    client = await harness.connect(f"ws://127.0.0.1:{master.vosk_port}")
    replies = []
    for piece in recording.pieces():
        await client.send(piece)
        replies.append(await client.read_json())
    await client.send('{"eof" : 1}')
    replies += await client.read_all()
    words = [word for reply in replies for word in reply.get("result", [])]
    return [timed(word["word"], word["start"], word["end"]) for word in words]


async def openai_upload(harness: Any, master: Any, recording: Recording) -> list[Word]:
    async with openai_client(master) as client:
        answer = await client.audio.transcriptions.create(
            file=recording.wav,
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    return [timed(word.word, word.start, word.end) for word in answer.words or ()]


async def asterisk(harness: Any, master: Any, recording: Recording) -> list[Word]:
    follower = await listener(harness, master, CALL)
    async with Asterisk(master) as call:
        await call.speak(recording.linear)
        call.writer.close()
        return await finals_of_call(follower)


async def twilio_stream(harness: Any, master: Any, recording: Recording) -> list[Word]:
    follower = await listener(harness, master, "CA1")
    stream = await twilio(harness, master)
    await stream.start()
    await stream.speak(recording.mu_law)
    await stream.stop()
    return await finals_of_call(follower)


async def uploaded_text(harness: Any, master: Any, recording: Recording) -> str:
    answer = await put(harness, master, recording, "/client/dynamic/recognize?format=text")
    return str(answer.body.decode())


async def uploaded_utterances(harness: Any, master: Any, recording: Recording) -> str:
    answer = await put(harness, master, recording, "/client/dynamic/recognize")
    return " ".join(each["utterance"] for each in json.loads(answer.body)["hypotheses"])


async def uploaded_subtitles(harness: Any, master: Any, recording: Recording) -> str:
    answer = await put(harness, master, recording, "/client/dynamic/recognize?format=srt")
    lines = answer.body.decode().splitlines()
    return " ".join(line for line in lines if line and not line[0].isdigit())


async def openai_stream(harness: Any, master: Any, recording: Recording) -> str:
    async with openai_client(master) as client:
        stream = await client.audio.transcriptions.create(file=recording.wav, model="whisper-1", stream=True)
        deltas = [event.delta async for event in stream if event.type == "transcript.text.delta"]
    return "".join(deltas)


async def realtime(harness: Any, master: Any, recording: Recording) -> str:
    texts, seconds = [], 0.0
    async with (
        openai_client(master) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        await connection.session.update(
            session={"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
        )
        for at in range(0, len(recording.mu_law), PIECE_BYTES):
            piece = recording.mu_law[at : at + PIECE_BYTES]
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        await connection.input_audio_buffer.commit()
        while seconds < SECONDS - 0.01:
            event = await connection.recv()
            if event.type == "conversation.item.input_audio_transcription.completed":
                texts.append(event.transcript)
                assert event.usage.type == "duration"
                seconds += event.usage.seconds
    return " ".join(texts)


async def wyoming(harness: Any, master: Any, recording: Recording) -> str:
    package = wyoming_package()
    audio = {"rate": RATE_HZ, "width": 2, "channels": 1}
    async with package.AsyncTcpClient("127.0.0.1", master.wyoming_port) as client:
        await client.write_event(package.Transcribe().event())
        await client.write_event(package.AudioStart(**audio).event())
        for piece in recording.pieces():
            await client.write_event(package.AudioChunk(audio=piece, **audio).event())
        await client.write_event(package.AudioStop().event())
        while True:
            event = await client.read_event()
            assert event is not None
            if package.Transcript.is_type(event.type):
                return str(package.Transcript.from_event(event).text)


async def put(harness: Any, master: Any, recording: Recording, path: str) -> Any:
    answer = await harness.fetch(master, path, method="PUT", body=recording.wav.read_bytes())
    assert answer.code == 200
    return answer


def openai_client(master: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0)


Ask = Callable[[Any, Any, Recording], Awaitable[Any]]

WITH_TIMES: list[Ask] = [websocket, own_client, upload, vosk, openai_upload, asterisk, twilio_stream]
TEXT_ONLY: list[Ask] = [
    uploaded_text,
    uploaded_utterances,
    uploaded_subtitles,
    openai_stream,
    realtime,
    wyoming,
]


def ask(harness: Any, english: Model, recording: Recording, protocol: Ask) -> Any:
    """What comes of a recording through a protocol of a server of its own."""
    answers: list[Any] = []

    async def scenario() -> None:
        async with (
            harness.master(vosk_port=0, wyoming_port=0, audiosocket_port=0, queue_s=30) as master,
            running_worker(english, master, sessions=2),
        ):
            answers.append(await protocol(harness, master, recording))

    harness.run(scenario)
    return answers[0]


@pytest.mark.parametrize("protocol", WITH_TIMES)
def test_words_and_times(
    harness: Any, english: Model, recording: Recording, expected: list[Word], protocol: Ask
) -> None:
    words = ask(harness, english, recording, protocol)
    assert words == expected


@pytest.mark.parametrize("protocol", TEXT_ONLY)
def test_words(
    harness: Any, english: Model, recording: Recording, expected: list[Word], protocol: Ask
) -> None:
    text = ask(harness, english, recording, protocol)
    assert text.split() == [word for word, _, _ in expected]
