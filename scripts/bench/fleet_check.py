"""Has a real master serve calls whose fate `fleet.py` has simulated: by workers that recognise nothing, whose
slots stay, and with a client for each call, which comes and goes at its times. Who has waited is what the
master's metrics say.
"""

import asyncio
import json
import os
import re
import sys
import time
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from null_peers import BINARY, TEXT, Count, Counts, NullClient, client_path, connect, run_workers
from servers import ROOT, running

if TYPE_CHECKING:
    from fleet import Call, Fleet, Outcome

__all__ = ["serve_calls"]

PACKET = bytes(3200)
POLL_S = 0.02
PATIENCE_S = 60.0
NOT_AVAILABLE = 9
AT_ONCE_S = 0.02
"""A bound of the buckets of the master's metrics."""


class Caller(NullClient):
    """A client of one call.

    Attributes:
        served: done when the first result has come, or the end.
        status: with which the call ended.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.status = 0
        self.served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def received(self, opcode: int, payload: bytes) -> None:
        message = json.loads(payload)
        self.status = message["status"]
        if "result" in message and not self.served.done():
            self.served.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.served.done():
            self.served.set_result(None)


async def speak(master: str, call: "Call", begin_s: float, outcome: "Outcome") -> None:
    """One call: a packet when it comes, and the end when it has been served for its length."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, begin_s + call.at_s - loop.time()))
    came_s = loop.time()
    caller = await connect(master, lambda: Caller(client_path("kaldi")))
    caller.send(BINARY, PACKET)
    await caller.served
    served_s = loop.time()
    if not caller.status:
        await asyncio.sleep(call.length_s)
        caller.send(TEXT, b"EOS")
    await caller.closed
    if caller.status == NOT_AVAILABLE:
        outcome.refused += 1
    elif caller.status:
        raise SystemExit(f"a call ended with status {caller.status}")
    else:
        outcome.busy_s += loop.time() - served_s
        outcome.waits_s.append(served_s - came_s)


async def speak_all(master: str, calls: "list[Call]", outcome: "Outcome") -> None:
    begin_s = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(speak(master, call, begin_s, outcome))
    outcome.slots_s = outcome.most_slots * (asyncio.get_running_loop().time() - begin_s)


def served_at_once(master: str) -> int:
    """How many requests a master has served that have waited no longer than a slot takes to come back."""
    text = urlopen(f"{master}/metrics").read().decode()
    line = rf'^pykaldi_server_queue_wait_seconds_bucket{{le="{AT_ONCE_S}",.*outcome="served"}} ([\d.]+)$'
    return sum(int(float(number)) for number in re.findall(line, text, re.MULTILINE))


def serve_calls(calls: "list[Call]", fleet: "Fleet", outcome: "Outcome") -> None:
    """Serves calls in real time, and notes what became of them.

    Args:
        calls: what comes.
        fleet: what serves them; its slots stay.
        outcome: of a fleet of that size, to which nothing has happened.
    """
    command = [sys.executable, str(Path(__file__).with_name("relay.py")), "--master"]
    command += [f"--queue-s={fleet.queue_s}", f"--queue-length={fleet.queue_length}"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with running(command, "master", os.sched_getaffinity(0), variables) as server:
        counts: Counts = RawArray("q", len(Count))
        process = get_context("spawn").Process(target=run_workers, args=(server.url, fleet.slots, 1, counts))
        process.start()
        try:
            give_up_s = time.monotonic() + PATIENCE_S
            while counts[Count.SLOTS] < fleet.slots:
                if time.monotonic() > give_up_s:
                    raise SystemExit(f"expected {fleet.slots} slots, found {counts[Count.SLOTS]}")
                time.sleep(POLL_S)
            asyncio.run(speak_all(server.url, calls, outcome))
            outcome.at_once = served_at_once(server.url)
            outcome.waits_s = sorted(outcome.waits_s)[outcome.at_once :]
        finally:
            process.kill()
