"""Calls by AudioSocket and Twilio on real sockets, with real workers and the English model.

The same audio of 8 kHz gives the same words and times as in the native protocol.
"""

import asyncio
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from live_worker import running_worker
from phone import CALL, Asterisk, listener, mu_law, twilio

from pykaldi_server.protocols.messages import Message
from pykaldi_server.session import Model

SHORT = "ps-tidigits-2934z"
S16LE = "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)8000"
MULAW = S16LE.replace("S16LE", "MULAW")


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


def narrow_band(path: Path, seconds: int | None = None) -> npt.NDArray[np.int16]:
    """The first seconds of a recording at 8 kHz: int16, shape (samples,)."""
    with wave.open(str(path)) as file:
        assert file.getframerate() == 16000
        num_samples = file.getnframes() if seconds is None else seconds * 16000
        return np.frombuffer(file.readframes(num_samples), np.int16)[::2]


@pytest.fixture(scope="module")
def short(golden: Path) -> npt.NDArray[np.int16]:
    return narrow_band(golden / "wav" / f"{SHORT}.wav")


@pytest.fixture(scope="module")
def sentences(golden: Path) -> npt.NDArray[np.int16]:
    """With pauses between them."""
    return narrow_band(golden / "long" / "long.wav", seconds=15)


def finals(messages: list[Message]) -> list[tuple[float, str, Any]]:
    """Start of the segment, transcript and words of each final result."""
    return [
        (
            message["segment-start"],
            message["result"]["hypotheses"][0]["transcript"],
            message["result"]["hypotheses"][0]["word-alignment"],
        )
        for message in messages
        if message.get("result", {}).get("final")
    ]


async def native(harness: Any, master: Any, data: bytes, caps: str) -> list[tuple[float, str, Any]]:
    client = await harness.client(master, f"content-type={caps.replace(' ', '')}")
    await client.send(data)
    await client.send("EOS")
    return finals(await client.read_all())


def test_asterisk(harness: Any, english: Model, sentences: npt.NDArray[np.int16]) -> None:
    async def scenario() -> None:
        async with (
            harness.master(audiosocket_port=0) as master,
            running_worker(english, master, sessions=2),
        ):
            expected = await native(harness, master, sentences.tobytes(), S16LE)
            assert len(expected) > 1
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.speak(sentences.tobytes())
                asterisk.writer.close()
                messages = await follower.read_all()
            assert finals(messages) == expected
            assert any(message.get("result", {}).get("final") is False for message in messages)
            assert messages[-1] == {"status": 0, "call": CALL, "event": "end"}

    harness.run(scenario)


def test_twilio(harness: Any, english: Model, sentences: npt.NDArray[np.int16]) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=2):
            encoded = mu_law(sentences)
            expected = await native(harness, master, encoded, MULAW)
            assert len(expected) > 1
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start()
            await stream.speak(encoded)
            await stream.stop()
            assert finals(await follower.read_all()) == expected

    harness.run(scenario)


def test_a_call_that_ends_in_a_word(harness: Any, english: Model, short: npt.NDArray[np.int16]) -> None:
    """What was said up to there comes before the end, whatever the end looks like."""

    async def scenario() -> None:
        async with (
            harness.master(audiosocket_port=0) as master,
            running_worker(english, master, sessions=2),
        ):
            whole = await native(harness, master, short.tobytes(), S16LE)
            assert [text for _, text, _ in whole] == ["two nine three four zero"]
            word = whole[0][2][2]
            cut = short[: int(8000 * (whole[0][0] + word["start"] + word["length"] / 2))]
            expected = await native(harness, master, cut.tobytes(), S16LE)
            assert expected[0][1].startswith("two nine")

            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.speak(cut.tobytes())
                asterisk.writer.close()
                messages = await follower.read_all()
            assert finals(messages) == expected
            assert messages[-1]["event"] == "end"

            encoded = mu_law(cut)
            expected = await native(harness, master, encoded, MULAW)
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start()
            await stream.speak(encoded)
            stream.socket.close(None)
            messages = await follower.read_all()
            assert finals(messages) == expected
            assert messages[-1]["event"] == "end"

    harness.run(scenario)


def test_both_sides_of_a_call(harness: Any, english: Model, short: npt.NDArray[np.int16]) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(english, master, sessions=2):
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start(("inbound", "outbound"))
            await asyncio.gather(
                stream.speak(mu_law(short), "inbound"), stream.speak(mu_law(short), "outbound")
            )
            await stream.stop()
            messages = await follower.read_all()
            for track in ("inbound", "outbound"):
                of_track = [message for message in messages if message.get("track") == track]
                assert [text for _, text, _ in finals(of_track)] == ["two nine three four zero"]

    harness.run(scenario)


def test_ten_calls_at_once(harness: Any, english: Model, short: npt.NDArray[np.int16]) -> None:
    async def scenario() -> None:
        async with (
            harness.master(audiosocket_port=0) as master,
            running_worker(english, master, sessions=10),
        ):

            async def call(number: int) -> str:
                call_id = f"{CALL[:-1]}{number}"
                follower = await listener(harness, master, call_id)
                async with Asterisk(master, call_id) as asterisk:
                    await asterisk.speak(short.tobytes())
                    asterisk.writer.close()
                    return " ".join(text for _, text, _ in finals(await follower.read_all()))

            found = await asyncio.gather(*map(call, range(10)))
            assert found == ["two nine three four zero"] * 10

    harness.run(scenario)
