"""A client of the speech WebSocket: audio in, messages out, both at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from pykaldi_server.server.protocol import EOS, Message, dumps, parse_event

CONNECT_TIMEOUT_S = 10.0


def request_url(url: str, **fields: str | None) -> str:
    """Adds fields (`content_type`, `model`, ...) to the address of a server; None leaves a field out."""
    parts = urlsplit(url)
    said = {name.replace("_", "-"): value for name, value in fields.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **said})))


async def recognize(
    url: str, audio: AsyncIterator[bytes], adaptation_state: Message | None = None
) -> AsyncIterator[Message]:
    """Sends audio as it comes and yields what the server says as it comes, until the server closes.

    Args:
        url: the server's address with all fields, see `request_url`.
        audio: the audio in pieces, at the pace at which they shall be sent.
        adaptation_state: the value of `adaptation_state` from an earlier request of the same speaker.

    Raises:
        OSError, tornado.httpclient.HTTPError: there is no such server.
        ProtocolError: the server says something that is not an event.
    """
    connection = await websocket_connect(url, connect_timeout=CONNECT_TIMEOUT_S)
    sending = asyncio.create_task(_send(connection, audio, adaptation_state))
    try:
        while (message := await connection.read_message()) is not None:
            yield parse_event(message)
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        connection.close()


async def _send(
    connection: WebSocketClientConnection, audio: AsyncIterator[bytes], adaptation_state: Message | None
) -> None:
    with suppress(WebSocketClosedError):  # the server has ended the request early; its last message says why
        if adaptation_state is not None:
            await connection.write_message(dumps({"adaptation_state": adaptation_state}))
        async for piece in audio:
            await connection.write_message(piece, binary=True)
        await connection.write_message(EOS)


async def paced(audio: AsyncIterator[bytes], bytes_per_s: float) -> AsyncIterator[bytes]:
    """Passes audio on no faster than it would be spoken: each piece when its last byte would be."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    async for piece in audio:
        due_s += len(piece) / bytes_per_s
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        yield piece
