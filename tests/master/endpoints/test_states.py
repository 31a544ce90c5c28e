"""Kept states by HTTP, with workers that the test speaks for."""

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state
from pykaldi_server.protocols.worker import Position


def state_event(text: str, **more: Any) -> dict[str, Any]:
    state = {"id": "x", "type": ADAPTATION_STATE_TYPE, "value": encode_adaptation_state(text), **more}
    return {"status": 0, "adaptation_state": state}


async def speak(harness: Any, master: Any, user: str, text: str, model: str = "english", **more: Any) -> Any:
    """A request at the end of which its worker has learned something; returns what the worker was sent."""
    worker = await harness.worker(master, f"protocol=2&model={quote(model)}")
    client = await harness.client(master, f"user-id={quote(user)}&adaptation=keep&model={quote(model)}")
    await client.send("EOS")
    messages = []
    while (message := await worker.read()) != "EOS":
        messages.append(message)
    await worker.send(state_event(text, **more))
    await worker.send(Position(3, 0.0, end=True).text())
    assert [each["status"] for each in await client.read_all()] == [0]
    return [json.loads(each) for each in messages[1:]]


def test_list_fetch_and_delete(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            for user, model in (("anna", "english"), ("a/b & ö", "english"), ("anna", "est onian")):
                await speak(harness, master, user, f"state of {user}", model)
            answer = await harness.fetch(master, "/states")
            listed = json.loads(answer.body)["states"]
            assert [(each["model"], each["user_id"]) for each in listed] == [
                ("english", "a/b & ö"),
                ("english", "anna"),
                ("est onian", "anna"),
            ]
            assert all(each["time"].endswith("Z") and each["bytes"] > 0 for each in listed)
            answer = await harness.fetch(master, "/states?user-id=anna&model=english")
            assert json.loads(answer.body)["states"] == [listed[1]]

            place = f"/states/english/{quote('a/b & ö', safe='')}"
            found = json.loads((await harness.fetch(master, place)).body)["adaptation_state"]
            assert found["value"] == encode_adaptation_state("state of a/b & ö")
            assert json.loads((await harness.fetch(master, place, method="DELETE")).body) == {"deleted": 1}
            for method in ("GET", "DELETE"):
                missing = await harness.fetch(master, place, method=method)
                assert (missing.code, json.loads(missing.body)) == (
                    404,
                    {"message": "there is no such state"},
                )

            answer = await harness.fetch(master, "/states", method="DELETE")
            assert (answer.code, json.loads(answer.body)["message"]) == (
                400,
                "expected user-id or model, found neither",
            )
            answer = await harness.fetch(master, "/states?user-id=anna", method="DELETE")
            assert json.loads(answer.body) == {"deleted": 2}
            assert json.loads((await harness.fetch(master, "/states")).body) == {"states": []}

    harness.run(scenario)


def test_the_next_worker_gets_the_state_before_the_audio(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            assert await speak(harness, master, "anna", "one", cmvn_state=encode_adaptation_state("c")) == []
            (message,) = await speak(harness, master, "anna", "two")
            state = message["adaptation_state"]
            assert (state["type"], state["value"]) == (ADAPTATION_STATE_TYPE, encode_adaptation_state("one"))
            assert state["cmvn_state"] == encode_adaptation_state("c")
            (message,) = await speak(harness, master, "anna", "three")
            assert message["adaptation_state"]["value"] == encode_adaptation_state("two")
            assert "cmvn_state" not in message["adaptation_state"]
            assert await speak(harness, master, "anna", "four", model="estonian") == []

    harness.run(scenario)


def test_a_worker_that_leaves_before_it_begins(harness: Any, tmp_path: Path) -> None:
    """The next one gets the state as well, and then all that the client has sent."""

    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            await speak(harness, master, "anna", "one")
            first = await harness.worker(master, "protocol=2&model=english")
            client = await harness.client(master, "user-id=anna&adaptation=keep")
            await client.send(b"audio")
            seen = [await first.read() for _ in range(3)]
            assert seen[2] == b"audio"
            second = await harness.worker(master, "protocol=2&model=english")
            first.close(1001)
            again = [await second.read() for _ in range(3)]
            assert again[1:] == seen[1:]
            await second.send(Position(len(str(seen[1])) + 5, 0.1, end=True).text())
            assert await client.read_all() == []

    harness.run(scenario)


def test_the_position_of_the_state_is_none_of_the_client(harness: Any, tmp_path: Path) -> None:
    """In Vosk's protocol every message has a reply; the state, which the client has not sent, has none."""

    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            await speak(harness, master, "anna", "one")
            worker = await harness.worker(master, "protocol=2&model=english")
            query = "user-id=anna&adaptation=keep"
            client = await harness.connect(f"{master.url.replace('http', 'ws')}/vosk?{query}")
            await client.send(b"12")
            sent = [await worker.read() for _ in range(3)]
            assert sent[2] == b"12"
            state_bytes = len(sent[1] or "")
            for num_bytes in (state_bytes, state_bytes + 2):
                await worker.send(Position(num_bytes, 0.0).text())
            assert await client.read_json() == {"partial": ""}
            await client.send(b"1234")
            assert await worker.read() == b"1234"
            await worker.send(Position(state_bytes + 6, 0.0).text())
            assert await client.read_json() == {"partial": ""}
            await client.send('{"eof" : 1}')
            assert await worker.read() == "EOS"
            await worker.send(Position(state_bytes + 9, 0.0, end=True).text())
            assert [each.get("text") for each in await client.read_all()] == [""]

    harness.run(scenario)


@pytest.mark.parametrize("last", [0, 1])
def test_of_two_sessions_at_once_the_later_end_wins(harness: Any, database_name: str, last: int) -> None:
    """On two masters with one database, whichever began first."""

    async def begin(master: Any) -> tuple[Any, Any, Any]:
        worker = await harness.worker(master, "protocol=2&model=english")
        client = await harness.client(master, "user-id=anna&adaptation=keep")
        assert (await worker.read_json())["user_id"] == "anna"
        return master, worker, client

    async def end(session: tuple[Any, Any, Any], text: str) -> None:
        master, worker, client = session
        await worker.send(state_event(text))
        await worker.send(Position(0, 0.0, end=True).text())
        await client.read_all()
        await master.hub.states.entries(None, None)  # comes after what is to be saved

    async def scenario() -> None:
        options = {"states": database_name, "states_timeout_s": 30.0}
        async with harness.master(**options) as first, harness.master(**options) as second:
            sessions = [await begin(first), await begin(second)]
            await end(sessions[1 - last], "earlier")
            await end(sessions[last], "later")
            for master in (first, second):
                found = await master.hub.states.state("english", "anna")
                assert found.value == encode_adaptation_state("later")

    harness.run(scenario)


def test_a_model_without_a_name_keeps_nothing(harness: Any, tmp_path: Path) -> None:
    """Of workers of kaldi-gstreamer-server it is not known whether they have the same model."""

    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            worker = await harness.worker(master)
            client = await harness.client(master, "user-id=anna&adaptation=keep")
            await client.send("EOS")
            assert [await worker.read_json(), await worker.read()][1] == "EOS"
            await worker.send(state_event("x"))
            worker.close()
            await client.read_all()
            assert await master.hub.states.entries(None, None) == []

    harness.run(scenario)


def test_a_state_that_no_worker_could_read_is_not_kept(
    harness: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "states.db")) as master:
            await speak(harness, master, "anna", "one")
            await speak(harness, master, "anna", "two", type="pickle")
            (message,) = await speak(harness, master, "anna", "three")
            assert message["adaptation_state"]["value"] == encode_adaptation_state("one")

    harness.run(scenario)
    assert "the state of user anna is not kept: adaptation state: expected type" in caplog.text


def test_states_that_are_too_old_are_deleted(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        name = str(tmp_path / "states.db")
        async with harness.master(states=name) as master:
            await speak(harness, master, "anna", "one")
        async with harness.master(states=name, states_days=1e-9) as master:
            assert await speak(harness, master, "anna", "two") == []
        async with harness.master(states=name) as master:
            assert [each.user_id for each in await master.hub.states.entries(None, None)] == ["anna"]
        async with harness.master(states=name, states_days=1e-9):
            pass
        async with harness.master(states=name) as master:
            assert await master.hub.states.entries(None, None) == []

    harness.run(scenario)


def test_a_master_that_keeps_nothing(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            answer = await harness.fetch(master, "/states")
            assert (answer.code, json.loads(answer.body)) == (404, {"message": "this server keeps no states"})
            assert b"database" not in (await harness.fetch(master, "/metrics")).body

    harness.run(scenario)


def test_a_broken_database(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(tmp_path / "missing" / "states.db")) as master:
            assert await speak(harness, master, "anna", "one") == []
            answer = await harness.fetch(master, "/states")
            assert (answer.code, json.loads(answer.body)) == (503, {"message": "the database cannot be used"})
            metrics = (await harness.fetch(master, "/metrics")).body.decode()
            assert "\npykaldi_server_database_up 0.0\n" in metrics

    harness.run(scenario)


def test_other_machines_may_not_ask_unless_told(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        name = str(tmp_path / "states.db")
        headers = {"Host": f"{socket.gethostname()}.example"}
        async with harness.master(states=name) as master:
            answer = await harness.fetch(master, "/states", headers=headers)
            assert (answer.code, json.loads(answer.body)["message"]) == (
                403,
                "states: for programs of this machine only",
            )
        async with harness.master(states=name, states_remote=True) as master:
            assert (await harness.fetch(master, "/states", headers=headers)).code == 200

    harness.run(scenario)
