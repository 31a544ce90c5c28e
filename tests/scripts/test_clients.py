"""`scripts/clients`: every client against a real master, a real worker and a model."""

import asyncio
import contextlib
import json
import re
import sys
import wave
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser
from live_worker import running_worker
from sample_clients import BUILDS, CLIENTS, running_client
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, StaticFileHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker

WORDS = "two nine three four zero"
RATE_HZ = 16000
PAUSE = bytes(2 * 2 * RATE_HZ)
TOKEN = "b0e2Zt8y4kPq7vXs"
BAD_USAGE, BAD_INPUT, UNREACHABLE, NO_OUTPUT = 64, 66, 69, 73


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


def samples(wav: Path) -> bytes:
    with wave.open(str(wav)) as file:
        assert file.getframerate() == RATE_HZ
        return bytes(file.readframes(file.getnframes()))


@pytest.fixture
def wav(golden: Path) -> Path:
    return golden / "wav" / "ps-tidigits-2934z.wav"


@pytest.fixture
def speech(wav: Path) -> bytes:
    return samples(wav)


@pytest.fixture(scope="module", params=list(BUILDS))
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a client that has been built."""
    return BUILDS[request.param](tmp_path_factory.mktemp(request.param))


def speech_url(port: int) -> str:
    return f"--url=ws://127.0.0.1:{port}/client/ws/speech"


class Line:
    """An address that leads to a server, also when that has come back somewhere else."""

    def __init__(self) -> None:
        self.leads_to: int | None = None
        self.port = 0
        self.flows = asyncio.Event()  # cleared, it passes nothing on and tells neither side
        self.flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.cut()

    async def cut(self) -> None:
        """Ends all connections; new ones may come."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._join(reader, writer)))

    async def _join(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:  # an error of one side is that of the other
            if self.leads_to is not None:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
                await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        finally:
            writer.close()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def master_process(line: Line, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A master that can be killed, at the end of the line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pykaldi_server", "master", "--host", "127.0.0.1", "--port", "0"),
        cwd=directory,
        stderr=PIPE,
        stdout=DEVNULL,
    )
    assert process.stderr is not None
    draining = None
    try:
        async for log_line in process.stderr:
            if found := re.search(rb"listening on .*:(\d+)", log_line):
                line.leads_to = int(found[1])
                break
        draining = asyncio.create_task(process.stderr.read())
        yield process
    finally:
        line.leads_to = None
        if process.returncode is None:
            process.kill()
        await process.wait()
        if draining is not None:
            await draining


def test_words_partials_and_waiting(harness: Any, model: Model, command: list[str], wav: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_worker(model, master, sessions=1):
            other = await harness.client(master)  # has the only slot
            await other.send(PAUSE)
            status = await harness.status(master)
            await status.until(lambda each: each["num_requests_active"] == 1)
            async with running_client(command, speech_url(master.port), "--paced", str(wav)) as client:
                assert await client.until("waiting") == "waiting: place 1 in line"
                other.close()
                assert await client.end() == (0, [WORDS])
            partials = [each.removeprefix("... ") for each in client.lines if each.startswith("... ")]
            assert partials
            assert all(WORDS.startswith(each) for each in partials)

    harness.run(scenario)


def test_the_adaptation_state_is_kept_and_sent(
    harness: Any,
    model: Model,
    command: list[str],
    wav: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = tmp_path / "state.json"

    async def scenario() -> None:
        async with harness.master() as master, running_worker(model, master, sessions=1):
            for _ in range(2):
                url = speech_url(master.port)
                arguments = (url, f"--state={state}", str(wav))
                async with running_client(command, *arguments) as client:
                    assert await client.end() == (0, [WORDS])
                assert json.loads(state.read_text())["type"] == "string+gzip+base64"
                assert "without" not in caplog.text
            damaged = {**json.loads(state.read_text()), "value": "damaged"}
            state.write_text(json.dumps(damaged))
            async with running_client(command, *arguments) as client:
                assert await client.end() == (0, [WORDS])
            assert "starting without an adaptation state" in caplog.text
            assert json.loads(state.read_text()) != damaged
            nowhere = tmp_path / "no such folder" / "state.json"
            async with running_client(command, url, f"--state={nowhere}", str(wav)) as client:
                assert await client.end() == (NO_OUTPUT, [WORDS])
                assert client.lines[-1].startswith(f"{nowhere}: ")

    harness.run(scenario)


@asynccontextmanager
async def worker_on(line: Line, model: Model) -> AsyncIterator[None]:
    url = f"ws://127.0.0.1:{line.port}/worker/ws/speech"
    worker = Worker(model, WorkerOptions(url=(url,), sessions=1))
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_no_word_is_lost_when_the_server_is_killed(
    harness: Any, model: Model, command: list[str], golden: Path, speech: bytes, tmp_path: Path
) -> None:
    """One sentence is final, the next one half spoken when the server goes, and goes on meanwhile."""
    before = samples(golden / "wav" / "ps-cards-004.wav") + PAUSE
    middle = len(speech) // 20 * 14  # within the fourth word

    async def scenario() -> None:
        async with Line().laid() as line, worker_on(line, model):
            arguments = (speech_url(line.port), f"--rate={RATE_HZ}", "-")
            async with (
                master_process(line, tmp_path) as master,
                running_client(command, *arguments) as client,
            ):
                await client.write(before)
                assert await client.final() == "five five"
                await client.write(speech[:middle])
                await client.until("... two nine")
                master.kill()
                interrupted = await client.until("interrupted: ")
                await client.write(speech[middle:])
                async with master_process(line, tmp_path):
                    await client.until("resumed")
                    assert await client.end() == (0, ["five five", WORDS])
                found = re.search(r"; ([0-9.]+) s of audio will be sent again$", interrupted)
                assert found is not None
                assert 0 < float(found[1]) < (len(before) + middle) / (2 * RATE_HZ) - 1

    harness.run(scenario)


def test_a_server_that_does_not_come_back(
    harness: Any, model: Model, command: list[str], speech: bytes, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Line().laid() as line, worker_on(line, model):
            arguments = (speech_url(line.port), "--patience=1", f"--rate={RATE_HZ}", "-")
            async with (
                master_process(line, tmp_path) as master,
                running_client(command, *arguments) as client,
            ):
                await client.write(speech)
                await client.until("... two nine")
                master.kill()
                await client.until("interrupted: ")
                assert await client.end() == (UNREACHABLE, [])
                assert client.lines[-1].endswith("; recognised up to 0.00 s")

    harness.run(scenario)


def test_errors_are_the_exit_status(harness: Any, command: list[str], wav: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"clients: {{anna: {TOKEN}}}")
    text = tmp_path / "text.wav"
    text.write_text("not a sound")

    class Talker(WebSocketHandler):
        """Something else that has WebSockets."""

        async def on_message(self, message: str | bytes) -> None:
            with contextlib.suppress(WebSocketClosedError):
                await self.write_message("hello")

    async def scenario() -> None:
        async with harness.master(tokens=tokens, queue_s=0) as master:
            (socket,) = bind_sockets(0, "127.0.0.1")
            talkers = HTTPServer(Application([(r"/", Talker)]))
            talkers.add_socket(socket)
            talker = f"--url=ws://127.0.0.1:{socket.getsockname()[1]}/"
            url = speech_url(master.port)
            for arguments, status, message in (
                ((url, f"--token={TOKEN}", str(wav)), 9, "status 9: No decoder available"),
                ((url, "--token=wrong", str(wav)), UNREACHABLE, "cannot connect: "),
                ((speech_url(1), str(wav)), UNREACHABLE, "cannot connect: "),
                (("--url=nonsense", str(wav)), UNREACHABLE, "cannot connect: "),
                (
                    (talker, "--patience=0.1", str(wav)),
                    UNREACHABLE,
                    "connection lost: expected a JSON object",
                ),
                ((url, str(text)), BAD_INPUT, str(text)),
                ((url, f"--state={text}", str(wav)), BAD_INPUT, str(text)),
                ((url, "--no-such-option", str(wav)), BAD_USAGE, ""),
            ):
                async with running_client(command, *arguments) as client:
                    assert await client.end() == (status, []), client.lines
                    assert client.lines[-1].startswith(message), client.lines
            talkers.stop()

    harness.run(scenario)


def test_the_page_in_a_browser(harness: Any, model: Model, wav: Path, tmp_path: Path) -> None:
    """The microphone plays the sentence again and again; the line breaks within."""
    directory = str(CLIENTS / "javascript")

    async def scenario() -> None:
        (socket,) = bind_sockets(0, "127.0.0.1")
        pages = HTTPServer(Application([(r"/(.*)", StaticFileHandler, {"path": directory})]))
        pages.add_socket(socket)
        async with (
            Line().laid() as line,
            harness.master(allow_origins=("*",)) as master,
            running_worker(model, master, sessions=1),
        ):
            line.leads_to = master.port
            page = f"http://127.0.0.1:{socket.getsockname()[1]}/page.html"
            server = f"?url=ws://127.0.0.1:{line.port}/client/ws/speech"
            async with open_browser(page + server, tmp_path, wav) as browser:
                await browser.click("button")
                await browser.wait_for("/two nine/.test(partial.textContent)")
                await line.cut()
                await browser.wait_for("notice.textContent.startsWith('The connection is lost')")
                await browser.wait_for("notice.textContent === ''")
                await browser.wait_for(f"/{WORDS}/.test(partial.textContent + finals.textContent)")
                await browser.click("button")
                await browser.wait_for("button.textContent === 'Speak' && partial.textContent === ''")
                assert WORDS in await browser.text("finals")
                assert await browser.text("notice") == ""
            pages.stop()

    harness.run(scenario)


@pytest.mark.slow
def test_a_line_that_is_dead_without_a_word(
    harness: Any, model: Model, speech: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither side hears of it. All clients at once, as it takes them a while to notice."""
    commands = [build(tmp_path_factory.mktemp(name)) for name, build in BUILDS.items()]

    async def follow(line: Line, each: list[str], all_ready: asyncio.Barrier) -> None:
        arguments = (speech_url(line.port), f"--rate={RATE_HZ}", "-")
        async with running_client(each, *arguments) as client:
            await client.write(speech)
            await client.until("... two nine")
            await all_ready.wait()  # to lose the line
            await all_ready.wait()  # as it is lost now
            await client.write(PAUSE)  # JavaScript sees no pings: it misses the positions of audio
            await client.until("interrupted: ")
            await all_ready.wait()
            await client.until("resumed")
            assert await client.end() == (0, [WORDS])

    async def scenario() -> None:
        async with (
            Line().laid() as line,
            harness.master() as master,
            running_worker(model, master, sessions=4),
        ):
            line.leads_to = master.port
            all_ready = asyncio.Barrier(len(commands) + 1)
            async with asyncio.TaskGroup() as clients:
                for each in commands:
                    clients.create_task(follow(line, each, all_ready))
                await all_ready.wait()
                line.flows.clear()
                await all_ready.wait()
                await all_ready.wait()
                line.flows.set()

    harness.run(scenario)
