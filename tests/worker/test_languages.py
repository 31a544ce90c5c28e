"""Two languages on one server: clients of every protocol get the model of the language that they ask for."""

import json
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from every_protocol import final_texts
from golden_data import lines
from harness import until
from live_worker import running_worker

from pykaldi_server.master.server import Master
from pykaldi_server.session import Model

RECORDINGS = ("digits-1-8", "robot-1", "robot-2", "robot-3")
CAPS = quote("audio/x-raw, rate=16000, format=S16LE, channels=1")


@pytest.fixture(scope="module")
def estonian(models: Path) -> Model:
    return Model.load("et")


@pytest.fixture(scope="module")
def said(golden: Path) -> dict[str, str]:
    return {name: " ".join(words) for name, *words in lines(golden / "estonian" / "text")}


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        return bytes(file.readframes(file.getnframes()))


@asynccontextmanager
async def two_languages(harness: Any, english: Model, estonian: Model) -> AsyncIterator[Master]:
    """A server whose default is English."""
    async with (
        harness.master(default_model=english.name) as master,
        running_worker(english, master),
        running_worker(estonian, master),
    ):
        await until(lambda: set(master.hub.models) == {english.name, "estonian"})
        yield master


def test_a_model_says_its_language(digits: Model, estonian: Model) -> None:
    assert (digits.name, digits.language) == ("english-digits", "en")
    assert (estonian.name, estonian.language) == ("estonian", "et")


@pytest.mark.parametrize(
    "query", ["language=et", "language=et-EE", "model=estonian", "model=estonian&language=et"]
)
def test_uploads_and_sockets(
    harness: Any, digits: Model, estonian: Model, golden: Path, said: dict[str, str], query: str
) -> None:
    async def scenario() -> None:
        async with two_languages(harness, digits, estonian) as master:
            for name in RECORDINGS:
                path = golden / "estonian" / f"{name}.wav"
                answer = await harness.fetch(
                    master,
                    f"/client/dynamic/recognize?{query}",
                    method="PUT",
                    headers={"Content-Type": "audio/wav"},
                    body=path.read_bytes(),
                )
                found = json.loads(answer.body)["hypotheses"][0]["utterance"]
                assert found.replace(".", "").split() == said[name].split()
            client = await harness.client(master, f"content-type={CAPS}&{query}")
            await client.send(samples(golden / "estonian" / "robot-1.wav"))
            await client.send("EOS")
            assert final_texts(await client.read_all()) == [said["robot-1"]]

    harness.run(scenario)


def test_clients_of_vosk_and_openai(
    harness: Any, digits: Model, estonian: Model, golden: Path, said: dict[str, str]
) -> None:
    recording = golden / "estonian" / "robot-2.wav"

    async def scenario() -> None:
        async with two_languages(harness, digits, estonian) as master:
            url = f"{master.url.replace('http', 'ws')}/vosk"
            by_address, by_message = await harness.connect(f"{url}?language=et"), await harness.connect(url)
            await by_message.send({"config": {"language": "et"}})
            for client in (by_address, by_message):
                await client.send(samples(recording))
                await client.send('{"eof": 1}')
                replies = await client.read_all()
                assert [reply["text"] for reply in replies if reply.get("text")] == [said["robot-2"]]

            body = b"".join(
                b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)
                for name, value in ((b"model", b"whisper-1"), (b"language", b"et"))
            )
            body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n'
            answer = await harness.fetch(
                master,
                "/v1/audio/transcriptions",
                method="POST",
                headers={"Content-Type": "multipart/form-data; boundary=b"},
                body=body + recording.read_bytes() + b"\r\n--b--\r\n",
            )
            assert json.loads(answer.body)["text"] == said["robot-2"]

    harness.run(scenario)


def test_a_language_that_there_is_not(harness: Any, digits: Model, estonian: Model) -> None:
    async def scenario() -> None:
        async with two_languages(harness, digits, estonian) as master:
            client = await harness.client(master, f"content-type={CAPS}&language=fr")
            (answer,) = await client.read_all()
            text = "there is no model for language 'fr'; those that there are: en, et"
            assert (answer["status"], answer["message"]) == (9, text)
            client = await harness.client(master, f"content-type={CAPS}&language=en&model=estonian")
            (answer,) = await client.read_all()
            assert answer["message"] == "there is no model for language 'en'; those that there are: et"
            got = await harness.fetch(
                master, "/client/dynamic/recognize?language=fr", method="PUT", body=b"", headers={}
            )
            assert text in got.body.decode()
            assert master.hub.pool.status().processed == 0

    harness.run(scenario)


def test_before_any_model_is_there_a_language_waits_for_none(harness: Any) -> None:
    """The default, whatever its language, must not be what a client gets while a server starts."""

    async def scenario() -> None:
        async with harness.master() as master:
            master.hub.pool.accepting = False
            client = await harness.client(master, f"content-type={CAPS}&language=et")
            (answer,) = await client.read_all()
            assert (answer["status"], answer["retry-after"]) == (9, 1)

    harness.run(scenario)


def test_workers_that_do_not_say_their_language_serve_all(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, "model=one")
            client = await harness.client(master, "language=et&user-id=anna")
            await client.send(b"audio")
            assert (await worker.read_json())["user_id"] == "anna"

    harness.run(scenario)
