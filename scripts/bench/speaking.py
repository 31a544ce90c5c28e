"""Streams in real time: a client of any protocol speaks a recording, and what is shown when is noted."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from live_calls import AsteriskClient, TwilioClient
from live_clients import (
    Address,
    Client,
    Failure,
    KaldiClient,
    Lost,
    OpenAIClient,
    RealtimeClient,
    UploadClient,
    VoskClient,
    WyomingClient,
)
from recordings import Recording

__all__ = ["PROTOCOLS", "Outcome", "Shown", "speak"]

PROTOCOLS: dict[str, type[Client]] = {
    "kaldi": KaldiClient,
    "vosk": VoskClient,
    "realtime": RealtimeClient,
    "wyoming": WyomingClient,
    "asterisk": AsteriskClient,
    "twilio": TwilioClient,
    "upload": UploadClient,
    "openai": OpenAIClient,
}


@dataclass(frozen=True)
class Shown:
    """All that a client shows from a moment on: final results so far and the partial one."""

    at_s: float
    text: str


@dataclass
class Outcome:
    """One stream. Times are those of the event loop.

    Attributes:
        begin_s: when the sound began.
        sent_s: seconds of audio that were sent.
        late_s: by how much the client itself sent a packet too late, at most.
        sound_end_s: when the sound ended; None if the stream was left before.
        end_s: when the server ended the stream; None if it was left before.
        shown: what was shown when.
        failure: why it failed; None for a stream that ended well or was left by the client.
        request_id: what the server calls the request, where the protocol says so.
    """

    begin_s: float = 0.0
    sent_s: float = 0.0
    late_s: float = 0.0
    sound_end_s: float | None = None
    end_s: float | None = None
    shown: list[Shown] = field(default_factory=list)
    failure: Failure | None = None
    request_id: str = ""

    @property
    def text(self) -> str:
        return self.shown[-1].text if self.shown else ""


async def speak(
    kind: type[Client], address: Address, recording: Recording, packet_s: float, until_s: float = float("inf")
) -> Outcome:
    """Runs one stream in real time: each packet is sent when its last sample has been spoken.

    Args:
        kind: the client.
        address: of the server.
        recording: what is spoken.
        packet_s: length of a packet in seconds of audio.
        until_s: when the client leaves without waiting for its results, in the event loop's time.
    """
    loop = asyncio.get_running_loop()
    data, rate_hz, sample_bytes = kind.form.encode(recording)
    client = kind(address, rate_hz)
    outcome = Outcome(begin_s=loop.time())

    async def read() -> None:
        async for text in client.results():
            if text != outcome.text:
                outcome.shown.append(Shown(loop.time(), text))
        outcome.end_s = loop.time()

    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout_at(None if until_s == float("inf") else until_s):
            await client.open()
            outcome.begin_s = loop.time()
            reading = asyncio.create_task(read())
            step = int(packet_s * rate_hz) * sample_bytes
            for begin in range(0, len(data), step):
                piece = data[begin : begin + step]
                due_s = outcome.begin_s + (begin + len(piece)) / (rate_hz * sample_bytes)
                await asyncio.wait((reading,), timeout=max(0.0, due_s - loop.time()))
                if reading.done():
                    break
                outcome.late_s = max(outcome.late_s, loop.time() - due_s)
                await client.send(piece)
                outcome.sent_s += len(piece) / (rate_hz * sample_bytes)
            else:
                outcome.sound_end_s = loop.time()
                await client.finish()
            await reading
            if outcome.sound_end_s is None:
                raise Lost("the server ended the stream before its audio ended")
    except TimeoutError:
        pass  # it leaves
    except Failure as failure:
        outcome.failure = failure
    finally:
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError, Failure):
                await reading
        client.vanish()
        outcome.request_id = client.request_id
    return outcome
