"""What a master counts."""

import json
from pathlib import Path
from typing import Any

import pytest
from every_protocol import PORTS, PROTOCOLS, Client
from metrics import Metrics, documented, table

from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.metrics import MOST_MODELS, MasterMetrics
from pykaldi_server.master.records import RequestRecord
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.worker import Position

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
CALLER = Caller("192.0.2.1")
FINAL = {"status": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": True}}
NAMES = {
    "Native": "kaldi",
    "Upload": "upload",
    "Vosk": "vosk",
    "OpenAI": "openai",
    "OpenAIStream": "openai",
    "Realtime": "realtime",
    "Wyoming": "wyoming",
    "AsteriskCall": "audiosocket",
    "TwilioCall": "twilio",
}


async def scrape(harness: Any, master: Any) -> Metrics:
    response = await harness.fetch(master, "/metrics")
    assert response.code == 200
    return Metrics(response.body.decode())


async def when(harness: Any, master: Any, name: str, value: float, **labels: str) -> Metrics:
    """Scrapes until a sample has a value."""
    while (metrics := await scrape(harness, master)).count(name, **labels) != value:
        pass
    return metrics


def position(num_bytes: int, audio_s: float, **more: Any) -> str:
    return Position(num_bytes, audio_s, **more).text()


def test_a_request_is_counted_while_it_runs_and_when_it_has_ended(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master, "model=english")
            await worker.read_json()
            await client.send(b"\1" * 1000)
            assert await worker.read() == b"\1" * 1000
            await worker.send(json.dumps(FINAL))
            await worker.send(
                position(1000, 2.0, cpu_s=0.1, partial_delays_s=(0.03, 0.3), final_delays_s=(0.4,))
            )
            await client.read()
            of_request = {"protocol": "kaldi", "model": "english"}
            metrics = await when(harness, master, "audio_seconds_total", 2.0, **of_request)
            assert metrics.value("slots", model="english", state="busy") == 1
            assert metrics.value("requests_running", protocol="kaldi") == 1
            assert metrics.value("connections", kind="client") == 1
            assert metrics.value("connections", kind="worker") == 1
            assert metrics.value("received_bytes_total", **of_request) == 1000
            assert metrics.value("sent_bytes_total", **of_request) == len(json.dumps(FINAL))
            assert metrics.value("partial_delay_seconds_count", protocol="kaldi") == 2
            assert metrics.value("partial_delay_seconds_sum", protocol="kaldi") > 0.3299
            assert 0.4 <= metrics.value("final_delay_seconds_sum", protocol="kaldi") < 30
            assert metrics.value("queue_wait_seconds_count", model="english", outcome="served") == 1
            assert metrics.count("requests_total", outcome="success", **of_request) == 0

            await client.send("EOS")
            assert await worker.read() == "EOS"
            await worker.send(position(1003, 2.5, end=True, cpu_s=0.5))
            assert await client.read() is None
            metrics = await when(harness, master, "requests_total", 1, outcome="success", **of_request)
            assert metrics.value("requests_running", protocol="kaldi") == 0
            assert metrics.value("audio_seconds_total", **of_request) == 2.5
            assert metrics.value("recognition_cpu_seconds_total", **of_request) == 0.5
            assert metrics.value("received_bytes_total", **of_request) == 1003
            assert metrics.value("request_received_bytes_sum", protocol="kaldi") == 1003
            assert metrics.value("request_duration_seconds_count", protocol="kaldi") == 1
            assert metrics.value("real_time_factor_sum", model="english") == 0.2
            assert metrics.value("worker_connections_total", model="english") == 1
            assert metrics.count("worker_losses_total", model="english") == 0

    harness.run(scenario)


def test_delays_count_from_when_the_master_had_the_audio(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=60) as master:
            client = await harness.client(master)
            await client.send(b"\1" * 1000)
            await when(harness, master, "stored_bytes", 1000)
            (relay,) = master.hub.requests
            arrivals = relay._store._arrivals
            arrivals.put_back(arrivals.take() - 100.0)  # it came that much earlier
            worker = await harness.worker(master, "protocol=2")
            await worker.read_json()
            await worker.read()
            await worker.send(position(1000, 1.0, partial_delays_s=(0.5,), final_delays_s=(1.5,)))
            metrics = await when(harness, master, "final_delay_seconds_count", 1, protocol="kaldi")
            assert metrics.value("partial_delay_seconds_sum", protocol="kaldi") >= 100.5
            assert metrics.value("final_delay_seconds_sum", protocol="kaldi") >= 101.5

    harness.run(scenario)


def test_what_waits_is_counted(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=30) as master:
            client = await harness.client(master)
            await client.send(b"\1" * 1000)
            metrics = await when(harness, master, "stored_bytes", 1000)
            assert metrics.value("requests_waiting") == 1

    harness.run(scenario)


def test_errors_are_counted_by_kind(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=0) as master:
            refused = await harness.client(master, "model=nobody-has-this")  # no worker
            await refused.read_all()
            worker = await harness.worker(master, "model=english&protocol=2")
            unknown = await harness.client(master, "model=nobody-has-this")
            await unknown.read_all()
            invalid = await harness.client(master, "adaptation=perhaps")
            await invalid.read_all()
            client = await harness.client(master)
            await worker.read_json()
            worker.vanish()
            await client.read_all()
            leaving = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master)
            await leaving.read_json()
            client.vanish()
            of_request = {"protocol": "kaldi", "model": "english"}
            metrics = await when(harness, master, "requests_total", 1, outcome="cancelled", **of_request)
            assert metrics.value("errors_total", kind="not_available") == 1
            assert metrics.value("errors_total", kind="unknown_model") == 1
            assert metrics.value("errors_total", kind="invalid_request") == 1
            assert metrics.value("errors_total", kind="worker_lost") == 1
            assert metrics.value("requests_total", outcome="not_available", protocol="kaldi", model="") == 2
            assert metrics.value("requests_total", outcome="aborted", **of_request) == 1
            assert metrics.value("worker_losses_total", model="english") == 1
            assert metrics.value("queue_wait_seconds_count", model="", outcome="not_served") == 1
            assert "nobody-has-this" not in metrics.labels("requests_total")

    harness.run(scenario)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_requests_of_every_protocol_are_told_apart(harness: Any, protocol: type[Client]) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS) as master:
            worker = await harness.worker(master, "model=english")
            async with protocol(harness, master) as client:
                await client.speak(b"\1" * 320)
                await worker.read_json()
                name = NAMES[protocol.__name__]
                metrics = await when(harness, master, "requests_running", 1, protocol=name)
                assert metrics.labels("requests_running") == {name}

    harness.run(scenario)


def test_workers_cannot_make_any_number_of_labels() -> None:
    metrics = MasterMetrics()
    labels = {metrics.model_label(f"model-{number}") for number in range(10 * MOST_MODELS)}
    assert len(labels) == MOST_MODELS + 1
    assert metrics.model_label("model-0") == "model-0"


def test_counters_never_go_down() -> None:
    """What a running request has counted stays when it ends, even if its worker says less in the end."""
    metrics = MasterMetrics()
    record = RequestRecord.of(RequestInfo(), CALLER, "kaldi")
    record.begin(record.info)
    metrics.request_begins(record)
    record.note(Position(10, 5.0, cpu_s=1.0))

    def audio_s() -> float:
        families = {family.name: family for family in metrics.collect()}
        return float(sum(sample.value for sample in families["pykaldi_server_audio_seconds"].samples))

    assert audio_s() == 5.0
    record.note(Position(10, 4.0, cpu_s=0.5))
    assert audio_s() == 5.0
    metrics.request_ends(record)
    assert audio_s() == 5.0


def test_the_documentation_has_every_metric(harness: Any) -> None:
    database = str(harness.directory / "both.db")

    async def scenario() -> None:
        async with harness.master(states=database, request_log=database) as master:
            worker = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master)
            await worker.read_json()
            lasting = {"cpu_s": 0.1, "partial_delays_s": (0.1,), "final_delays_s": (0.1,)}
            await worker.send(position(0, 1.0, **lasting))
            worker.vanish()
            await client.read_all()
            await harness.client(master)
            await harness.worker(master, "model=english&protocol=2")
            await when(harness, master, "requests_running", 1, protocol="kaldi")
            text = (await harness.fetch(master, "/metrics")).body.decode()
            described = documented(DOCUMENT.read_text(), "pykaldi_server_")
            of_worker = documented(DOCUMENT.read_text(), "pykaldi_server_worker_")
            of_worker = {
                line for line in of_worker if "_worker_connections" not in line and "_losses" not in line
            }
            found = table(text)
            assert described - of_worker == found, "\n".join(sorted(found))

    harness.run(scenario)
