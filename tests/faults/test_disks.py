"""Disks that are full: real ones, of 64 KiB, and those of the tests' imagination where that is as good."""

import asyncio
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness import until
from live_worker import running_worker

from pykaldi_server import Final, transcribe
from pykaldi_server.database.database import Database
from pykaldi_server.database.states import StoredState, load_state, save_state
from pykaldi_server.errors import DatabaseError, PykaldiServerError
from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state
from pykaldi_server.session import Model
from pykaldi_server.session.graph import compile_in_background
from pykaldi_server.sockets import Receiver
from pykaldi_server.worker.inbox import Inbox

DISK_BYTES = 64 * 1024
PATIENCE_S = 60


class Disk:
    """A small file system, full or not.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leaves no page free."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            for _ in range(DISK_BYTES // 4096):
                file.write(bytes(4096))
        assert os.statvfs(self.path).f_bavail == 0

    def clear(self) -> None:
        """Makes room again."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, timeout=PATIENCE_S).returncode:
        pytest.skip("needs to mount a file system (root)")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=PATIENCE_S)


def test_a_correction_is_stored_whole_or_not_at_all(
    disk: Disk, harness: Any, caplog: pytest.LogCaptureFixture
) -> None:
    references = disk.path / "references.jsonl"
    before = '{"content": "' + 4000 * "x" + '"}\n'  # so that a part of the next line has room in its page
    references.write_text(before)
    disk.fill()

    async def scenario() -> None:
        async with harness.master(references=references) as master:

            async def send() -> int:
                headers = {"Content-Id": "42"}
                path = "/client/dynamic/reference"
                response = await harness.fetch(
                    master, path, method="POST", headers=headers, body="word " * 99
                )
                assert b"Traceback" not in response.body
                return int(response.code)

            assert await send() == 507
            assert references.read_text() == before
            assert f"{references}: the reference for content 42 is lost: " in caplog.text
            disk.clear()
            assert await send() == 200
            assert references.read_text().removeprefix(before).count("word") == 99

    harness.run(scenario)


def test_recordings_end_and_recognition_goes_on(
    disk: Disk, harness: Any, models: Path, digits: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fill()

    async def scenario() -> None:
        model = await asyncio.to_thread(Model.load, models / "english:graph-digits")
        async with (
            harness.master() as master,
            running_worker(model, master, sessions=1, out_dir=disk.path),
        ):
            client = await harness.client(master)
            await client.send(digits)
            await client.send("EOS")
            messages = await client.read_all()
            assert all(each["status"] == 0 for each in messages)
            final = next(each["result"] for each in messages if each.get("result", {}).get("final"))
            assert final["hypotheses"][0]["transcript"] == "two nine three four zero"

    with caplog.at_level(logging.WARNING):
        harness.run(scenario)
    assert len([each for each in caplog.messages if "the audio is not kept" in each]) == 1


def test_states_are_kept_again_once_there_is_room(disk: Disk) -> None:
    database = Database(str(disk.path / "states.db"))

    def save(user: str, text: str) -> bool:
        state = StoredState("english", user, 1000.0, ADAPTATION_STATE_TYPE, encode_adaptation_state(text))
        return database.run(lambda each: save_state(each, state))

    assert save("anna", "kept")
    disk.fill()
    with pytest.raises(DatabaseError, match="full"):
        save("bert", "".join(map(chr, range(200, 9000))))
    disk.clear()
    assert save("bert", "short")
    assert database.run(lambda each: load_state(each, "english", "anna", 0.0)) is not None
    database.close()


def test_the_request_log_goes_on_once_there_is_room(disk: Disk, harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(request_log=str(disk.path / "log.db")) as master:
            log = master.hub.request_log

            async def serve_one() -> None:
                worker = await harness.worker(master)
                client = await harness.client(master)
                await worker.read_json()
                await client.send("EOS")
                assert await worker.read() == "EOS"
                worker.close()
                assert await client.read_all() == []

            await serve_one()
            await until(lambda: log.num_written == 1)
            disk.fill()
            for _ in range(30):  # more than has room in what the file has free
                await serve_one()
            await until(lambda: "full" in log.failure)
            await serve_one()
            disk.clear()
            await until(lambda: log.num_written == 32)
            assert log.num_dropped == 0

    harness.run(scenario)


class Connection:
    """A connection on which a master sends more than a worker can store."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages
        self.closed = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def give_to(self, receiver: Receiver | None) -> None:
        if receiver is not None:
            self._sending = asyncio.create_task(self._send(receiver))

    async def _send(self, receiver: Receiver) -> None:
        while self.messages:
            taken = receiver(self.messages.pop(0))
            await (taken or asyncio.sleep(0))
        await self.closed.wait()
        receiver(None)


def test_what_a_worker_has_no_room_for_ends_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masters of the original project send as fast as their clients do."""

    def full(**_: Any) -> Any:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)

    async def scenario() -> None:
        left = asyncio.Event()
        connection = Connection([bytes(100_000) for _ in range(20)])
        inbox = Inbox(connection, left.set)  # type: ignore[arg-type]
        received = 0

        async def recognise() -> None:
            nonlocal received
            while await inbox.get() is not None:
                received += 1
                while connection.messages:  # the recogniser is slow
                    await asyncio.sleep(0)

        with pytest.raises(PykaldiServerError, match="no room left to store audio: No space left on device"):
            await recognise()
        assert 0 < received < 20
        connection.closed.set()  # still noticed
        await left.wait()
        inbox.close()

    asyncio.run(scenario())


def test_a_disk_without_room_for_the_cache_of_graphs(
    disk: Disk, models: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Compiling in advance is given up; the graph is then composed in the search, as without a cache."""
    disk.fill()
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk.path))
    process = compile_in_background(models / "english" / "graph" / "HCLr.fst")
    assert process is not None
    with process:
        assert process.wait(PATIENCE_S) != 0
    assert "No space left on device" in capfd.readouterr().err
    assert not list(disk.path.rglob("*.graph"))
    events = transcribe(Model.load(models / "english"), golden / "wav" / "ps-librivox-0880.wav")
    texts = [event.transcript for event in events if isinstance(event, Final)]
    assert texts == ["he was not an ill disposed young man"]
