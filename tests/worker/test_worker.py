"""A worker with the English model on a real master: real sockets, real audio, Kaldi's words."""

import asyncio
import json
import socket
import subprocess
import sys
import wave
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK
from live_worker import running_worker

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.errors import AudioError, DecoderError
from pykaldi_server.protocols.messages import Status
from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.recognition import status_of
from pykaldi_server.worker.worker import Worker

MAKE_LONG = Path(__file__).resolve().parents[2] / "scripts" / "make_long_recording.py"
SHORT = "ps-tidigits-2934z"
LONG = "ps-librivox-0870"
FOUR = (SHORT, "ps-cards-002", "ps-librivox-0880", "ps-goforward")


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits", frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)


@pytest.fixture(scope="module")
def words(golden: Path) -> dict[str, str]:
    """What Kaldi recognises in each recording, in pieces of 0.05 s, as a session does."""
    found = {}
    for line in (golden / "digits-005" / "best_path.txt").read_text().splitlines():
        recording, _, rest = line.partition(" ")
        found[recording] = rest.partition(" words ")[2].partition(" alignment ")[0]
    return found


@pytest.fixture
def audio(golden: Path) -> Any:
    """The samples of a recording as bytes: 16 kHz, mono, S16LE, the default of a server."""

    def read(recording: str) -> bytes:
        with wave.open(str(golden / "wav" / f"{recording}.wav")) as file:
            data: bytes = file.readframes(file.getnframes())
            return data

    return read


def transcripts(messages: list[dict[str, Any]]) -> str:
    """The final results, joined."""
    finals = [each["result"] for each in messages if each.get("result", {}).get("final")]
    return " ".join(result["hypotheses"][0]["transcript"] for result in finals)


async def send_in_pieces(client: Any, data: bytes) -> None:
    for start in range(0, len(data), 3200):
        await client.send(data[start : start + 3200])


def test_partials_come_before_all_is_sent_then_the_words(
    harness: Any, english: Model, words: Any, audio: Any
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            data = audio(LONG)
            half = len(data) // 64 * 32
            await send_in_pieces(client, data[:half])
            partial = await client.until(lambda each: not each["result"]["final"])
            assert partial["result"]["hypotheses"][0]["transcript"]

            await send_in_pieces(client, data[half:])
            await client.send("EOS")
            messages = await client.read_all()
            assert transcripts(messages) == words[LONG]
            assert messages[-1]["adaptation_state"]["type"] == "string+gzip+base64"
            assert client.connection.close_code == 1000

    harness.run(scenario)


def test_the_same_over_http(harness: Any, english: Model, words: Any, audio: Any, golden: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            wav = (golden / "wav" / f"{LONG}.wav").read_bytes()
            raw = {"Content-Type": "audio/x-raw-int; rate=16000"}
            for body, headers in ((wav, {}), (audio(LONG), raw)):
                path = "/client/dynamic/recognize"
                response = await harness.fetch(master, path, method="PUT", body=body, headers=headers)
                assert json.loads(response.body)["hypotheses"] == [{"utterance": words[LONG]}]

    harness.run(scenario)


def test_four_at_once_and_no_fifth(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=4):
            clients = [await harness.client(master) for _ in FOUR]
            halves = [len(audio(recording)) // 64 * 32 for recording in FOUR]
            for client, recording, half in zip(clients, FOUR, halves, strict=True):
                await client.send(audio(recording)[:half])
            fifth = await harness.client(master)
            assert [each["status"] for each in await fifth.read_all()] == [9]

            for client, recording, half in zip(clients, FOUR, halves, strict=True):
                await client.send(audio(recording)[half:])
                await client.send("EOS")
            results = await asyncio.gather(*(client.read_all() for client in clients))
            assert [transcripts(each) for each in results] == [words[recording] for recording in FOUR]

    harness.run(scenario)


def test_a_client_that_vanishes_frees_the_slot(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            status = await harness.status(master)
            gone = await harness.client(master)
            await gone.send(audio(LONG))
            await gone.until(lambda each: not each["result"]["final"])
            gone.vanish()
            await status.until(lambda each: each["num_requests_processed"] == 1)
            await status.until(lambda each: each["num_workers_available"] == 1)

            client = await harness.client(master)
            await client.send(audio(SHORT))
            await client.send("EOS")
            assert transcripts(await client.read_all()) == words[SHORT]

    harness.run(scenario)


def test_a_vanished_uploader_does_not_keep_the_slot_for_all_it_sent(
    harness: Any, english: Model, audio: Any
) -> None:
    """An hour of audio was sent at once; the slot is free long before it would be recognised."""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            status = await harness.status(master)
            gone = await harness.client(master)
            hour = asyncio.create_task(send_hour(gone, audio(LONG)))
            await gone.until(lambda each: not each["result"]["final"])
            gone.vanish()
            await status.until(lambda each: each["num_requests_processed"] == 1)
            await status.until(lambda each: each["num_workers_available"] == 1)
            await asyncio.gather(hour, return_exceptions=True)

    harness.run(scenario)


async def send_hour(client: Any, data: bytes) -> None:
    for _ in range(500):
        await client.send(data)


def test_options_of_a_request(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            in_address = await harness.client(master, urlencode({"options": '{"num-nbest": 2}'}))
            in_message = await harness.client(master)
            await in_message.send({"options": {"num_nbest": "2"}})
            for client in (in_address, in_message):
                await client.send(audio(SHORT))
                await client.send("EOS")
                finals = [each for each in await client.read_all() if each.get("result", {}).get("final")]
                assert [len(final["result"]["hypotheses"]) for final in finals] == [2]

            refused = await harness.client(master, urlencode({"options": '{"num-best": 2}'}))
            (event,) = await refused.read_all()
            assert (event["status"], event["message"]) == (
                5,
                "num-best: unknown option; the nearest known one is num-nbest",
            )

    harness.run(scenario)


def test_finalize_ends_the_segment_at_once(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            await client.send(audio(SHORT))
            await client.send({"finalize": True})
            final = await client.until(lambda each: each["result"]["final"])  # without EOS
            assert final["segment"] == 0
            await client.send("EOS")
            rest = await client.read_all()
            assert f"{transcripts([final])} {transcripts(rest)}".split()[:4] == words[SHORT].split()[:4]

    harness.run(scenario)


def test_strange_messages_do_no_harm(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            state = {"type": "string+gzip+base64", "value": "damaged"}
            for message in ({"keepalive": True}, "hello", {"unknown": 1}, {"adaptation_state": state}, b""):
                await client.send(message)
            await client.send(audio(SHORT))
            await client.send({"adaptation_state": state})  # too late
            await client.send(b"EOS")
            assert transcripts(await client.read_all()) == words[SHORT]

    harness.run(scenario)


def test_an_adaptation_state_comes_back_and_is_used(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            states: list[Any] = [None]
            likelihoods = []
            for _ in range(2):
                client = await harness.client(master)
                if states[-1]:
                    await client.send({"adaptation_state": states[-1]})
                await client.send(audio("ps-librivox-0880"))
                await client.send("EOS")
                messages = await client.read_all()
                states.append(messages[-1]["adaptation_state"])
                likelihoods.append(messages[-2]["result"]["hypotheses"][0]["likelihood"])
            assert states[1]["value"] != states[2]["value"]
            assert likelihoods[0] != likelihoods[1]

    harness.run(scenario)


@pytest.mark.parametrize(
    ("query", "data"),
    [("content-type=audio/x-raw,+rate=(int)many", b"audio"), ("", b"RIFF1234WAVEjunk" + bytes(10_000))],
)
def test_bad_audio_is_an_error_and_the_slot_lives_on(
    harness: Any, english: Model, words: Any, audio: Any, query: str, data: bytes
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            status = await harness.status(master)
            client = await harness.client(master, query)
            with suppress(Exception):  # the server may close before all is sent
                await client.send(data)
                await client.send("EOS")
            messages = await client.read_all()
            assert [each["status"] for each in messages] == [3]
            assert messages[0]["message"]

            await status.until(lambda each: each["num_requests_processed"] == 1)
            await status.until(lambda each: each["num_workers_available"] == 1)
            client = await harness.client(master)
            await client.send(audio(SHORT))
            await client.send("EOS")
            assert transcripts(await client.read_all()) == words[SHORT]

    harness.run(scenario)


def test_no_audio_at_all(harness: Any, english: Model) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            await client.send("EOS")
            assert transcripts(await client.read_all()) == ""

    harness.run(scenario)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["UklGRiQ", {"unknown": 1}], "a control message: expected JSON, found 'UklGRiQ'"),
        ([{"audio": "UklGRiQ"}, b""], "a control message: expected one of "),
    ],
)
def test_audio_that_comes_as_text_is_no_success(
    harness: Any, english: Model, messages: list[Any], reason: str
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            for message in messages:
                await client.send(message)
            await client.send("EOS")
            (answer,) = await client.read_all()
            assert answer["status"] == Status.NOT_ALLOWED
            expected = f"expected audio in binary messages, found none; {reason}"
            assert answer["message"].startswith(expected)

    harness.run(scenario)


def test_silence_timeout(harness: Any, english: Model, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, silence_timeout_s=0.2):
            client = await harness.client(master)
            messages = await client.read_all()
            assert [each["status"] for each in messages] == [1]

    harness.run(scenario)


def test_silence_timeout_sends_what_was_recognised_first(
    harness: Any, english: Model, words: Any, audio: Any
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, silence_timeout_s=0.5):
            client = await harness.client(master)
            await client.send(audio(SHORT))  # without EOS: its segment has not ended
            messages = await client.read_all()
            assert transcripts(messages).split()[:4] == words[SHORT].split()[:4]
            assert [each["status"] for each in messages[-2:]] == [0, 1]
            assert messages[-1]["message"] == "nothing was recognised for 0.5 s"

    harness.run(scenario)


def test_silence_timeout_over_http(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, silence_timeout_s=0.5):
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
            data = audio(SHORT)
            writer.write(b"PUT /client/dynamic/recognize HTTP/1.1\r\nHost: x\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(data) + 1, data))
            answer = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
            assert answer["status"] == 1
            assert answer["hypotheses"][0]["utterance"].split()[:4] == words[SHORT].split()[:4]
            writer.close()
            await writer.wait_closed()

    harness.run(scenario)


def test_damage_in_the_middle_ends_with_what_was_recognised_before(
    harness: Any, english: Model, words: Any, audio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that fails: what it can still say comes before the error."""

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master):
            client = await harness.client(master)
            data = audio(SHORT)
            await client.send(data)
            await client.until(lambda each: not each["result"]["final"])
            with monkeypatch.context() as patch:
                patch.setattr(AudioDecoder, "decode", broken)
                await client.send(data)
                messages = await client.read_all()
            assert transcripts(messages)
            assert (messages[-1]["status"], messages[-1]["message"]) == (3, "the stream is damaged here")

    harness.run(scenario)


def broken(self: AudioDecoder, data: bytes) -> Any:
    raise AudioError("the stream is damaged here")


def test_requests_that_are_cut_off_end_with_what_was_recognised(
    harness: Any, english: Model, words: Any, audio: Any
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master) as worker:
            client = await harness.client(master)
            await client.send(audio(SHORT))
            await client.until(lambda each: not each["result"]["final"])
            worker.drain()
            worker.cut_off()
            messages = await client.read_all()
            assert transcripts(messages)
            assert (messages[-1]["status"], messages[-1]["message"]) == (2, "the worker is shutting down")

    harness.run(scenario)


def test_a_cancel_is_noticed_in_the_middle_of_a_long_message(
    harness: Any, english: Model, audio: Any, tmp_path: Path
) -> None:
    """Ten minutes of Opus are one message; the slot is free long before they would be recognised."""
    subprocess.run([sys.executable, MAKE_LONG, tmp_path / "long.ogg", "--minutes", "10"], check=True)

    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=1):
            status = await harness.status(master)
            gone = await harness.client(master)
            await gone.send((tmp_path / "long.ogg").read_bytes())
            await gone.until(lambda each: not each["result"]["final"])
            gone.vanish()
            await status.until(lambda each: each["num_requests_processed"] == 1)
            available = await status.until(lambda each: each["num_workers_available"] == 1)
            assert available["num_requests_processed"] == 1

            client = await harness.client(master)
            await client.send(audio(SHORT))
            await client.send("EOS")
            assert (await client.read_all())[-1]["status"] == 0

    harness.run(scenario)


@pytest.mark.parametrize("path", ["/client/ws/speech", "/client/ws/status"])
def test_a_worker_at_a_wrong_address_backs_off_and_says_why(
    harness: Any, english: Model, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(idle_s=0.05, queue_s=0) as master:
            url = master.worker_url.replace("/worker/ws/speech", path)
            running = asyncio.create_task(Worker(english, WorkerOptions(url=(url,), sessions=1)).run())
            while not caplog.records:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level("ERROR", "pykaldi_server.worker"):
        harness.run(scenario)
    assert [record.message.partition(": ")[0].partition(path)[2] for record in caplog.records] == [
        " is not a master's address for workers"
    ]


def test_the_worker_finds_a_master_that_restarts(harness: Any, english: Model) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, reconnect_max_s=0.1):
            await master.stop()
            async with harness.master(port=master.port) as second:
                await second.wait_until_ready()

    harness.run(scenario)


def test_the_worker_waits_for_a_master_that_is_not_there_yet(harness: Any, english: Model) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        options = WorkerOptions(url=(f"ws://127.0.0.1:{port}/worker/ws/speech",), reconnect_max_s=0.1)
        running = asyncio.create_task(Worker(english, options).run())
        async with harness.master(port=port) as master:
            await master.wait_until_ready()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    harness.run(scenario)


def test_drain_lets_running_requests_end(harness: Any, english: Model, words: Any, audio: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = Worker(english, WorkerOptions(url=(master.worker_url,), sessions=2))
            running = asyncio.create_task(worker.run())
            await master.until(lambda: master.hub.pool.status().available == 2)
            client = await harness.client(master)
            data = audio(SHORT)
            await client.send(data[:24000])
            await client.until(lambda each: "result" in each)  # or the worker could hand the request back
            worker.drain()
            await master.until(lambda: master.hub.pool.status().available == 0)
            await client.send(data[24000:])
            await client.send("EOS")
            assert transcripts(await client.read_all()) == words[SHORT]
            await running

    harness.run(scenario)


def test_errors_have_a_status() -> None:
    assert status_of(AudioError("no audio")) == (Status.AUDIO_CAPTURE, "no audio")
    assert status_of(DecoderError("misused")) == (Status.ABORTED, "misused")
    assert status_of(KeyError("secret path")) == (Status.ABORTED, "Internal error of the recogniser")
