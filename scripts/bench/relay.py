"""CPU time that the master takes per packet that it relays, apart from recognition.

Clients speak in real time to a master whose workers recognise nothing: they answer each packet with its
position, as the protocol wants it, and every other one with a partial result before that. The master has a
core of its own. Usage: relay.py [--protocol NAME] [--streams N] [--packets N] [--packet-s S]
"""

import argparse
import asyncio
import json
import os
import random
import sys

from live_clients import Address
from recordings import Recording
from servers import ROOT, SERVING, ServerProcess, running, split_cores
from speaking import PROTOCOLS, speak
from tornado.websocket import WebSocketClientConnection, websocket_connect

from pykaldi_server.protocols.worker import POSITION_PROTOCOL, Position, WorkerInfo

RATE_HZ = 16_000
WORDS = "how much does it cost to pass a packet on"


async def work(url: str) -> None:
    """A slot that recognises nothing: serves one request after another until it is cancelled."""
    while True:
        connection = await websocket_connect(url)
        try:
            await serve(connection)
        finally:
            connection.close()


async def serve(connection: WebSocketClientConnection) -> None:
    first = await connection.read_message()
    if first is None:
        return
    request_id = json.loads(first)["id"]
    num_bytes, num_packets = 0, 0
    while (message := await connection.read_message()) is not None:
        num_bytes += len(message)
        num_packets += 1
        is_end = message == "EOS"
        if num_packets % 2 or is_end:
            result = {"hypotheses": [{"transcript": WORDS}], "final": is_end}
            event = {"status": 0, "segment": 0, "id": request_id, "result": result}
            if is_end:
                event.update({"segment-start": 0.0, "segment-length": 1.0, "total-length": 1.0})
                result["hypotheses"] = [{"transcript": WORDS, "likelihood": 1.0}]
            await connection.write_message(json.dumps(event))
        await connection.write_message(Position(num_bytes, num_bytes / 2 / RATE_HZ, is_end).text())


async def run_master() -> None:
    """Serves until the process is ended."""
    from pykaldi_server.master.options import MasterOptions
    from pykaldi_server.master.server import Master

    master = Master(MasterOptions(host="127.0.0.1", port=0))
    master.start()
    print(f"{SERVING}{master.url}", flush=True)
    await asyncio.Event().wait()


async def speak_later(args: argparse.Namespace, address: Address, recording: Recording) -> None:
    """One client, which begins at some moment within a packet's length."""
    await asyncio.sleep(random.uniform(0, args.packet_s))
    outcome = await speak(PROTOCOLS[args.protocol], address, recording, args.packet_s)
    if outcome.failure is not None:
        raise outcome.failure


async def measure(args: argparse.Namespace, server: ServerProcess) -> None:
    import numpy as np

    info = WorkerInfo("none", protocol=POSITION_PROTOCOL, sample_rate_hz=RATE_HZ)
    url = info.url(f"ws://127.0.0.1:{server.address.port}/worker/ws/speech")
    slots = [asyncio.create_task(work(url)) for _ in range(args.streams)]
    await asyncio.sleep(1.0)
    num_samples = int(args.packets * args.packet_s * RATE_HZ)
    recording = Recording("silence", np.zeros(num_samples, np.int16), RATE_HZ)
    speaking = [
        asyncio.create_task(speak_later(args, server.address, recording)) for _ in range(args.streams)
    ]
    seconds = args.packets * args.packet_s
    await asyncio.sleep(min(2.0, 0.2 * seconds))
    begin_s = server.usage()[0].cpu_s
    await asyncio.sleep(0.7 * seconds)
    cpu_s = server.usage()[0].cpu_s - begin_s
    await asyncio.gather(*speaking)
    for slot in slots:
        slot.cancel()
    num_packets = args.streams * 0.7 * seconds / args.packet_s
    print(
        f"{args.protocol}, {args.streams} streams, packets of {args.packet_s:g} s: "
        f"{1000 * cpu_s / num_packets:.3f} ms of the master's CPU per packet"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="vosk", choices=("vosk", "kaldi"))
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--packets", type=int, default=100, help="packets per stream")
    parser.add_argument("--packet-s", type=float, default=0.2, help="length of a packet")
    parser.add_argument("--master", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.master:
        asyncio.run(run_master())
        return
    cores, client_cores = split_cores()
    os.sched_setaffinity(0, client_cores)
    command = [sys.executable, __file__, "--master"]
    with running(command, "master", cores, {**os.environ, "PYTHONPATH": str(ROOT)}) as server:
        asyncio.run(measure(args, server))


if __name__ == "__main__":
    main()
