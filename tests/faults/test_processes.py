"""Processes that die or run out of memory, and model files that change under them."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from harness import Socket
from live_worker import running_worker
from serve_process import Serve, running_serve

from pykaldi_server.session import Model

TRANSCRIPT = "two nine three four zero"
SPEAKERS = 16
BEGINNING = 24_000
"""Bytes of audio after which words have been shown."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A model whose graph tests may damage."""
    model = tmp_path_factory.mktemp("model") / "digits"
    model.mkdir()
    for part in ("am", "conf", "ivector"):
        (model / part).symlink_to(models / "english" / part)
    shutil.copytree(models / "english" / "graph-digits", model / "graph")
    return model


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Serve]:
    directory = tmp_path_factory.mktemp("serve")
    with running_serve(directory, str(model), "--sessions=2", "--queue-s=60") as serve:
        yield serve


async def begin(harness: Any, serve: Serve, digits: bytes) -> Socket:
    """A client in the middle of its sentence, of which it has seen words."""
    client: Socket = await harness.connect(serve.url.replace("http", "ws") + "/client/ws/speech")
    await client.send(digits[:BEGINNING])
    await client.until(lambda each: "result" in each)
    return client


async def words(client: Socket, digits: bytes) -> str:
    """What a client hears of the rest of its sentence, after what is final already."""
    await client.send(digits[BEGINNING:])
    await client.send("EOS")
    finals = [each["result"] for each in await client.read_all() if each.get("result", {}).get("final")]
    return " ".join(each["hypotheses"][0]["transcript"] for each in finals)


async def until_replaced(serve: Serve, worker: int) -> None:
    """Waits until another process is there; the time limit of the harness ends it."""
    while worker in serve.children() or not serve.children():
        await asyncio.sleep(0.02)


def test_a_worker_that_is_killed(serve: Serve, harness: Any, digits: bytes) -> None:
    async def scenario() -> None:
        clients = [await begin(harness, serve, digits) for _ in range(2)]
        (worker,) = serve.children()
        os.kill(worker, signal.SIGKILL)
        for client in clients:
            assert (await client.read_all())[-1]["message"].startswith("The recogniser was lost")
        assert await words(await begin(harness, serve, digits), digits) == TRANSCRIPT
        assert serve.children() != [worker]

    harness.run(scenario)


def test_a_graph_that_is_cut_short_where_it_lies(
    serve: Serve, harness: Any, digits: bytes, model: Path
) -> None:
    """What is mapped is gone then: the process dies of it, and no other."""
    graph = model / "graph" / "HCLG.fst"
    content = graph.read_bytes()

    async def scenario() -> None:
        client = await begin(harness, serve, digits)
        (worker,) = serve.children()
        os.truncate(graph, 0)
        try:
            while client.connection.protocol is not None:
                await client.send(digits)
                if (message := await client.read_json())["status"] != 0:
                    break
            assert message["status"] == 2
            await until_replaced(serve, worker)
        finally:
            graph.write_bytes(content)
        assert await words(await begin(harness, serve, digits), digits) == TRANSCRIPT

    harness.run(scenario)


def test_a_worker_that_runs_out_of_memory(serve: Serve, harness: Any, digits: bytes) -> None:
    async def scenario() -> None:
        (worker,) = serve.children()
        lines = Path(f"/proc/{worker}/status").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmData:"))
        resource.prlimit(worker, resource.RLIMIT_DATA, (1024 * kib, resource.RLIM_INFINITY))
        # Many speakers in one request need more than is left over.
        raw = f"audio/x-raw,format=S16LE,rate=16000,channels={SPEAKERS}"
        query = urlencode({"content-type": raw, "channels": "split"})
        client = await harness.connect(f"{serve.url.replace('http', 'ws')}/client/ws/speech?{query}")
        samples = np.frombuffer(digits, "<i2")
        await client.send(np.repeat(samples, SPEAKERS).tobytes())
        await client.send("EOS")
        assert (await client.read_all())[-1]["status"] == 2
        await until_replaced(serve, worker)
        assert await words(await begin(harness, serve, digits), digits) == TRANSCRIPT

    harness.run(scenario)


@asynccontextmanager
async def master_process(harness: Any, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    command = ("-m", "pykaldi_server", "master", "--host", "127.0.0.1", "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=harness.directory, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_workers_return_alone_to_a_master_that_was_killed(harness: Any, models: Path, digits: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            port = master.port
            model = await asyncio.to_thread(Model.load, models / "english:graph-digits")
            # The port belongs to this master until it ends, and then to those of the test.
            ws = f"ws://127.0.0.1:{port}"
            async with running_worker(model, master, sessions=2):
                await master.stop()
                for killed in (True, False):
                    async with master_process(harness, port) as process:
                        status = await harness.connect_when_there(f"{ws}/client/ws/status")
                        await status.until(lambda each: each["num_workers_available"] == 2)
                        client = await harness.connect(f"{ws}/client/ws/speech")
                        await client.send(digits[:BEGINNING])
                        await client.until(lambda each: "result" in each)
                        if killed:
                            process.kill()
                            assert all(each["status"] == 0 for each in await client.read_all())
                            assert (
                                client.connection.close_code is None
                            )  # so it knows that something is missing
                        else:
                            assert await words(client, digits) == TRANSCRIPT

    harness.run(scenario)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_is_gone_frees_its_slot(serve: Serve, harness: Any, digits: bytes, how: str) -> None:
    async def scenario() -> None:
        ws = serve.url.replace("http", "ws")
        status = await harness.connect(f"{ws}/client/ws/status")
        client = await begin(harness, serve, digits)
        await status.until(lambda each: each["num_requests_active"] == 1)
        stream = client.connection.protocol.stream  # type: ignore[union-attr]
        if how == "reset":  # RST in place of FIN, as of a machine that has started again
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[union-attr]
        client.vanish()
        await status.until(
            lambda each: each["num_requests_active"] == 0 and each["num_workers_available"] == 2
        )

    harness.run(scenario)
