"""Which model clients get that name none."""

import json
from pathlib import Path
from typing import Any

from serve_process import ENGLISH, running_serve
from websockets.sync.client import connect

from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.server import Master


def test_a_master_alone_gives_them_the_one_of_its_settings(harness: Any) -> None:
    """Without it, people who speak might get a worker that is there for recordings."""

    async def scenario() -> None:
        references = harness.directory / "references.jsonl"
        master = Master(MasterOptions(port=0, references=references, default_model="english", queue_s=0.0))
        master.start()
        try:
            bulk = await harness.worker(master, "model=english-bulk&protocol=2")
            refused = await harness.client(master)
            assert (await refused.read_json())["status"] == 9
            live = await harness.worker(master, "model=english&protocol=2")
            client = await harness.client(master)
            await client.send(b"xy")
            await live.until(lambda each: "content_type" in each)
            client = await harness.client(master, "model=english-bulk")
            await client.send(b"xy")
            await bulk.until(lambda each: "content_type" in each)
        finally:
            harness.dispose()
            await master.stop()

    harness.run(scenario)


def test_serve_does_so_too(tmp_path: Path) -> None:
    both = (f"one={ENGLISH}", f"two={ENGLISH}", "--sessions=1")
    with (
        running_serve(tmp_path, *both, "--default-model=two") as serve,
        connect(f"{serve.url.replace('http', 'ws')}/client/ws/status") as status,
    ):
        assert json.loads(status.recv())["default_model"] == "two"
