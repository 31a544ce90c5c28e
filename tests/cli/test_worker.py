"""`pykaldi-server worker`: several processes from one command, and how much they log."""

import asyncio
import os
import signal
import sys
import wave
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from live_worker import read_log, worker_process
from processes import children

from pykaldi_server.cli import main
from pykaldi_server.cli.settings import assemble, command_arguments, settings
from pykaldi_server.cli.worker import worker_command
from pykaldi_server.protocols.credentials import TOKEN_VARIABLE
from pykaldi_server.worker.options import WorkerOptions

TRANSCRIPT = "two nine three four zero"


@pytest.fixture(scope="module")
def audio(golden: Path) -> bytes:
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        return bytes(file.readframes(file.getnframes()))


def test_several_processes_serve_and_drain_as_one(harness: Any, models: Path, audio: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            arguments = ("-f", "2", "--sessions", "1", "--name", "digits")
            model = str(models / "english:graph-digits")
            async with worker_process(master, model, *arguments) as process:
                await master.until(lambda: master.hub.pool.status().available == 2)
                assert master.hub.pool.status().models == {"digits": (2, 0)}
                first, second = children(process.pid)
                os.kill(first, signal.SIGKILL)
                await master.until(lambda: master.hub.pool.status().available == 1)
                await master.until(lambda: master.hub.pool.status().available == 2)
                assert second in children(process.pid)

                clients = [await harness.client(master) for _ in range(2)]
                for client in clients:
                    await client.send(audio[: len(audio) // 4 * 2])
                    await client.until(lambda each: "result" in each)
                process.send_signal(signal.SIGTERM)
                for client in clients:
                    await client.send(audio[len(audio) // 4 * 2 :])
                    await client.send("EOS")
                    messages = await client.read_all()
                    finals = [each for each in messages if each.get("result", {}).get("final")]
                    assert finals[-1]["result"]["hypotheses"][0]["transcript"] == TRANSCRIPT
                await read_log(process)
                assert await process.wait() == 0
                assert master.hub.pool.status().available == 0

    harness.run(scenario)


def test_a_second_signal_cuts_running_requests_off(harness: Any, models: Path, audio: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            model = str(models / "english:graph-digits")
            async with worker_process(master, model, "--fork=2", "--drain-s=1000") as process:
                await master.until(lambda: master.hub.pool.status().available == 8)
                client = await harness.client(master)
                await client.send(audio)
                await client.until(lambda each: "result" in each)
                process.send_signal(signal.SIGTERM)
                await master.until(lambda: master.hub.pool.status().available == 0)
                process.send_signal(signal.SIGTERM)
                assert (await client.read_all())[-1]["status"] == 2
                await read_log(process)
                assert await process.wait() == 0

    harness.run(scenario)


def test_a_model_that_cannot_be_loaded_ends_all(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, ["worker", "--fork", "2", "--conf", str(tmp_path)])
    assert ran.exit_code == 1
    assert f"{tmp_path}: the worker cannot load it" in ran.stderr


def test_processes_get_the_options_of_the_command() -> None:
    options = WorkerOptions(
        url=("ws://host:1/worker/ws/speech", "wss://other/worker/ws/speech"),
        sessions=7,
        name="english",
        language="en",
        silence_timeout_s=3.5,
        compile_graphs=False,
        model_options=("beam=11", "num-nbest=3"),
        post_processor="tr a b",
    )
    arguments = worker_command("model", options, False, "warning", "json").arguments(supervisor_fd=5)
    read: list[WorkerOptions] = []

    @click.command()
    @settings(WorkerOptions)
    def command(**values: Any) -> None:
        read.append(assemble(WorkerOptions, values))

    others = [
        each
        for each in arguments
        if each.partition("=")[0] not in ("--logging", "--log-format", "--supervisor-fd")
    ]
    position = others.index("--conf")
    del others[position : position + 2]
    assert arguments[-2:] == ["--supervisor-fd", "5"]
    assert "--logging=warning" in arguments
    assert "--log-format=json" in arguments
    command.main(others[4:-1], standalone_mode=False)
    assert read == [options]


def test_the_token_goes_by_the_environment() -> None:
    options = WorkerOptions(token="secret-of-the-worker", token_file=None)
    command = worker_command("model", options, False, "info", "text")
    assert "secret" not in f"{command} {command.arguments(supervisor_fd=5)}"
    assert command.environment()[TOKEN_VARIABLE] == "secret-of-the-worker"
    without = worker_command("model", WorkerOptions(), False, "info", "text")
    assert TOKEN_VARIABLE not in without.environment()


def test_defaults_need_no_arguments() -> None:
    assert command_arguments(WorkerOptions()) == []
    assert command_arguments(WorkerOptions(sessions=2, language="et"), leave_out=["sessions"]) == [
        "--language=et"
    ]


@pytest.mark.parametrize(("level", "is_logged"), [("info", True), ("error", False), ("NONE", False)])
def test_the_level_of_logging(tmp_path: Path, level: str, is_logged: bool) -> None:
    yaml = tmp_path / "worker.yaml"
    yaml.write_text("unknown-key: 1\ndecoder: {}\n")
    command = [sys.executable, "-m", "pykaldi_server", "worker", "--conf", str(yaml), f"--logging={level}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    async def run() -> str:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stderr=asyncio.subprocess.PIPE
        )
        _, log = await process.communicate()
        return log.decode()

    assert ("silence-timeout is not set" in asyncio.run(run())) is is_logged
