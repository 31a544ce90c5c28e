"""Coverage-guided fuzzing of what reads bytes from elsewhere: audio, adaptation states, messages.

atheris (libFuzzer for Python) changes seeds from the test data so that ever more lines of the readers are
reached. What a reader may do with damaged bytes is to refuse them with an error of this package; any other
exception, 20 seconds without an end, and more than 2 GiB of memory end a target with 1 and leave the input
in the folder of findings. Each of those becomes a test. Only Python is instrumented: what happens inside the
C++ core and FFmpeg is executed with the same inputs, but new lines there guide nothing.

Usage: fuzz.py [--seconds N] [--target NAME ...] [--folder DIR]; N is for all targets together.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
MAX_INPUT_BYTES = 65536
MAX_RSS_MIB = 2048
HANG_S = 20
CONTENT_TYPES = (None, "audio/x-raw", "audio/mpeg", "audio/gsm", "audio/g722", "audio/aac", "video/mp2t")

Target = Callable[[bytes], None]


def fuzz_audio(data: bytes) -> None:
    """The first byte chooses a content type, the second one how the rest is cut into packets."""
    from pykaldi_server.audio import AudioDecoder

    choice, cut = data[:1] or b"\0", data[1:2] or b"\0"
    content_type = CONTENT_TYPES[choice[0] % len(CONTENT_TYPES)]
    step = 1 + 64 * cut[0]
    with AudioDecoder(content_type, 16000) as decoder:
        for begin in range(2, len(data), step):
            for _ in decoder.decode(data[begin : begin + step]):
                pass
        for _ in decoder.decode_rest():
            pass


def fuzz_states(data: bytes) -> None:
    """Kaldi's text form, as a worker reads it."""
    from pykaldi_server.session.adaptation import SpeakerState

    state = SpeakerState.from_text(data.decode(errors="replace"))
    state.text()


def fuzz_packed_states(data: bytes) -> None:
    """A client's message with a state: JSON, base64, zlib, Kaldi's text form."""
    from pykaldi_server.protocols.gstreamer import (
        SetAdaptationState,
        decode_adaptation_state,
        parse_client_message,
    )
    from pykaldi_server.session.adaptation import SpeakerState

    message = parse_client_message(data.decode(errors="replace"))
    if isinstance(message, SetAdaptationState):
        properties = json.loads(data.decode(errors="replace"))["adaptation_state"]
        SpeakerState.from_text(decode_adaptation_state(properties))


def fuzz_tables(data: bytes) -> None:
    """Matrices, vectors and networks in Kaldi's binary and text forms."""
    from pykaldi_server.kaldi.nnet3 import Nnet
    from pykaldi_server.kaldi.util.io import KaldiReader

    kind, rest = (data[:1] or b"\0")[0] % 3, data[1:]
    reader = KaldiReader(rest, "fuzz")
    if kind == 0:
        reader.read_matrix()
    elif kind == 1:
        reader.read_vector()
    else:
        Nnet.read(reader)


def fuzz_messages(data: bytes) -> None:
    """What clients of all protocols send."""
    from pykaldi_server.protocols import (
        audiosocket,
        gstreamer,
        multipart,
        request_options,
        twilio,
        vosk,
        wyoming,
    )

    kind, rest = (data[:1] or b"\0")[0] % 8, data[1:]
    if kind == 0:
        gstreamer.parse_client_message(rest.decode(errors="replace"))
    elif kind == 1:
        vosk.parse_client_message(rest.decode(errors="replace"))
    elif kind == 2:
        twilio.parse_client_message(rest.decode(errors="replace"))
    elif kind == 3:
        for event in wyoming.EventReader(10_000).feed(rest):
            wyoming.parse_client_message(event)
    elif kind == 4:
        audiosocket.MessageReader().feed(rest)
    elif kind == 5:
        form = multipart.FormReader("multipart/form-data; boundary=b")
        form.feed(rest)
        form.finish()
    elif kind == 6:
        request_options.parse_header(rest.decode("latin-1"))
    else:
        gstreamer.parse_query(rest.decode("latin-1"))


TARGETS: dict[str, Target] = {
    "audio": fuzz_audio,
    "states": fuzz_states,
    "packed-states": fuzz_packed_states,
    "tables": fuzz_tables,
    "messages": fuzz_messages,
}


def seeds(target: str) -> Iterator[bytes]:
    """Inputs to begin with, from the data of the tests."""
    states = [path.read_bytes() for path in sorted((DATA / "golden" / "returning").glob("*adaptation.txt"))]
    if target == "audio":
        paths = [*(DATA / "cases").iterdir(), *sorted((DATA / "golden" / "wav").glob("*.wav"))[:2]]
        yield from (bytes([0, 15]) + path.read_bytes()[:MAX_INPUT_BYTES] for path in paths if path.is_file())
        yield from (bytes([kind, 3]) + bytes(range(256)) * 8 for kind in range(len(CONTENT_TYPES)))
    elif target == "states":
        yield from states
    elif target == "packed-states":
        for state in states:
            value = base64.b64encode(zlib.compress(state)).decode()
            message = {"adaptation_state": {"id": "x", "type": "string+gzip+base64", "value": value}}
            yield json.dumps(message).encode()
    elif target == "tables":
        yield b"\0\0BFM \4\2\0\0\0\4\2\0\0\0" + bytes(16)
        yield b"\0 [\n 1 2\n 3 4 ]\n"
        yield b"\1\0BFV \4\2\0\0\0" + bytes(8)
        for path in (DATA / "golden" / "networks").glob("*.txt"):
            yield b"\2" + path.read_bytes()[:MAX_INPUT_BYTES]
    else:
        texts = (
            '{"adaptation_state": {"value": ""}}',
            '{"config": {"sample_rate": 8000, "words": true}}',
            '{"event": "media", "media": {"payload": "////", "track": "inbound"}, "streamSid": "MZ1"}',
            '{"type": "audio-chunk", "data_length": 43, "payload_length": 4}\n'
            '{"rate": 16000, "width": 2, "channels": 1}\0\0\0\0\0',
            "\1\0\x10" + "x" * 16 + "\x10\0\2ab\0\0\0",
            '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc\r\n--b--\r\n',
            'num-nbest=3, use-vad, channels="split"',
            "user-id=x&options=%7B%7D&content-type=audio/x-raw,+rate=8000",
        )
        yield from (bytes([kind]) + text.encode() for kind, text in enumerate(texts))


def run_target(name: str, arguments: list[str]) -> None:
    """Fuzzes one target in this process, which libFuzzer ends."""
    import atheris

    # Every module that a target imports: what is imported later is not instrumented.
    with atheris.instrument_imports(include=["pykaldi_server", "python_multipart"]):
        import pykaldi_server.audio
        import pykaldi_server.kaldi.nnet3
        import pykaldi_server.kaldi.util.io
        import pykaldi_server.protocols.audiosocket
        import pykaldi_server.protocols.gstreamer
        import pykaldi_server.protocols.multipart
        import pykaldi_server.protocols.request_options
        import pykaldi_server.protocols.twilio
        import pykaldi_server.protocols.vosk
        import pykaldi_server.protocols.wyoming
        import pykaldi_server.session.adaptation  # noqa: F401
    from pykaldi_server.errors import PykaldiServerError

    target = TARGETS[name]

    def test_one_input(data: bytes) -> None:
        with suppress(PykaldiServerError):  # refused
            target(data)

    atheris.Setup([sys.argv[0], *arguments], test_one_input)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Fuzzes one target in its own process; returns whether inputs were executed and nothing was found."""
    corpus, findings = folder / "corpus" / name, folder / "findings" / name
    for each in (corpus, findings):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", f"-rss_limit_mb={MAX_RSS_MIB}"]
    options += [f"-timeout={HANG_S}", f"-artifact_prefix={findings}/", "-print_final_stats=1", "-verbosity=0"]
    command = [sys.executable, __file__, "--run", name, *options, str(corpus)]
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        code = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    lines = log.read_text(errors="replace").splitlines()
    runs = next((int(line.split()[-1]) for line in lines if "number_of_executed_units" in line), 0)
    print(f"{name}: {runs} inputs, {len(list(corpus.iterdir()))} kept, exit code {code}", flush=True)
    if code != 0:
        print("\n".join(lines[-40:]), flush=True)
        print(f"found: {', '.join(str(path) for path in findings.iterdir())}; see {log}", flush=True)
    elif runs == 0:
        print(f"FAILED: {name}: expected inputs to be executed, found none; see {log}", flush=True)
    return code == 0 and runs > 0


def main() -> int:
    if sys.argv[1:2] == ["--run"]:
        run_target(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="default: all")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "fuzz", help="for corpora and findings"
    )
    args = parser.parse_args()
    names = args.target or list(TARGETS)
    found_nothing = [fuzz(name, max(1, args.seconds // len(names)), args.folder.resolve()) for name in names]
    return 0 if all(found_nothing) else 1


if __name__ == "__main__":
    sys.exit(main())
