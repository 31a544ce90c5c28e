"""Vosk's protocol on real sockets; the workers follow a script."""

import json
from contextlib import suppress
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.worker import Position

CAPS = "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)"
EOF = '{"eof" : 1}'
WORKER = "protocol=2&rate=11025"


def partial(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": False}}


def final(text: str) -> Message:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": True}}


def vosk_url(master: Any, path: str = "/vosk") -> str:
    return str(master.url.replace("http", "ws") + path)


async def position(worker: Any, num_bytes: int, end: bool = False) -> None:
    await worker.send(Position(num_bytes, 0.0, end).text())


async def replies(client: Any, count: int) -> list[Message]:
    return [await client.read_json() for _ in range(count)]


def test_a_conversation_from_end_to_end(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send({"config": {"sample_rate": "8000", "max_alternatives": 0, "words": True}})
            await client.send(b"1234")
            init = await worker.read_json()
            assert init["content_type"] == CAPS + "8000"
            assert init["position_bytes"] == 0
            assert init["options"]["num-nbest"] == 1
            assert init["options"]["do-word-alignment"] is True

            assert await worker.read() == b"1234"
            await worker.send(partial("two"))
            await position(worker, 4)
            assert await client.read() == '{\n  "partial" : "two"\n}'

            await client.send(b"567")
            assert await worker.read() == b"567"
            await worker.send(final("two nine"))
            await position(worker, 7)
            assert await replies(client, 1) == [{"text": "two nine"}]

            await client.send(EOF)
            assert await worker.read() == "EOS"
            await worker.send(final("three"))
            await worker.send({"status": 0, "adaptation_state": {"value": "abc"}})
            await position(worker, 10, end=True)
            assert await replies(client, 1) == [{"text": "three"}]
            assert await client.read() is None
            assert client.connection.close_code == 1000

    harness.run(scenario)


def test_a_long_message_reaches_the_worker_in_pieces_and_has_one_reply(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(bytes(40_000))
            await client.send(b"")
            await client.send(b"12")
            await worker.read()
            num_bytes = 0
            while num_bytes < 40_002:
                num_bytes += len(await worker.read())
                await worker.send(partial(f"{num_bytes}"))
                await position(worker, num_bytes)
            assert await replies(client, 3) == [
                {"partial": "40000"},
                {"partial": "40000"},
                {"partial": "40002"},
            ]

    harness.run(scenario)


def test_a_reset_reaches_the_worker_and_has_one_reply(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send('{"reset" : 1}')
            assert await client.read() == '{"text": ""}'
            await client.send(b"12")
            await client.send('{"reset" : 1}')
            await worker.read()
            assert [await worker.read(), await worker.read()] == [b"12", '{"reset": true}']
            await position(worker, 2)
            await worker.send(final("two"))
            await position(worker, 2 + len('{"reset": true}'))
            assert await replies(client, 2) == [{"partial": ""}, {"text": "two"}]

    harness.run(scenario)


@pytest.mark.parametrize(
    ("path", "rate_hz"),
    [("/vosk", 11025), ("/", 8000), ("/vosk?sample_rate=44100", 44100), ("/?sample_rate=16000.0", 16000)],
)
def test_the_rate_of_a_client_that_states_none(harness: Any, path: str, rate_hz: int) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master, path))
            await client.send(b"12")
            assert (await worker.read_json())["content_type"] == f"{CAPS}{rate_hz}"

    harness.run(scenario)


def test_a_port_of_its_own_takes_any_path_and_the_subprotocol_of_asterisk(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(vosk_port=0, vosk_sample_rate_hz=6000) as master:
            worker = await harness.worker(master, WORKER)
            assert master.vosk_port != master.port
            request = HTTPRequest(f"{master.vosk_url}/any/path")
            client = await websocket_connect(request, subprotocols=["ws"])
            assert client.selected_subprotocol == "ws"
            await client.write_message(b"12", binary=True)
            assert (await worker.read_json())["content_type"] == CAPS + "6000"
            client.close()

    harness.run(scenario)


def test_the_page_is_still_there_for_browsers(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            response = await harness.fetch(master, "/")
            assert response.code == 200
            assert b"<html" in response.body

    harness.run(scenario)


def test_without_audio_no_worker_is_needed(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await harness.connect(vosk_url(master))
            await client.send(EOF)
            assert await client.read() == '{"text": ""}'
            assert await client.read() is None
            assert client.connection.close_code == 1000

    harness.run(scenario)


def test_without_a_free_worker_the_connection_is_closed_with_1013(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.05) as master:
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            assert await client.read() is None
            assert client.connection.close_code == 1013
            assert client.connection.close_reason == "No decoder available, try again later"

    harness.run(scenario)


def test_a_model_that_there_is_not_is_refused_and_named(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER + "&model=english")
            client = await harness.connect(vosk_url(master))
            await client.send({"config": {"model": "/etc/passwd"}})
            await client.send(b"12")
            assert await client.read() is None
            assert client.connection.close_code == 1008
            assert client.connection.close_reason.startswith(
                "there is no model 'passwd'; those that there are: en"
            )

            client = await harness.connect(vosk_url(master))
            await client.send({"config": {"model": "english"}})
            await client.send(b"12")
            assert (await worker.read_json())["content_type"] == CAPS + "11025"

    harness.run(scenario)


def test_a_lost_worker_is_a_close_with_1011_after_what_was_recognised(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            await worker.read()
            await worker.send(final("two"))
            worker.vanish()
            assert await replies(client, 1) == [{"text": "two"}]
            assert await client.read() is None
            assert client.connection.close_code == 1011
            assert "lost" in client.connection.close_reason

    harness.run(scenario)


def test_audio_that_the_worker_refuses_is_a_close_with_1007(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            await worker.read()
            await worker.send({"status": 3, "message": "rate: " + "ü" * 100})
            assert await client.read() is None
            assert client.connection.close_code == 1007
            assert client.connection.close_reason == "rate: " + "ü" * 58

    harness.run(scenario)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("EOS", "a text message: expected JSON, found 'EOS'"),
        ('{"config": 8000}', "config: expected an object, found 8000"),
        ('{"hello": 1}', "a text message: expected one of config, eof, reset, found '{\"hello\": 1}'"),
    ],
)
@pytest.mark.parametrize("audio_first", [True, False])
def test_a_malformed_message_is_a_close_with_1007_and_frees_the_worker(
    harness: Any, message: str, reason: str, audio_first: bool
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            if audio_first:
                await client.send(b"12")
                await worker.read()
            await client.send(message)
            await client.send(b"audio after the refusal")
            assert await client.read() is None
            assert (client.connection.close_code, client.connection.close_reason) == (1007, reason)
            if audio_first:
                assert await worker.read() == b"12"
                assert await worker.read() is None
            await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_invalid_values_are_refused_in_queries_and_configurations(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            in_query = await harness.connect(vosk_url(master, "/vosk?sample_rate=fast"))
            in_message = await harness.connect(vosk_url(master))
            await in_message.send({"config": {"sample_rate": "fast"}})
            for client in (in_query, in_message):
                assert await client.read() is None
                assert client.connection.close_code == 1007
                assert client.connection.close_reason == "sample_rate: expected a number, found 'fast'"

    harness.run(scenario)


def test_a_client_that_vanishes_frees_its_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            assert [await worker.read(), await worker.read()][1] == b"12"
            client.vanish()
            assert await worker.read() is None
            await master.until(lambda: master.hub.pool.status().busy == 0)

    harness.run(scenario)


def test_a_worker_of_the_original_serves_vosk_clients_too(harness: Any) -> None:
    """It reports no positions: a message counts as processed when it has been written."""

    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            assert (await worker.read_json())["content_type"] == CAPS + "16000"
            assert await worker.read() == b"12"
            assert await replies(client, 1) == [{"partial": ""}]
            await worker.send(partial("two"))
            await client.send(b"34")
            assert await worker.read() == b"34"
            await client.send(EOF)
            assert await worker.read() == "EOS"
            await worker.send(final("two nine"))
            worker.close()
            first, *rest = await client.read_all()
            assert set(first) == {"partial"}
            assert rest == [{"text": "two nine"}]
            assert client.connection.close_code == 1000

    harness.run(scenario)


def test_a_client_that_reads_nothing_is_held_back_and_then_left(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(write_timeout_s=0.2) as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            await worker.read()
            with suppress(WebSocketClosedError):
                for num_bytes in range(4, 10**9, 2):
                    await client.send(b"12")
                    await worker.read()
                    await worker.send(final("word " * 10_000))
                    await position(worker, num_bytes)
            await master.until(lambda: master.hub.pool.status().busy == 0)
            assert len(await client.read_all()) > 1
            assert client.connection.close_code == 1011
            assert client.connection.close_reason == "the client has not read its results for 0.2 s"

    harness.run(scenario)


def test_so_is_one_that_sends_empty_messages(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(write_timeout_s=0.2) as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            await worker.read()
            await worker.send(partial("word " * 10_000))
            await position(worker, 2)
            for _ in range(1000):
                await client.send(b"")
            await master.until(lambda: master.hub.pool.status().busy == 0)
            assert 1 < len(await client.read_all()) < 1000
            assert client.connection.close_code == 1011

    harness.run(scenario)


def test_replies_are_json_for_any_reader(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await harness.connect(vosk_url(master))
            await client.send(b"12")
            await worker.read()
            await worker.send(final("šõna 日本"))
            await position(worker, 2)
            text = await client.read()
            assert '"šõna 日本"' in text
            assert json.loads(text) == {"text": "šõna 日本"}

    harness.run(scenario)
