"""How many live streams a core bears: paced clients against a server, from one to saturation and beyond.

Each client speaks recordings in real time, one stream after the other; one that is refused comes again after
a second or two. The server and all its processes have one core, the clients the others. In one run:

1. the number of clients grows until the words come too late: p95 of the word delay reaches `--bound-s` (with
   one client it is 2 s, for Vosk as well: some words only become the best ones when others have followed);
2. the server gets as many slots as that, and up to three times as many clients: who is refused must not
   slow down who is admitted;
3. the same clients as in 1 speak to Vosk with the same model and recipe behind an equal loop, `vosk_loop.py`.

The last line has the ratio of streams per core, if our clients speak the protocol of Vosk's. A word's delay
is the time from the end of its sound to the first moment at which the client shows it; the ends are those of
a decode by the library, and only protocols count that show words before they are certain (kaldi, vosk,
asterisk, twilio). The final delay is the time from the end of the sound to the end of the results. CPU is in
seconds per second of audio, memory is each process's part (PSS). `errors` are streams that failed and were
not refused, `other` those that ended with words that are not the library's. `late` is by how much the clients
themselves sent packets too late: for each stream the worst packet, of which this is p99. Figures with more
than some ms there say nothing about the server.

Usage: load.py [--model MODEL] [--protocols NAME,...] [--clients N,...] [--seconds S] [--quick]
"""

import argparse
import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the clients' resampler; counts when NumPy is imported

import numpy as np
from live_clients import Address, Client, Refused
from recordings import Expected, Form, Recording, expect, join_recordings, matched_words, read_recordings
from servers import ROOT, ServerProcess, Usage, our_server, split_cores, vosk_server
from speaking import PROTOCOLS, Outcome, speak
from vosk_terms import COMPILED, OURS, VOSK, VOSK_RECIPE, environment, prepare

WAV = ROOT / "tests" / "data" / "golden" / "wav"
PERCENTILES = (50, 95, 99)
UNFINISHED_S = 2.0
"""How long before the end of a measurement words have to have been said to count."""
STAGGER_S = 2.0
RETRY_S = (1.0, 2.0)
OVERLOADS = (1, 2, 3)
LADDER = (0.25, 0.5, 0.75, 1.0)
STEPS_BEYOND = 4
GROWTH = 1.25
RESOLUTION = 0.08
"""How close to each other the last number that is borne and the first that is not have to be."""

Server = Callable[[int], AbstractContextManager[tuple[ServerProcess, Address]]]
"""Starts a server with a number of slots."""


@dataclass(frozen=True)
class Script:
    """What clients do."""

    protocols: tuple[str, ...]
    recordings: tuple[Recording, ...]
    expected: dict[tuple[Form, Recording], Expected]
    seconds: float
    packet_s: float


@dataclass
class Point:
    """What was measured with one number of clients."""

    clients: int
    seconds: float
    streams: list[tuple[Outcome, Expected, bool]] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    memory_mib: dict[str, float] = field(default_factory=dict)
    end_s: float = 0.0

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for outcome, _, _ in self.streams]

    @property
    def audio_s(self) -> float:
        return sum(outcome.sent_s for outcome in self.outcomes if outcome.failure is None)

    def refused(self) -> Counter[str]:
        return Counter(str(each.failure) for each in self.outcomes if isinstance(each.failure, Refused))

    def errors(self) -> list[str]:
        """What else went wrong."""
        failed = [each for each in self.outcomes if each.failure and not isinstance(each.failure, Refused)]
        return [f"{type(each.failure).__name__}: {each.failure} {each.request_id}" for each in failed]

    def other_words(self) -> list[str]:
        """Streams whose words are not those of the library."""
        ended = [(outcome, expected) for outcome, expected, _ in self.streams if outcome.end_s is not None]
        return [outcome.text for outcome, expected in ended if outcome.text != expected.text]

    def word_delays_s(self) -> list[float]:
        """Of words that were said early enough to be shown; those that were not get the time they had."""
        delays = []
        for outcome, expected, shows_partials in self.streams:
            if outcome.failure is None and shows_partials:
                delays += delays_of(outcome, expected, self.end_s)
        return delays

    def final_delays_s(self) -> list[float]:
        return [
            each.end_s - each.sound_end_s
            for each in self.outcomes
            if each.end_s is not None and each.sound_end_s is not None
        ]

    def late_s(self) -> float:
        return percentiles([each.late_s for each in self.outcomes])[-1]

    def cpu_per_audio_s(self) -> float:
        return sum(self.cpu_s.values()) / max(self.audio_s, 1e-9)


def delays_of(outcome: Outcome, expected: Expected, end_s: float) -> list[float]:
    """Delays of the words of a stream that was measured up to `end_s`."""
    first_shown: dict[int, float] = {}
    for shown in outcome.shown:
        for index in matched_words(expected.words, shown.text):
            first_shown.setdefault(index, shown.at_s)
    delays = []
    for index, sound_end_s in enumerate(expected.ends_s):
        said_s = outcome.begin_s + sound_end_s
        if said_s > end_s - UNFINISHED_S:
            break
        shown_s = first_shown.get(index, end_s if outcome.end_s is None else outcome.end_s)
        delays.append(shown_s - said_s)
    return delays


def percentiles(values: Sequence[float]) -> list[float]:
    return (
        [float(each) for each in np.percentile(list(values), PERCENTILES)] if values else [float("nan")] * 3
    )


async def run_client(script: Script, number: int, address: Address, deadline_s: float, point: Point) -> None:
    """One client: stream after stream until the end of the measurement."""
    loop = asyncio.get_running_loop()
    rng = random.Random(number)
    kind: type[Client] = PROTOCOLS[script.protocols[number % len(script.protocols)]]
    await asyncio.sleep(rng.uniform(0, min(STAGGER_S, script.seconds / 4)))
    turn = rng.randrange(len(script.recordings))
    while loop.time() < deadline_s:
        recording = script.recordings[turn % len(script.recordings)]
        outcome = await speak(kind, address, recording, script.packet_s, deadline_s)
        point.streams.append((outcome, script.expected[kind.form, recording], kind.shows_partials))
        turn += 1
        if outcome.failure is not None:
            await asyncio.sleep(min(rng.uniform(*RETRY_S), max(0.0, deadline_s - loop.time())))


async def run_clients(script: Script, clients: int, server: ServerProcess, address: Address) -> Point:
    """Measures one number of clients."""
    point = Point(clients, script.seconds)
    before = {each.pid: each for each in server.usage()}
    point.end_s = asyncio.get_running_loop().time() + script.seconds
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(run_client(script, number, address, point.end_s, point))
    for each in server.usage():
        begun = before.get(each.pid, Usage(each.role, each.pid, 0.0, 0.0, 0.0))
        point.cpu_s[each.role] = each.cpu_s - begun.cpu_s
        point.memory_mib[each.role] = each.memory_mib
    return point


def titles() -> str:
    """The head of a table."""
    names = f"{'clients':>7} {'live':>6} {'ended':>5}  {'refused':16} {'errors':>6} {'other':>5}"
    delays = f"{'word delay, s':^17}  {'final delay, s':^17}"
    second = (
        " " * len(names)
        + "  "
        + "  ".join(" ".join(f"{f'p{each}':>5}" for each in PERCENTILES) for _ in "ab")
    )
    return f"{names}  {delays}   late ms  CPU s per s, MiB by process\n{second}"


def row(point: Point) -> str:
    """A line of a table."""
    refused = ", ".join(f"{kind}: {number}" for kind, number in sorted(point.refused().items())) or "-"
    ended = sum(each.end_s is not None for each in point.outcomes)
    delays = "  ".join(
        " ".join(f"{each:5.2f}" for each in percentiles(values))
        for values in (point.word_delays_s(), point.final_delays_s())
    )
    processes = ", ".join(
        f"{role} {cpu_s / max(point.audio_s, 1e-9):.4f} {point.memory_mib[role]:.0f}"
        for role, cpu_s in point.cpu_s.items()
    )
    live = point.audio_s / point.seconds
    counts = f"{point.clients:7} {live:6.1f} {ended:5}  {refused:16} {len(point.errors()):6}"
    return f"{counts} {len(point.other_words()):5}  {delays}  {1000 * point.late_s():8.1f}  {processes}"


class Table:
    """Measures numbers of clients against one server and prints a line for each."""

    def __init__(self, title: str, script: Script, server: ServerProcess, address: Address) -> None:
        self._script, self._server, self._address = script, server, address
        self.points: dict[int, Point] = {}
        print(f"\n{title}\n{titles()}", flush=True)

    def measure(self, clients: int) -> Point:
        point = asyncio.run(run_clients(self._script, clients, self._server, self._address))
        self.points[clients] = point
        print(row(point), flush=True)
        for text, number in Counter(point.errors()).most_common(5):
            print(f"        {number} x {text}", flush=True)
        return point


@dataclass(frozen=True)
class Capacity:
    """How many clients are served in time.

    Attributes:
        clients: the largest number found that are; 0 if not even one is.
        is_least: no larger number was tried.
    """

    clients: int
    is_least: bool

    def __str__(self) -> str:
        return f"at least {self.clients}" if self.is_least else str(self.clients)


def is_borne(point: Point, bound_s: float) -> bool:
    """Whether all clients got the right words in time."""
    went_wrong = point.refused() or point.errors() or point.other_words()
    return not went_wrong and percentiles(point.word_delays_s())[1] < bound_s


def find_capacity(table: Table, bound_s: float) -> Capacity:
    """Measures ever more clients until they are too many, and then closes in on the number that is not."""

    def measure(clients: int) -> bool:
        return is_borne(table.points.get(clients) or table.measure(clients), bound_s)

    if not measure(1):
        return Capacity(0, is_least=False)
    estimate = 1 / table.points[1].cpu_per_audio_s()
    numbers = [max(1, round(share * estimate)) for share in LADDER]
    numbers += [round(estimate * GROWTH**step) for step in range(1, STEPS_BEYOND + 1)]
    borne, too_many = 1, 0
    for number in numbers:
        if number > borne and not measure(number):
            too_many = number
            break
        borne = max(borne, number)
    while too_many - borne > max(1, RESOLUTION * borne):
        middle = (borne + too_many) // 2
        if measure(middle):
            borne = middle
        else:
            too_many = middle
    return Capacity(borne, is_least=not too_many)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"), help="directory or package")
    parser.add_argument(
        "--protocols",
        default="vosk",
        help=f"comma-separated, or all: {', '.join(PROTOCOLS)}; Vosk's server: vosk",
    )
    parser.add_argument("--clients", help="numbers of clients, comma-separated, instead of a search")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each measurement")
    parser.add_argument("--stream-s", type=float, default=8.0, help="least length of a stream")
    parser.add_argument("--packet-s", type=float, default=0.2, help="length of a packet")
    parser.add_argument("--bound-s", type=float, default=3.0, help="p95 of the word delay that is too late")
    parser.add_argument("--most-slots", type=int, default=160, help="slots of the server in the first part")
    parser.add_argument("--slots", type=int, help="slots of the server in the second part; default: as found")
    parser.add_argument("--quick", action="store_true", help="try the script: few clients, a few seconds")
    parser.add_argument("--without-vosk", action="store_true")
    parser.add_argument("wav", nargs="*", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.seconds, args.stream_s, args.clients, args.slots = 5.0, 1.0, "1,2", args.slots or 2
        args.wav = args.wav or [WAV / "ps-tidigits-2934z.wav", WAV / "ps-librivox-0930.wav"]
    args.protocols = tuple(PROTOCOLS) if args.protocols == "all" else tuple(args.protocols.split(","))
    if unknown := set(args.protocols) - set(PROTOCOLS):
        parser.error(f"protocols: expected some of {', '.join(PROTOCOLS)}, found {', '.join(unknown)}")
    args.wav = args.wav or sorted(WAV.glob("*.wav"))
    return args


def make_script(args: argparse.Namespace, model: Path) -> Script:
    """Decodes what is going to be spoken."""
    from pykaldi_server.session import Model

    loaded = Model.load(model, **VOSK_RECIPE)
    recordings = join_recordings(read_recordings(args.wav), args.stream_s)
    forms = {PROTOCOLS[name].form for name in (*args.protocols, "vosk")}
    expected = {(form, each): expect(loaded, each, form) for form in forms for each in recordings}
    return Script(args.protocols, tuple(recordings), expected, args.seconds, args.packet_s)


def compare(args: argparse.Namespace, folder: Path) -> None:
    from pykaldi_server.session import packaged_model

    model = packaged_model(args.model) or Path(args.model)
    places = prepare(model, folder)
    ours = places.get(COMPILED, places[OURS])
    script = make_script(args, ours)
    server_cores, client_cores = split_cores()
    os.sched_setaffinity(0, client_cores)
    variables = environment(folder / "cache")
    recipe = [f"--model-option={name}={value}" for name, value in VOSK_RECIPE.items()]
    numbers = [int(each) for each in (args.clients or "").split(",") if each]
    print(
        f"{args.model}; server on core {server_cores}, clients on {client_cores}; packet {args.packet_s:g} s"
    )

    def ours_with(slots: int) -> AbstractContextManager[tuple[ServerProcess, Address]]:
        options = [*recipe, "--sessions", str(slots), "--queue-s", "0"]
        return our_server(ours, server_cores, variables, folder, *options)

    def find(title: str, start: Server, script: Script) -> Capacity:
        # Twice as many slots as clients: a slot comes back some milliseconds after a client has its answer.
        with start(2 * max(numbers) if numbers else args.most_slots) as (server, address):
            table = Table(title, script, server, address)
            if not numbers:
                return find_capacity(table, args.bound_s)
            points = [table.measure(number) for number in numbers]
        borne = max((each.clients for each in points if is_borne(each, args.bound_s)), default=0)
        return Capacity(borne, is_least=borne == max(numbers))

    protocols = ", ".join(args.protocols)
    capacity = find(f"pykaldi-server ({protocols}), slots for all", ours_with, script)
    slots = args.slots or capacity.clients
    if slots:
        with ours_with(slots) as (server, address):
            table = Table(f"pykaldi-server ({protocols}), {slots} slots", script, server, address)
            for overload in OVERLOADS:
                table.measure(overload * slots)
    if args.without_vosk:
        return
    equal = Script(("vosk",), script.recordings, script.expected, script.seconds, script.packet_s)
    theirs = find("Vosk", lambda _: vosk_server(places[VOSK], server_cores, variables), equal)
    ratio = "no ratio"
    if args.protocols == equal.protocols and capacity.clients and theirs.clients and not theirs.is_least:
        least = "at least " if capacity.is_least else ""
        ratio = f"{least}{capacity.clients / theirs.clients:.1f} times as many"
    bound = f"p95 of the word delay below {args.bound_s:g} s"
    print(f"\nstreams per core with {bound}: pykaldi-server {capacity}, Vosk {theirs}: {ratio}")


def main() -> None:
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


if __name__ == "__main__":
    main()
