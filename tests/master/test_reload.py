"""A master that reads its settings again while it serves."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.errors import ConfigError


def test_what_can_change_does_and_what_cannot_is_named(
    harness: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(states=str(harness.directory / "states.db"), queue_s=0.0) as master:
            options = master.hub.options
            corrections = harness.directory / "corrections.jsonl"
            master.reload(
                replace(options, port=1, host="::1", vosk_port=2700, references=corrections, states_days=2.0)
            )
            assert master.hub.options == replace(options, references=corrections, states_days=2.0)
            assert master.hub.states._retention._days() == 2.0
            sent = await harness.fetch(
                master, "/client/dynamic/reference", method="POST", headers={"Content-Id": "1"}, body="two"
            )
            assert sent.code == 200
            assert '"content": "two"' in corrections.read_text()
            master.reload(replace(options, self_signed=True))
            assert not master.hub.options.uses_tls

    with caplog.at_level(logging.WARNING):
        harness.run(scenario)
    assert [record.getMessage() for record in caplog.records] == [
        "a restart is needed for the new value of host, port, vosk_port",
        "a restart is needed for the new value of certfile, self_signed",
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"queue_s": -1.0}, "queue_s: expected 0 to 3600"),
        ({"references": Path("/no/such/file")}, "references: /no/"),
    ],
)
def test_settings_that_are_invalid_change_nothing(harness: Any, change: dict[str, Any], text: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            options = master.hub.options
            with pytest.raises(ConfigError, match=text):
                master.reload(replace(options, drain_s=77.0, **change))
            assert master.hub.options == options

    harness.run(scenario)


class Running:
    """`pykaldi-server master` with a configuration file, and its log."""

    def __init__(self, config: Path, process: asyncio.subprocess.Process) -> None:
        self._config = config
        self.process = process

    async def log(self, text: str) -> str:
        """Reads the log until a line with this text comes."""
        assert self.process.stderr is not None
        while text not in (line := (await self.process.stderr.readline()).decode()):
            assert line, f"the log ended without {text!r}"
        return line

    async def reload(self, content: str) -> None:
        self._config.write_text(content)
        self.process.send_signal(signal.SIGHUP)


async def with_master(harness: Any, content: str, use: Callable[[Running, str], Any]) -> None:
    config = harness.directory / "server.yaml"
    config.write_text(content)
    command = (
        "-m",
        "pykaldi_server",
        "master",
        "--config",
        str(config),
        "--port",
        "0",
        "--host",
        "127.0.0.1",
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=harness.directory, stderr=asyncio.subprocess.PIPE
    )
    try:
        running = Running(config, process)
        url = (await running.log("listening on ")).split()[-1]
        await use(running, url.replace("http", "ws"))
    finally:
        harness.dispose()
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_a_signal_changes_settings_for_new_requests_and_drops_none(harness: Any) -> None:
    async def use(running: Running, url: str) -> None:
        worker = await harness.connect(f"{url}/worker/ws/speech?model=m&protocol=2")
        client = await harness.connect(f"{url}/client/ws/speech?model=m")
        await client.send(b"xy")
        await worker.until(lambda each: "content_type" in each)
        assert await worker.read() == b"xy"

        await running.reload("master: {idle-s: soon}\n")
        assert "server.yaml: master: idle-s: expected a number, found 'soon'" in await running.log("stay as")
        await running.reload("master: {idle-s: -1}\n")
        assert "server.yaml: idle_s: expected more than 0, found -1" in await running.log("stay as")
        await running.reload("master: {idle-s: 0.01, wyoming-port: 1}\n")
        assert "a restart is needed for the new value of wyoming_port" in await running.log("a restart")

        other = await harness.connect(f"{url}/worker/ws/speech?model=m&protocol=2")
        late = await harness.connect(f"{url}/client/ws/speech?model=m")
        assert "no audio came within 0.01 s" in (await late.read_all())[-1]["message"]
        await other.read_all()
        await client.send(b"z")
        assert await worker.read() == b"z"

    harness.run(lambda: with_master(harness, "master: {idle-s: 50}\n", use))


def test_a_second_signal_does_not_wait_for_requests(harness: Any) -> None:
    async def use(running: Running, url: str) -> None:
        worker = await harness.connect(f"{url}/worker/ws/speech?model=m&protocol=2")
        client = await harness.connect(f"{url}/client/ws/speech?model=m")
        await client.send(b"xy")
        await worker.until(lambda each: "content_type" in each)
        running.process.terminate()
        await running.log("waiting up to")
        running.process.terminate()
        assert await worker.read() == b"xy"
        assert await worker.read() == "EOS"
        worker.close()
        assert (await client.read_all())[-1]["message"] == "the server is shutting down"
        client.close()
        assert await running.process.wait() == 0

    harness.run(lambda: with_master(harness, "master: {drain-s: 10000}\n", use))
