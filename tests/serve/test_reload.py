"""`serve` and `worker` read settings and models again, and replace processes, while streams go on."""

import os
import shutil
import signal
import wave
from pathlib import Path
from typing import Any

import pytest
from harness import Socket, until
from live_worker import worker_process
from serve_process import running_serve

from pykaldi_server.protocols.supervision import EXIT_RECYCLE

TRANSCRIPT = "two nine three four zero"
HALF = 24_000


@pytest.fixture(scope="module")
def audio(golden: Path) -> bytes:
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        return bytes(file.readframes(file.getnframes()))


async def begin(harness: Any, url: str, audio: bytes) -> Socket:
    """A request in the middle of its audio, of which something has been recognised."""
    client: Socket = await harness.connect(f"{url}")
    await client.send(audio[:HALF])
    await client.until(lambda each: "result" in each)
    return client


async def finish(client: Socket, audio: bytes) -> str:
    """The words of a request that ends well."""
    await client.send(audio[HALF:])
    await client.send("EOS")
    messages = await client.read_all()
    assert all(each["status"] == 0 for each in messages), messages
    finals = [each["result"] for each in messages if each.get("result", {}).get("final")]
    return " ".join(each["hypotheses"][0]["transcript"] for each in finals)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def own_model(directory: Path, models: Path, name: str) -> Path:
    """A model of digits that a test may replace."""
    model = directory / name
    model.mkdir()
    for part in ("am", "conf", "ivector"):
        (model / part).symlink_to(models / "english" / part)
    shutil.copytree(models / "english" / "graph-digits", model / "graph")
    return model


def test_models_and_settings_of_serve_are_read_again_while_streams_go_on(
    tmp_path: Path, harness: Any, models: Path, audio: bytes
) -> None:
    first, _ = (own_model(tmp_path, models, name) for name in ("first", "second"))
    config = tmp_path / "server.yaml"

    def write(names: str, options: str = "") -> None:
        config.write_text(
            f"serve: {{models: [{names}], sessions: 2}}\nmaster: {{queue-s: 5}}\nworker: {{{options}}}\n"
        )

    write("first, second", "drain-s: 0")  # which is for the end, not for reloading
    with running_serve(tmp_path, "--config", str(config)) as serve:
        ws = serve.url.replace("http", "ws")
        speech = f"{ws}/client/ws/speech"

        async def scenario() -> None:
            status = await harness.connect(f"{ws}/client/ws/status")
            await status.until(lambda each: each["num_workers_available"] == 4)
            streams = [await begin(harness, f"{speech}?model={name}", audio) for name in ("first", "second")]
            workers = set(serve.children())

            # One model goes, one comes, and one has another file in place of its graph.
            own_model(tmp_path, models, "third")
            new = first / "graph" / "new.fst"
            shutil.copy(first / "graph" / "HCLG.fst", new)
            new.replace(first / "graph" / "HCLG.fst")
            write("third, first", "language: en")
            serve.process.send_signal(signal.SIGHUP)
            await status.until(
                lambda each: (
                    {name: model["available"] for name, model in each["models"].items()}
                    == {"third": 2, "first": 2, "second": 0}
                )
            )
            assert [await finish(client, audio) for client in streams] == 2 * [TRANSCRIPT]
            await until(lambda: not workers & set(serve.children()))
            assert len(serve.children()) == 2
            for name in ("", "?model=third", "?model=first"):
                client = await begin(harness, f"{speech}{name}", audio)
                assert await finish(client, audio) == TRANSCRIPT
            refused = await harness.connect(f"{speech}?model=second")
            await refused.send(audio)
            assert "there is no model 'second'" in (await refused.read_all())[-1]["message"]

        harness.run(scenario)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_leaves_the_old_one(
    tmp_path: Path, harness: Any, models: Path, audio: bytes
) -> None:
    model = own_model(tmp_path, models, "digits")
    with running_serve(tmp_path, str(model), "--sessions", "2") as serve:
        ws = serve.url.replace("http", "ws")

        async def scenario() -> None:
            client = await begin(harness, f"{ws}/client/ws/speech", audio)
            (worker,) = serve.children()
            (model / "graph").rename(tmp_path / "graph")
            serve.process.send_signal(signal.SIGHUP)
            await until(lambda: len(serve.children()) == 2)
            await until(lambda: serve.children() == [worker])
            assert await finish(client, audio) == TRANSCRIPT
            assert await finish(await begin(harness, f"{ws}/client/ws/speech", audio), audio) == TRANSCRIPT
            (tmp_path / "graph").rename(model / "graph")
            serve.process.send_signal(signal.SIGHUP)
            await until(lambda: len(serve.children()) == 1 and serve.children() != [worker])
            assert await finish(await begin(harness, f"{ws}/client/ws/speech", audio), audio) == TRANSCRIPT

        harness.run(scenario)


@pytest.mark.slow
def test_a_worker_process_that_has_done_enough_is_replaced_without_a_gap(
    tmp_path: Path, harness: Any, models: Path, audio: bytes
) -> None:
    arguments = ("--sessions=2", "--worker-argument=--recycle-requests=2", "--queue-s=0")
    with running_serve(tmp_path, str(models / "english:graph-digits"), *arguments) as serve:
        ws = serve.url.replace("http", "ws")

        async def scenario() -> None:
            status = await harness.connect(f"{ws}/client/ws/status")
            await status.until(lambda message: message["num_workers_available"] == 2)
            (first,) = serve.children()
            ended = 0
            while first in serve.children() or ended < 6:
                client = await begin(harness, f"{ws}/client/ws/speech", audio)
                assert await finish(client, audio) == TRANSCRIPT
                ended += 1

                def are_back(message: dict[str, Any], number: int = ended) -> bool:
                    available = message["num_workers_available"]
                    assert available > 0, "a gap: one slot was free all the time"
                    return bool(available >= 2 and message["num_requests_processed"] == number)

                await status.until(are_back)

        harness.run(scenario)


def test_a_lone_worker_reloads_in_place(harness: Any, models: Path, audio: bytes) -> None:
    config = harness.directory / "worker.yaml"
    config.write_text("worker: {sessions: 1, name: old, drain-s: 0}\n")
    model = str(models / "english:graph-digits")

    async def scenario() -> None:
        async with (
            harness.master() as master,
            worker_process(master, model, "--config", str(config)) as process,
        ):
            pool = master.hub.pool
            await master.until(lambda: pool.status().models == {"old": (1, 0)})
            speech = f"{master.url.replace('http', 'ws')}/client/ws/speech"
            client = await begin(harness, f"{speech}?model=old", audio)

            assert process.stderr is not None
            for content, text in (
                ("worker: {sessions: many}", "worker: sessions: expected a whole number, found 'many'"),
                ("worker: {model-options: [beam=wide]}", "beam"),
            ):
                config.write_text(content)
                process.send_signal(signal.SIGHUP)
                while b"settings stay as they were" not in (line := await process.stderr.readline()):
                    assert line
                assert text in line.decode()
            assert pool.status().models == {"old": (0, 1)}

            config.write_text("worker: {sessions: 2, name: new, language: en}\n")
            process.send_signal(signal.SIGHUP)
            await master.until(lambda: pool.status().models == {"new": (2, 0), "old": (0, 1)})
            assert master.hub.models["new"].language == "en"
            assert await finish(client, audio) == TRANSCRIPT
            await master.until(lambda: pool.status().models == {"new": (2, 0)})
            client = await begin(harness, f"{speech}?model=new", audio)
            process.send_signal(signal.SIGTERM)
            await master.until(lambda: pool.status().models == {"new": (0, 1)})
            assert await finish(client, audio) == TRANSCRIPT
            await process.stderr.read()
            assert await process.wait() == 0

    harness.run(scenario)


@pytest.mark.parametrize("limit", ["--recycle-requests=1", "--recycle-memory-mib=1"])
def test_a_lone_worker_that_has_done_enough_ends_after_its_requests(
    harness: Any, models: Path, audio: bytes, limit: str
) -> None:
    async def scenario() -> None:
        model = str(models / "english:graph-digits")
        async with (
            harness.master() as master,
            worker_process(master, model, "--sessions=2", limit) as process,
        ):
            assert process.stderr is not None
            if "memory" in limit:  # less than the model needs would mean a new process for ever
                log = (await process.stderr.read()).decode()
                assert "recycle_memory_mib: expected more than the " in log
                assert await process.wait() == os.EX_CONFIG
                return
            await master.until(lambda: master.hub.pool.status().available == 2)
            speech = f"{master.url.replace('http', 'ws')}/client/ws/speech"
            first, second = [await begin(harness, speech, audio) for _ in range(2)]
            assert await finish(first, audio) == TRANSCRIPT
            assert await finish(second, audio) == TRANSCRIPT
            assert b"it has served 1 requests" in await process.stderr.read()
            assert await process.wait() == EXIT_RECYCLE

    harness.run(scenario)


@pytest.mark.slow
def test_several_processes_of_a_worker_reload(harness: Any, models: Path, audio: bytes) -> None:
    config = harness.directory / "worker.yaml"
    config.write_text("worker: {sessions: 1, name: old}\n")
    model = str(models / "english:graph-digits")

    async def scenario() -> None:
        async with (
            harness.master() as master,
            worker_process(master, model, "--fork=2", "--config", str(config)) as process,
        ):
            pool = master.hub.pool
            await master.until(lambda: pool.status().models == {"old": (2, 0)})
            client = await begin(harness, f"{master.url.replace('http', 'ws')}/client/ws/speech", audio)
            config.write_text("worker: {sessions: 2, name: new}\n")
            process.send_signal(signal.SIGHUP)
            await master.until(lambda: pool.status().models == {"new": (4, 0), "old": (0, 1)})
            assert await finish(client, audio) == TRANSCRIPT
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            await process.stderr.read()
            assert await process.wait() == 0

    harness.run(scenario)


def test_a_worker_that_is_still_loading_ends_at_once(harness: Any, models: Path) -> None:
    """Here the model would be loaded for ever: its file is a pipe into which nobody writes."""
    model = harness.directory / "model"
    shutil.copytree(models / "english", model, ignore=shutil.ignore_patterns("graph", "final.mdl"))
    os.mkfifo(model / "am" / "final.mdl")

    async def scenario() -> None:
        async with harness.master() as master, worker_process(master, model) as process:
            await until(lambda: catches(process.pid, signal.SIGTERM))
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            await process.stderr.read()
            assert await process.wait() == 0

    harness.run(scenario)
