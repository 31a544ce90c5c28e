"""A client of the speech WebSocket: audio in, messages out, both at once."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from typing import BinaryIO
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from pykaldi_server.audio.caps import parse_content_type
from pykaldi_server.audio.wav import parse_wav_header
from pykaldi_server.protocols.addresses import CLIENT_PATH, check_websocket_url, shown_url
from pykaldi_server.protocols.credentials import authorization, refusal_text
from pykaldi_server.protocols.gstreamer import EOS, parse_event
from pykaldi_server.protocols.liveness import SILENT_INTERVALS, watch_close_frame, watch_server
from pykaldi_server.protocols.messages import NORMAL_CLOSURE, Message, Status, dumps
from pykaldi_server.protocols.trust import Trust

__all__ = ["natural_bytes_per_s", "paced", "read_pieces", "recognize", "recognize_file", "request_url"]

CONNECT_TIMEOUT_S = 10.0
PING_INTERVAL_S = 4.0
HEAD_BYTES = 4096
PIECES_PER_S = 10
ANYONE_KNOWN = Trust()  # to the system
NO_ANSWER = 599  # tornado's code for a time-out and the like


def request_url(url: str, **fields: str | None) -> str:
    """Adds fields (`content_type`, `model`, ...) to the address of a server; None leaves a field out."""
    parts = urlsplit(url)
    said = {name.replace("_", "-"): value for name, value in fields.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **said})))


async def recognize(
    url: str,
    audio: AsyncIterator[bytes],
    adaptation_states: Sequence[Message] = (),
    trust: Trust = ANYONE_KNOWN,
    token: str = "",
) -> AsyncGenerator[Message, None]:
    """Sends audio as it comes and yields what the server says as it comes, until the server closes.

    Args:
        url: the server's address with all fields, see `request_url`.
        audio: the audio in pieces, at the pace at which they shall be sent.
        adaptation_states: the value of `adaptation_state` from an earlier request of the same speaker; of
            several channels, that of each.
        trust: which servers are trusted, if the connection has TLS.
        token: shown to the server; "" for none.

    Raises:
        ConfigError: the address is not one of a WebSocket.
        ConnectionError: there is no such server, or the connection was lost before the end of the results;
            the text has the address and the reason.
        ProtocolError: the server says something that is not an event.
    """
    connection = await _connect(url, trust, token)
    assert connection.protocol is not None
    server_has_closed = watch_close_frame(connection.protocol)
    all_sent = asyncio.Event()
    sending = asyncio.create_task(_send(connection, audio, adaptation_states, all_sent))
    is_over = False
    is_lost = asyncio.Event()
    try:
        with watch_server(connection, PING_INTERVAL_S, is_lost.set):
            while (message := await connection.read_message()) is not None:
                event = parse_event(message)
                is_over = is_over or event["status"] != Status.SUCCESS
                yield event
        if is_lost.is_set() and not is_over:
            silent_s = SILENT_INTERVALS * PING_INTERVAL_S
            raise ConnectionError(
                f"{shown_url(url)}: the server has given no sign of life for {silent_s:g} s"
            )
        code = connection.close_code
        # Servers of the original project close without a code.
        is_orderly = all_sent.is_set() and server_has_closed() and code in (NORMAL_CLOSURE, None)
        if not is_over and not is_orderly:
            reason = f"code {code} {connection.close_reason or ''}".strip() if code else "without a reason"
            raise ConnectionError(f"{shown_url(url)}: closed before the end of the results: {reason}")
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        connection.close()


async def _connect(url: str, trust: Trust, token: str) -> WebSocketClientConnection:
    check_websocket_url(url, CLIENT_PATH)
    request = HTTPRequest(
        url,
        headers=authorization(token),
        connect_timeout=CONNECT_TIMEOUT_S,
        **trust.tls_arguments(),
    )
    try:
        return await websocket_connect(request)
    except HTTPError as error:
        is_answer = error.code != NO_ANSWER
        reason = f"expected a WebSocket, found {error}" if is_answer else f"cannot connect: {error.message}"
        reason = refusal_text(error.code, error.response.body if error.response else b"") or reason
    except WebSocketError:
        reason = "expected a WebSocket, found an ordinary HTTP answer"
    except ssl.SSLCertVerificationError as error:
        reason = f"the server is not trusted, see --cafile: {error.verify_message}"
    except OSError as error:
        reason = f"cannot connect: {error.strerror or error}"
    raise ConnectionError(f"{shown_url(url)}: {reason}")


async def _send(
    connection: WebSocketClientConnection,
    audio: AsyncIterator[bytes],
    adaptation_states: Sequence[Message],
    all_sent: asyncio.Event,
) -> None:
    with suppress(WebSocketClosedError):  # the server has ended the request early; its last message says why
        for state in adaptation_states:
            await connection.write_message(dumps({"adaptation_state": state}))
        async for piece in audio:
            await connection.write_message(piece, binary=True)
        all_sent.set()
        await connection.write_message(EOS)


async def paced(audio: AsyncIterator[bytes], bytes_per_s: float) -> AsyncIterator[bytes]:
    """Passes audio on no faster than it would be spoken: each piece when its last byte would be."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    async for piece in audio:
        due_s += len(piece) / bytes_per_s
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        yield piece


async def recognize_file(
    url: str,
    file: BinaryIO,
    content_type: str | None = None,
    bytes_per_s: float | None = None,
    adaptation_states: Sequence[Message] = (),
    trust: Trust = ANYONE_KNOWN,
    token: str = "",
) -> AsyncGenerator[Message, None]:
    """Sends a file or a pipe and yields what the server says.

    Args:
        url: the server's address with all fields, see `request_url`.
        file: the audio.
        content_type: how it is encoded, if that is known.
        bytes_per_s: how fast to send. None sends raw audio and WAV as fast as they are spoken and all else as
            fast as the server takes it; 0 sends everything so.
        adaptation_states, trust, token: see `recognize`.
    """
    head = await asyncio.to_thread(file.read, HEAD_BYTES)
    if bytes_per_s is None:
        bytes_per_s = natural_bytes_per_s(head, content_type)
    if bytes_per_s:
        audio = paced(read_pieces(head, file, max(1, int(bytes_per_s / PIECES_PER_S))), bytes_per_s)
    else:
        audio = read_pieces(head, file, HEAD_BYTES)
    async for message in recognize(url, audio, adaptation_states, trust, token):
        yield message


async def read_pieces(head: bytes, file: BinaryIO, piece_bytes: int) -> AsyncIterator[bytes]:
    """Yields what has been read of a file or a pipe, then the rest as soon as there is some."""
    for start in range(0, len(head), piece_bytes):
        yield head[start : start + piece_bytes]
    read = getattr(file, "read1", file.read)
    while piece := await asyncio.to_thread(read, piece_bytes):
        yield piece


def natural_bytes_per_s(head: bytes, content_type: str | None) -> float | None:
    """The rate at which raw audio or a WAV file is spoken; None for compressed audio.

    Args:
        head: the first bytes of the audio.
        content_type: how it is encoded, if that is known.

    Raises:
        AudioError: the content type or the WAV header makes no sense.
    """
    raw = parse_content_type(content_type).raw
    if raw is None and head.startswith(b"RIFF") and (header := parse_wav_header(head)) is not None:
        raw = header.raw
    return None if raw is None else float(raw.rate_hz * raw.bytes_per_frame)
