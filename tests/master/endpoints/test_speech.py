"""The master between clients and workers, all on real sockets; the workers follow a script."""

import asyncio
from typing import Any

import pytest

from pykaldi_server.master.relay import WINDOW_BYTES
from pykaldi_server.protocols.worker import Position

FINAL = {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": True}}
PARTIAL = {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": "on"}], "final": False}}


def test_a_request_from_end_to_end(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master, "content-type=audio/x-raw,+rate=(int)8000&user-id=anna")
            init = await worker.read_json()
            assert init["content_type"] == "audio/x-raw, rate=(int)8000"
            assert (init["user_id"], init["content_id"]) == ("anna", "none")

            await client.send({"adaptation_state": {"type": "string+gzip+base64", "value": "abc"}})
            await client.send(b"audio")
            await client.send("EOS")
            assert '"abc"' in await worker.read()
            assert await worker.read() == b"audio"
            assert await worker.read() == "EOS"

            await worker.send({**PARTIAL, "id": init["id"]})
            await worker.send({**FINAL, "id": init["id"]})
            worker.close()
            assert await client.read_all() == [{**PARTIAL, "id": init["id"]}, {**FINAL, "id": init["id"]}]
            assert client.connection.close_code == 1000

    harness.run(scenario)


def test_results_arrive_while_audio_is_sent(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            for _ in range(3):
                await client.send(b"audio")
                assert await worker.read() == b"audio"
                await worker.send(PARTIAL)
                assert (await client.read_json())["result"] == PARTIAL["result"]

    harness.run(scenario)


def test_binary_and_text_eos_pass_as_they_are(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            for eos in ("EOS", b"EOS"):
                worker = await harness.worker(master)
                client = await harness.client(master)
                await worker.read_json()
                await client.send(eos)
                assert await worker.read() == eos
                worker.close()
                assert await client.read() is None

    harness.run(scenario)


def test_large_messages_reach_the_worker_in_pieces(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            audio = bytes(range(256)) * 1000
            await client.send(audio)
            received = b""
            while len(received) < len(audio):
                piece = await worker.read()
                assert len(piece) <= 16 * 1024
                received += piece
            assert received == audio

    harness.run(scenario)


def test_without_a_free_worker_the_status_is_9(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0.05) as master:
            client = await harness.client(master)
            (event,) = await client.read_all()
            assert event["status"] == 9
            assert set(event) == {"status", "message", "id", "retry-after"}
            assert client.connection.close_code == 1000

            await harness.worker(master)
            await harness.client(master)
            second = await harness.client(master)
            assert [each["status"] for each in await second.read_all()] == [9]

    harness.run(scenario)


def test_clients_get_the_model_they_name(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(default_model="english") as master:
            digits = await harness.worker(master, "model=digits&version=0.1")
            english = await harness.worker(master, "model=english")
            await harness.client(master, "content-id=by-default")
            await harness.client(master, "content-id=by-name&model=digits")
            assert (await english.read_json())["content_id"] == "by-default"
            assert (await digits.read_json())["content_id"] == "by-name"
            other = await harness.client(master, "model=englisch")
            (event,) = await other.read_all()
            assert event["status"] == 9
            assert event["message"] == "there is no model 'englisch'; those that there are: digits, english"

    harness.run(scenario)


def test_a_client_that_vanishes_frees_its_worker(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            for leave in ("close", "vanish"):
                worker = await harness.worker(master)
                client = await harness.client(master)
                await worker.read_json()
                status = await harness.status(master)
                await client.send(b"audio")
                assert await worker.read() == b"audio"
                getattr(client, leave)()
                assert await worker.read() is None  # told to cancel
                await status.until(lambda each: each["num_requests_active"] == 0)
            assert master.hub.pool.status().processed == 2

    harness.run(scenario)


def test_a_worker_that_dies_is_reported_to_its_client(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await worker.send(PARTIAL)
            await client.read_json()
            worker.vanish()
            (event,) = await client.read_all()
            assert event["status"] == 2
            assert "lost" in event["message"]

    harness.run(scenario)


def test_a_worker_that_shuts_down_before_it_has_begun_is_replaced(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            leaving = await harness.worker(master)
            staying = await harness.worker(master)
            client = await harness.client(master, "content-id=42")
            await leaving.read_json()
            leaving.close(1001)
            assert (await staying.read_json())["content_id"] == "42"
            await client.send(b"audio")
            assert await staying.read() == b"audio"
            third = await harness.worker(master)
            staying.close(1001)  # it has said nothing yet: another takes over
            assert (await third.read_json())["content_id"] == "42"
            assert await third.read() == b"audio"
            await third.send(PARTIAL)
            assert (await client.read_json())["result"] == PARTIAL["result"]
            third.close(1001)  # too late to begin again
            assert [each["status"] for each in await client.read_all()] == [2]

    harness.run(scenario)


def test_an_error_of_the_worker_ends_the_request(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            init = await worker.read_json()
            await worker.send({"status": 1})
            assert await client.read_all() == [{"status": 1, "message": "", "id": init["id"]}]
            assert await worker.read() is None

    harness.run(scenario)


def test_nonsense_from_a_worker_is_ignored(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            for nonsense in ("not JSON", "[]", b"\xff", '{"no": "status"}'):
                await worker.send(nonsense)
            await worker.send(FINAL)
            assert (await client.read_json())["result"] == FINAL["result"]

    harness.run(scenario)


def test_a_dead_worker_is_passed_over(harness: Any) -> None:
    """A worker whose socket is closing, but is still in the pool, must not swallow a client."""

    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master)
            await master.wait_until_ready()
            (dead,) = master.hub.sockets
            dead.close()
            alive = await harness.worker(master)
            await harness.client(master, "content-id=42")
            assert (await alive.read_json())["content_id"] == "42"

    harness.run(scenario)


def test_a_silent_worker_is_given_up(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(ping_interval_s=0.02, silence_timeout_s=0.1) as master:
            worker = await harness.worker(master)
            status = await harness.status(master)
            await status.until(lambda each: each["num_workers_available"] == 1)
            client = await harness.client(master)
            worker.connection.protocol._send_pong = lambda data: None  # it hangs: no answer to pings
            (event,) = await client.read_all()
            assert event["status"] == 2
            await status.until(lambda each: each["num_workers_available"] == 0)

    harness.run(scenario)


def test_peers_that_answer_pings_stay(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(ping_interval_s=0.01, silence_timeout_s=0.2) as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            pings: asyncio.Queue[bytes] = asyncio.Queue()
            client.connection.on_ping = pings.put_nowait
            for _ in range(40):  # twice the time after which silence would end it
                await pings.get()
            await worker.send(FINAL)
            assert (await client.read_json())["result"] == FINAL["result"]

    harness.run(scenario)


def test_a_client_that_does_not_read_is_dropped(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(write_timeout_s=0.1) as master:
            worker = await harness.worker(master)
            await harness.client(master)  # reads nothing
            await worker.read_json()
            long = {**PARTIAL, "result": {"hypotheses": [{"transcript": "x" * 100_000}], "final": False}}
            sending = asyncio.create_task(flood(worker, long))
            assert await worker.read() is None
            await asyncio.gather(sending, return_exceptions=True)
            assert master.hub.pool.status().busy == 0

    harness.run(scenario)


async def flood(worker: Any, message: Any) -> None:
    while True:
        await worker.send(message)


def test_a_fast_client_is_held_back_only_when_the_store_is_full(harness: Any) -> None:
    """The worker takes nothing; the client fills the store and buffers of fixed size on the way to it."""

    async def scenario() -> None:
        async with harness.master(store_bytes=8 * 1024 * 1024) as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            sent = 0
            piece = bytes(64 * 1024)
            try:
                while sent < 64 * 1024 * 1024:
                    await asyncio.wait_for(client.send(piece), 0.5)
                    sent += len(piece)
            except TimeoutError:
                pass
            assert 8 * 1024 * 1024 <= sent < 24 * 1024 * 1024

            received = len(await worker.read())  # it wakes up: everything arrives
            while received < sent:
                received += len(await worker.read())

    harness.run(scenario)


def test_our_worker_gets_no_more_than_its_positions_allow(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0) as master:
            worker = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master)
            init = await worker.read_json()
            assert init["position_bytes"] > 0
            sent = 4 * WINDOW_BYTES
            await client.send(bytes(sent))
            await client.send("EOS")
            received = 0
            while received < WINDOW_BYTES:
                received += len(await worker.read())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await worker.read()
            await worker.send(Position(received, 1.0).text())
            while received < sent:
                received += len(await worker.read())
                await worker.send(Position(received, 1.0).text())
            assert await worker.read() == "EOS"
            await worker.send({**FINAL, "id": init["id"]})
            await worker.send(Position(received + 3, 2.0, end=True).text())
            assert await client.read_all() == [{**FINAL, "id": init["id"]}]  # positions are not for clients
            assert client.connection.close_code == 1000

    harness.run(scenario)


@pytest.mark.parametrize("code", [1000, None, 1001, 1011])
def test_our_worker_has_to_announce_its_end(harness: Any, code: int | None) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, "protocol=2")
            client = await harness.client(master)
            await worker.read_json()
            await client.send("EOS")
            assert await worker.read() == "EOS"
            await worker.send(Position(3, 0.0).text())
            worker.close(code)
            assert [each["status"] for each in await client.read_all()] == [2]

    harness.run(scenario)


@pytest.mark.parametrize("code", [1000, None])
def test_a_worker_of_the_original_may_end_with_any_proper_close(harness: Any, code: int | None) -> None:
    """Tornado's bare close(), which the original's Python 3 workers use, has no code."""

    async def scenario() -> None:
        async with harness.master() as master:
            for at_end, statuses in ((True, [0]), (False, [0, 2])):
                worker = await harness.worker(master)
                client = await harness.client(master)
                await worker.read_json()
                await client.send(b"audio")
                assert await worker.read() == b"audio"
                if at_end:
                    await client.send("EOS")
                    assert await worker.read() == "EOS"
                await worker.send(FINAL)
                worker.close(code)
                assert [each["status"] for each in await client.read_all()] == statuses

    harness.run(scenario)


def test_a_worker_of_the_original_that_vanishes_at_the_end_is_lost(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await client.send("EOS")
            assert await worker.read() == "EOS"
            await worker.send(FINAL)
            worker.vanish()
            assert [each["status"] for each in await client.read_all()] == [0, 2]

    harness.run(scenario)


@pytest.mark.parametrize("message", [b"audio", "EOS", '{"status": 0}'])
def test_who_speaks_at_the_workers_address_without_a_request_is_closed(
    harness: Any, message: str | bytes
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            stray = await harness.worker(master)
            await stray.send(message)
            assert await stray.read() is None
            assert stray.connection.close_code == 1008
            assert "/client/ws/speech" in stray.connection.close_reason
            assert master.hub.pool.status().available == 0

            worker = await harness.worker(master)  # a client is not swallowed by the stray one
            await harness.client(master, "content-id=42")
            assert (await worker.read_json())["content_id"] == "42"

    harness.run(scenario)


def test_a_client_without_audio_gives_its_worker_back(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(idle_s=0.5) as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await client.send({"keepalive": True})
            await client.send(b"")
            (event,) = await client.read_all()
            assert (event["status"], event["message"]) == (1, "no audio came within 0.5 s")
            while await worker.read() is not None:
                pass

            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await client.send(b"audio")
            assert await worker.read() == b"audio"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.8):
                    await client.read()

    harness.run(scenario)


def test_a_request_waits_for_a_slot_and_its_audio_with_it(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await harness.client(master)
            await client.send(b"audio")
            await client.send("EOS")
            status = await harness.status(master)
            await status.until(lambda each: each["num_requests_waiting"] == 1)
            worker = await harness.worker(master)
            await worker.read_json()
            assert [await worker.read(), await worker.read()] == [b"audio", "EOS"]

    harness.run(scenario)


def test_options_that_are_none_are_refused(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            client = await harness.client(master, "options=x")
            (event,) = await client.read_all()
            assert event["status"] == 5
            assert "options in the address" in event["message"]

    harness.run(scenario)


def test_clients_that_ask_are_told_of_positions(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            for query, expected in (("positions=true", [{"bytes": 4, "seconds": 1.25}] * 2), ("", [])):
                worker = await harness.worker(master, "model=english&protocol=2")
                client = await harness.client(master, query)
                await client.send(b"abcd")
                await client.send("EOS")
                assert (await worker.read_json())["position_bytes"] == (8192 if query else 32768)
                assert (await worker.read(), await worker.read()) == (b"abcd", "EOS")
                for is_end in (False, True):
                    await worker.send({"position": {"bytes": 4, "seconds": 1.25, "end": is_end}})
                events = await client.read_all()
                assert [each["position"] for each in events] == expected

            client = await harness.client(master, "positions=perhaps")
            (event,) = await client.read_all()
            assert event["status"] == 5
            assert event["message"] == "positions: expected true or false, found 'perhaps'"

    harness.run(scenario)


def test_the_status_says_languages_and_the_default_model(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(default_model="english") as master:
            await harness.worker(master, "model=english&language=en-GB")
            await harness.worker(master, "model=digits")
            await master.until(lambda: len(master.hub.pool.status().models) == 2)
            message = await (await harness.status(master)).read_json()
            assert message["languages"] == {"english": "en-GB"}
            assert message["default_model"] == "english"

    harness.run(scenario)


def test_the_status_at_an_interval_has_totals(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            url = f"{master.url.replace('http', 'ws')}/client/ws/status"
            worker = await harness.worker(master, "model=english&protocol=2")
            status = await harness.connect(f"{url}?every=1")
            client = await harness.client(master)
            await worker.read_json()
            await worker.send(
                {"position": {"bytes": 0, "seconds": 1.25, "end": False, "cpu": 0.5, "partials": [0.25, 0.5]}}
            )
            message = await status.until(lambda each: each["totals"]["num_partials"] == 2)
            totals = message["totals"]
            assert (totals["audio_s"], totals["cpu_s"]) == (1.25, 0.5)
            assert totals["partial_delay_s"] >= 0.75
            assert (totals["num_finals"], totals["final_delay_s"]) == (0, 0.0)
            slow = await harness.connect(f"{url}?every=3600")
            first = await slow.read_json()
            assert first["totals"]["num_partials"] == 2
            await worker.send(
                {"position": {"bytes": 0, "seconds": 2.5, "end": False, "cpu": 1.0, "partials": [0.25]}}
            )
            await status.until(lambda each: each["totals"]["num_partials"] == 3)
            await harness.worker(master, "model=digits")
            change = await slow.until(lambda each: "digits" in each["models"])
            assert change["totals"] == first["totals"]  # those of the interval
            client.close()
            for wrong in ("0", "x", "nan", "1e9"):
                refused = await harness.connect(f"{url}?every={wrong}")
                assert await refused.read() is None
                assert refused.connection.close_code == 1008
                assert "every: expected seconds from 1 to 3600" in str(refused.connection.close_reason)
            assert "totals" not in await (await harness.status(master)).read_json()

    harness.run(scenario)


def test_status_tells_every_change(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            status = await harness.status(master)
            first = await status.read_json()
            assert (first["num_workers_available"], first["num_requests_processed"]) == (0, 0)
            worker = await harness.worker(master, "model=english")
            assert (await status.read_json())["models"] == {
                "english": {"available": 1, "busy": 0, "waiting": 0}
            }
            client = await harness.client(master)
            assert (await status.read_json())["num_requests_active"] == 1
            await worker.read_json()
            await client.send("EOS")
            assert await worker.read() == "EOS"
            worker.close()
            assert await client.read() is None
            last = await status.read_json()
            assert (last["num_workers_available"], last["num_requests_processed"]) == (0, 1)

    harness.run(scenario)


def test_drain_waits_for_running_requests(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            draining = asyncio.create_task(master.drain(20))
            await client.send("EOS")
            assert await worker.read() == "EOS"
            await worker.send(FINAL)
            worker.close()
            assert [each["status"] for each in await client.read_all()] == [0]
            await draining

    harness.run(scenario)


def test_after_the_patience_everything_is_closed(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            client = await harness.client(master)
            await worker.read_json()
            await master.drain(0.05)
            stopping = asyncio.create_task(master.stop())
            assert await worker.read() == "EOS"
            worker.close()
            (error,) = await client.read_all()
            assert (error["status"], error["message"]) == (2, "the server is shutting down")
            await stopping

    harness.run(scenario)
