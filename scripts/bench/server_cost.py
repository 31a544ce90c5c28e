"""What master and worker cost beyond the library: CPU of live streams, memory of live sessions.

Server and library have the same model, recordings, packets and core, in turn, in one run:

1. CPU seconds per second of audio: clients speak recordings in real time, and the library decodes the same
   recordings by as many sessions at a time, one packet per session in turn: as fast as it goes before and
   after each round, and in real time after it, which costs more, since each packet finds the processor's
   caches cold. The table has the rounds; the ratios are those of server to library, for both.
2. Memory of a further live session: how much PSS of all processes grows per session from one session to many
   that have taken the first seconds of a recording and are still open. Sessions of the library do the same. A
   worker gives back what is free every 5 s, so that much later is measured.
3. With ``--minutes``: an hour of audio, or as much as that says, in one session as fast as it goes; what the
   processes hold after each tenth of it.

The CPU time of the master is also given in ms per packet that it relays.
Usage: server_cost.py [--model MODEL] [--protocol NAME] [--streams N] [--sessions N] [--minutes M]
    [--json FILE] [WAV ...]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from library_loop import held_recording
from live_clients import Address, Client
from load import Point, Script, percentiles, run_clients
from recordings import Recording, expect, join_recordings, read_recordings
from servers import ROOT, ServerProcess, our_server, split_cores
from speaking import PROTOCOLS
from vosk_terms import COMPILED, OURS, VOSK_RECIPE, environment, prepare

WAV = ROOT / "tests" / "data" / "golden" / "wav"
LOOP = Path(__file__).with_name("library_loop.py")
SETTLE_S = 1.0
GIVE_BACK_S = 6.0
TENTHS = 10


@dataclass(frozen=True)
class Round:
    """One round of part 1, in CPU seconds per second of audio.

    Attributes:
        library: that of the library, before and after.
        live: that of the library in real time.
        processes: that of each process of the server.
        point: what the clients saw.
    """

    library: tuple[float, float]
    live: float
    processes: dict[str, float]
    point: Point


class Library:
    """The library in a process of its own, see `library_loop.py`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands, self._answers = process.stdin, process.stdout
        self._read()

    def cost(self, sessions: int, command: str = "cost") -> float:
        """CPU seconds per second of audio with as many sessions at a time; with ``live`` in real time."""
        answer = self._ask(f"{command} {sessions}")
        return float(answer["cpu_s"] / answer["audio_s"])

    def hold_mib(self, sessions: int) -> float:
        """Memory with as many sessions that are open."""
        return float(self._ask(f"hold {sessions}")["memory_mib"])

    def _ask(self, command: str) -> dict[str, float]:
        self._commands.write(command + "\n")
        self._commands.flush()
        found: dict[str, float] = json.loads(self._read())
        return found

    def _read(self) -> str:
        line = self._answers.readline()
        if not line:
            raise SystemExit("the library's process has ended early; its errors are above")
        return line


@contextmanager
def library(args: argparse.Namespace, model: Path, cores: set[int]) -> Iterator[Library]:
    """Starts the library's process on a core."""
    command = [sys.executable, str(LOOP), str(model), str(args.packet_s), str(args.stream_s)]
    command += [str(args.hold_s), *map(str, args.wav)]
    own_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(args.folder / "cache"),
        )
    finally:
        os.sched_setaffinity(0, own_cores)
    with process:
        yield Library(process)
        process.terminate()


def measure_cpu(
    args: argparse.Namespace, server: ServerProcess, address: Address, other: Library
) -> dict[str, float]:
    """Prints part 1; returns the means."""
    script = args.script
    print(
        f"\nCPU s per s of audio, {args.streams} live streams, {args.protocol}, packets {args.packet_s:g} s"
    )
    other.cost(args.streams)  # both sides keep what they have composed of the graph
    asyncio.run(run_clients(script, args.streams, server, address))
    rounds = []
    for _ in range(args.rounds):
        before = other.cost(args.streams)
        point = asyncio.run(run_clients(script, args.streams, server, address))
        processes = {role: cpu_s / point.audio_s for role, cpu_s in point.cpu_s.items()}
        after, live = other.cost(args.streams), other.cost(args.streams, "live")
        rounds.append(Round((before, after), live, processes, point))
    print(f"{'library':>14}{'live':>9}{'master':>9}{'worker':>9}{'server':>9}   word delay p95, s   late ms")
    for each in rounds:
        print(row(each))
    mean = sum(sum(each.library) for each in rounds) / len(rounds) / 2
    whole = sum(sum(each.processes.values()) for each in rounds) / len(rounds)
    live = sum(each.live for each in rounds) / len(rounds)
    packets = 1 / args.packet_s
    master_s = sum(each.processes["master"] for each in rounds) / len(rounds)
    print(
        f"server / library in real time {whole / live:.2f}, as fast as it goes {whole / mean:.2f}; "
        f"library with one session at a time {other.cost(1):.4f}\n"
        f"master {1000 * master_s / packets:.3f} ms per packet"
    )
    failures = []
    if errors := [text for each in rounds for text in (*each.point.errors(), *each.point.refused())]:
        failures.append(f"{len(errors)} streams failed: {errors[0]}")
    if others := sum(len(each.point.other_words()) for each in rounds):
        failures.append(f"{others} streams got other words than the library finds")
    if failures:
        raise SystemExit("\n".join(failures))
    return {
        "library": mean,
        "live library": live,
        "server": whole,
        "master": master_s,
        "streams": args.streams,
    }


def row(found: Round) -> str:
    """A line of the table of part 1."""
    whole, master = sum(found.processes.values()), found.processes["master"]
    delay_s = percentiles(found.point.word_delays_s())[1]
    return (
        f"{found.library[0]:7.4f}{found.library[1]:7.4f}{found.live:9.4f}{master:9.4f}{whole - master:9.4f}"
        f"{whole:9.4f}   {delay_s:17.2f}   {1000 * found.point.late_s():7.1f}"
    )


async def hold(
    kind: type[Client], address: Address, recording: Recording, args: argparse.Namespace
) -> Client:
    """Opens a stream and sends its first seconds, faster than real time; returns the client."""
    data, rate_hz, sample_bytes = kind.form.encode(recording)
    client = kind(address, rate_hz)
    await client.open()
    step = int(args.packet_s * rate_hz) * sample_bytes
    for begin in range(0, int(args.hold_s * rate_hz) * sample_bytes, step):
        await client.send(data[begin : begin + step])
    return client


async def memory_mib(
    server: ServerProcess, address: Address, sessions: int, args: argparse.Namespace
) -> float:
    """Memory of all processes of the server with as many live sessions."""
    kind = PROTOCOLS[args.protocol]
    recording = held_recording(list(args.script.recordings))
    clients = [await hold(kind, address, recording, args) for _ in range(sessions)]
    try:
        await idle(server)
        await asyncio.sleep(GIVE_BACK_S)
        return sum(each.memory_mib for each in server.usage())
    finally:
        for client in clients:
            client.vanish()
        await idle(server)


async def idle(server: ServerProcess) -> None:
    """Returns when the server has done what there was to do."""
    before_s = -1.0
    while True:
        now_s = sum(each.cpu_s for each in server.usage())
        if now_s - before_s < 0.02 * SETTLE_S:
            return
        before_s = now_s
        await asyncio.sleep(SETTLE_S)


def measure_memory(
    args: argparse.Namespace, server: ServerProcess, address: Address, other: Library
) -> dict[str, float]:
    """Prints part 2; returns the memory of a further session on each side."""
    found = {}
    print(f"\nmemory of a further live session, MiB (PSS), after {args.hold_s:g} s of audio")
    numbers = (1, args.sessions)
    ours = [asyncio.run(memory_mib(server, address, number, args)) for number in numbers]
    theirs = [other.hold_mib(number) for number in numbers]
    for name, (one, many) in (("server", ours), ("library", theirs)):
        found[f"{name} session"] = further = (many - one) / max(1, args.sessions - 1)
        print(f"{name:8} {further:6.3f}   ({one:.0f} with one session, {many:.0f} with {args.sessions})")
    return found


async def speak_on(server: ServerProcess, address: Address, args: argparse.Namespace) -> None:
    """Prints part 3: one session, in lock-step with its replies."""
    kind = PROTOCOLS["vosk"]
    encoded = [kind.form.encode(each) for each in args.script.recordings]
    rate_hz = encoded[0][1]
    client = kind(address, rate_hz)
    await client.open()
    results = client.results()
    step = 2 * int(args.packet_s * rate_hz)
    sent_bytes, tenth = 0, 0
    for data, _, _ in cycle(encoded):
        for begin in range(0, len(data), step):
            await client.send(data[begin : begin + step])
            await anext(results)
            sent_bytes += min(step, len(data) - begin)
        minutes = sent_bytes / 2 / rate_hz / 60
        if minutes >= tenth * args.minutes / TENTHS:
            used = ", ".join(f"{each.role} {each.memory_mib:.1f}" for each in server.usage())
            print(f"{minutes:7.1f} min of audio: {used} MiB", flush=True)
            tenth += 1
        if minutes >= args.minutes:
            break
    client.vanish()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="directory or package")
    parser.add_argument("--protocol", default="vosk", choices=PROTOCOLS)
    parser.add_argument("--streams", type=int, default=25, help="live streams of part 1; 0 leaves it out")
    parser.add_argument("--sessions", type=int, default=100, help="live sessions of part 2; 0 leaves it out")
    parser.add_argument("--minutes", type=float, default=0.0, help="length of the audio of part 3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a round")
    parser.add_argument("--stream-s", type=float, default=8.0, help="least length of a stream")
    parser.add_argument("--packet-s", type=float, default=0.2, help="length of a packet")
    parser.add_argument("--json", type=Path, help="file for the figures of parts 1 and 2")
    parser.add_argument("--hold-s", type=float, default=4.0, help="audio of the sessions of part 2")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    args.wav = args.wav or sorted(WAV.glob("*.wav"))
    return args


def make_script(args: argparse.Namespace, model: Path) -> Script:
    """Decodes what is going to be spoken."""
    from pykaldi_server.session import Model

    loaded = Model.load(model, **VOSK_RECIPE)
    form = PROTOCOLS[args.protocol].form
    recordings = join_recordings(read_recordings(args.wav), args.stream_s)
    expected = {(form, each): expect(loaded, each, form) for each in recordings}
    return Script((args.protocol,), tuple(recordings), expected, args.seconds, args.packet_s)


def compare(args: argparse.Namespace) -> None:
    from pykaldi_server.session import packaged_model

    places = prepare(packaged_model(args.model) or Path(args.model), args.folder)
    model = places.get(COMPILED, places[OURS])
    args.script = make_script(args, model)
    server_cores, client_cores = split_cores()
    os.sched_setaffinity(0, client_cores)
    slots = max(args.streams, args.sessions, 1)
    options = [f"--model-option={name}={value}" for name, value in VOSK_RECIPE.items()]
    options += ["--sessions", str(slots), "--queue-s", "0"]
    variables = environment(args.folder / "cache")
    print(
        f"{args.model}, {slots} slots; server and library on core {server_cores}, clients on {client_cores}"
    )
    with (
        library(args, model, server_cores) as other,
        our_server(model, server_cores, variables, args.folder, *options) as (server, address),
    ):
        figures: dict[str, float] = {}
        if args.streams:
            figures |= measure_cpu(args, server, address, other)
        if args.sessions:
            figures |= measure_memory(args, server, address, other)
        if args.json:
            args.json.write_text(json.dumps(figures))
        if args.minutes:
            print("\nmemory in the course of one session")
            asyncio.run(speak_on(server, address, args))


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        compare(args)


if __name__ == "__main__":
    main()
