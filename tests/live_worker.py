"""A worker with a model, on a master of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pykaldi_server.master.server import Master
from pykaldi_server.session import Model
from pykaldi_server.session.text_processor import TextProcessor
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker


@asynccontextmanager
async def running_worker(
    model: Model, master: Master, text_processor: TextProcessor | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """A worker whose slots are all connected."""
    worker = Worker(model, WorkerOptions(url=master.worker_url, **options), text_processor)
    running = asyncio.create_task(worker.run())
    sessions = options.get("sessions", 4)
    await master.until(lambda: master.hub.pool.status().available == sessions)
    try:
        yield worker
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
