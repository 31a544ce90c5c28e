"""How many connections there may be, of clients that have a request and of those that say nothing."""

import asyncio
import resource
import socket
from contextlib import suppress
from typing import Any

import pytest
from every_protocol import PORTS
from harness import until

from pykaldi_server.master import server
from pykaldi_server.master.connections import Connections
from pykaldi_server.master.options import MasterOptions


def test_each_address_and_all_together_have_a_limit() -> None:
    options = MasterOptions(connections=3, connections_per_address=2)
    connections = Connections(lambda: options)
    assert [connections.enter(number, "192.0.2.1") for number in (1, 2)] == ["", ""]
    assert connections.enter(3, "192.0.2.1").startswith("429 ")
    assert connections.enter(4, "2001:db8::1") == ""
    assert connections.enter(5, "192.0.2.3").startswith("503 ")
    assert (len(connections), connections.num_networks) == (3, 2)
    connections.leave(1)
    connections.leave(1)
    connections.leave("somebody who was never there")
    assert connections.enter(6, "192.0.2.1") == ""
    for number in (2, 4, 6):
        connections.leave(number)
    assert (len(connections), connections.num_networks) == (0, 0)


def test_behind_a_proxy_its_address_has_no_limit() -> None:
    options = MasterOptions(connections_per_address=1, proxies=("127.0.0.1",))
    connections = Connections(lambda: options)
    assert [connections.enter(number, "127.0.0.1") for number in range(5)] == [""] * 5


def test_without_a_limit_there_are_files_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    files = 1000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    connections = Connections(MasterOptions)
    refused = next(number for number in range(files) if connections.enter(number, "192.0.2.1"))
    assert files / 3 < refused < files / 2


def test_a_flood_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    options = MasterOptions(connections=1)
    connections = Connections(lambda: options)
    for number in range(1001):
        connections.enter(number, "192.0.2.1")
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in lines] == ["1", "10", "100", "1000"]
    assert lines[0].endswith("from 192.0.2.1, at most 1")


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection on which nothing has been sent."""
    try:
        return connection.recv(1000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    return connection


@pytest.mark.parametrize("port", ["port", "wyoming_port", "audiosocket_port"])
def test_silent_connections_beyond_the_limit_are_closed_and_make_room_when_they_leave(
    harness: Any, port: str
) -> None:
    async def scenario() -> None:
        async with harness.master(**PORTS, connections=3) as master:
            number = getattr(master, port)
            silent = [connect(number) for _ in range(3)]
            await until(lambda: len(master.hub.connections) == 3)
            refused = connect(number)
            if port == "port":
                await until(lambda: b"503 Service Unavailable" in received(refused))
            else:
                await until(lambda: is_closed(refused))
            assert not any(is_closed(each) for each in silent)
            silent.pop().close()
            await until(lambda: len(master.hub.connections) == 2)
            again = connect(number)
            await until(lambda: len(master.hub.connections) == 3)
            for each in (*silent, refused, again):
                each.close()
            await until(lambda: len(master.hub.connections) == 0)

    harness.run(scenario)


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except BlockingIOError:
        return b""


def test_sockets_that_were_opened_count_until_they_close(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(connections=2) as master:
            client = await harness.client(master)
            status = await harness.status(master)
            assert len(master.hub.connections) == 2
            with pytest.raises(Exception, match="503"):
                await harness.status(master)
            client.vanish()
            await until(lambda: len(master.hub.connections) == 1)
            status.close()
            await until(lambda: len(master.hub.connections) == 0)
            assert (await harness.fetch(master, "/healthz")).code == 200
            await until(lambda: len(master.hub.connections) == 0)

    harness.run(scenario)


def test_workers_do_not_count(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(connections=1, connections_per_address=1) as master:
            for _ in range(5):
                await harness.worker(master)
            await until(lambda: master.hub.pool.status().available == 5)
            await harness.client(master)

    harness.run(scenario)


def test_workers_of_this_machine_come_in_whatever_clients_do(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(connections=1) as master:
            master.listen_for_own_workers()
            silent = connect(master.port)
            await until(lambda: len(master.hub.connections) == 1)
            await harness.worker(master)
            silent.close()

    harness.run(scenario)


def test_a_client_that_never_finishes_its_headers_is_closed(
    harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow loris: it sends a letter from time to time, so that it is never silent."""
    monkeypatch.setattr(server, "IDLE_CONNECTION_S", 0.3)

    async def scenario() -> None:
        async with harness.master() as master:
            reader, writer = await asyncio.open_connection("127.0.0.1", master.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            while not reader.at_eof() and reader.exception() is None:
                writer.write(b"a")
                with suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(1), 0.05)
            writer.close()
            await until(lambda: len(master.hub.connections) == 0)
            assert (await harness.fetch(master, "/healthz")).code == 200

    harness.run(scenario)
