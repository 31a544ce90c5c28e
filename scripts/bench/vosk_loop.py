"""Vosk behind a WebSocket, as alphacep's vosk-server puts it: the other side of `load.py`.

An event loop reads messages, and a pool with as many threads as there are cores lets Vosk's recognizers take
them one by one; each message is answered by one reply. Usage: vosk_loop.py MODEL [PORT]
"""

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Python puts this folder first, where `vosk` would be the script of that name.
sys.path.append(sys.path.pop(0))

import vosk
from websockets.asyncio.server import ServerConnection, serve

SERVING = "Serving on "


class VoskLoop:
    """Serves one model.

    Args:
        model: the model's directory.
    """

    def __init__(self, model: str) -> None:
        vosk.SetLogLevel(-1)
        self._model = vosk.Model(model)
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    async def handle(self, connection: ServerConnection) -> None:
        """Serves one client: optionally a configuration, then audio up to ``{"eof" : 1}``."""
        loop = asyncio.get_running_loop()
        recognizer: Any = None
        rate_hz = 8000.0
        async for message in connection:
            if isinstance(message, str) and "config" in message:
                rate_hz = float(json.loads(message)["config"]["sample_rate"])
                continue
            if recognizer is None:
                recognizer = await loop.run_in_executor(
                    self._pool, vosk.KaldiRecognizer, self._model, rate_hz
                )
            if isinstance(message, str):
                await connection.send(await loop.run_in_executor(self._pool, recognizer.FinalResult))
                return
            await connection.send(await loop.run_in_executor(self._pool, self._accept, recognizer, message))

    def _accept(self, recognizer: Any, audio: bytes) -> str:
        if recognizer.AcceptWaveform(audio):
            return str(recognizer.Result())
        return str(recognizer.PartialResult())


async def run(model: str, port: int) -> None:
    """Serves until the process is ended."""
    async with serve(VoskLoop(model).handle, "127.0.0.1", port) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"{SERVING}ws://127.0.0.1:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
