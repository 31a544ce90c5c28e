"""CPU time that the master takes per packet that it relays, and its memory, apart from recognition.

The master has a core of its own. Thousands of clients speak silence to it, and its workers recognise nothing:
they report positions as the master asks for them, and a small partial result every fourth packet
(`null_peers.py`). Then, on a new master, as many clients as --idle says open their streams, send one packet
each and fall silent. It is an error if a stream ends without its last result.

Usage: relay.py [--protocol NAME] [--streams N] [--packets N] [--packet-s S] [--every-s S] [--idle N]
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray

from null_peers import Count, Counts, Pace, run_clients, run_workers
from servers import ROOT, SERVING, ServerProcess, Usage, running, split_cores

PARTIAL_EVERY = 4
MEASUREMENTS = 5
POLL_S = 0.05
PATIENCE_S = 120.0
LEFT_ALONE_S = 5.0


async def run_master(args: argparse.Namespace) -> None:
    """Serves until the process is ended."""
    from pykaldi_server.master.connections import allow_many_files
    from pykaldi_server.master.options import MasterOptions
    from pykaldi_server.master.server import Master

    allow_many_files()
    options = MasterOptions(port=0, queue_s=args.queue_s, queue_length=args.queue_length)
    master = Master(options)
    master.start()
    print(f"{SERVING}{master.url}", flush=True)
    await asyncio.Event().wait()


class Peers:
    """Clients and workers in processes of their own.

    Args:
        server: the master.
        streams: how many clients there are, and slots.
        pace: what each client does.

    Attributes:
        counts: what they count.
    """

    def __init__(self, server: ServerProcess, streams: int, pace: Pace) -> None:
        self.counts: Counts = RawArray("q", len(Count))
        self._streams = streams
        context = get_context("spawn")
        self._workers: BaseProcess = context.Process(
            target=run_workers, args=(server.url, streams, PARTIAL_EVERY, self.counts)
        )
        self._clients: BaseProcess = context.Process(
            target=run_clients, args=(server.url, streams, pace, self.counts)
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside, all clients are connected. Before it is left, they have to end by themselves."""
        self._workers.start()
        try:
            self._wait_for(Count.SLOTS, self._workers)
            self._clients.start()
            try:
                self._wait_for(Count.OPEN, self._clients)
                yield
                self._clients.join()
            finally:
                self._clients.kill()
        finally:
            self._workers.kill()
        ended, failed = self.counts[Count.ENDED], self.counts[Count.FAILED]
        if (ended, failed) != (self._streams, 0):
            raise SystemExit(f"expected {self._streams} streams with their last result, found {ended}")

    def _wait_for(self, what: Count, process: BaseProcess) -> None:
        """Waits until there is one for each stream."""
        give_up_s = time.monotonic() + PATIENCE_S
        while self.counts[what] < self._streams:
            if time.monotonic() > give_up_s or not process.is_alive():
                raise SystemExit(f"{what.name}: expected {self._streams}, found {self.counts[what]}")
            time.sleep(POLL_S)


def measure_packets(args: argparse.Namespace, server: ServerProcess) -> None:
    """Prints what a packet costs, and the master's memory several times."""
    every_s = args.every_s or args.packet_s
    peers = Peers(server, args.streams, Pace(args.protocol, args.packets, args.packet_s, every_s))
    step_s = 0.8 * args.packets * every_s / MEASUREMENTS
    points: list[tuple[int, Usage]] = []
    with peers.at_work():
        time.sleep(0.1 * args.packets * every_s)
        for number in range(MEASUREMENTS + 1):
            points.append((peers.counts[Count.RELAYED], server.usage()[0]))
            if number < MEASUREMENTS:
                time.sleep(step_s)
    (first, begin), (last, end) = points[0], points[-1]
    memory = ", ".join(f"{usage.own_mib:.1f}" for _, usage in points)
    rate = (last - first) / (MEASUREMENTS * step_s)
    print(
        f"{args.protocol}, {args.streams} streams, packets of {args.packet_s:g} s: "
        f"{1000 * (end.cpu_s - begin.cpu_s) / (last - first):.3f} ms of the master's CPU per packet\n"
        f"    a packet every {every_s:g} s: {rate:.0f} per second in all, "
        f"late by at most {peers.counts[Count.LATE_MS]} ms; memory every {step_s:.1f} s: {memory} MiB",
        flush=True,
    )


def measure_idle(args: argparse.Namespace, server: ServerProcess) -> None:
    """Prints the master's memory with streams on which nothing comes."""
    before = server.usage()[0]
    peers = Peers(server, args.idle, Pace(args.protocol, 1, args.packet_s, 1.0, LEFT_ALONE_S))
    with peers.at_work():
        time.sleep(0.5 * LEFT_ALONE_S)
        usage = server.usage()[0]
    own_kib = 1024 * (usage.own_mib - before.own_mib) / args.idle
    print(
        f"{args.protocol}, {args.idle} idle streams: {usage.memory_mib:.1f} MiB in all, "
        f"{own_kib:.1f} KiB per stream"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="kaldi", choices=("kaldi", "vosk"))
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--packets", type=int, default=60, help="packets per stream")
    parser.add_argument("--packet-s", type=float, default=0.2, help="length of a packet in seconds of audio")
    parser.add_argument("--every-s", type=float, help="seconds between packets; default: their length")
    parser.add_argument("--idle", type=int, default=1000, help="idle streams; 0 measures none")
    parser.add_argument("--queue-s", type=float, default=10.0, help="how long requests wait at most")
    parser.add_argument("--queue-length", type=int, default=100, help="how many requests wait at most")
    parser.add_argument("--master", action="store_true", help="only run the master")
    args = parser.parse_args()
    if args.master:
        from pykaldi_server import event_loop

        event_loop.run(run_master(args))
        return
    cores, client_cores = split_cores()
    os.sched_setaffinity(0, client_cores)
    command = [sys.executable, __file__, "--master"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    for count, measure in ((args.packets, measure_packets), (args.idle, measure_idle)):
        if count:
            with running(command, "master", cores, variables) as server:
                measure(args, server)


if __name__ == "__main__":
    main()
