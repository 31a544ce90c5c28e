"""Telephone calls on real sockets, by AudioSocket and Twilio, and those who follow them; scripted workers."""

from contextlib import suppress
from typing import Any

import pytest
from phone import CALL, Asterisk, listener, twilio
from tornado.websocket import WebSocketClosedError

from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import Position

MULAW = "audio/x-raw, layout=(string)interleaved, format=(string)MULAW, channels=(int)1, rate=(int)8000"
S16LE = "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)"
WORKER = "protocol=2&model=english"
HANGUP = b"\x00\x00\x00"


def error_message(code: int) -> bytes:
    return b"\xff\x00\x01" + bytes([code])


def result(text: str, final: bool = True, request: str = "r1") -> Message:
    return {
        "status": 0,
        "id": request,
        "result": {"hypotheses": [{"transcript": text}], "final": final},
    }


def started(call: str, **parameters: str) -> Message:
    return {"status": 0, "call": call, "event": "start", "parameters": parameters}


def ended(call: str) -> Message:
    return {"status": 0, "call": call, "event": "end"}


def heard(call: str, event: Message, track: str = "inbound") -> Message:
    return {**event, "call": call, "track": track}


async def end(worker: Any) -> None:
    await worker.send(Position(0, 0.0, end=True).text())


async def until_idle(master: Any) -> None:
    await master.until(lambda: master.hub.pool.status().busy == 0)


@pytest.mark.parametrize("with_hangup", [True, False])
def test_a_call_of_asterisk(harness: Any, with_hangup: bool) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                assert await follower.read_json() == started(CALL)
                await asterisk.send(0x03, b"#")
                await asterisk.send(0x10, b"1234")
                init = await worker.read_json()
                assert (init["content_type"], init["content_id"]) == (f"{S16LE}8000", CALL)
                assert await worker.read() == b"1234"
                digit = {"status": 0, "call": CALL, "track": "inbound", "event": "dtmf", "digit": "#"}
                assert await follower.read_json() == digit
                await worker.send(result("two", final=False))
                assert await follower.read_json() == heard(CALL, result("two", final=False))
                if with_hangup:
                    await asterisk.send(0x00)
                else:
                    asterisk.writer.close()
                assert await worker.read() == "EOS"
                await worker.send(result("two nine"))
                await worker.send({"status": 0, "adaptation_state": {"value": "x"}})
                await end(worker)
                assert await follower.read_all() == [heard(CALL, result("two nine")), ended(CALL)]
                assert follower.connection.close_code == 1000
                if with_hangup:
                    assert await asterisk.read_all() == HANGUP

    harness.run(scenario)


def test_packets_without_samples_start_no_request(harness: Any) -> None:
    """One that got no audio would fail after a while, and with it the call."""

    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            worker = await harness.worker(master, WORKER)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10)
                await asterisk.send(0x00)
                assert await asterisk.read_all() == HANGUP
            stream = await twilio(harness, master)
            await stream.start()
            empty = {"track": "outbound", "payload": ""}
            await stream.send("media", media=empty)
            await stream.speak(b"1234")
            assert (await worker.read_json())["content_type"] == MULAW
            assert await worker.read() == b"1234"
            await stream.stop()
            assert await worker.read() == "EOS"
            await end(worker)
            assert await stream.socket.read() is None
            assert stream.socket.connection.close_code == 1000

    harness.run(scenario)


def test_a_lost_connection_is_the_end_of_a_call(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x12, b"1234")
                assert (await worker.read_json())["content_type"] == f"{S16LE}16000"
                assert await worker.read() == b"1234"
                asterisk.writer.transport.abort()
                assert await worker.read() == "EOS"
                await worker.send(result("two"))
                await end(worker)
                assert (await follower.read_all())[1:] == [heard(CALL, result("two")), ended(CALL)]

    harness.run(scenario)


def test_a_call_without_audio_needs_no_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x00)
                assert await asterisk.read_all() == HANGUP
            assert await follower.read_all() == [started(CALL), ended(CALL)]

    harness.run(scenario)


def test_a_call_of_twilio_with_both_tracks(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start(("inbound", "outbound"), model="english", options='{"num-nbest": 2}')
            workers = {}
            for track, samples in (("outbound", b"12"), ("inbound", b"34")):
                workers[track] = await harness.worker(master, WORKER)
                await stream.speak(samples, track)
                init = await workers[track].read_json()
                assert (init["content_type"], init["content_id"]) == (MULAW, "CA1")
                assert init["options"] == {"num-nbest": 2}
                assert await workers[track].read() == samples
            parameters = {"model": "english", "options": '{"num-nbest": 2}'}
            assert await follower.read_json() == started("CA1", **parameters)
            await stream.send("dtmf", dtmf={"track": "inbound_track", "digit": "5"})
            assert (await follower.read_json())["digit"] == "5"
            await stream.send("mark", mark={"name": "m"})
            await stream.stop()
            for track, worker in workers.items():
                assert await worker.read() == "EOS"
                await worker.send(result(track))
                await end(worker)
                assert await follower.read_json() == heard("CA1", result(track), track)
            assert await follower.read_all() == [ended("CA1")]
            assert await stream.socket.read() is None
            assert stream.socket.connection.close_code == 1000

    harness.run(scenario)


def test_a_stream_that_breaks_off_is_recognised_to_its_end(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start()
            await stream.speak(b"12")
            assert [await worker.read() for _ in range(2)][1] == b"12"
            stream.socket.vanish()
            assert await worker.read() == "EOS"
            await worker.send(result("two"))
            await end(worker)
            assert (await follower.read_all())[1:] == [heard("CA1", result("two")), ended("CA1")]

    harness.run(scenario)


def test_errors_of_recognition_reach_all_sides(harness: Any) -> None:
    """No worker is free; the model is unknown; the worker is lost."""

    async def scenario() -> None:
        async with harness.master(queue_s=0.05, audiosocket_port=0) as master:
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"12")
                assert await asterisk.read_all() == error_message(9)
            _, error, last = await follower.read_all()
            assert (error["status"], error["message"]) == (9, "No decoder available, try again later")
            assert (error["call"], error["track"], last) == (CALL, "inbound", ended(CALL))

            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start(model="latin")
            await stream.speak(b"12")
            assert await stream.socket.read() is None
            assert stream.socket.connection.close_code == 1008
            text = "there is no model 'latin'; those that there are: english"
            assert stream.socket.connection.close_reason == text
            assert (await follower.read_all())[1]["message"] == text

            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"12")
                await worker.read()
                await worker.send(result("two", final=False))
                worker.vanish()
                assert await asterisk.read_all() == error_message(2)
            _, partial, error, last = await follower.read_all()
            assert partial == heard(CALL, result("two", final=False))
            assert error["status"] == 2
            assert last == ended(CALL)

    harness.run(scenario)


def test_a_model_for_the_port_of_asterisk(harness: Any) -> None:
    async def scenario() -> None:
        options = {"audiosocket_port": 0, "audiosocket_model": "phone"}
        async with harness.master(default_model="english", **options) as master:
            await harness.worker(master, WORKER)
            worker = await harness.worker(master, "protocol=2&model=phone")
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"EOS")  # samples
                assert [await worker.read() for _ in range(3)][1:] == [b"E", b"OS"]

    harness.run(scenario)


def test_what_is_not_understood_ends_the_call_and_frees_its_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            async with Asterisk(master, call="") as asterisk:
                asterisk.writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert await asterisk.read_all() == error_message(5)

            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"12")
                assert [await worker.read() for _ in range(2)][1] == b"12"
                await asterisk.send(0x12, b"1234")
                assert await asterisk.read_all() == error_message(5)
            assert await worker.read() is None
            _, error, last = await follower.read_all()
            assert error["message"] == "audio: expected 8000 Hz as before, found 16000 Hz"
            assert last == ended(CALL)

            worker = await harness.worker(master, WORKER)
            follower = await listener(harness, master, "CA1")
            stream = await twilio(harness, master)
            await stream.start()
            await stream.speak(b"12")
            await worker.read()
            await stream.socket.send(b"\x00\x01")
            assert await stream.socket.read() is None
            text = "a message: expected a text, found 2 bytes of binary data"
            assert stream.socket.connection.close_code == 1007
            assert stream.socket.connection.close_reason == text
            assert (await follower.read_all())[1]["message"] == text
            await until_idle(master)

    harness.run(scenario)


@pytest.mark.parametrize("first", ["media", "twice"])
def test_messages_out_of_order(harness: Any, first: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            stream = await twilio(harness, master)
            if first == "media":
                await stream.speak(b"12")
            else:
                await stream.start()
                await stream.start()
            assert await stream.socket.read() is None
            assert stream.socket.connection.close_code == 1007
            assert "expected" in stream.socket.connection.close_reason

    harness.run(scenario)


def test_who_comes_late_hears_what_has_been_said(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            worker = await harness.worker(master, WORKER)
            first = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"12")
                await worker.read()
                await worker.send(result("t", final=False))
                await worker.send(result("two"))
                await first.until(lambda message: message.get("result", {}).get("final", False))
                late = await listener(harness, master, CALL)
                assert await late.read_json() == started(CALL)
                assert await late.read_json() == heard(CALL, result("two"))
                first.vanish()
                await worker.send(result("nine"))
                assert await late.read_json() == heard(CALL, result("nine"))

    harness.run(scenario)


def test_two_calls_of_one_id(harness: Any) -> None:
    """As from dialplans that write the id down: the listener stays until both have ended."""

    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            follower = await listener(harness, master, CALL)
            async with Asterisk(master) as first, Asterisk(master) as second:
                for _ in range(2):
                    assert await follower.read_json() == started(CALL)
                await first.send(0x00)
                assert await follower.read_json() == ended(CALL)
                await second.send(0x00)
                assert await follower.read_all() == [ended(CALL)]

    harness.run(scenario)


def test_a_listener_that_reads_nothing_is_left_and_the_call_goes_on(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(audiosocket_port=0) as master:
            worker = await harness.worker(master, WORKER)
            slow = await listener(harness, master, CALL)
            async with Asterisk(master) as asterisk:
                await asterisk.send(0x10, b"12")
                await worker.read()
                with suppress(WebSocketClosedError):
                    while any(str(each).startswith("listener") for each in master.hub.sockets):
                        await worker.send(result("word " * 2000))
                other = await listener(harness, master, CALL)
                await other.until(lambda message: message.get("result") is not None)
                await asterisk.send(0x00)
                await end(worker)
                assert (await other.read_all())[-1] == ended(CALL)
            assert len(await slow.read_all()) > 1
            assert slow.connection.close_code in (1008, None)

    harness.run(scenario)


def test_a_listener_names_the_call(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await listener(harness, master, "")
            assert await client.read_all() == [
                {
                    "status": 5,
                    "message": "id in the address: expected the id of a call, found none",
                    "id": "none",
                }
            ]
            assert client.connection.close_code == 1008

    harness.run(scenario)
