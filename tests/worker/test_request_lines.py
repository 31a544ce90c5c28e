"""The lines that master and worker log of a request: all have its id, whoever writes them."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from live_worker import read_log, worker_process

from pykaldi_server.logs import JsonFormatter, add_request

HOSTILE = "x\n{}\r\x1b[2J"


@pytest.fixture
def master_log() -> Iterator[io.StringIO]:
    """What the master logs in this process, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("master"))
    handler.addFilter(add_request)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def of_request(log: str, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line.get("request") == request_id]


def test_a_request_is_found_by_its_id_in_master_and_worker(
    harness: Any, models: Path, master_log: io.StringIO
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            model = str(models / "english:graph-digits")
            async with worker_process(master, model, "--sessions=1", "--log-format=json") as process:
                await master.until(lambda: master.hub.pool.status().can_serve)
                query = {"user-id": HOSTILE, "content-type": "audio/x-raw,rate=8000", "token": "SECRET"}
                client = await harness.client(master, urlencode(query))
                await client.send(bytes(8000))
                await client.send('{"strange": 1}')
                await client.send("EOS")
                messages = await client.read_all()
                process.terminate()
                worker_log = await read_log(process)
        (request_id,) = {each["id"] for each in messages}
        by_master = of_request(master_log.getvalue(), request_id)
        by_worker = of_request(worker_log, request_id)
        assert [each["message"].partition(" ")[0] for each in by_master] == ["opened", "served", "done"]
        assert {each["caller"] for each in by_master} == {"127.0.0.1"}
        assert {each["model"] for each in by_master[1:]} == {"english-digits"}
        assert "worker english-digits at" in by_master[-1]["worker"]
        texts = [each["message"] for each in by_worker]
        assert texts[0].startswith("started, user x{}[2J, type ")
        assert texts[1].startswith("message ignored: a control message: expected one of")
        assert texts[-1] == "done"
        assert {each["model"] for each in by_worker} == {"english-digits"}
        assert "SECRET" not in worker_log + master_log.getvalue()

    harness.run(scenario)
