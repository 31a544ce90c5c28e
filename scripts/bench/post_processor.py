"""How much later partial results come with post-processors, quick and slow ones.

A recording is streamed in real time to a server with a worker, once for each post-processor. The delay of a
partial result is the time from when the client had sent as much audio as before that result came without a
post-processor. Usage: post_processor.py [--model DIR[:GRAPH]] [WAV]
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
import wave
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tornado.websocket import websocket_connect

from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.server import Master
from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.post_processor import PostProcessor
from pykaldi_server.worker.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
WAV = ROOT / "tests" / "data" / "golden" / "wav" / "ps-librivox-0870.wav"
PACKET_S = 0.1
PROGRAMS = {
    "none": "",
    "quick (cat)": "cat",
    "1 s per line": "while read line; do sleep 1; echo $line; done",
    "hangs": "sleep 1000",
    "ends at once": "exit 1",
}


async def stream(url: str, data: bytes, packet_bytes: int) -> list[tuple[str, bool, float]]:
    """Sends audio in real time; returns transcripts, whether they are final, and when they came."""
    client = await websocket_connect(url)
    results = []

    async def read() -> None:
        while (message := await client.read_message()) is not None:
            result = json.loads(message).get("result")
            if result:
                results.append(
                    (result["hypotheses"][0]["transcript"], result["final"], time.monotonic() - start_s)
                )

    start_s = time.monotonic()
    reading = asyncio.create_task(read())
    for number, begin in enumerate(range(0, len(data), packet_bytes)):
        await asyncio.sleep(max(0.0, start_s + number * PACKET_S - time.monotonic()))
        await client.write_message(data[begin : begin + packet_bytes], binary=True)
    await client.write_message("EOS")
    await reading
    return results


async def measure(model: Model, program: str, data: bytes, directory: Path) -> list[tuple[str, bool, float]]:
    """Streams the recording through a server with a post-processor."""
    master = Master(MasterOptions(port=0, references=directory / "references.jsonl"))
    master.start()
    options = WorkerOptions(url=(master.worker_url,), sessions=1, post_processor=program)
    post_processor = PostProcessor.start(options)
    serving = asyncio.create_task(Worker(model, options, post_processor).run())
    await master.wait_until_ready()
    try:
        url = master.url.replace("http", "ws") + "/client/ws/speech"
        return await stream(url, data, round(2 * PACKET_S * model.sample_rate_hz))
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        if post_processor is not None:
            post_processor.close()
        await master.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("wav", nargs="?", type=Path, default=WAV)
    args = parser.parse_args()
    model = Model.load(args.model)
    with wave.open(str(args.wav)) as file:
        data = file.readframes(file.getnframes())
    print(f"{args.wav.name}, {len(data) / 2 / model.sample_rate_hz:.1f} s; seconds later than without")
    print(f"{'post-processor':16} partials   median  longest   final")
    without: dict[str, float] = {}
    final_s = 0.0
    for name, program in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as directory:
            results = asyncio.run(measure(model, program, data, Path(directory)))
        partials = {text: at_s for text, is_final, at_s in results if not is_final}
        last_s = max(at_s for _, is_final, at_s in results if is_final)
        without, final_s = without or partials, final_s or last_s
        later = [partials[text] - without[text] for text in without if text in partials]
        count = f"{len(partials):3} of {len(without):3}"
        delays = f"{statistics.median(later):7.2f} {max(later):8.2f} {last_s - final_s:7.2f}"
        print(f"{name:16} {count} {delays}")


if __name__ == "__main__":
    main()
