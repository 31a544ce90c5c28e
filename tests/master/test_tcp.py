"""The base of the plain TCP protocols, on real sockets."""

import asyncio
import socket
import struct
from typing import Any

from pykaldi_server.master.tcp import TcpConnection
from pykaldi_server.protocols.messages import Status

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Listener(TcpConnection):
    """Takes everything and says nothing."""

    async def receive(self, data: bytes) -> None:
        pass

    async def left(self, is_lost: bool) -> None:
        pass

    def ended(self, reason: str) -> None:
        pass

    def farewell(self, status: Status, text: str) -> bytes:
        return b""


def test_a_client_that_is_gone_when_the_server_ends_the_conversation(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                client = socket.create_connection(listening.getsockname())
                accepted, _ = listening.accept()
            connection = Listener(master.hub, *await asyncio.open_connection(sock=accepted))
            serving = asyncio.create_task(connection.run())
            await asyncio.sleep(0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            client.close()
            connection.finish()  # before the event loop has heard of the reset
            await serving
            assert connection.closed.is_set()

    harness.run(scenario)
