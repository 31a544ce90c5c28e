"""A server under hostile clients: refused, in bounded memory, without a stack trace, and serving on.

Each kind of malice comes some dozen times, with `--slow` as often as `--hostile-clients` says, from many
connections at once, while a good client is served.
"""

import asyncio
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hostile_bytes import AUDIOSOCKET, HTTP, KINDS, VOSK, WYOMING, Attack, End, Kind
from processes import open_files, peak_memory_bytes, reset_peak_memory
from serve_process import ENGLISH, REPOSITORY, Serve, running_serve

from pykaldi_server.client.recognize import recognize_file, request_url
from pykaldi_server.protocols.gstreamer import is_final, transcript_of
from pykaldi_server.protocols.messages import Status

SOME = 20
AT_ONCE = 20
PATIENCE_S = 200
WORDS = "two nine three four zero"
MEMORY_BYTES = 120 * 2**20
"""How much more than before the master, or a worker, may hold at its peak: a few MB per connection."""
# What no answer may contain: stack traces, paths of this machine, headers that the client made up.
LEAK = re.compile(rb"Traceback|site-packages|root:x:|\[project\]|^(?:Set-Cookie|X-Injected)", re.M)
LISTENING = {
    VOSK: r"listening for Vosk's clients on .*:(\d+)",
    WYOMING: r"listening for Wyoming's clients on port (\d+)",
    AUDIOSOCKET: r"listening for calls of Asterisk on port (\d+)",
}
STACK_TRACE = re.compile(r"Traceback|never retrieved|never awaited")


@dataclass(frozen=True)
class Target:
    """A server of real processes."""

    serve: Serve
    ports: dict[str, int]
    log: Path

    def stack_traces(self, start: int = 0) -> list[str]:
        """Pieces of the log, from a position on, that tell of errors that nobody has handled."""
        log = self.log.read_text(errors="replace")[start:]
        return [log[max(0, match.start() - 500) :][:3000] for match in STACK_TRACE.finditer(log)]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("hostile")
    options = [f"--{name}-port=0" for name in LISTENING]
    recordings = directory / "recordings"
    options += ["--sessions", "8", "--queue-s", "60", f"--worker-argument=--out-dir={recordings}"]
    log = directory / "log"
    with running_serve(directory, ENGLISH, *options, log=log) as serve:
        main = urlsplit(serve.url).port
        assert main is not None
        found = {name: re.search(pattern, log.read_text()) for name, pattern in LISTENING.items()}
        ports = {name: int(match[1]) for name, match in found.items() if match}
        assert ports.keys() == LISTENING.keys()
        yield Target(serve, {HTTP: main, **ports}, log)


async def attack(target: Target, what: Attack) -> bytes:
    """One hostile client; returns what the server has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.ports[what.port])
    answer = b""
    try:
        with suppress(ConnectionError):
            writer.write(what.data)
            await writer.drain()
            if what.end is End.HALF:
                writer.write_eof()
            if what.end is not End.BROKEN:
                answer = await reader.read()
    finally:
        writer.transport.abort()
    return answer


async def is_recognised(target: Target) -> bool:
    """A good client gets its words; False if it is refused, because hostile ones occupy all slots."""
    url = request_url(f"ws://127.0.0.1:{target.ports[HTTP]}/client/ws/speech")
    path = REPOSITORY / "tests" / "data" / "golden" / "wav" / "ps-tidigits-2934z.wav"
    with path.open("rb") as file:
        messages = [message async for message in recognize_file(url, file, bytes_per_s=0)]
    if [each["status"] for each in messages] == [Status.NOT_AVAILABLE]:
        return False
    assert [transcript_of(each) for each in messages if is_final(each)] == [WORDS], messages
    return True


async def under(target: Target, kind: Kind, number: int) -> list[bytes]:
    """Lets hostile clients of a kind come, with a good one among them; returns the answers."""
    rng = random.Random(kind.__name__)
    left = iter(range(number))
    answers: list[bytes] = []

    async def attacker() -> None:
        for _ in left:
            answers.append(await attack(target, kind(rng)))

    async with asyncio.timeout(PATIENCE_S + number / 10):
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(attacker())
            served = group.create_task(is_recognised(target))
        assert served.result() or await is_recognised(target)
        assert await is_recognised(target)
    return answers


async def files_are_closed(target: Target, number: int) -> None:
    while open_files(target.serve.process.pid) > number:
        await asyncio.sleep(0.05)


def check(target: Target, kind: Kind, number: int) -> None:
    pid = target.serve.process.pid
    log_length = len(target.log.read_text(errors="replace"))
    workers = target.serve.children()
    asyncio.run(under(target, kind, SOME))  # what is kept for next time is kept now
    files = open_files(pid)
    before_bytes = {each: reset_peak_memory(each) for each in (pid, *workers)}
    answers = asyncio.run(under(target, kind, number))
    assert target.serve.children() == workers, "a worker has died"
    for each, held_bytes in before_bytes.items():
        assert peak_memory_bytes(each) - held_bytes < MEMORY_BYTES
    leaks = [answer for answer in answers if LEAK.search(answer)]
    assert not leaks, leaks[0]
    stack_traces = target.stack_traces(log_length)
    assert not stack_traces, stack_traces[0]

    async def closed() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await files_are_closed(target, files + AT_ONCE // 4)

    asyncio.run(closed())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_hostile_clients_harm_nobody(target: Target, kind: Kind) -> None:
    check(target, kind, SOME)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_many_hostile_clients_harm_nobody(target: Target, kind: Kind, pytestconfig: pytest.Config) -> None:
    check(target, kind, pytestconfig.getoption("--hostile-clients"))


def test_recordings_stay_in_their_directory(target: Target) -> None:
    folder = target.log.parent
    others = {path.name for path in folder.iterdir()}
    assert asyncio.run(is_recognised(target))
    kept = list((folder / "recordings").iterdir())
    assert kept
    assert {path.name for path in folder.iterdir()} == others
    assert all(re.fullmatch(r"[0-9a-f-]{36}\.raw", path.name) for path in kept)
