"""Vosk's clients on real sockets, with real workers and the English model.

The same recordings give the same words and times as in the protocol of kaldi-gstreamer-server.
"""

import asyncio
import json
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from live_worker import running_worker
from tornado.httpclient import HTTPRequest

from pykaldi_server.protocols.messages import Message
from pykaldi_server.session import Model
from pykaldi_server.worker import outbox
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.post_processor import PostProcessor

SHORT = "ps-tidigits-2934z"
LONG = "ps-librivox-0870"
EOF = '{"eof" : 1}'
CONFIGURATION = {"config": {"sample_rate": 16000.0}}
STEP_BYTES = 8000

Timed = list[tuple[str, float, float]]


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture(scope="module")
def speech(golden: Path) -> bytes:
    """Some sentences with pauses between them: 16 kHz, mono, S16LE."""
    with wave.open(str(golden / "long" / "long.wav")) as file:
        data: bytes = file.readframes(20 * file.getframerate())
        return data


@pytest.fixture
def audio(golden: Path) -> Any:
    def read(recording: str) -> bytes:
        with wave.open(str(golden / "wav" / f"{recording}.wav")) as file:
            data: bytes = file.readframes(file.getnframes())
            return data

    return read


def pieces(data: bytes, step: int = STEP_BYTES) -> list[bytes]:
    return [data[begin : begin + step] for begin in range(0, len(data), step)]


def test_other_options_of_a_request_are_in_a_header(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            address = f"{master.url.replace('http', 'ws')}/vosk"
            headers = {"Recognition-Options": "do-word-alignment=?0"}
            client = await harness.connect(HTTPRequest(address, headers=headers))
            await client.send(audio(SHORT))
            await client.read()
            await client.send(EOF)
            assert await client.read_json() == {"text": "two nine three four zero"}

            refused = await harness.connect(HTTPRequest(address, headers={"Recognition-Options": "colour=1"}))
            await refused.send(audio(SHORT))
            assert await refused.read() is None
            assert "colour: unknown option" in refused.connection.close_reason

    harness.run(scenario)


async def vosk_client(harness: Any, master: Any, configuration: Message = CONFIGURATION) -> Any:
    client = await harness.connect(f"{master.url.replace('http', 'ws')}/vosk")
    await client.send(configuration)
    return client


async def lock_step(client: Any, messages: list[bytes]) -> list[Message]:
    """Waits for the reply to each message, as most clients do."""
    replies = []
    for message in messages:
        await client.send(message)
        replies.append(await client.read_json())
    return replies


async def free_running(client: Any, messages: list[bytes]) -> list[Message]:
    """Sends on without waiting, reads at the same time, and waits for the end."""

    async def send_all() -> None:
        for message in messages:
            await client.send(message)
        await client.send(EOF)

    sending = asyncio.create_task(send_all())
    replies: list[Message] = await client.read_all()
    await sending
    return replies


async def last_reply(client: Any) -> Message:
    await client.send(EOF)
    reply: Message = await client.read_json()
    assert await client.read() is None
    assert client.connection.close_code == 1000
    return reply


def texts(replies: list[Message]) -> list[str]:
    return [reply["text"] for reply in replies if reply.get("text")]


def timed_words(replies: list[Message]) -> Timed:
    return [
        (word["word"], word["start"], word["end"])
        for reply in replies
        if reply.get("text")
        for word in reply["result"]
    ]


async def in_the_native_protocol(harness: Any, master: Any, data: bytes) -> tuple[list[str], Timed]:
    """Texts of the final results, and words with times from the start of the stream."""
    client = await harness.client(master)
    await client.send(data)
    await client.send("EOS")
    transcripts, words = [], []
    for message in await client.read_all():
        if message.get("result", {}).get("final"):
            best = message["result"]["hypotheses"][0]
            transcripts.append(best["transcript"])
            for word in best["word-alignment"]:
                start_s = message["segment-start"] + word["start"]
                words.append((word["word"], round(start_s, 6), round(start_s + word["length"], 6)))
    return transcripts, words


def test_the_words_and_times_of_the_native_protocol(harness: Any, english: Model, speech: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            transcripts, words = await in_the_native_protocol(harness, master, speech)
            assert len(transcripts) > 2

            client = await vosk_client(harness, master)
            replies = await lock_step(client, pieces(speech))
            assert any(reply.get("partial") for reply in replies)
            replies.append(await last_reply(client))
            assert texts(replies) == transcripts
            assert timed_words(replies) == words

            client = await vosk_client(harness, master)
            replies = await free_running(client, pieces(speech))
            assert texts(replies) == transcripts
            assert timed_words(replies) == words

    harness.run(scenario)


def test_a_whole_recording_in_one_message(harness: Any, english: Model, speech: bytes) -> None:
    """As jigasi sends it; then it waits for the close."""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            transcripts, words = await in_the_native_protocol(harness, master, speech)
            client = await vosk_client(harness, master)
            replies = await free_running(client, [speech])
            assert len(replies) == 2
            assert " ".join(texts(replies)) == " ".join(transcripts)
            assert timed_words(replies) == words

    harness.run(scenario)


def test_twenty_at_once_have_a_reply_to_each_message(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=20):
            data = audio(SHORT)

            async def serve(number: int) -> str:
                client = await vosk_client(harness, master)
                messages = [*pieces(data, 1000 * (1 + number)), b""]  # odd cuts, and an empty message
                if number % 2:
                    replies = await free_running(client, messages)
                else:
                    replies = [*await lock_step(client, messages), await last_reply(client)]
                assert len(replies) == len(messages) + 1
                return " ".join(texts(replies))

            found = await asyncio.gather(*(serve(number) for number in range(20)))
            assert found == ["two nine three four zero"] * 20

    harness.run(scenario)


def test_a_reset_ends_the_segment_and_times_go_on(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            client = await vosk_client(harness, master)
            data = audio(SHORT)
            replies = await lock_step(client, pieces(data))
            await client.send('{"reset" : 1}')
            first = await client.read_json()
            assert first["text"] == "two nine three four zero"
            replies = await lock_step(client, pieces(data))
            second = await last_reply(client)
            assert second["text"] == first["text"]
            length_s = len(data) / 32000
            assert second["result"][0]["start"] == pytest.approx(
                length_s + first["result"][0]["start"], abs=0.1
            )
            assert not any("text" in reply for reply in replies)

    harness.run(scenario)


def test_the_final_of_a_reset_waits_for_a_slow_post_processor(
    harness: Any, english: Model, audio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions overtake results that are with a post-processor, here at once; that of a reset does not."""
    monkeypatch.setattr(outbox, "PATIENCE_S", 0.0)

    async def scenario() -> None:
        options = PostProcessorOptions(post_processor="while read line; do echo $line | tr a-z A-Z; done")
        with PostProcessor(options) as shout:
            async with harness.master() as master, running_worker(english, master, shout, sessions=1):
                await converse(master)

    async def converse(master: Any) -> None:
        client = await vosk_client(harness, master)
        data = audio(SHORT)
        for _ in range(3):
            replies = await lock_step(client, pieces(data))
            assert texts(replies) == []
            await client.send('{"reset" : 1}')
            assert (await client.read_json())["text"] == "TWO NINE THREE FOUR ZERO"
        assert (await last_reply(client))["text"] == ""

    harness.run(scenario)


def test_no_reply_has_an_empty_text_beside_another(harness: Any, english: Model, speech: bytes) -> None:
    """FreeSWITCH takes a reply with two quotation marks in a row for no result."""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            client = await vosk_client(harness, master)
            for piece in pieces(speech):
                await client.send(piece)
                reply = await client.read()
                assert '""' not in reply or reply in ('{\n  "partial" : ""\n}',)

    harness.run(scenario)


def test_the_rate_of_the_port_is_that_of_telephones(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master(vosk_port=0) as master, running_worker(english, master, sessions=1):
            narrow_band = np.frombuffer(audio(SHORT), "<i2")[::2].tobytes()
            client = await harness.connect(f"{master.vosk_url}/")
            replies = [*await lock_step(client, pieces(narrow_band)), await last_reply(client)]
            assert texts(replies) == ["two nine three four zero"]

    harness.run(scenario)


def test_long_speech_without_pauses_has_replies_that_fit_into_the_buffer_of_a_client(
    harness: Any, models: Path, audio: Any
) -> None:
    """The C# client's, of 4,096 bytes."""
    model = Model.load(models / "english:graph-digits", do_endpointing=False)

    async def scenario() -> None:
        async with harness.master() as master, running_worker(model, master, sessions=1):
            data = audio(SHORT) * 12
            transcripts, _ = await in_the_native_protocol(harness, master, data)
            assert [len(transcript.split()) for transcript in transcripts] == [60]
            client = await vosk_client(harness, master)
            finals = []
            for message in [*pieces(data), EOF]:
                await client.send(message)
                reply = await client.read()
                assert len(reply.encode()) <= 4096
                finals.append(json.loads(reply))
            assert len(texts(finals)) > 2
            assert 58 <= len(timed_words(finals)) <= 62  # a word may be cut

    harness.run(scenario)


def test_alternatives(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            configuration = {"config": {"sample_rate": "16000", "max_alternatives": 3, "words": False}}
            client = await vosk_client(harness, master, configuration)
            await lock_step(client, pieces(audio(SHORT)))
            alternatives = (await last_reply(client))["alternatives"]
            assert alternatives[0]["text"] == "two nine three four zero"
            assert len({each["text"] for each in alternatives}) == len(alternatives) > 1
            assert all(set(each) == {"confidence", "text"} for each in alternatives)
            scores = [each["confidence"] for each in alternatives]
            assert scores == sorted(scores, reverse=True)

    harness.run(scenario)


def test_without_words(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            client = await vosk_client(harness, master, {"config": {"sample_rate": 16000, "words": 0}})
            await lock_step(client, pieces(audio(SHORT)))
            assert await last_reply(client) == {"text": "two nine three four zero"}

    harness.run(scenario)


def test_words_of_partials_with_times_from_the_start_of_the_stream(
    harness: Any, english: Model, audio: Any
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            client = await vosk_client(
                harness, master, {"config": {"sample_rate": 16000, "partial_words": 1}}
            )
            data = audio(SHORT)
            await lock_step(client, pieces(data))
            await client.send('{"reset": 1}')
            await client.read_json()
            replies = [each for each in await lock_step(client, pieces(data)) if each["partial"]]
            assert replies
            for reply in replies:
                words = reply.get("partial_result", [])
                assert " ".join(word["word"] for word in words) in ("", reply["partial"])
            timed = [word for reply in replies for word in reply.get("partial_result", [])]
            assert timed
            assert all(len(data) / 32000 < word["start"] < word["end"] for word in timed)

    harness.run(scenario)


@pytest.mark.timeout(300)
def test_the_client_of_vosks_package(harness: Any, english: Model, golden: Path, models: Path) -> None:
    """`vosk-transcriber --server`, with `cat` in place of FFmpeg."""
    transcriber = pytest.importorskip("vosk.transcriber.transcriber", reason="needs the package vosk")

    async def scenario() -> None:
        async with harness.master(vosk_port=0) as master, running_worker(english, master, sessions=1):
            arguments = SimpleNamespace(
                model=str(models / "english"),
                model_name=None,
                lang=None,
                server=master.vosk_url,
                output_type="txt",
            )
            client = transcriber.Transcriber(arguments)
            raw = harness.directory / "speech.raw"
            raw.write_bytes((golden / "wav" / f"{SHORT}.wav").read_bytes()[44:])
            process = await asyncio.create_subprocess_exec("cat", raw, stdout=asyncio.subprocess.PIPE)
            result, num_bytes = await client.recognize_stream_server(process)
            await process.wait()
            assert client.format_result(result) == "two nine three four zero\n"
            assert num_bytes == raw.stat().st_size

    harness.run(scenario)
