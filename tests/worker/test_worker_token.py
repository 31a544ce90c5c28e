"""A worker whose token is wrong says so, keeps trying, and serves once the token is right."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker

TOKENS = "clients: {c: client-token-0123456789}\nworkers: {w: worker-token-0123456789}\n"


def test_a_token_that_is_mended(
    harness: Any, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens, token = tmp_path / "tokens.yaml", tmp_path / "token"
    tokens.write_text(TOKENS)
    token.write_text("client-token-0123456789")

    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master:
            options = WorkerOptions(
                url=(f"{master.worker_url}?token=hidden",), token_file=token, sessions=1, reconnect_max_s=0.1
            )
            worker = Worker(Model.load(models / "english-gmm"), options)
            running = asyncio.create_task(worker.run())
            while "refused with code 403" not in caplog.text:
                await asyncio.sleep(0.01)
            token.unlink()
            token.write_text("worker-token-0123456789")
            await master.until(lambda: master.hub.pool.status().available == 1)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    with caplog.at_level(logging.INFO):
        harness.run(scenario)
    text = (
        "/worker/ws/speech: refused with code 403: expected the token of a worker, found one of clients; "
        "see --token and --token-file"
    )
    assert [each.message.endswith(text) for each in caplog.records].count(True) == 1
    for secret in ("hidden", "client-token", "worker-token"):
        assert secret not in caplog.text
