"""A worker with a model on a master of a test, in the test's own process or in another."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from processes import running_process

from pykaldi_server.master.server import Master
from pykaldi_server.session import Model
from pykaldi_server.session.text_processor import TextProcessor
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[Worker]:
    """A worker that runs, whether its slots are connected or not."""
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynccontextmanager
async def running_worker(
    model: Model, master: Master, text_processor: TextProcessor | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """A worker whose slots are all connected."""
    worker = Worker(model, WorkerOptions(url=(master.worker_url,), **options), text_processor)
    sessions = options.get("sessions", 4)
    async with serving(worker):
        await master.until(lambda: master.hub.pool.status().available == sessions)
        yield worker


def worker_process(
    master: Master, model: Path | str, *arguments: str
) -> AbstractAsyncContextManager[Process]:
    """`pykaldi-server worker` as a user runs it. Read its log before you await its end: the pipe may fill."""
    return running_process(
        sys.executable,
        *("-m", "pykaldi_server", "worker", "--uri", master.worker_url, "--conf", str(model), *arguments),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=asyncio.subprocess.PIPE,
    )


async def read_log(process: Process) -> str:
    """What a worker process logs from now on, up to its end."""
    assert process.stderr is not None
    return (await process.stderr.read()).decode()
