"""OpenAI's realtime API on real sockets; the workers follow a script."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from realtime_events import COMMIT, Event, append, check_event, types_of, update
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from pykaldi_server.master.endpoints.realtime import RealtimeSocket
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.realtime import MAX_AUDIO_BYTES
from pykaldi_server.protocols.worker import Position

WORKER = "protocol=2&model=english&language=en"
SECOND = bytes(48_000)
RESET = '{"reset": true}'
INTENT = "intent=transcription"


def url_of(master: Any, query: str = INTENT) -> str:
    return f"{master.url.replace('http', 'ws')}/v1/realtime?{query}"


def result(text: str, final: bool, **fields: Any) -> Message:
    return {"status": 0, **fields, "result": {"hypotheses": [{"transcript": text}], "final": final}}


async def read_audio(worker: Any, num_bytes: int) -> None:
    while num_bytes > 0:
        num_bytes -= len(await worker.read())
    assert num_bytes == 0


async def client_of(harness: Any, master: Any, query: str = INTENT) -> Any:
    """A client that has read the first event."""
    client = await harness.connect(url_of(master, query))
    assert (await client.read_json())["type"] == "session.created"
    return client


async def post(harness: Any, master: Any, path: str, body: Any, **headers: str) -> tuple[int, Message]:
    text = body if isinstance(body, str) else json.dumps(body)
    response = await harness.fetch(
        master, f"/v1/realtime/{path}", method="POST", body=text, headers=headers or None
    )
    return response.code, json.loads(response.body)


def test_a_session_from_end_to_end(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await client_of(harness, master)
            await client.send(update(turn_detection={"type": "server_vad", "silence_duration_ms": 250}))
            assert (await client.read_json())["type"] == "session.updated"
            await client.send(append(SECOND))
            init = await worker.read_json()
            assert init["content_type"].endswith("format=(string)S16LE, channels=(int)1, rate=(int)24000")
            assert init["position_bytes"] == 1
            assert init["options"]["endpoint-rule4-min-trailing-silence"] == 0.25
            await read_audio(worker, 48_000)
            await worker.send(result("one", final=False))
            assert (await client.read_json())["type"] == "input_audio_buffer.speech_started"
            await worker.send(result("one two", final=True, **{"total-length": 0.9}))
            events = [await client.read_json() for _ in range(6)]
            assert types_of(events)[0] == "delta"
            assert events[-1]["transcript"] == "one two"
            await client.send(COMMIT)
            assert await worker.read() == RESET
            await worker.send(Position(48_000 + len(RESET), 1.0).text())
            assert [await client.read_json() for _ in range(4)][-1]["transcript"] == ""
            client.close()
            assert await worker.read() is None  # which has lost its client, and is free at once

    harness.run(scenario)


def test_a_worker_that_is_lost_fails_the_open_items(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await client_of(harness, master)
            await client.send(update(turn_detection=None))
            await client.send(append(SECOND))
            await client.send(COMMIT)
            await worker.read_json()
            await read_audio(worker, 48_000)
            assert await worker.read() == RESET
            worker.vanish()
            *events, failed, error = await client.read_all()
            assert events[1]["type"] == "input_audio_buffer.committed"
            assert failed["type"].endswith("transcription.failed")
            assert failed["item_id"] == events[1]["item_id"]
            assert error["type"] == "error"
            assert error["error"]["type"] == failed["error"]["type"] == "server_error"
            assert "recogniser was lost" in error["error"]["message"]
            assert client.connection.close_code == 1011
            assert "recogniser was lost" in client.connection.close_reason
            for event in (*events, failed, error):
                check_event(event)

    harness.run(scenario)


def test_without_a_worker_the_first_audio_is_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.01) as master:
            client = await client_of(harness, master)
            await client.send(append(SECOND))
            (error,) = await client.read_all()
            check_event(error)
            assert (error["error"]["type"], error["error"]["code"]) == (
                "server_error",
                "server_is_overloaded",
            )
            assert client.connection.close_code == 1013
            assert "try again later" in client.connection.close_reason

    harness.run(scenario)


def test_an_error_of_the_worker_closes_the_session(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            client = await client_of(harness, master)
            await client.send(append(SECOND))
            await worker.read_json()
            await worker.send(result("one", final=False))
            await worker.send({"status": 5, "message": "endpoint-rule2: unknown", "id": "x"})
            started, failed, error = await client.read_all()
            assert failed["item_id"] == started["item_id"]
            assert error["error"]["type"] == "invalid_request_error"
            assert error["error"]["message"] == "endpoint-rule2: unknown"
            assert client.connection.close_code == 1008

    harness.run(scenario)


@pytest.mark.parametrize("query", ["", "model=gpt-realtime", "intent=conversation&model=whisper-1"])
def test_conversations_are_refused(harness: Any, query: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await harness.connect(url_of(master, query))
            (error,) = await client.read_all()
            check_event(error)
            assert "expected intent=transcription" in error["error"]["message"]
            assert client.connection.close_code == 1008

    harness.run(scenario)


def test_an_unknown_model_in_the_address_is_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master, WORKER)
            await master.wait_until_ready()
            client = await harness.connect(url_of(master, f"{INTENT}&model=englisch"))
            (error,) = await client.read_all()
            assert error["error"]["code"] == "model_not_found"
            assert "there is no model 'englisch'; those that there are: english" in error["error"]["message"]

    harness.run(scenario)


def test_errors_leave_the_connection_open(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master, WORKER)
            await master.wait_until_ready()
            client = await client_of(harness, master)
            messages: list[Event | str | bytes] = [
                "{",
                b"\0\1",
                {"type": "nothing", "event_id": "mine"},
                {"type": "input_audio_buffer.append", "audio": "?"},
                append(bytes(MAX_AUDIO_BYTES + 1)),
                COMMIT,
                update(transcription={"model": "englisch"}),
                {"type": "response.create"},
            ]
            for message in messages:
                await client.send(message)
                error = await client.read_json()
                check_event(error)
                assert error["type"] == "error"
            await client.send(update(transcription={"model": "english"}))
            assert (await client.read_json())["type"] == "session.updated"

            await client.send({"type": "x" * RealtimeSocket.MAX_TEXT_BYTES})
            assert await client.read() is None
            assert client.connection.close_code == 1009

    harness.run(scenario)


def test_a_client_that_reads_nothing_is_held_back_and_then_left(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(write_timeout_s=0.2) as master:
            worker = await harness.worker(master, WORKER)
            client = await client_of(harness, master)
            await client.send(append(SECOND))
            await worker.read_json()
            for _ in range(5000):  # whose answers are more than the buffers of both sides can hold
                if master.hub.pool.status().busy == 0:
                    break
                await client.send(update(transcription={"prompt": "x" * 4000}))
            await master.until(lambda: master.hub.pool.status().busy == 0)
            assert len(await client.read_all()) > 1
            assert client.connection.close_code == 1011
            assert client.connection.close_reason == "the client has not read its events for 0.2 s"

    harness.run(scenario)


def test_a_secret_of_the_beta_brings_its_settings(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            body = {"input_audio_format": "g711_ulaw", "client_secret": {"expires_at": {"seconds": 60}}}
            code, made = await post(harness, master, "transcription_sessions", body)
            assert code == 200
            assert made["input_audio_format"] == "g711_ulaw"
            connection = await open_with(master, Authorization=f"Bearer {made['client_secret']['value']}")
            created = json.loads(await connection.read_message() or "")
            assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
            connection.close()

    harness.run(scenario)


async def open_with(master: Any, **headers: str) -> Any:
    """Connects with headers; returns the connection, or raises the error of its handshake."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await websocket_connect(HTTPRequest(url_of(master, ""), headers=names))


async def refusal(master: Any, **headers: str) -> tuple[int, Message]:
    with pytest.raises(HTTPClientError) as refused:
        await open_with(master, **headers)
    assert refused.value.response is not None
    return refused.value.code, json.loads(refused.value.response.body)


def test_browsers_connect_with_a_client_secret(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            code, made = await post(harness, master, "client_secrets", {}, Authorization="Bearer any")
            assert code == 200
            assert made["expires_at"] == made["session"]["expires_at"]
            protocols = f"realtime, openai-insecure-api-key.{made['value']}, openai-beta.realtime-v1"
            for headers in (
                {"Authorization": f"Bearer {made['value']}"},
                {"Sec_WebSocket_Protocol": protocols},
            ):
                connection = await open_with(master, **headers)
                created = json.loads(await connection.read_message() or "")
                is_beta = "Authorization" not in headers
                check_event(created, is_beta)
                assert created["type"].startswith("transcription_session" if is_beta else "session")
                assert connection.selected_subprotocol == ("realtime" if is_beta else None)
                connection.close()

            for headers in (
                {"Authorization": "Bearer ek_unknown"},
                {"Sec_WebSocket_Protocol": "realtime, openai-insecure-api-key.ek_unknown"},
            ):
                code, body = await refusal(master, **headers)
                assert code == 401
                assert body["error"]["code"] == "invalid_api_key"
                assert "unknown or expired" in body["error"]["message"]
            code, body = await post(harness, master, "client_secrets", {}, Authorization="Bearer ek_unknown")
            assert (code, body["error"]["code"]) == (401, "invalid_api_key")

    harness.run(scenario)


def test_a_secret_that_has_expired_is_refused(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            now_s = 1000.0
            monkeypatch.setattr(master.hub.client_secrets, "_now_s", lambda: now_s)
            body = {"expires_after": {"anchor": "created_at", "seconds": 10}}
            _, made = await post(harness, master, "client_secrets", body)
            headers = {"Authorization": f"Bearer {made['value']}"}
            (await open_with(master, **headers)).close()
            now_s = made["expires_at"]
            assert (await refusal(master, **headers))[0] == 401

    harness.run(scenario)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("client_secrets", {"session": {"type": "realtime"}}, "session.type"),
        ("client_secrets", {"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ("client_secrets", "[", None),
        ("transcription_sessions", {"input_audio_format": "mp3"}, "session.input_audio_format"),
        (
            "transcription_sessions",
            {"client_secret": {"expires_at": {"seconds": 5}}},
            "client_secret.expires_at.seconds",
        ),
        ("sessions", {"model": "gpt-realtime"}, None),
    ],
)
def test_secrets_that_are_refused(
    harness: Any, path: str, body: Mapping[str, Any] | str, param: str | None
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            code, answer = await post(harness, master, path, body)
            assert code == 400
            assert answer["error"]["type"] == "invalid_request_error"
            assert answer["error"]["param"] == param

    harness.run(scenario)


def test_browsers_may_ask_for_secrets_from_other_pages(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(allow_origins=("*",)) as master:
            response = await harness.fetch(master, "/v1/realtime/client_secrets", method="OPTIONS")
            assert "authorization" in response.headers["Access-Control-Allow-Headers"]
            assert response.headers["Access-Control-Allow-Origin"] == "*"

    harness.run(scenario)
