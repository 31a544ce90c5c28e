"""The port on which a worker says how it is."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from live_worker import running_worker, worker_process
from metrics import Metrics, documented, table
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from pykaldi_server.cli import main
from pykaldi_server.session import Model
from pykaldi_server.worker.health import HealthServer
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.statistics import WorkerStatistics
from pykaldi_server.worker.worker import Worker

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
URL = "ws://master/worker/ws/speech"


class Process:
    """A process with the workers of a test."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = workers
        self.statistics = workers[-1].statistics if workers else WorkerStatistics()
        self.load_s = 1.5


@contextmanager
def health_server(*workers: Worker) -> Iterator[HealthServer]:
    server = HealthServer(WorkerOptions(url=(URL,), health_port=0), Process(*workers))
    try:
        yield server
    finally:
        server.stop()


async def fetch(port: int, path: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}{path}", raise_error=False)


async def answer(port: int, path: str) -> tuple[int, dict[str, Any]]:
    response = await fetch(port, path)
    return response.code, json.loads(response.body)


async def scrape(port: int) -> Metrics:
    response = await fetch(port, "/metrics")
    assert response.code == 200
    return Metrics(response.body.decode())


async def until(port: int, path: str, code: int) -> dict[str, Any]:
    """Asks until the answer has a code."""
    while (found := await answer(port, path))[0] != code:
        await asyncio.sleep(0.02)
    return found[1]


def test_before_the_model_is_loaded(harness: Any) -> None:
    async def scenario() -> None:
        with health_server() as server:
            assert (await answer(server.port, "/healthz"))[0] == 200
            expected = {"ready": False, "missing": ["the model is being loaded"]}
            assert await answer(server.port, "/readyz") == (503, expected)
            assert (await scrape(server.port)).families["process_resident_memory_bytes"]

    harness.run(scenario)


def test_a_worker_is_ready_while_it_is_connected(harness: Any, digits: Model, audio: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(digits, master, sessions=2) as worker:
            with health_server(worker) as server:
                assert await answer(server.port, "/readyz") == (200, {"ready": True, "missing": []})
                client = await harness.client(master)
                await client.send(audio)
                await client.until(lambda each: "result" in each)
                metrics = await scrape(server.port)
                assert metrics.value("worker_slots", state="free") == 1
                assert metrics.value("worker_slots", state="busy") == 1
                assert metrics.value("worker_slots", state="disconnected") == 0
                assert metrics.value("worker_model_load_seconds") == 1.5
                assert metrics.value("worker_partial_delay_seconds_count") > 0
                await client.send("EOS")
                await client.read_all()
                failing = await harness.client(master, "content-type=audio/x-raw,format=strange")
                await failing.send(audio)
                assert (await failing.read_all())[-1]["status"] == 3
                await master.until(lambda: master.hub.pool.status().available == 2)
                metrics = await scrape(server.port)
                assert metrics.value("worker_requests_total", outcome="success") == 1
                assert metrics.value("worker_errors_total", kind="audio_capture") == 1
                assert metrics.value("worker_final_delay_seconds_count") == 1
                seconds = len(audio) / 32000
                assert metrics.value("worker_audio_seconds_total") == pytest.approx(seconds, abs=0.01)
                assert metrics.value("worker_recognition_cpu_seconds_total") > 0
                assert metrics.value("worker_real_time_factor_count") == 1

                text = (await fetch(server.port, "/metrics")).body.decode()
                described = documented(DOCUMENT.read_text(), "pykaldi_server_worker_")
                described -= {line for line in described if "_connections" in line or "_losses" in line}
                assert table(text) == described, "\n".join(sorted(table(text)))

                # What the master has been told of it:
                response = await harness.fetch(master, "/metrics")
                of_master = Metrics(response.body.decode())
                of_request = {"protocol": "kaldi", "model": worker.model.name}
                assert of_master.value("audio_seconds_total", **of_request) == pytest.approx(
                    seconds, abs=0.01
                )
                assert of_master.value("recognition_cpu_seconds_total", **of_request) == pytest.approx(
                    metrics.value("worker_recognition_cpu_seconds_total"), rel=0.2
                )
                for kind in ("partial", "final"):
                    count = metrics.value(f"worker_{kind}_delay_seconds_count")
                    name = f"{kind}_delay_seconds_count"
                    assert of_master.value(name, protocol="kaldi") == count

                worker.drain()
                missing = (await until(server.port, "/readyz", 503))["missing"]
                assert "the worker is shutting down" in missing

    harness.run(scenario)


def test_a_worker_without_a_master_is_alive_but_not_ready(harness: Any, digits: Model) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(digits, master, sessions=1) as worker:
            with health_server(worker) as server:
                assert (await answer(server.port, "/readyz"))[0] == 200
                await master.stop()
                missing = (await until(server.port, "/readyz", 503))["missing"]
                assert missing == [f"no slot is connected to the master at {URL}"]
                code, health = await answer(server.port, "/healthz")
                assert (code, health["slots"]["disconnected"]) == (200, 1)

    harness.run(scenario)


def test_a_stuck_recogniser_shows(harness: Any, digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pykaldi_server.worker.health.HANG_S", 0.2)
    may_go_on = threading.Event()

    async def scenario() -> None:
        async with harness.master() as master, running_worker(digits, master, sessions=1) as worker:
            with health_server(worker) as server:
                hanging = (may_go_on.wait() for _ in range(1))
                share = worker._threads.share()
                stuck = asyncio.create_task(share.run(hanging, lambda _: None))
                try:
                    health = await until(server.port, "/healthz", 503)
                    assert health["status"] == "failing"
                    missing = (await answer(server.port, "/readyz"))[1]["missing"]
                    for (text,) in (health["faults"], missing):
                        assert re.fullmatch(r"a recogniser has shown no progress for \d+ s", text)
                    assert (await scrape(server.port)).value("worker_longest_step_seconds") >= 0.2
                finally:
                    may_go_on.set()
                    await stuck
                await until(server.port, "/healthz", 200)

    harness.run(scenario)


def test_the_command_serves_it_from_the_start(harness: Any, models: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            model = str(models / "english:graph-digits")
            async with worker_process(master, model, "--health-port=0", "--sessions=1") as process:
                assert process.stderr is not None
                port = None
                while port is None:
                    line = (await process.stderr.readline()).decode()
                    assert line, "the worker has ended"
                    port = re.search(r"on 127\.0\.0\.1, port (\d+)", line)
                await until(int(port[1]), "/readyz", 200)
                assert (await scrape(int(port[1]))).value("worker_model_load_seconds") > 0

    harness.run(scenario)


def test_a_port_that_is_taken_is_named(models: Path) -> None:
    async def scenario() -> None:
        with health_server() as server, pytest.raises(OSError, match="cannot listen on 127") as caught:
            HealthServer(WorkerOptions(url=(URL,), health_port=server.port), Process())
        assert f"cannot listen on 127.0.0.1, port {server.port}: " in str(caught.value)

    asyncio.run(scenario())


def test_one_port_is_not_for_several_processes(models: Path, tmp_path: Path) -> None:
    model = str(models / "english:graph-digits")
    ran = CliRunner().invoke(main, ["worker", "--fork=2", "--health-port=9100", f"--conf={model}"])
    assert ran.exit_code == 2
    assert "expected --health-port 0, which picks a port for each of 2 processes, found 9100" in ran.output
    config = tmp_path / "server.yaml"
    config.write_text("worker: {health-port: 9100}\n")
    ran = CliRunner().invoke(main, ["serve", "--workers=2", f"--config={config}", model])
    assert ran.exit_code == 1
    assert "worker: health_port: expected 0, which picks a port for each of 2 processes" in ran.output
