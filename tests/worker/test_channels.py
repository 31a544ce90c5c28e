"""A call of two people over real sockets: each channel is recognised as if it were alone."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from live_worker import running_worker
from numpy.typing import NDArray
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect
from two_speakers import channels_of_call, wav_of

from pykaldi_server.client.recognize import recognize, request_url
from pykaldi_server.master.server import Master
from pykaldi_server.protocols.gstreamer import is_final, raw_audio_caps
from pykaldi_server.protocols.subtitles import srt, vtt
from pykaldi_server.protocols.transcript import Segment
from pykaldi_server.session import Final, Model, Partial
from pykaldi_server.session.transcribe import transcribe
from pykaldi_server.worker.event_messages import event_message
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.post_processor import PostProcessor

RECOGNIZE = "/client/dynamic/recognize"


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english")


@pytest.fixture(scope="module")
def call(golden: Path) -> list[NDArray[np.int16]]:
    return channels_of_call(golden)


@pytest.fixture(scope="module")
def alone(english: Model, call: list[NDArray[np.int16]]) -> list[list[dict[str, Any]]]:
    """The messages of the final results of each channel as a recording of its own."""
    return [
        [
            event_message(event, "none")
            for event in transcribe(english, wav_of(channel))
            if isinstance(event, Final)
        ]
        for channel in call
    ]


@asynccontextmanager
async def serving(harness: Any, english: Model, **options: Any) -> AsyncIterator[Master]:
    async with harness.master(queue_s=0.1) as master, running_worker(english, master, **options):
        yield master


async def messages_of(master: Master, audio: bytes, *first: Any, **fields: str) -> list[dict[str, Any]]:
    """All messages to a client that sends text messages, then audio."""
    address = request_url(f"{master.url.replace('http', 'ws')}/client/ws/speech", **fields)

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(audio), 8000):
            yield audio[begin : begin + 8000]

    if not first:
        return [message async for message in recognize(address, pieces())]
    connection = await websocket_connect(address)
    for message in first:
        await connection.write_message(json.dumps(message))
    async for piece in pieces():
        await connection.write_message(piece, binary=True)
    await connection.write_message("EOS")
    found = []
    while (text := await connection.read_message()) is not None:
        found.append(json.loads(text))
    connection.close()
    return found


def finals_of(messages: list[dict[str, Any]], channel: int) -> list[dict[str, Any]]:
    """The final results of a channel, as those of a stream without channels."""
    finals = [message for message in messages if is_final(message) and message["channel"] == channel]
    return [{**{k: v for k, v in final.items() if k != "channel"}, "id": "none"} for final in finals]


def segments_of(alone: list[list[dict[str, Any]]]) -> list[Segment]:
    """The segments of both channels in the order of time."""
    found = [
        replace(segment, channel=channel)
        for channel, finals in enumerate(alone)
        for final in finals
        if (segment := Segment.from_event(final)) is not None
    ]
    return sorted(found, key=lambda segment: segment.words[0].start_s)


def test_both_channels_over_a_websocket(harness: Any, english: Model, call: Any, alone: Any) -> None:
    async def scenario() -> None:
        async with serving(harness, english) as master:
            raw = np.stack(call, axis=1).astype("<i2").tobytes()
            caps = raw_audio_caps("S16LE", 16_000, channels=2)
            for messages in (
                await messages_of(master, wav_of(*call), channels="split"),
                await messages_of(master, raw, content_type=caps, channels="split"),
                await messages_of(master, wav_of(*call), {"options": {"channels": "split"}}),
            ):
                for channel in (0, 1):
                    assert finals_of(messages, channel) == alone[channel] != []
                *_, first, second = messages
                for channel, last in enumerate((first, second)):
                    assert last["channel"] == last["adaptation_state"]["channel"] == channel
                partials = [message for message in messages if "result" in message and not is_final(message)]
                assert {partial["channel"] for partial in partials} == {0, 1}
                # The one who speaks first is finished first, although on the second channel.
                assert next(message["channel"] for message in messages if is_final(message)) == 1

    harness.run(scenario)


def test_without_split_no_message_has_a_channel(harness: Any, english: Model, call: Any, alone: Any) -> None:
    async def scenario() -> None:
        async with serving(harness, english) as master:
            for fields in ({}, {"channels": "mixed"}):
                mixed = await messages_of(master, wav_of(*call), **fields)
                assert all("channel" not in message for message in mixed)
                assert all("channel" not in message.get("adaptation_state", {}) for message in mixed)
            for index, name in enumerate(("left", "right")):
                messages = await messages_of(master, wav_of(*call), channels=name)
                finals = [{**message, "id": "none"} for message in messages if is_final(message)]
                assert finals == alone[index]

    harness.run(scenario)


def test_adaptation_states_go_back_to_their_channels(harness: Any, english: Model, call: Any) -> None:
    async def scenario() -> None:
        async with serving(harness, english) as master:
            messages = await messages_of(master, wav_of(*call), channels="split")
            states = [message["adaptation_state"] for message in messages[-2:]]
            first = [{"adaptation_state": state} for state in reversed(states)]
            again = await messages_of(master, wav_of(*call), *first, channels="split")
            for channel, state in enumerate(states):
                mono = await messages_of(master, wav_of(call[channel]), {"adaptation_state": state})
                expected = [{**message, "id": "none"} for message in mono if is_final(message)]
                assert finals_of(again, channel) == expected != finals_of(messages, channel)

    harness.run(scenario)


def test_answers_over_http_in_every_form(harness: Any, english: Model, call: Any, alone: Any) -> None:
    segments = segments_of(alone)
    lines = [f"Channel {(segment.channel or 0) + 1}: {segment.text}" for segment in segments]
    assert lines[0].startswith("Channel 2: go forward")

    async def scenario() -> None:
        async with serving(harness, english) as master:

            async def fetch(headers: dict[str, str] | None = None, **fields: str) -> Any:
                path = f"{RECOGNIZE}?{urlencode(fields)}"
                body = wav_of(*call)
                return await harness.fetch(master, path, method="PUT", body=body, headers=headers or {})

            for response in (
                await fetch(channels="split"),
                await fetch(options='{"channels": "split"}'),
                await fetch({"Recognition-Options": "channels=split"}),
                await fetch({"Recognition-Options": '{"channels": "split"}'}),
            ):
                answer = json.loads(response.body)
                assert answer["hypotheses"] == [{"utterance": " ".join(segment.text for segment in segments)}]
                assert answer["segments"] == [segment.message() for segment in segments]
                assert {segment["channel"] for segment in answer["segments"]} == {0, 1}
            text = await fetch(channels="split", format="text")
            assert text.body.decode().splitlines() == lines
            assert (await fetch(channels="split", format="srt")).body.decode() == srt(segments)
            assert (await fetch(channels="split", format="vtt")).body.decode() == vtt(segments)
            assert "\nChannel 2: go forward" in srt(segments)
            assert "\n<v Channel 2>go forward" in vtt(segments)
            right = json.loads((await fetch(channels="right")).body)
            expected = " ".join(segment.text for segment in segments if segment.channel == 1)
            assert right["hypotheses"] == [{"utterance": expected}]
            assert "segments" not in right

    harness.run(scenario)


def test_openai_clients_may_ask_for_it(harness: Any, english: Model, call: Any, alone: Any) -> None:
    openai = pytest.importorskip("openai")
    segments = segments_of(alone)

    async def scenario() -> None:
        async with (
            serving(harness, english) as master,
            openai.AsyncOpenAI(base_url=f"{master.url}/v1", api_key="none", max_retries=0) as client,
        ):
            create = client.audio.transcriptions.create
            fields = {"file": ("call.wav", wav_of(*call)), "model": "whisper-1"}
            split = {"extra_query": {"channels": "split"}}
            plain = await create(**fields, **split)
            assert plain.text == " ".join(segment.text for segment in segments)
            verbose = await create(**fields, **split, response_format="verbose_json")
            assert [(each.channel, each.text) for each in verbose.segments] == [
                (segment.channel, segment.text) for segment in segments
            ]
            header = {"extra_headers": {"Recognition-Options": "channels=split"}}
            text = await create(**fields, **header, response_format="text")
            assert text.startswith("Channel 2: go forward")
            with pytest.raises(openai.BadRequestError, match="colour"):
                await create(**fields, extra_headers={"Recognition-Options": "colour=red"})

    harness.run(scenario)


def test_the_audio_is_kept_with_all_its_channels(
    harness: Any, english: Model, call: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with serving(harness, english, out_dir=tmp_path) as master:
            await messages_of(master, wav_of(*call), channels="split")

    harness.run(scenario)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == np.stack(call, axis=1).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("fields", "header", "named"),
    [
        ({"channels": "both"}, "", "channels: expected one of mixed, left, right, split, found 'both'"),
        ({"num-nbset": "3"}, "", "'num-nbset' in the address: unknown; the nearest known one is num-nbest"),
        ({"options": '{"colour": "red"}'}, "", "colour: unknown option"),
        ({"num-nbest": "0"}, "", "num-nbest: expected 1 to 1000, found 0"),
        ({}, "colour=red", "colour: unknown option"),
        ({}, "use-vad=perhaps", "use-vad: expected true or false, found 'perhaps'"),
        ({}, "=3", "Recognition-Options: expected name=value"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    harness: Any, english: Model, fields: dict[str, str], header: str, named: str
) -> None:
    headers = {"Recognition-Options": header} if header else {}

    async def scenario() -> None:
        async with serving(harness, english) as master:
            query = urlencode(fields)
            path = f"{RECOGNIZE}?{query}"
            response = await harness.fetch(master, path, method="PUT", body=bytes(3200), headers=headers)
            assert (response.code, named in response.body.decode()) == (400, True)
            address = f"{master.url.replace('http', 'ws')}/client/ws/speech?{query}"
            connection = await websocket_connect(HTTPRequest(address, headers=headers))
            await connection.write_message(bytes(3200), binary=True)
            text = await connection.read_message()
            assert isinstance(text, str)
            message = json.loads(text)
            assert (message["status"], named in message["message"]) == (5, True)
            assert await connection.read_message() is None
            connection.close()

    harness.run(scenario)


def test_options_of_headers_reach_the_recogniser(harness: Any, english: Model, call: Any) -> None:
    async def scenario() -> None:
        async with serving(harness, english) as master:
            address = f"{master.url.replace('http', 'ws')}/client/ws/speech?num-nbest=2&lang=et&partial=true"
            headers = {"Recognition-Options": "num-nbest=3, do-word-alignment=?0"}
            connection = await websocket_connect(HTTPRequest(address, headers=headers))
            await connection.write_message(wav_of(call[1]), binary=True)
            await connection.write_message("EOS")
            finals = []
            while (text := await connection.read_message()) is not None:
                message = json.loads(text)
                finals += [message] if is_final(message) else []
            connection.close()
            hypotheses = finals[0]["result"]["hypotheses"]
            assert len(hypotheses) == 2
            assert "word-alignment" not in hypotheses[0]

    harness.run(scenario)


def test_a_text_processor_is_for_both_channels(harness: Any, english: Model, call: Any) -> None:
    class Marks:
        def process(self, result: Any, request_id: str) -> Any:
            if isinstance(result, Partial):
                return replace(result, transcript=f"<{result.transcript}>")
            best = replace(result.hypotheses[0], transcript=f"<{result.transcript}>")
            return replace(result, hypotheses=(best,))

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, Marks()):
            messages = await messages_of(master, wav_of(*call), channels="split")
            finals = [message for message in messages if is_final(message)]
            assert {final["channel"] for final in finals} == {0, 1}
            for final in finals:
                assert final["result"]["hypotheses"][0]["transcript"].startswith("<")

    harness.run(scenario)


def test_the_command_line_client(harness: Any, english: Model, call: Any, alone: Any, tmp_path: Path) -> None:
    path, states = tmp_path / "call.wav", tmp_path / "states.json"
    path.write_bytes(wav_of(*call))

    async def run(master: Master, *arguments: str) -> list[str]:
        address = f"{master.url.replace('http', 'ws')}/client/ws/speech"
        command = ["-m", "pykaldi_server", "client", "-r", "0", "-u", address, "--channels", "split"]
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *arguments,
            str(path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        out, _ = await program.communicate()
        assert program.returncode == 0
        return out.decode().splitlines()

    async def scenario() -> None:
        async with serving(harness, english) as master:
            printed = await run(master, "--save-adaptation-state", str(states))
            assert sorted(printed) == sorted(
                f"Channel {channel + 1}: {final['result']['hypotheses'][0]['transcript']}"
                for channel, finals in enumerate(alone)
                for final in finals
            )
            assert [state["channel"] for state in json.loads(states.read_text())] == [0, 1]
            again = await run(master, "--json", "--send-adaptation-state", str(states))
            messages = [json.loads(line) for line in again]
            for channel in (0, 1):
                assert finals_of(messages, channel)
                assert finals_of(messages, channel) != alone[channel]

    harness.run(scenario)


def test_a_program_that_changes_whole_results_keeps_the_channel(
    harness: Any, english: Model, call: Any
) -> None:
    program = (
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    if line.strip():\n"
        "        message = json.loads(line)\n"
        "        best = message['result']['hypotheses'][0]\n"
        "        best['transcript'] = str(message['channel'])\n"
        "        print(json.dumps(message) + '\\n', flush=True)\n"
    )
    options = PostProcessorOptions(full_post_processor=f"{sys.executable} -c {shlex.quote(program)}")

    async def scenario() -> None:
        with PostProcessor(options) as processor:
            async with harness.master() as master, running_worker(english, master, processor):
                messages = await messages_of(master, wav_of(*call), channels="split")
        finals = [message for message in messages if is_final(message)]
        assert {final["channel"] for final in finals} == {0, 1}
        for final in finals:
            assert final["result"]["hypotheses"][0]["transcript"] == str(final["channel"])

    harness.run(scenario)
