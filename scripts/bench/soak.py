"""Hours of mixed clients with faults: whoever speaks gets the words, or is told that it will not.

A server with two workers serves clients of all protocols, which speak recordings in real time, stream after
stream. Every minute something goes wrong, see `faults.py`. Workers that are hit are always the youngest, and
SIGHUP, which replaces all of them, comes only before memory has settled, so that the other one lives on. What
has to hold:

* a stream gets exactly the words that the library finds in its recording, or an error. One that gets neither
  is a silent loss;
* errors come only while a fault is at work;
* after each fault the server is whole again: all slots are there, and a client gets its words;
* in the end all slots are free, and no process has more open files than in the beginning;
* the log has no stack trace;
* memory: each process that has lived all the time has at most 5 % more of its own in the end than after ten
  minutes. For both measurements nobody speaks until free memory has been given back: what a stream needs at
  a moment, some MiB, would hide what stays. Mapped files do not count: a process's part of those depends on
  who else has them mapped. In tests of less than 20 minutes this is printed and does not count.

Everything that does not hold is printed, with the id of the request, and the exit status is 1. A table shows
the memory of the master and of the workers, the oldest first, minute by minute, while clients speak.

Usage: soak.py [--minutes N] [--clients N] [--model MODEL] [--fault-s S] [--log FILE]
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import psutil
from faults import FAULTS, RELOAD, Scene
from live_clients import Client, Failure, Lost, Refused
from recordings import Expected, Form, Recording, expect, read_recordings
from servers import ROOT, ServerProcess, our_server
from speaking import PROTOCOLS, Outcome, speak
from tornado.httpclient import AsyncHTTPClient
from vosk_terms import environment

WAV = ROOT / "tests" / "data" / "golden" / "wav"
PROBE = "ps-librivox-0930"
WORKERS, SLOTS = 2, 8
PACKET_S = 0.2
RETRY_S = 1.0
SAMPLE_S = 5.0
SETTLED_MINUTES = 10.0
JUDGED_MINUTES = 20.0
MAX_GROWTH = 1.05
GIVE_BACK_S = 35.0
"""Workers give free memory back every 5 s, masters every 30. Short tests do not wait as long."""
LAST_RELOAD_S = 120.0
"""How long before memory has settled SIGHUP comes for the last time."""
RECOVERY_S = 120.0
PATIENCE_S = 120.0
"""How long after the end of its sound a stream may last."""
POLL_S = 0.1
AFTERMATH_S = 3.0
"""How long after the server is whole again clients may still hear of the fault."""
MOST_SHOWN = 20
SPARE_FILES = 3


@dataclass
class Sample:
    """Memory of its own of each process, by its id, at a time."""

    at_s: float
    memory_mib: dict[int, float]


@dataclass
class Tally:
    """What became of the streams of one protocol."""

    streams: int = 0
    words: int = 0
    refused: int = 0
    told: int = 0


@dataclass
class Diary:
    """All that has happened.

    Attributes:
        faulty_s: when faults were at work: begin and end; the end of one that is at work is infinite.
        recoveries_s: by fault, how long the server took to be whole again, each time.
        samples: of memory, all the time.
        quiet_samples: of memory while nobody speaks: when it has settled, and in the end.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    faulty_s: list[list[float]] = field(default_factory=list)
    recoveries_s: dict[str, list[float]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    quiet_samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, text: str) -> None:
        """Notes and prints what must not be."""
        self.failures.append(text)
        if len(self.failures) <= MOST_SHOWN:
            print(f"FAILED: {text}", flush=True)

    def was_faulty(self, begin_s: float, end_s: float) -> bool:
        return any(begin_s < last and end_s > first for first, last in self.faulty_s)

    def judge(
        self, protocol: str, recording: str, outcome: Outcome, expected: Expected, now_s: float
    ) -> None:
        """Counts a stream, or notes what is wrong with it."""
        tally = self.tallies.setdefault(protocol, Tally())
        tally.streams += 1
        name = f"{protocol}, {recording}, request {outcome.request_id or 'without an id'}"
        if outcome.failure is None and outcome.end_s is None:
            self.fail(f"{name}: silent loss: no end {PATIENCE_S:g} s after the sound")
        elif outcome.failure is None:
            tally.words += 1
            if outcome.text != expected.text:
                self.fail(f"{name}: expected {expected.text!r}, found {outcome.text!r}")
        elif isinstance(outcome.failure, Lost):
            self.fail(f"{name}: silent loss: {outcome.failure}")
        else:
            tally.refused += isinstance(outcome.failure, Refused)
            tally.told += not isinstance(outcome.failure, Refused)
            if not self.was_faulty(outcome.begin_s, now_s):
                self.fail(f"{name}: an error without a fault: {outcome.failure}")


class Soak:
    """One test.

    Args:
        scene: the server.
        expected: what is to be recognised in each form.
        diary: takes down what happens.
        begin_s, end_s: when it begins and ends, in the event loop's time.
    """

    def __init__(
        self,
        scene: Scene,
        expected: Mapping[tuple[Form, Recording], Expected],
        diary: Diary,
        begin_s: float,
        end_s: float,
    ) -> None:
        self._scene = scene
        self._expected = expected
        self._diary = diary
        self._end_s = end_s
        self._settled_s = settled_s(begin_s, (end_s - begin_s) / 60)
        self._give_back_s = min(GIVE_BACK_S, (end_s - begin_s) / 10)
        self._slots = WORKERS * SLOTS
        self._may_speak = asyncio.Event()
        self._may_speak.set()
        self._num_speaking = 0
        self._fault_turn = asyncio.Lock()  # held while a fault is at work, or nobody may disturb

    async def run(self, clients: int, fault_s: float) -> None:
        """Lets clients speak and faults happen until the end."""
        if not await self.has_slots():
            raise SystemExit(f"the server does not have {self._slots} slots after {RECOVERY_S:g} s")
        files = self.files()
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self.client(number))
            group.create_task(self.faults(fault_s))
            group.create_task(self.watch())
            group.create_task(self.measure_settled())
        await self.check_end(files)
        await self.measure_quiet()

    async def client(self, number: int) -> None:
        """Stream after stream, of one protocol after the other."""
        loop = asyncio.get_running_loop()
        rng = random.Random(number)
        names = list(PROTOCOLS)
        turn = number
        await asyncio.sleep(rng.uniform(0, RETRY_S))
        while loop.time() < self._end_s:
            name = names[turn % len(names)]
            recording = rng.choice(self._scene.recordings)
            kind = PROTOCOLS[name]
            await self._may_speak.wait()
            self._num_speaking += 1
            outcome = await self.speak(kind, recording)
            self._num_speaking -= 1
            expected = self._expected[kind.form, recording]
            self._diary.judge(name, recording.name, outcome, expected, loop.time())
            turn += 1
            if outcome.failure is not None:
                await asyncio.sleep(rng.uniform(RETRY_S, 2 * RETRY_S))

    async def faults(self, fault_s: float) -> None:
        """One fault after the other; each is over when the server is whole again."""
        loop = asyncio.get_running_loop()
        names = list(FAULTS)
        turn = 0
        next_s = loop.time() + fault_s / 2
        while next_s < self._end_s - fault_s / 4:
            await asyncio.sleep(max(0.0, next_s - loop.time()))
            name = names[turn % len(names)]
            turn += 1
            async with self._fault_turn:
                if name == RELOAD and loop.time() > self._settled_s - LAST_RELOAD_S:
                    continue
                next_s = max(next_s + fault_s, await self.suffer(name))

    async def suffer(self, name: str) -> float:
        """One fault; returns when nobody should hear of it any more."""
        loop = asyncio.get_running_loop()
        window = [loop.time(), float("inf")]
        self._diary.faulty_s.append(window)
        try:
            await FAULTS[name](self._scene)
        except (Failure, OSError) as error:  # time-outs are errors of the system, too
            self._diary.fail(f"{name}: cannot be done: {error!r}")
        done_s = loop.time()
        if await self.has_slots():
            self._diary.recoveries_s.setdefault(name, []).append(loop.time() - done_s)
        else:
            self._diary.fail(f"{name}: the server has not all slots again after {RECOVERY_S:g} s")
        if not await self.gives_words():
            self._diary.fail(f"{name}: no client gets its words after {RECOVERY_S:g} s")
        window[1] = loop.time() + AFTERMATH_S
        return window[1]

    async def speak(self, kind: type[Client], recording: Recording) -> Outcome:
        """One stream, which is left when its end does not come."""
        until_s = asyncio.get_running_loop().time() + recording.length_s + PATIENCE_S
        return await speak(kind, self._scene.address, recording, PACKET_S, until_s)

    async def has_slots(self) -> bool:
        """Waits until all slots are there; False if that takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_S):
                while await self.slots() < self._slots:
                    await asyncio.sleep(POLL_S)
                return True
        return False

    async def gives_words(self) -> bool:
        """Waits until a client gets its words; False if that takes too long."""
        recordings = self._scene.recordings
        probe = next((each for each in recordings if each.name == PROBE), recordings[0])
        kind = PROTOCOLS["kaldi"]
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_S):
                while (await self.speak(kind, probe)).text != self._expected[kind.form, probe].text:
                    await asyncio.sleep(RETRY_S)
                return True
        return False

    async def slots(self, only_free: bool = False) -> int:
        """How many slots the server has, free or busy."""
        url = f"http://{self._scene.address.host}:{self._scene.address.port}/readyz"
        answer = json.loads((await AsyncHTTPClient().fetch(url, raise_error=False)).body or b"{}")
        busy = 0 if only_free else answer.get("num_requests_active", 0)
        return int(answer.get("num_workers_available", 0)) + int(busy)

    def files(self) -> dict[int, int]:
        """How many files each process has open."""
        parent = self._scene.server.process.pid
        return {
            pid: count_files(pid) for pid in (parent, *(each.pid for each in self._scene.server.workers()))
        }

    async def watch(self) -> None:
        """Samples the memory of all processes."""
        loop = asyncio.get_running_loop()
        while loop.time() < self._end_s:
            self._diary.samples.append(self.sample())
            await asyncio.sleep(SAMPLE_S)

    def sample(self) -> Sample:
        usage = self._scene.server.usage()
        return Sample(asyncio.get_running_loop().time(), {each.pid: each.own_mib for each in usage})

    async def measure_settled(self) -> None:
        """Has clients and faults pause when memory has settled, and measures it."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._settled_s - loop.time())
        async with self._fault_turn:
            self._may_speak.clear()
            while self._num_speaking:
                await asyncio.sleep(POLL_S)
            await self.measure_quiet()
            self._may_speak.set()

    async def measure_quiet(self) -> None:
        """Measures memory; nobody speaks."""
        await asyncio.sleep(self._give_back_s)
        self._diary.quiet_samples.append(self.sample())

    async def check_end(self, files: Mapping[int, int]) -> None:
        """Nothing is held any more: slots and open files are as in the beginning."""
        found: dict[int, int] = {}
        free = 0
        for _ in range(int(RECOVERY_S / RETRY_S)):
            AsyncHTTPClient().close()
            free, found = await self.slots(only_free=True), self.files()
            if free == self._slots and all(found.get(pid, 0) <= n + SPARE_FILES for pid, n in files.items()):
                return
            await asyncio.sleep(RETRY_S)
        if free != self._slots:
            self._diary.fail(f"slots free at the end: expected {self._slots}, found {free}")
        for pid, number in files.items():
            if found.get(pid, 0) > number + SPARE_FILES:
                numbers = f"{number} at first, {found[pid]} in the end"
                self._diary.fail(f"process {pid}: open files: {numbers}: {describe_connections(pid)}")


def count_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0


def describe_connections(pid: int) -> str:
    """The connections of a process, for whoever looks for one that was left open."""
    connections = psutil.Process(pid).net_connections("inet")
    return ", ".join(f"{each.laddr[1]} - {each.raddr[1]} {each.status}" for each in connections if each.raddr)


def settled_s(begin_s: float, minutes: float) -> float:
    """When memory has settled, in the event loop's time: after ten minutes, or half of a short test."""
    return begin_s + 60 * min(SETTLED_MINUTES, minutes / 2)


def check_memory(diary: Diary, minutes: float, server: ServerProcess) -> list[str]:
    """Compares the memory in the end with that after ten minutes; returns lines to print."""
    is_judged = minutes >= JUDGED_MINUTES
    early_mib, late_mib = (sample.memory_mib for sample in diary.quiet_samples)
    lines = []
    compared: set[str] = set()
    for pid, late in late_mib.items():
        role = "master" if pid == server.process.pid else "worker"
        early = early_mib.get(pid)
        if early is None:
            lines.append(f"{role} {pid:8}  {'younger':>10} {late:10.1f}")
            continue
        growth = late / early
        lines.append(f"{role} {pid:8}  {early:10.1f} {late:10.1f} {growth - 1:+9.1%}")
        compared.add(role)
        if is_judged and growth > MAX_GROWTH:
            diary.fail(f"{role} {pid}: memory grew from {early:.1f} to {late:.1f} MiB")
    for role in {"master", "worker"} - compared if is_judged else ():
        diary.fail(f"memory: no {role} has lived long enough to be judged")
    return lines


def memory_by_minute(diary: Diary, begin_s: float) -> list[str]:
    """The lines of a table: the median in each minute of the master and of the workers, the oldest first."""
    minutes: dict[int, list[list[float]]] = {}
    for sample in diary.samples:
        columns = minutes.setdefault(int((sample.at_s - begin_s) // 60) + 1, [])
        for number, memory_mib in enumerate(sample.memory_mib.values()):
            if number == len(columns):
                columns.append([])
            columns[number].append(memory_mib)
    return [
        f"{minute:6} " + " ".join(f"{median(column):10.1f}" for column in columns)
        for minute, columns in minutes.items()
    ]


def check_log(diary: Diary, log: str) -> None:
    """Notes stack traces."""
    if number := log.count("Traceback (most recent call last)"):
        first = log[log.index("Traceback (most recent call last)") :][:2000]
        diary.fail(f"{number} stack traces in the server's log, the first of which is:\n{first}")


def report(diary: Diary, memory: list[str], by_minute: list[str]) -> None:
    """Prints the summary."""
    print(f"\n{'protocol':24} {'streams':>8} {'words':>8} {'refused':>8} {'told':>8}")
    total = Tally()
    for name, tally in (*sorted(diary.tallies.items()), ("all", total)):
        print(f"{name:24} {tally.streams:8} {tally.words:8} {tally.refused:8} {tally.told:8}")
        for key, value in vars(tally).items():
            setattr(total, key, getattr(total, key) + value)
    print(f"\n{'fault':24} {'times':>8} {'whole again after, s (median, most)':>36}")
    for name, took_s in diary.recoveries_s.items():
        print(f"{name:24} {len(took_s):8} {median(took_s):30.1f} {max(took_s):5.1f}")
    print(f"\n{'memory, MiB':16}  {'settled':>10} {'in the end':>10}    growth", *memory, sep="\n")
    print(f"\n{'minute':>6} {'master':>10} {'workers':>10}", *by_minute, sep="\n")
    print(f"\n{len(diary.failures)} failures")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=8, help="clients that speak at the same time")
    parser.add_argument("--model", default="models/english", help="directory or package")
    parser.add_argument("--fault-s", type=float, default=60.0, help="seconds from one fault to the next")
    parser.add_argument("--log", type=Path, help="file that keeps the server's log")
    parser.add_argument("--argument", action="append", default=[], help="further argument of `serve`")
    return parser.parse_args()


def main() -> int:
    from pykaldi_server.session import Model, packaged_model

    args = parse_arguments()
    model = Model.load(packaged_model(args.model) or ROOT / args.model)
    recordings = tuple(read_recordings(sorted(WAV.glob("*.wav"))))
    forms = {kind.form for kind in PROTOCOLS.values()}
    expected = {(form, each): expect(model, each, form) for form in forms for each in recordings}
    del model
    diary = Diary()
    with tempfile.TemporaryDirectory() as name:
        options = ["--workers", str(WORKERS), "--sessions", str(SLOTS), *args.argument]
        variables, cores = environment(Path(name) / "cache"), os.sched_getaffinity(0)
        with our_server(args.model, cores, variables, Path(name), *options) as (server, address):
            scene = Scene(server, address, recordings, random.Random(0))

            async def run() -> float:
                begin_s = asyncio.get_running_loop().time()
                soak = Soak(scene, expected, diary, begin_s, begin_s + 60 * args.minutes)
                await soak.run(args.clients, args.fault_s)
                return begin_s

            print(
                f"{time.strftime('%H:%M:%S')}: {args.clients} clients for {args.minutes:g} minutes",
                flush=True,
            )
            begin_s = asyncio.run(run())
            memory = check_memory(diary, args.minutes, server)
            check_log(diary, server.read_log())
            if args.log:
                shutil.copy(server.log.name, args.log)
    report(diary, memory, memory_by_minute(diary, begin_s))
    return 1 if diary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
