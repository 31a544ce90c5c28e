"""Long compressed audio, sent as fast as it goes: far ahead of the recogniser, and not a word may be lost."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serve_process import ENGLISH, REPOSITORY, running_serve
from websockets.asyncio.client import connect

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

MINUTES = 10
UPLOADS = 3


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 500 kB of Opus."""
    path = tmp_path_factory.mktemp("long") / "long.ogg"
    script = REPOSITORY / "scripts" / "make_long_recording.py"
    subprocess.run([sys.executable, script, path, "--minutes", str(MINUTES)], check=True)
    return path


@pytest.fixture(scope="module")
def words(recording: Path, models: Path) -> str:
    """What the model recognises without a server."""
    model = Model.load(models / "english:graph-digits")
    finals = [event for event in transcribe(model, recording) if isinstance(event, Final)]
    return " ".join(final.hypotheses[0].transcript for final in finals)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_word_of_three_uploads_at_once_is_lost(
    harness: Any, recording: Path, words: str, tmp_path: Path
) -> None:
    """Pings and their time-outs are far shorter than the time that an upload waits to be recognised."""
    assert len(words.split()) > 1000
    pings = ["--ping-interval-s", "1", "--silence-timeout-s", "3"]
    with running_serve(tmp_path, ENGLISH, "--sessions", str(UPLOADS), *pings) as serve:

        async def upload() -> dict[str, Any]:
            command = ["curl", "-s", "-T", str(recording), f"{serve.url}/client/dynamic/recognize"]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            output, _ = await process.communicate()
            answer: dict[str, Any] = json.loads(output)
            return answer

        async def scenario() -> list[dict[str, Any]]:
            return await asyncio.gather(*(upload() for _ in range(UPLOADS)))

        for answer in asyncio.run(scenario()):
            assert answer["status"] == 0
            assert answer["hypotheses"] == [{"utterance": words}]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_that_pings_every_second_hears_everything(
    recording: Path, words: str, tmp_path: Path
) -> None:
    async def scenario(url: str) -> list[str]:
        finals = []
        async with connect(url, ping_interval=1, ping_timeout=2, max_queue=None) as client:

            async def send() -> None:
                data = recording.read_bytes()
                for begin in range(0, len(data), 65536):
                    await client.send(data[begin : begin + 65536])
                await client.send("EOS")

            sending = asyncio.create_task(send())
            async for text in client:
                message = json.loads(text)
                assert message["status"] == 0, message
                if message.get("result", {}).get("final"):
                    finals.append(message["result"]["hypotheses"][0]["transcript"])
            await sending
            assert client.close_code == 1000
        return finals

    with running_serve(tmp_path, ENGLISH, "--sessions", "1") as serve:
        url = serve.url.replace("http", "ws") + "/client/ws/speech"
        assert " ".join(asyncio.run(scenario(url))) == words
