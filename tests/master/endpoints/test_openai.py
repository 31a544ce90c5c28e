"""OpenAI's transcriptions on real sockets; the workers follow a script."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pykaldi_server.protocols.worker import Position

PATH = "/v1/audio/transcriptions"
MODEL = ("model", "whisper-1")
FILE = ("file", "audio" * 20_000)  # what comes after it comes later


def form(fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A form with its fields in this order."""
    body = ""
    for name, value in fields:
        more = '; filename="x.raw"' if name == "file" else ""
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return {"method": "POST", "headers": headers, "body": f"{body}--b--\r\n"}


async def serve(worker: Any, text: str) -> None:
    """Recognises a text, if a request comes, and is not given up."""
    while (message := await worker.read()) is not None:
        if message == "EOS":
            await worker.send({"status": 0, "result": {"hypotheses": [{"transcript": text}], "final": True}})
            await worker.send(Position(0, 0.0, end=True).text())


@pytest.mark.parametrize(
    ("default_model", "fields", "model"),
    [
        ("english", [MODEL, ("language", "et"), FILE], "estonian"),
        ("english", [FILE, MODEL, ("language", "et")], "estonian"),
        ("english", [MODEL, FILE, ("language", "en-GB")], "english"),
        (None, [("model", "english"), FILE, ("language", "en")], "english"),
        ("english", [MODEL, FILE, ("language", "et")], ""),
        ("english", [("model", "english"), FILE, ("language", "et")], ""),
    ],
)
def test_a_language_is_that_of_the_model_or_an_error(
    harness: Any, default_model: str | None, fields: list[tuple[str, str]], model: str
) -> None:
    async def scenario() -> None:
        async with harness.master(default_model=default_model) as master:
            async with asyncio.TaskGroup() as workers:
                for name, language in (("english", "en"), ("estonian", "et")):
                    worker = await harness.worker(master, f"protocol=2&model={name}&language={language}")
                    workers.create_task(serve(worker, name))
                response = await harness.fetch(master, PATH, **form(fields))
                harness.dispose()
            found = json.loads(response.body)
            if model:
                assert (response.code, found["text"]) == (200, model)
            else:
                assert (response.code, found["error"]["param"]) == (400, "language")
                assert "language" in found["error"]["message"]

    harness.run(scenario)
