"""How much a new client protocol takes: a codec and a sink; master and worker stay as they are.

The protocol of this test: the client sends audio as lines of hexadecimal digits and a full stop at the end;
the server says each result as a line, `?` before what may still change, then `OK` or `ERROR` with a reason.
"""

from typing import Any

from pykaldi_server.master.live_socket import LiveSocket
from pykaldi_server.master.relay import End, Relay
from pykaldi_server.protocols.gstreamer import EOS, RequestInfo, is_final, parse_event, transcript_of
from pykaldi_server.protocols.messages import Status
from pykaldi_server.protocols.worker import Position

# The codec: text in, text out


def understand(line: str) -> str | bytes:
    return EOS if line == "." else bytes.fromhex(line)


def result_line(event: str) -> str:
    message = parse_event(event)
    return ("" if is_final(message) else "? ") + (transcript_of(message) or "")


def last_line(end: End) -> str:
    return "OK" if end.status is Status.SUCCESS else f"ERROR {end.message}"


# The sink


class HexSocket(LiveSocket):
    """Serves the protocol."""

    async def opened(self) -> None:
        self.relay = Relay(self.hub, RequestInfo(content_type="audio/x-raw, rate=8000"), self, self.caller)
        self.relay.start()

    async def receive(self, message: str | bytes) -> None:
        await self.relay.send(understand(str(message)))

    async def deliver(self, event: str) -> None:
        await self.write_message(result_line(event))

    async def consumed(self, position: Position) -> None:
        pass

    async def end(self, end: End) -> None:
        self.write_soon(last_line(end))
        self.close()

    def ended(self) -> None:
        self.relay.cancel()


def result(text: str, final: bool) -> dict[str, Any]:
    return {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": text}], "final": final}}


def test_a_request_in_a_protocol_that_the_server_does_not_know(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(endpoints=[(r"/hex", HexSocket)], queue_s=0.05) as master:
            worker = await harness.worker(master, "protocol=2")
            client = await harness.connect(master.url.replace("http", "ws") + "/hex")
            assert (await worker.read_json())["content_type"] == "audio/x-raw, rate=8000"
            await client.send("00ff7f80")
            await client.send(".")
            assert [await worker.read(), await worker.read()] == [b"\0\xff\x7f\x80", "EOS"]
            await worker.send(result("on", final=False))
            await worker.send(result("one", final=True))
            await worker.send(Position(7, 0.1, end=True).text())
            assert [await client.read() for _ in range(4)] == ["? on", "one", "OK", None]

            refused = await harness.connect(master.url.replace("http", "ws") + "/hex")
            assert [await refused.read(), await refused.read()] == [
                "ERROR No decoder available, try again later",
                None,
            ]

    harness.run(scenario)
