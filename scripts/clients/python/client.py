"""Recognises a WAV file, or live audio from a pipe, on a pykaldi-server.

    python client.py speech.wav
    arecord -q -f S16_LE -r 16000 -t raw -d 10 | python client.py --rate 16000 -

Final results go to standard output, a line each; partial results and all else go to standard error.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import wave
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from speech import AudioFormat, ConnectionLostError, Message, Recognition, RefusedError

__all__ = ["main"]

# Errors of the server are passed on as their status: 1, 2, 3, 5 or 9.
EXIT_USAGE, EXIT_NO_INPUT, EXIT_NO_CONNECTION, EXIT_NO_OUTPUT = 64, 66, 69, 73  # as sysexits.h has them
PIECES_PER_S = 10


class Parser(argparse.ArgumentParser):
    """Wrong options have an exit status that no error of the server has."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description="Recognise a WAV file, or live audio from a pipe, on a pykaldi-server.")
    parser.add_argument("file", metavar="FILE", help="WAV file of 16-bit samples; - for standard input")
    parser.add_argument("--url", default="ws://localhost:8888/client/ws/speech", help="address of the server")
    parser.add_argument("--rate", type=int, metavar="HZ", help="FILE is raw: mono S16LE at this rate")
    parser.add_argument("--paced", action="store_true", help="send a file no faster than it is spoken")
    parser.add_argument("--model", help="name of the model; the server's default if not set")
    parser.add_argument("--user-id", metavar="ID", help="who speaks")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="adaptation state: sent if there, then saved"
    )
    parser.add_argument(
        "--token", default=os.environ.get("PYKALDI_SERVER_TOKEN", ""), help="shown to the server"
    )
    parser.add_argument(
        "--patience", type=float, default=60, metavar="S", help="how long to try to reconnect"
    )
    return parser.parse_args()


async def read_pipe() -> AsyncIterator[bytes]:
    """What another program writes to standard input, as it comes."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()

    def read() -> None:
        piece: bytes | OSError = b"-"
        with suppress(RuntimeError):  # the loop is closed: nobody wants more
            while piece and not isinstance(piece, OSError):
                try:
                    piece = os.read(0, 65536)
                except OSError as error:
                    piece = error
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

    # A thread that waits for a pipe cannot be ended; this one ends with the program.
    threading.Thread(target=read, daemon=True).start()
    while piece := await pieces.get():
        if isinstance(piece, OSError):
            raise piece
        yield piece


async def read_file(audio: bytes, audio_format: AudioFormat, is_paced: bool) -> AsyncIterator[bytes]:
    """A recording in pieces; each, if paced, when it would have been spoken."""
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    size = audio_format.bytes_of(1 / PIECES_PER_S)
    for start in range(0, len(audio), size):
        piece = audio[start : start + size]
        if is_paced:
            await asyncio.sleep(began_s + audio_format.seconds_of(start + len(piece)) - now_s())
        yield piece


def open_audio(options: argparse.Namespace) -> tuple[AudioFormat, AsyncIterator[bytes]]:
    """The format of the audio and the audio itself.

    Raises:
        OSError, wave.Error, EOFError: it cannot be read.
    """
    if options.file == "-":
        return AudioFormat(options.rate or 16000), read_pipe()
    if options.rate:
        audio_format, audio = AudioFormat(options.rate), Path(options.file).read_bytes()
    else:
        with wave.open(options.file) as file:
            if file.getsampwidth() != 2:
                raise wave.Error(f"expected samples of 16 bits, found {8 * file.getsampwidth()}")
            audio_format = AudioFormat(file.getframerate(), file.getnchannels())
            audio = file.readframes(file.getnframes())
    return audio_format, read_file(audio, audio_format, options.paced)


def show(message: Message) -> None:
    """Prints what is worth it."""
    if "result" in message:
        text = message["result"]["hypotheses"][0]["transcript"]
        if message["result"]["final"]:
            print(text, flush=True)
        else:
            print(f"... {text}", file=sys.stderr, flush=True)
    elif message.get("queue"):
        print(f"waiting: place {message['queue']} in line", file=sys.stderr)
    elif "interrupted" in message:
        print(
            f"interrupted: {message['interrupted']}; {message['resend-s']:.2f} s of audio will be sent again",
            file=sys.stderr,
        )
    elif "resumed" in message:
        print("resumed", file=sys.stderr)


async def run(options: argparse.Namespace) -> int:
    """Returns the exit status."""
    try:
        audio_format, audio = open_audio(options)
    except (OSError, EOFError, wave.Error) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return EXIT_NO_INPUT
    try:
        has_state = options.state is not None and options.state.exists()
        adaptation_state = json.loads(options.state.read_text()) if has_state else None
    except (OSError, ValueError) as error:
        print(f"{options.state}: {error}", file=sys.stderr)
        return EXIT_NO_INPUT
    recognition = Recognition(
        options.url,
        audio_format,
        fields={k: v for k, v in {"model": options.model, "user-id": options.user_id}.items() if v},
        token=options.token,
        adaptation_state=adaptation_state,
        patience_s=options.patience,
    )
    try:
        async for message in recognition.messages(audio):
            show(message)
            adaptation_state = message.get("adaptation_state", adaptation_state)
    except (RefusedError, ConnectionLostError) as error:
        print(f"{error}; recognised up to {recognition.recognised_s:.2f} s", file=sys.stderr)
        return error.status if isinstance(error, RefusedError) else EXIT_NO_CONNECTION
    except OSError as error:  # of the pipe; what came before has been recognised
        print(f"{options.file}: {error}", file=sys.stderr)
        return EXIT_NO_INPUT
    try:
        if options.state is not None and adaptation_state is not None:
            options.state.write_text(json.dumps(adaptation_state))
    except OSError as error:
        print(f"{options.state}: {error}", file=sys.stderr)
        return EXIT_NO_OUTPUT
    return 0


def main() -> int:
    return asyncio.run(run(parse_arguments()))


if __name__ == "__main__":
    sys.exit(main())
