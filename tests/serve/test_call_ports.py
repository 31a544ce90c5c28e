"""`serve --wyoming-port --audiosocket-port` as a user runs it."""

import json
import socket
import struct
import uuid
import wave
from pathlib import Path

from phone import CALL
from serve_process import ENGLISH, running_serve
from websockets.sync.client import connect

from pykaldi_server.protocols.wyoming import Event, EventReader

DIGITS = "two nine three four zero"


def test_ports_for_home_assistant_and_asterisk(tmp_path: Path, golden: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        wyoming_port, audiosocket_port = one.getsockname()[1], another.getsockname()[1]
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        audio = file.readframes(file.getnframes())
    ports = ("--wyoming-port", str(wyoming_port), "--audiosocket-port", str(audiosocket_port))
    with running_serve(tmp_path, ENGLISH, *ports, "--worker-argument=--language=en") as server:
        with socket.create_connection(("127.0.0.1", wyoming_port)) as client:
            client.sendall(
                Event("describe").encode()
                + Event("transcribe", {"language": "en"}).encode()
                + Event("audio-chunk", {"rate": 16000, "width": 2, "channels": 1}, audio).encode()
                + Event("audio-stop").encode()
            )
            client.shutdown(socket.SHUT_WR)
            reader, events = EventReader(10**6), []
            while data := client.recv(4096):
                events += reader.feed(data)
        assert events[0].data["asr"][0]["models"][0]["languages"] == ["en"]
        assert [event.data for event in events if event.type == "transcript"] == [
            {"text": DIGITS, "language": "en"}
        ]

        address = f"{server.url.replace('http', 'ws')}/client/ws/listen?id={CALL}"
        with connect(address) as listener, socket.create_connection(("127.0.0.1", audiosocket_port)) as call:
            call.sendall(b"\x01\x00\x10" + uuid.UUID(CALL).bytes)
            for begin in range(0, len(audio), 640):
                frame = audio[begin : begin + 640]
                call.sendall(struct.pack(">BH", 0x12, len(frame)) + frame)
            call.shutdown(socket.SHUT_WR)
            messages = list(map(json.loads, listener))
        finals = [each for each in messages if each.get("result", {}).get("final")]
        assert [each["result"]["hypotheses"][0]["transcript"] for each in finals] == [DIGITS]
        assert messages[-1]["event"] == "end"
