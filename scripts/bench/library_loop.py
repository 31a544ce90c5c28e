"""The library without a server: the other side of `server_cost.py`, in a process of its own.

Reads commands, one per line, and answers each with one line of JSON:

* ``cost N``: N sessions live at the same time, which decode the recordings in packets, one packet per session
  in turn; ``cpu_s`` and ``audio_s``.
* ``live N``: the same, but each session gets its packets in real time, as a live stream has them; between
  packets the process sleeps, and finds the processor's caches cold.
* ``hold N``: N sessions that have taken the first seconds of a recording and stay open; ``memory_mib``, the
  process's own part (PSS), with them.

Usage: library_loop.py MODEL PACKET_S STREAM_S HOLD_S WAV ...
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # counts when NumPy is imported

import psutil
from recordings import Recording, join_recordings, read_recordings
from servers import MIB, SERVING
from vosk_terms import VOSK_RECIPE

from pykaldi_server.session import Model, Session

__all__ = ["held_recording"]


class Library:
    """Decodes recordings with a model.

    Args:
        model: its directory.
        recordings: what is decoded.
        packet_s: how much audio a session takes at once.
        hold_s: how much audio sessions take that are held.
    """

    def __init__(self, model: str, recordings: list[Recording], packet_s: float, hold_s: float) -> None:
        self._model = Model.load(model, **VOSK_RECIPE)
        self._recordings = recordings
        self._packet_s = packet_s
        self._hold_s = hold_s

    def cost(self, num_sessions: int) -> dict[str, float]:
        """Decodes each recording once, by as many sessions at a time as there are to be."""
        return self._decode_all(num_sessions, wait=lambda due_s: None)

    def live(self, num_sessions: int) -> dict[str, float]:
        """Does the same in real time."""
        return self._decode_all(num_sessions, lambda due_s: time.sleep(max(0.0, due_s - time.monotonic())))

    def _decode_all(self, num_sessions: int, wait: Callable[[float], None]) -> dict[str, float]:
        """Decodes each recording once; sessions take turns at even intervals, for whose ends it waits."""
        waiting = list(self._recordings)
        begin_s, now_s = time.process_time(), time.monotonic()
        running = [
            (now_s + self._packet_s * number / num_sessions, number, self._decode(waiting.pop()))
            for number in range(min(num_sessions, len(waiting)))
        ]
        while running:
            due_s, number, stream = heappop(running)
            wait(due_s)
            if next(stream, None) is None:
                if not waiting:
                    continue
                stream = self._decode(waiting.pop())
            heappush(running, (due_s + self._packet_s, number, stream))
        audio_s = sum(each.length_s for each in self._recordings)
        return {"cpu_s": time.process_time() - begin_s, "audio_s": audio_s}

    def hold(self, num_sessions: int) -> dict[str, float]:
        """Holds sessions that are in the middle of a stream."""
        recording = held_recording(self._recordings)
        sessions = [self._model.session(sample_rate_hz=recording.rate_hz) for _ in range(num_sessions)]
        for session in sessions:
            for packet in packets(recording, self._packet_s, self._hold_s):
                session.accept(packet)
        return {"memory_mib": psutil.Process().memory_full_info().pss / MIB}

    def _decode(self, recording: Recording) -> Iterator[Session]:
        session = self._model.session(sample_rate_hz=recording.rate_hz)
        for packet in packets(recording, self._packet_s):
            session.accept(packet)
            yield session
        session.finish()


def packets(recording: Recording, packet_s: float, length_s: float = float("inf")) -> Iterator[bytes]:
    """The beginning of a recording, cut up."""
    step = int(packet_s * recording.rate_hz)
    for begin in range(0, int(min(length_s, recording.length_s) * recording.rate_hz), step):
        yield recording.samples[begin : begin + step].tobytes()


def held_recording(recordings: list[Recording]) -> Recording:
    """The recording that sessions take which are held: the longest one."""
    return max(recordings, key=lambda each: each.length_s)


def main() -> None:
    model, packet_s, stream_s, hold_s, *paths = sys.argv[1:]
    recordings = join_recordings(read_recordings(map(Path, paths)), float(stream_s))
    library = Library(model, recordings, float(packet_s), float(hold_s))
    print(f"{SERVING}standard input", flush=True)
    for line in sys.stdin:
        command, number = line.split()
        answer = {"cost": library.cost, "live": library.live, "hold": library.hold}[command](int(number))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
