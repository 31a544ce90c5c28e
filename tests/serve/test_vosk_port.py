"""`serve --vosk-port` as a user runs it, and a client with the library that vosk-server's samples use."""

import json
import socket
from pathlib import Path

from serve_process import ENGLISH, running_serve
from websockets.sync.client import connect


def test_a_port_for_clients_of_vosk_server(tmp_path: Path, golden: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    audio = (golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()[44:]
    with running_serve(tmp_path, ENGLISH, "--vosk-port", port), connect(f"ws://127.0.0.1:{port}") as client:
        client.send('{ "config" : { "sample_rate" : 16000 } }')
        replies = []
        for begin in range(0, len(audio), 8000):
            client.send(audio[begin : begin + 8000])
            replies.append(json.loads(client.recv()))
        client.send('{"eof" : 1}')
        replies.append(json.loads(client.recv()))
        assert [reply["text"] for reply in replies if reply.get("text")] == ["two nine three four zero"]
        assert any(reply.get("partial") for reply in replies)
