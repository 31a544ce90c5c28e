"""`serve` as a user runs it: real processes, killed and hung and stopped."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from processes import Watched, children
from serve_process import ENGLISH, PATIENCE_S, REPOSITORY, running_serve

from pykaldi_server.errors import ConfigError
from pykaldi_server.serve import supervisor
from pykaldi_server.serve.supervisor import Supervisor, WorkerCommand


def test_a_server_serves_and_stops(tmp_path: Path, golden: Path) -> None:
    with running_serve(tmp_path, ENGLISH) as serve:
        wav = golden / "wav" / "ps-tidigits-2934z.wav"
        url = serve.url.replace("http", "ws") + "/client/ws/speech"
        state = tmp_path / "state.json"
        arguments = ["client", str(wav), "-u", url, "--rate", "0", "--save-adaptation-state", str(state)]
        command = [sys.executable, "-m", "pykaldi_server", *arguments]
        ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert ran.stdout == "two nine three four zero\n"
        assert "... two" in ran.stderr
        assert json.loads(state.read_text())["type"] == "string+gzip+base64"

        # The same with every option that the original's client.py has.
        raw = tmp_path / "speech.raw"
        raw.write_bytes(wav.read_bytes()[44:])
        again = tmp_path / "again.json"
        originals = {
            "--uri": url,
            "--rate": "320000",
            "--save-adaptation-state": str(again),
            "--send-adaptation-state": str(state),
            "--content-type": "audio/x-raw, layout=(string)interleaved, rate=(int)16000, "
            "format=(string)S16LE, channels=(int)1",
        }
        arguments = ["client", *(word for option in originals.items() for word in option), str(raw)]
        command = [sys.executable, "-m", "pykaldi_server", *arguments]
        ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert ran.stdout == "two nine three four zero\n"
        assert json.loads(again.read_text())["value"] != json.loads(state.read_text())["value"]

        (worker,) = map(Watched, serve.children())
        serve.process.send_signal(signal.SIGINT)
        assert serve.process.wait(PATIENCE_S) == 0
        worker.wait()


def test_a_killed_worker_is_reported_and_replaced(tmp_path: Path, harness: Any, golden: Path) -> None:
    with running_serve(tmp_path, ENGLISH, "--sessions", "1") as serve:

        async def scenario() -> None:
            ws = serve.url.replace("http", "ws")
            status = await harness.connect(f"{ws}/client/ws/status")
            client = await harness.connect(f"{ws}/client/ws/speech")
            await client.send((golden / "wav" / "ps-librivox-0870.wav").read_bytes())
            await client.until(lambda each: not each["result"]["final"])
            (worker,) = serve.children()
            os.kill(worker, signal.SIGKILL)
            last = (await client.read_all())[-1]
            assert last["status"] == 2
            await status.until(lambda each: each["num_requests_processed"] == 1)
            await status.until(lambda each: each["num_workers_available"] == 1)
            assert serve.children() != [worker]

        harness.run(scenario)


def test_no_process_outlives_a_killed_server(tmp_path: Path) -> None:
    with running_serve(tmp_path, ENGLISH, "--workers", "2") as serve:
        workers = [Watched(pid) for pid in serve.children()]
        assert len(workers) == 2
        serve.process.kill()
        for each in workers:
            each.wait()


def test_a_model_that_cannot_be_loaded_ends_serve(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pykaldi_server", "serve", "--port", "0", str(tmp_path)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 1
    assert str(tmp_path) in ran.stderr
    assert "Traceback" not in ran.stderr


def endless_model(folder: Path, models: Path) -> str:
    """A model that takes for ever to load."""
    model = folder / "english"
    model.mkdir(parents=True)
    for part in ("conf", "ivector", "graph-digits"):
        (model / part).symlink_to(models / "english" / part)
    (model / "am").mkdir()
    os.mkfifo(model / "am" / "final.mdl")
    return f"{model}:graph-digits"


def test_models_of_the_same_name_are_refused(tmp_path: Path, models: Path) -> None:
    """Before they are loaded: here that would take for ever."""
    places = [endless_model(tmp_path / folder, models) for folder in ("a", "b")]
    command = [sys.executable, "-m", "pykaldi_server", "serve", "--port", "0"]
    ran = subprocess.run(
        [*command, *places], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 1
    assert all(place in ran.stderr for place in places)
    assert "expected different names, found 'english-digits' for both " in ran.stderr
    assert "; give one of them another name: NAME=" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_clients_wait_for_a_model_that_is_being_loaded(tmp_path: Path, models: Path, golden: Path) -> None:
    """The first model serves already. One that has still to come is not one that there is not."""
    wav = (golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()
    named = f"late={endless_model(tmp_path, models)}"
    with running_serve(tmp_path, ENGLISH, named, "--queue-s", "0.1") as serve:

        def status(query: str) -> int:
            request = urllib.request.Request(f"{serve.url}/client/dynamic/recognize{query}", data=wav)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                    return int(response.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert status("") == 200
        assert status("?model=late") == 503
        assert status("?model=latte") == 404
        assert status("?language=en") == 200
        assert status("?language=et") == 503


def test_models_have_the_names_that_they_are_given(tmp_path: Path, harness: Any, golden: Path) -> None:
    named = [f"{name}={ENGLISH}" for name in ("first", "second")]
    with running_serve(tmp_path, *named) as serve:

        async def scenario() -> None:
            ws = serve.url.replace("http", "ws")
            status = await harness.connect(f"{ws}/client/ws/status")
            await status.until(lambda each: each["num_workers_available"] == 8)
            for name in ("first", "second"):
                client = await harness.connect(f"{ws}/client/ws/speech?model={name}")
                await client.send((golden / "wav" / "ps-tidigits-2934z.wav").read_bytes())
                await client.send("EOS")
                final = [each for each in await client.read_all() if each.get("result", {}).get("final")]
                assert final[0]["result"]["hypotheses"][0]["transcript"] == "two nine three four zero"

        harness.run(scenario)


def test_a_port_that_is_taken_ends_serve(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            command = ["-m", "pykaldi_server", "serve", "--port", str(master.port), ENGLISH]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=REPOSITORY, stderr=asyncio.subprocess.PIPE
            )
            _, errors = await process.communicate()
            assert process.returncode == 1
            assert b"in use" in errors
            assert b"Traceback" not in errors

    harness.run(scenario)


def write_gstreamer_configuration(directory: Path, english: Path) -> Path:
    """Describes the English model as users of kaldi-gstreamer-server do."""
    ivector = english / "ivector"
    extractor = directory / "ivector_extractor.conf"
    extractor.write_text(
        f"--splice-config={ivector}/splice.conf\n--cmvn-config={ivector}/online_cmvn.conf\n"
        f"--lda-matrix={ivector}/final.mat\n--global-cmvn-stats={ivector}/global_cmvn.stats\n"
        f"--diag-ubm={ivector}/final.dubm\n--ivector-extractor={ivector}/final.ie\n"
    )
    path = directory / "conf.yaml"
    path.write_text(
        f"""
use-nnet2: true
decoder:
  nnet-mode: 3
  use-threaded-decoder: true
  model: {english}/am/final.mdl
  fst: {english}/graph-digits/HCLG.fst
  word-syms: {english}/graph-digits/words.txt
  mfcc-config: {english}/conf/mfcc.conf
  ivector-extraction-config: {extractor}
  acoustic-scale: 1.0
  frame-subsampling-factor: 3
silence-timeout: 60
"""
    )
    return path


def test_master_and_worker_as_separate_commands(harness: Any, models: Path, golden: Path) -> None:
    """As on two machines, with a configuration file of kaldi-gstreamer-server."""
    conf = write_gstreamer_configuration(harness.directory, models / "english")

    async def scenario() -> None:
        async with harness.master() as master:
            port = master.port  # free again in a moment
        ws = f"ws://127.0.0.1:{port}"
        commands = (
            ("worker", "-u", f"{ws}/worker/ws/speech", "-c", str(conf), "--sessions", "1"),
            ("master", "--port", str(port), "--host", "127.0.0.1"),
        )
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "pykaldi_server", *command, cwd=REPOSITORY
            )
            for command in commands
        ]
        try:
            status = await harness.connect_when_there(f"{ws}/client/ws/status")
            await status.until(
                lambda each: each["models"] == {"conf": {"available": 1, "busy": 0, "waiting": 0}}
            )
            client = await harness.connect(f"{ws}/client/ws/speech?model=conf")
            await client.send((golden / "wav" / "ps-cards-004.wav").read_bytes())
            await client.send("EOS")
            finals = [each["result"] for each in await client.read_all() if "segment-start" in each]
            assert [final["hypotheses"][0]["transcript"] for final in finals] == ["five five"]
        finally:
            harness.dispose()
            for process in processes:
                process.terminate()
            assert [await process.wait() for process in processes] == [0, 0]

    harness.run(scenario)


def test_a_worker_that_never_comes_up_is_given_up(harness: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        command = WorkerCommand("model", ("ws://localhost:1",), sessions=1, extra=("--no-such-option",))
        with pytest.raises(ConfigError, match="model: the worker cannot load it"):
            await Supervisor([command], lambda *_: None).run()

    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)
    harness.run(scenario)


def test_a_hung_worker_is_killed_and_replaced(harness: Any, models: Path) -> None:
    others = set(children(os.getpid()))  # of tests before this one

    def workers() -> set[int]:
        return set(children(os.getpid())) - others

    async def scenario() -> None:
        async with harness.master() as master:
            command = WorkerCommand(f"{models / 'english'}:graph-digits", (master.worker_url,), sessions=1)
            ready: asyncio.Queue[str] = asyncio.Queue()
            watching = Supervisor([command], lambda _, model: ready.put_nowait(model), silence_s=2)
            running = asyncio.create_task(watching.run())
            assert await ready.get() == "english-digits"
            (worker,) = workers()
            os.kill(worker, signal.SIGSTOP)
            assert await ready.get() == "english-digits"
            assert workers() != {worker}
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert workers() == set()

    harness.run(scenario)
