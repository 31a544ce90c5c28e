"""A worker with post-processors on a real master: results are changed in order, and none is lost."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from live_worker import read_log, running_worker, worker_process
from processes import children
from programs import UPPER, for_each_line, for_each_result, hung_after, is_running

from pykaldi_server.master.access.caller import Caller
from pykaldi_server.master.relay import WINDOW_BYTES, End, Relay
from pykaldi_server.protocols.gstreamer import RequestInfo
from pykaldi_server.protocols.supervision import EXIT_MODEL
from pykaldi_server.protocols.worker import Position
from pykaldi_server.session import Model
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.post_processor import PostProcessor

TRANSCRIPT = "two nine three four zero"


@asynccontextmanager
async def processing_worker(model: Model, master: Any, **options: Any) -> AsyncIterator[PostProcessor]:
    before = set(children(os.getpid()))
    with PostProcessor(PostProcessorOptions(**options)) as post_processor:
        async with running_worker(model, master, post_processor):
            yield post_processor
    assert set(children(os.getpid())) <= before


def results(messages: list[dict[str, Any]], final: bool) -> list[dict[str, Any]]:
    found = [each["result"] for each in messages if "result" in each]
    return [each["hypotheses"][0] for each in found if each["final"] is final]


async def recognize(harness: Any, master: Any, data: bytes) -> list[dict[str, Any]]:
    client = await harness.client(master)
    await client.send(data)
    await client.send("EOS")
    messages: list[dict[str, Any]] = await client.read_all()
    return messages


def test_results_are_changed_in_order(harness: Any, digits: Model, audio: bytes) -> None:
    upper = for_each_line(UPPER)

    async def scenario() -> None:
        async with harness.master() as master, processing_worker(digits, master, post_processor=upper):
            messages = await recognize(harness, master, audio)
            [final] = results(messages, final=True)
            assert final["transcript"] == TRANSCRIPT.upper()
            assert final["original-transcript"] == TRANSCRIPT
            assert final["word-alignment"][0]["word"] == "two"
            partials = [each["transcript"] for each in results(messages, final=False)]
            assert len(partials) > 2
            assert all(TRANSCRIPT.startswith(each.lower()) for each in partials)
            assert messages[-1]["adaptation_state"]

    harness.run(scenario)


def test_many_clients_get_their_own_results(harness: Any, digits: Model, audio: bytes) -> None:
    name_request = for_each_result("result['result']['hypotheses'][0]['transcript'] = result['id']")

    async def scenario() -> None:
        options = {"full_post_processor": name_request}
        async with harness.master() as master, processing_worker(digits, master, **options):
            requests = [recognize(harness, master, audio) for _ in range(4)]
            for messages in await asyncio.gather(*requests):
                [final] = results(messages, final=True)
                assert final["transcript"] == messages[0]["id"]

    harness.run(scenario)


def test_recognition_goes_on_while_a_final_result_waits(
    harness: Any, digits: Model, audio: bytes, tmp_path: Path
) -> None:
    """The program answers nothing until more audio has been recognised than may be on the way to a worker."""
    go = tmp_path / "go"
    program = for_each_line(f"while not os.path.exists({str(go)!r}): pass\n{UPPER}")
    copies = 2 * WINDOW_BYTES // len(audio) + 2

    async def scenario() -> None:
        async with harness.master() as master:
            options = {"post_processor": program, "post_processor_timeout_s": 60.0}
            async with processing_worker(digits, master, **options):
                consumed_bytes = 0
                sink = CollectingSink()
                relay = Relay(master.hub, RequestInfo(), sink, Caller("127.0.0.1"), position_bytes=0)
                relay.start()
                await relay.send(audio)
                await relay.send('{"finalize": true}')
                for _ in range(copies):
                    await relay.send(audio)
                while consumed_bytes < copies * len(audio):
                    consumed_bytes = (await sink.positions.get()).num_bytes
                assert results(sink.messages, final=True) == []
                go.touch()
                await relay.send("EOS")
                await sink.ended.wait()
                finals = [each["transcript"] for each in results(sink.messages, final=True)]
                assert all(each.isupper() for each in finals)
                assert len(finals) > 1

    harness.run(scenario)


class CollectingSink:
    """The client's side of a request; keeps everything."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.positions: asyncio.Queue[Position] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def deliver(self, event: str) -> None:
        self.messages.append(json.loads(event))

    async def consumed(self, position: Position) -> None:
        self.positions.put_nowait(position)

    async def end(self, end: End) -> None:
        assert end.status == 0, end
        self.ended.set()


def test_a_program_that_hangs_loses_nothing(harness: Any, digits: Model, audio: bytes) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            options = {"post_processor": hung_after(0), "post_processor_timeout_s": 0.3}
            async with processing_worker(digits, master, **options):
                for _ in range(2):
                    messages = await recognize(harness, master, audio)
                    [final] = results(messages, final=True)
                    assert final["transcript"] == final["original-transcript"] == TRANSCRIPT
                    assert len(results(messages, final=False)) > 2
                    assert messages[-1]["adaptation_state"]

    harness.run(scenario)


@pytest.mark.parametrize("last", ['{"finalize": true}', '{"reset": true}', "EOS"])
def test_the_slot_of_a_client_that_leaves_is_free_at_once(
    harness: Any, digits: Model, audio: bytes, last: str
) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            options = {"full_post_processor": hung_after(0), "post_processor_timeout_s": 60.0}
            async with processing_worker(digits, master, **options) as post_processor:
                client = await harness.client(master)
                await client.send(audio)
                await client.send(last)
                (program,) = post_processor._programs()
                while not program._turn.locked():
                    await asyncio.sleep(0.01)
                client.vanish()
                await master.until(lambda: master.hub.pool.status().available == 4)
                assert program._turn.locked()  # it has not been waited for

    harness.run(scenario)


def test_sigterm_ends_the_programs_too(
    harness: Any, models: Path, audio: bytes, tmp_path: Path, golden: Path
) -> None:
    """A request is cut off while its result is with a program that hangs: it goes out as it is."""
    pid_file = tmp_path / "pid"
    note_pid = f"open({str(pid_file)!r}, 'a').write(str(os.getpid()) + ' ')"
    program = for_each_line("import time; time.sleep(1000)", before=note_pid)

    async def scenario() -> None:
        async with harness.master() as master:
            arguments = ["--post-processor", program, "--post-processor-timeout", "50", "--drain-s", "0.1"]
            async with worker_process(master, models / "english:graph-digits", *arguments) as process:
                await master.wait_until_ready()
                client = await harness.client(master)
                await client.send(audio)
                await client.until(lambda each: "result" in each)
                process.send_signal(signal.SIGTERM)
                messages = await client.read_all()
                assert results(messages, final=True)[-1]["transcript"].startswith("two nine")
                assert messages[-1]["status"] == 2
                await read_log(process)
                assert await process.wait() == 0
                for pid in pid_file.read_text().split():
                    assert not is_running(int(pid))

    harness.run(scenario)


def test_a_worker_whose_program_cannot_be_run_does_not_serve(harness: Any, models: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            arguments = ["--post-processor", "no-such-program-anywhere"]
            async with worker_process(master, models / "english:graph-digits", *arguments) as process:
                log = await read_log(process)
                assert await process.wait() == EXIT_MODEL
                assert "post-processor: cannot run 'no-such-program-anywhere'" in log
                assert master.hub.pool.status().available == 0

    harness.run(scenario)


def test_a_yaml_file_of_kaldi_gstreamer_server(
    harness: Any, models: Path, audio: bytes, tmp_path: Path
) -> None:
    """With the post-processor of the original's sample configuration, which adds a full stop."""
    yaml = tmp_path / "worker.yaml"
    lines = (models / "english" / "digits.yaml").read_text().replace(": graph", f": {models}/english/graph")
    lines = lines.partition("full-post-processor")[0]
    for folder in ("am", "conf", "ivector"):
        lines = lines.replace(f": {folder}/", f": {models}/english/{folder}/")
    perl = "perl -npe 'BEGIN {use IO::Handle; STDOUT->autoflush(1);} s/(.*)/\\1./;'"
    yaml.write_text(f"{lines}\npost-processor: {perl}\n")

    async def scenario() -> None:
        async with harness.master() as master, worker_process(master, yaml) as process:
            await master.wait_until_ready()
            response = await harness.fetch(
                master,
                "/client/dynamic/recognize",
                method="PUT",
                body=audio,
                headers={"Content-Type": "audio/x-raw-int; rate=16000"},
            )
            assert json.loads(response.body)["hypotheses"] == [{"utterance": f"{TRANSCRIPT}."}]
            process.terminate()
            await read_log(process)

    harness.run(scenario)
