"""How clients of every protocol hear that they are not served, or not any longer, on real sockets."""

import asyncio
import json
from typing import Any

import pytest
from every_protocol import (
    PORTS,
    PROTOCOLS,
    AsteriskCall,
    Client,
    Native,
    OpenAI,
    OpenAIStream,
    Realtime,
    Upload,
    Vosk,
)

from pykaldi_server.master import limits
from pykaldi_server.master.access.caller import Caller, Limits
from pykaldi_server.master.endpoints import upload
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import Position

WORKER = "protocol=2&model=english"
AUDIO = b"12345678"
RESET = '{"reset": true}'
LIMITED = [each for each in PROTOCOLS if not each.leaving_is_an_end]  # two calls have the same follower
HTTP = [Upload, OpenAI, OpenAIStream]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads that have failed are not read to their ends."""
    monkeypatch.setattr(upload, "REFUSED_BODY_S", 0.05)


def final(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": True}}


async def until_eos(worker: Any) -> None:
    """Takes the audio, and says so."""
    num_bytes = 0
    while (message := await worker.read()) not in ("EOS", RESET):
        if isinstance(message, bytes):
            num_bytes += len(message)
            await worker.send(Position(num_bytes, 0.0).text())
        assert message is not None


async def end(worker: Any) -> None:
    await worker.send(Position(len(AUDIO) + len(RESET), 0.0, end=True).text())


async def heard(client: Client) -> str:
    """What a client is told that is not served."""
    outcome = await client.outcome()
    assert "".join(outcome.texts) == ""
    assert outcome.error is not None
    return outcome.error


@pytest.mark.parametrize("protocol", LIMITED)
def test_a_caller_with_too_many_requests(harness: Any, protocol: type[Client]) -> None:
    """It is refused at once; the request that it has goes on, and when that has ended it may have another."""

    async def scenario() -> None:
        async with harness.master(**PORTS, sessions_per_address=1, queue_s=60) as master:
            worker = await harness.worker(master, WORKER)
            async with protocol(harness, master) as first:
                await first.speak(AUDIO)
                await worker.read_json()
                for _ in range(2):
                    async with protocol(harness, master) as second:
                        await second.speak(AUDIO)
                        assert "127.0.0.1: expected at most 1" in await heard(second)
                await worker.send(final("two nine"))
                await first.stop()
                await until_eos(worker)
                await end(worker)
                outcome = await first.outcome()
                assert (outcome.texts, outcome.error) == (["two nine"], None)
            async with asyncio.timeout(200):
                while len(master.hub.sessions):
                    await asyncio.sleep(0.01)
            worker = await harness.worker(master, WORKER)
            async with protocol(harness, master) as third:
                await third.speak(AUDIO)
                await worker.read_json()

    harness.run(scenario)


def test_calls_of_asterisk_are_not_counted_by_the_address_of_the_telephone_system(harness: Any) -> None:
    async def scenario() -> None:
        async with (
            harness.master(**PORTS, sessions_per_address=1) as master,
            AsteriskCall(harness, master) as first,
            AsteriskCall(harness, master) as second,
        ):
            for call in (first, second):
                worker = await harness.worker(master, WORKER)
                await call.speak(AUDIO)
                await worker.read_json()

    harness.run(scenario)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_line_that_is_full(harness: Any, protocol: type[Client]) -> None:
    """Who comes to a full line is refused at once; who is in it is served."""

    async def scenario() -> None:
        async with (
            harness.master(**PORTS, queue_s=60, queue_length=1) as master,
            protocol(harness, master) as first,
        ):
            await first.speak(AUDIO)
            await master.until(lambda: master.hub.pool.status().waiting == 1)
            async with Native(harness, master) as second:
                assert "try again later: 1 requests are waiting" in await heard(second)
            worker = await harness.worker(master, WORKER)
            await worker.read_json()
            await first.stop()
            await until_eos(worker)
            await worker.send(final("two"))
            await end(worker)
            outcome = await first.outcome()
            assert (outcome.texts, outcome.error) == (["two"], None)

    harness.run(scenario)


@pytest.mark.parametrize("protocol", HTTP)
@pytest.mark.parametrize(
    ("options", "code", "kind", "error_code"),
    [
        ({"queue_s": 0.05}, 503, "service_unavailable_error", "server_is_overloaded"),
        ({"queue_s": 60, "queue_length": 0}, 503, "service_unavailable_error", "server_is_overloaded"),
        ({"queue_s": 60, "sessions_per_address": 1}, 429, "requests", "rate_limit_exceeded"),
    ],
)
def test_uploads_are_told_when_to_try_again(
    harness: Any, protocol: type[Upload], options: dict[str, float], code: int, kind: str, error_code: str
) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, **options) as master:
            if code == 429:
                await harness.client(master)
                await master.until(lambda: master.hub.pool.status().waiting == 1)
            async with protocol(harness, master) as client:
                await client.speak(AUDIO)
                await client.stop()
                head, _, body = (await client.reader.read()).decode().partition("\r\n\r\n")
                lines = head.split("\r\n")
                assert int(lines[0].split()[1]) == code
                headers = dict(line.split(": ", 1) for line in lines[1:])
                assert 1 <= int(headers["Retry-After"]) <= 120
                assert headers["Access-Control-Expose-Headers"] == "Retry-After"
                if protocol is not Upload:
                    error = json.loads(body)["error"]
                    assert (error["type"], error["code"]) == (kind, error_code)

    harness.run(scenario)


def test_a_client_of_the_original_is_told_when_to_try_again(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.05) as master:
            client = await harness.client(master)
            (event,) = await client.read_all()
            assert event["status"] == 9
            assert event["message"] == "No decoder available, try again later"
            assert 1 <= event["retry-after"] <= 120

    harness.run(scenario)


@pytest.mark.parametrize(("protocol", "code"), [(Vosk, 1013), (Realtime, 1013)])
def test_sockets_without_errors_of_their_own_close_with_a_code(
    harness: Any, protocol: type[Client], code: int
) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=60, sessions_per_address=1) as master:
            await harness.client(master)
            await master.until(lambda: master.hub.pool.status().waiting == 1)
            async with protocol(harness, master) as client:
                await client.speak(AUDIO)
                await heard(client)
                assert client.socket.connection.close_code == code  # type: ignore[attr-defined]

    harness.run(scenario)


def test_places_are_told_to_who_asks_and_to_nobody_else(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=60) as master:
            plain = await harness.client(master)
            await master.until(lambda: master.hub.pool.status().waiting == 1)
            asking = await harness.client(master, "queue=true")
            told = await asking.read_json()
            assert (told["status"], told["queue"]) == (0, 2)
            worker = await harness.worker(master, WORKER)
            await worker.read_json()
            assert (await asking.read_json())["queue"] == 1
            worker = await harness.worker(master, WORKER)
            init = await worker.read_json()
            told = await asking.read_json()
            assert told == {"status": 0, "queue": 0, "id": init["id"]}
            master.hub.pool.accepting = False
            for client in (plain, asking):
                await client.send("EOS")
            await worker.send(final("one"))
            await end(worker)
            messages = await asking.read_all()
            assert [message["result"]["final"] for message in messages] == [True]
            plain.close()
            assert await plain.read_all() == []

    harness.run(scenario)


def test_who_is_served_at_once_hears_of_no_place(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.client(master, "queue=1")
            await worker.read_json()
            await client.send("EOS")
            assert await worker.read() == "EOS"
            await worker.send(Position(3, 0.0, end=True).text())
            assert await client.read_all() == []

    harness.run(scenario)


def test_an_invalid_wish_for_a_place_is_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await harness.client(master, "queue=perhaps")
            (event,) = await client.read_all()
            assert (event["status"], event["message"]) == (
                5,
                "queue: expected true or false, found 'perhaps'",
            )

    harness.run(scenario)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_whose_time_is_up_gets_its_last_words(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, session_s=0.2) as master:
            worker = await harness.worker(master, WORKER)
            async with protocol(harness, master) as client:
                await client.speak(AUDIO)
                await worker.read_json()
                await worker.send(final("two nine"))
                num_bytes = 0
                while (message := await worker.read()) != "EOS":
                    num_bytes += len(message)
                    await worker.send(Position(num_bytes, 0.0).text())
                await worker.send(final("three"))
                await worker.send(Position(num_bytes + 3, 0.0, end=True).text())
                outcome = await client.outcome()
                assert " ".join(outcome.texts) == "two nine three"
                assert "served for 0.2 s, as long as this server allows" in str(outcome.error)
                assert await worker.read() is None

    harness.run(scenario)


def test_a_request_that_pauses_goes_on_until_somebody_waits(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(pause_s=0.05, queue_s=60) as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.client(master)
            await client.send(AUDIO)
            await worker.read_json()
            assert await worker.read() == AUDIO
            await worker.send(Position(len(AUDIO), 0.0).text())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.read()
            other = await harness.client(master)
            assert await worker.read() == "EOS"
            await worker.send(final("two"))
            await worker.send(Position(len(AUDIO) + 3, 0.0, end=True).text())
            result, event = await client.read_all()
            assert result["result"]["final"]
            assert (event["status"], event["message"]) == (
                1,
                "nothing came for 0.05 s, and others are waiting",
            )
            worker = await harness.worker(master, WORKER)
            await worker.read_json()
            await other.send("EOS")
            assert await worker.read() == "EOS"

    harness.run(scenario)


@pytest.mark.parametrize("when", ["in the middle", "at the end"])
def test_a_worker_that_hangs_is_given_up(harness: Any, when: str) -> None:
    """It may answer pings and be busy with nothing: its client is told, and its slot is not used again."""

    async def scenario() -> None:
        async with harness.master(worker_timeout_s=0.2) as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.client(master)
            if when == "in the middle":
                await client.send(bytes(200_000))
            else:
                await client.send(AUDIO)
                await client.send("EOS")
            (event,) = await client.read_all()
            assert (event["status"], event["message"]) == (2, "The recogniser has not answered for 0.2 s")
            await master.until(lambda: master.hub.pool.status().busy == 0)
            while await worker.read() is not None:
                pass

    harness.run(scenario)


def test_a_worker_that_owes_nothing_does_not_hang(harness: Any) -> None:
    """Half a second of audio is no reason to report a position."""

    async def scenario() -> None:
        async with harness.master(worker_timeout_s=0.05) as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.client(master)
            await client.send(AUDIO)
            await worker.read_json()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.read()

    harness.run(scenario)


async def until_silence(worker: Any) -> bytes:
    """The audio that has come when nothing more comes for a moment."""
    audio = b""
    try:
        while True:
            async with asyncio.timeout(0.3):
                message = await worker.read()
            audio += message if isinstance(message, bytes) else b""
    except TimeoutError:
        return audio


FLOODS = [each for each in PROTOCOLS if not issubclass(each, Upload)]  # whose pieces Tornado puts together


@pytest.mark.parametrize("protocol", FLOODS)
def test_a_flood_of_tiny_messages_is_held_back_and_nobody_else(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, messages_per_s=1.0) as master:
            worker = await harness.worker(master, WORKER)
            async with protocol(harness, master) as client:
                for _ in range(50):
                    await client.speak(AUDIO[:2])
                await worker.read_json()
                assert 0 < len(await until_silence(worker)) < 50 * 2
                other = await harness.worker(master, WORKER)
                async with Native(harness, master) as another:
                    await another.speak(AUDIO)
                    await other.read_json()
                    assert await other.read() == AUDIO

    harness.run(scenario)


def test_a_token_has_a_rate_of_its_own(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller("192.0.2.1", "anne", Limits(messages_per_s=5.0))
    monkeypatch.setattr(limits, "BURST_S", 1.0)

    async def scenario() -> None:
        rate = limits.message_rate(lambda: caller, MasterOptions)
        assert [rate.delay_s() > 0 for _ in range(7)] == [False] * 5 + [True] * 2

    harness.run(scenario)
