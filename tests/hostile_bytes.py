"""What hostile clients send: bytes of one connection, for each kind of malice, different every time."""

import base64
import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import quote

HTTP, VOSK, WYOMING, AUDIOSOCKET = "http", "vosk", "wyoming", "audiosocket"
NESTING = 20_000
LONG = 60_000
BOMB_BYTES = 20_000_000  # of those that come at once, three times what a server may hold
BOMB = zlib.compress(bytes(BOMB_BYTES), 9)
GZIP_BOMB = gzip.compress(bytes(BOMB_BYTES), 9)
DEFLATED_BOMB = BOMB[2:-4]  # without what zlib puts around it
TEXT, BINARY, CLOSE, PING, CONTINUATION = 1, 2, 8, 9, 0
SOCKETS = (
    "/client/ws/speech",
    "/client/ws/status",
    "/client/ws/listen?id=x",
    "/vosk",
    "/",
    "/twilio",
    "/v1/realtime?intent=transcription",
)
RECOGNIZE = "/client/dynamic/recognize"
POSTS = (
    RECOGNIZE,
    "/client/dynamic/reference",
    "/v1/audio/transcriptions",
    "/v1/realtime/client_secrets",
    "/v1/realtime/transcription_sessions",
)
PATHS = (
    *("/", "/client/static/index.html", "/states", "/states/a/b", "/v1/models/x", "/metrics", "/healthz"),
    *("/client/ws/speech", "/client/dynamic/recognize", "/client/dynamic/reference", "/no/such/path"),
)
NUMBERS = ("1e400", "-1e400", "1" * 5000, "-0", "1e-400", "NaN", "Infinity", "18446744073709551616")
STRINGS = ("\\ud800", "\\u0000", "\\r\\n\\r\\n", "x" * LONG, "%s%n", "\\u202e", "../../../etc/passwd", "")


class End(Enum):
    """How a client ends a connection once it has sent everything.

    ASKED: the bytes ask the server to close it, in the way of the protocol; the client waits for that.
    HALF: the client ends its own direction, and waits for the server to end the other one.
    BROKEN: the client breaks it off.
    """

    ASKED = auto()
    HALF = auto()
    BROKEN = auto()


KEYS = (
    *("adaptation_state", "options", "config", "type", "event", "start", "eof", "session", "audio", "media"),
    *("reset", "status", "result", "transcript", "data_length", "payload_length", "segment", "id", "version"),
)


@dataclass(frozen=True)
class Attack:
    """The bytes of one connection.

    Attributes:
        data: what is sent.
        port: to which of the server's ports.
        end: what comes after that.
    """

    data: bytes
    port: str = HTTP
    end: End = End.ASKED


Kind = Callable[[random.Random], Attack]


def request(
    path: str, *headers: str, method: str = "GET", body: bytes = b"", length: str | None = None
) -> bytes:
    """An HTTP request, after which the server closes."""
    size = [f"Content-Length: {len(body) if length is None else length}"] if body or length else []
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *size, *headers, "", "")
    return "\r\n".join(lines).encode("latin-1") + body


def handshake(path: str, *headers: str) -> bytes:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    lines = (f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join((*lines, key, "Sec-WebSocket-Version: 13", *headers, "", "")).encode("latin-1")


def frame(
    payload: bytes, opcode: int = TEXT, *, is_last: bool = True, masked: bool = True, bits: int = 0
) -> bytes:
    """A WebSocket frame; `bits` are the reserved ones. The mask is zero, which changes nothing."""
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        length = bytes([mask | size])
    elif size < 1 << 16:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    head = bytes([(0x80 if is_last else 0) | bits << 4 | opcode])
    return head + length + (bytes(4) if masked else b"") + payload


GOODBYE = frame(struct.pack(">H", 1000), CLOSE)


def socket(rng: random.Random, *frames: bytes, path: str | None = None, port: str = HTTP) -> Attack:
    """A WebSocket on which the client says something and closes."""
    return Attack(handshake(path or rng.choice(SOCKETS)) + b"".join(frames) + GOODBYE, port)


def nested(rng: random.Random) -> str:
    opening = rng.choice(("[", '{"a":', '[{"a":'))
    return opening * NESTING


def hostile_json(rng: random.Random) -> str:
    """JSON, or nearly, that costs much to understand or means something that no program expects."""
    value = rng.choice(
        (nested(rng), rng.choice(NUMBERS), f'"{rng.choice(STRINGS)}"', "[" * 100 + "]" * 100, "{}")
    )
    pairs = [f'"{rng.choice(KEYS)}": {value}' for _ in range(rng.choice((1, 2, 50)))]
    return "{" + ", ".join(pairs) + "}"


def dropped_handshake(rng: random.Random) -> Attack:
    return Attack(handshake(rng.choice(SOCKETS)), end=End.BROKEN)


def half_handshake(rng: random.Random) -> Attack:
    whole = handshake(rng.choice(SOCKETS))
    return Attack(whole[: rng.randrange(len(whole))], rng.choice((HTTP, VOSK)), end=End.BROKEN)


def half_frame(rng: random.Random) -> Attack:
    part = frame(bytes(100_000), rng.choice((TEXT, BINARY)))[: rng.choice((1, 2, 5, 13, 14, 15, 50_000))]
    return Attack(handshake(rng.choice(SOCKETS)) + part, end=End.BROKEN)


def broken_handshake(rng: random.Random) -> Attack:
    changes = (
        (b"Version: 13", b"Version: " + str(rng.randrange(-99, 99)).encode()),
        (b"Key: dG", b"Key: " + rng.choice((b"", b"\xff", b"x" * LONG))),
        (b"Upgrade: websocket", b"Upgrade: " + rng.choice((b"h2c", b"", b"websocket, websocket"))),
        (
            b"Host: localhost",
            b"Origin: " + rng.choice((b"null", b"http://evil.example", b"\xff\xff", b"file://")),
        ),
        (b"GET", rng.choice((b"POST", b"get", b"TRACE", b"PRI", b"\0"))),
        (b"HTTP/1.1", rng.choice((b"HTTP/1.0", b"HTTP/9.9", b"HTTP", b""))),
    )
    data = handshake(rng.choice(SOCKETS)).replace(*rng.choice(changes))
    return Attack(data, end=End.HALF)


def garbage(rng: random.Random) -> Attack:
    return Attack(
        rng.randbytes(rng.choice((1, 10, 1000, 5000))),
        rng.choice((HTTP, VOSK, WYOMING, AUDIOSOCKET)),
        end=End.HALF,
    )


def one_byte_frames(rng: random.Random) -> Attack:
    frames = [frame(rng.randbytes(1), BINARY) for _ in range(50)]
    return socket(rng, *frames, path=rng.choice(("/client/ws/speech", "/vosk", "/")))


def wrong_frames(rng: random.Random) -> Attack:
    """Violations of RFC 6455, some of which end the connection before the client does."""
    wrong = (
        frame(b"{}", masked=False),
        frame(b"{}", bits=rng.randrange(1, 8)),
        frame(b"{}", rng.choice((3, 4, 5, 6, 7, 11, 15))),
        frame(bytes(200), rng.choice((CLOSE, PING))),
        frame(b"", PING, is_last=False),
        frame(b"x", CONTINUATION),
        frame(b"x", is_last=False) + frame(b"y"),
        frame(b"\xff\xfe\x80"),
        frame("é".encode()[:1], is_last=False) + frame(b"a", CONTINUATION),
        frame(b"\x03", CLOSE),
        frame(struct.pack(">H", rng.choice((0, 999, 1005, 1006, 65535))) + b"\xff", CLOSE),
        b"\x82\xff" + struct.pack(">Q", rng.choice((2**63 - 1, 2**63, 2**64 - 1, 2**40))) + bytes(4),
        b"\x81\xfe" + struct.pack(">H", 3) + bytes(4) + b"abc",
    )
    return Attack(handshake(rng.choice(SOCKETS)) + rng.choice(wrong) + GOODBYE, end=End.HALF)


def flood_of_continuations(rng: random.Random) -> Attack:
    piece = rng.choice((b"", b"x"))
    pieces = [frame(piece, CONTINUATION, is_last=False) for _ in range(1000)]
    return socket(rng, frame(piece, TEXT, is_last=False), *pieces, frame(b"", CONTINUATION))


def flood_of_pings(rng: random.Random) -> Attack:
    return socket(rng, *(frame(rng.randbytes(125), PING) for _ in range(50)))


def json_bomb(rng: random.Random) -> Attack:
    return socket(rng, *(frame(hostile_json(rng).encode()) for _ in range(3)))


def json_bomb_posted(rng: random.Random) -> Attack:
    body = hostile_json(rng).encode()
    kind = f"Content-Type: {rng.choice(('application/json', 'text/plain', 'audio/x-raw'))}"
    return Attack(request(rng.choice(POSTS), kind, "Content-Id: x", method="POST", body=body))


def zlib_bomb(rng: random.Random) -> Attack:
    value = base64.b64encode(BOMB).decode()
    field = rng.choice(("value", "cmvn_state"))
    state = {
        "id": "x",
        "type": "string+gzip+base64",
        "value": "",
        "time": "2026-01-01T00:00:00",
        field: value,
    }
    return socket(rng, frame(json.dumps({"adaptation_state": state}).encode()), path="/client/ws/speech")


def gzip_bomb(rng: random.Random) -> Attack:
    """Nobody waits for what is recognised in ten minutes of silence."""
    path = rng.choice(POSTS)
    kind = "Content-Type: multipart/form-data; boundary=b" if path.startswith("/v1/audio") else "X: y"
    headers = ("Content-Encoding: gzip", "Content-Id: x", kind)
    data = request(path, *headers, method="POST", body=GZIP_BOMB)
    return Attack(data, end=End.BROKEN if path == RECOGNIZE else End.ASKED)


def packed_frames(rng: random.Random) -> Attack:
    """permessage-deflate, which is not spoken here, and frames packed with it."""
    head = handshake(
        rng.choice(SOCKETS), "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    )
    return Attack(head + frame(DEFLATED_BOMB, rng.choice((TEXT, BINARY)), bits=4) + GOODBYE, end=End.HALF)


def header_injection(rng: random.Random) -> Attack:
    evil = quote(
        rng.choice(
            ("x\r\nSet-Cookie: a=b", "x\nX-Injected: 1", "x\r\n\r\n<script>", "\x1b[31m\x07", "é\u2028")
        )
    )
    fields = rng.choice(
        ("user-id", "content-id", "model", "id", "content-type", "options", "format", "channels")
    )
    path = rng.choice((*PATHS, "/client/ws/listen"))
    return Attack(
        request(f"{path}?{fields}={evil}", f"User-Id: {evil}", f"X-Request-Id: {evil}\tx", f"Origin: {evil}")
    )


def path_tricks(rng: random.Random) -> Attack:
    climb = rng.choice(
        ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", ".%00./", "....//", "%252e%252e%252f")
    )
    place = rng.choice(
        ("/client/static/", "/", "/states/x/", "/v1/models/", "/client/static/%00", "//", "/client/static//")
    )
    target = rng.choice(
        (
            "etc/passwd",
            "pyproject.toml",
            "pykaldi_server/__init__.py",
            "index.html%00.png",
            "x" * 5000,
            "\xff",
        )
    )
    return Attack(request(place + climb * rng.randrange(12) + target))


def long_lines(rng: random.Random) -> Attack:
    long = "x" * rng.choice((5000, LONG, 200_000))
    wholes = (
        request("/" + long),
        request("/", f"X: {long}"),
        request("/", *(f"X{n}: {n}" for n in range(3000))),
    )
    return Attack(
        rng.choice((*wholes, request(f"/?{long}"), handshake(f"/client/ws/speech?user-id={long}"))),
        end=End.HALF,
    )


def many_options(rng: random.Random) -> Attack:
    name = rng.choice(("num-nbest", "a{}", "channels", "x"))
    query = "&".join(f"{name.format(number)}={number}" for number in range(rng.choice((1000, 4000))))
    return Attack(handshake(f"/client/ws/speech?{query}") + GOODBYE, end=End.HALF)


def many_parts(rng: random.Random) -> Attack:
    part = b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n%d\r\n'
    body = b"".join(part % (number, number) for number in range(rng.choice((10, 2000)))) + rng.choice(
        (b"--b--\r\n", b"")
    )
    path = rng.choice(("/v1/audio/transcriptions", "/client/dynamic/recognize"))
    return Attack(request(path, "Content-Type: multipart/form-data; boundary=b", method="POST", body=body))


def wrong_token(rng: random.Random) -> Attack:
    token = rng.choice((rng.randbytes(16).hex(), "", "x" * 6000, "%00", "ek_" + "0" * 40))
    path = rng.choice((*PATHS, *POSTS))
    separator = "&" if "?" in path else "?"
    return Attack(request(f"{path}{separator}token={token}", f"Authorization: Bearer {token}"))


def absurd_caps(rng: random.Random) -> Attack:
    rate = rng.choice(("0", "1000000000000", "-1", "1e9", "16000", "999999999", "NaN"))
    channels = rng.choice(("1000000000", "0", "-1", "999999999", "1", "64"))
    caps = (
        f"audio/x-raw,rate={rate},channels={channels},format={rng.choice(('S16LE', 'F64LE', 'S999LE', 'x'))}"
    )
    if rng.random() < 0.5:
        frames = (frame(bytes(3200), BINARY), frame(b"EOS"))
        return socket(rng, *frames, path=f"/client/ws/speech?content-type={quote(caps)}")
    path = "/client/dynamic/recognize"
    return Attack(request(path, f"Content-Type: {caps}", method="POST", body=bytes(3200)))


def wrong_lengths(rng: random.Random) -> Attack:
    path = rng.choice(POSTS)
    length = rng.choice(
        ("99999999999999999999", "-1", "1, 2", "0x10", "²", "+5", "1" * 5000, "5 5", "9223372036854775807")
    )
    chunk = rng.choice(
        (b"ffffffffffffffff\r\n", b"-1\r\n", b"zz\r\n", b"1" * LONG, b"0\r\nX: y\r\n\r\n", b"5;x=y\r\nabc")
    )
    chunked = request(path, "Transfer-Encoding: chunked", method="POST") + chunk
    both = request(path, "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    twice = request(path, "Content-Length: 3", method="POST", body=b"{}")
    return Attack(
        rng.choice((request(path, method="POST", length=length), chunked, both, twice)), end=End.HALF
    )


def wyoming_bombs(rng: random.Random) -> Attack:
    head = rng.choice(
        (
            b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
            b'{"type": "audio-chunk", "data_length": -5}\n',
            b'{"type": "audio-chunk", "payload_length": 1e400}\n',
            b'{"type": "' + b"x" * 200_000,
            hostile_json(rng).encode() + b"\n",
            b'{"type": "audio-start", "data": {"rate": 1e12, "width": 9, "channels": 1000000000}}\n',
            b'{"type": "describe"}\n' * 200,
            b'{"type": "transcribe", "data": {"name": "../../etc/passwd"}}\n{"type": "audio-stop"}\n',
        )
    )
    return Attack(head, WYOMING, end=End.HALF)


def audiosocket_bombs(rng: random.Random) -> Attack:
    kinds = [rng.choice((0x00, 0x01, 0x03, 0x10, 0x18, 0x77, 0xFF)) for _ in range(50)]
    messages = [
        struct.pack(">BH", kind, size) + rng.randbytes(size)
        for kind in kinds
        for size in (rng.choice((0, 1, 16, 320)),)
    ]
    return Attack(b"".join(messages), AUDIOSOCKET, end=End.HALF)


def hostile_worker(rng: random.Random) -> Attack:
    """One that says it is a worker and breaks off before it has served anybody."""
    query = rng.choice(
        ("", "?model=" + "x" * 5000, "?content-type=%00&model=%0d%0a", "?version=1e400&positions=-1")
    )
    return Attack(handshake(f"/worker/ws/speech{query}") + frame(hostile_json(rng).encode()), end=End.BROKEN)


def pipelined(rng: random.Random) -> Attack:
    """Many requests on one connection, in one go."""
    several = [request(rng.choice(PATHS)).replace(b"Connection: close\r\n", b"") for _ in range(10)]
    return Attack(b"".join(several) + request("/healthz"))


KINDS: list[Kind] = [
    dropped_handshake,
    half_handshake,
    half_frame,
    broken_handshake,
    garbage,
    one_byte_frames,
    wrong_frames,
    flood_of_continuations,
    flood_of_pings,
    json_bomb,
    json_bomb_posted,
    zlib_bomb,
    gzip_bomb,
    packed_frames,
    header_injection,
    path_tricks,
    long_lines,
    many_options,
    many_parts,
    wrong_token,
    absurd_caps,
    wrong_lengths,
    wyoming_bombs,
    audiosocket_bombs,
    hostile_worker,
    pipelined,
]
