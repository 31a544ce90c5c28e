"""The examples of docs/library.md, docs/porting.md and README.md run; the table has every option."""

import asyncio
import importlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from golden_data import read_wav
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.websocket import websocket_connect
from two_speakers import channels_of_call, wav_of

from pykaldi_server import Model, RequestOptions

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs" / "library.md").read_text(encoding="utf-8")
NAMES = ["ps-cards-001", "ps-cards-002", "ps-tidigits-2934z"]
TWO_NINE = "two nine three four zero"


def examples() -> dict[str, str]:
    """Heading -> the Python code below it; the second block below a heading gets a star."""
    found: dict[str, str] = {}
    for part in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE)):
            found[heading + "*" * number] = code
    return found


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model.load(models / "english:graph-digits")


@pytest.fixture
def workspace(golden: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A directory with what the examples name, and the variables that they take from each other."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "english").symlink_to(models / "english")
    paths = [Path(shutil.copy(golden / "wav" / f"{name}.wav", tmp_path)) for name in NAMES]
    os.link(paths[-1], "speech.wav")
    return {"paths": paths}


def run(heading: str, variables: dict[str, Any]) -> None:
    exec(compile(examples()[heading], f"docs/library.md: {heading}", "exec"), variables)


def test_every_example_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(examples()) == 9
    assert [heading for heading in examples() if f'run("{heading}"' not in source] == []


def test_a_recording(workspace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run("A recording", workspace)
    first, *words = capsys.readouterr().out.splitlines()
    assert first.startswith("0.00 ")
    assert [line.split()[2] for line in words] == first.split()[1:]
    assert isinstance(workspace["model"], Model)


def test_a_recording_of_two_speakers(
    workspace: dict[str, Any], golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("call.wav").write_bytes(wav_of(*channels_of_call(golden)))
    run("A recording", workspace)
    capsys.readouterr()
    run("A recording*", workspace)
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split(maxsplit=1)[1] for line in printed) == [
        "channel 0: he was not an ill disposed young man",
        "channel 1: go forward ten meters",
    ]


def test_the_readme(workspace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    os.link("speech.wav", "speech.ogg")  # what a file contains decides, not its name
    variables = workspace | {"samples": read_wav(workspace["paths"][-1])[1]}
    exec(compile(code, "README.md", "exec"), variables)
    assert capsys.readouterr().out.splitlines()[-1].startswith("0.0 ")
    assert variables["events"]


def test_live_audio(workspace: dict[str, Any], model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    run("Live audio", workspace)
    samples = read_wav(workspace["paths"][-1])[1].astype("<i2")
    workspace["captions"](model, (samples[begin : begin + 1600] for begin in range(0, len(samples), 1600)))
    shown = capsys.readouterr().out.replace("\r", "\n").split("\n")
    assert shown[-2:] == [TWO_NINE, ""]
    assert len(shown) > 4


def test_microphone(workspace: dict[str, Any]) -> None:
    try:
        importlib.import_module("sounddevice")
    except (ImportError, OSError):  # the latter without the library that it binds
        pytest.skip("needs sounddevice")
    run("Live audio*", workspace)
    assert callable(workspace["microphone"])


def test_a_web_application(workspace: dict[str, Any], model: Model) -> None:
    run("An asyncio program", workspace)
    data = read_wav(workspace["paths"][-1])[1].astype("<i2").tobytes()

    async def talk() -> list[dict[str, Any]]:
        socket, port = bind_unused_port()
        server = HTTPServer(workspace["make_app"](model))
        server.add_socket(socket)
        client = await websocket_connect(f"ws://127.0.0.1:{port}/captions")
        for begin in range(0, len(data), 3001):
            await client.write_message(data[begin : begin + 3001], binary=True)
        await client.write_message(b"", binary=True)
        messages = []
        while (message := await client.read_message()) is not None:
            messages.append(json.loads(message))
        client.close()
        server.stop()
        await server.close_all_connections()
        return messages

    *partials, final = asyncio.run(talk())
    assert final["final"] == TWO_NINE
    assert any(partial["stable"] for partial in partials)


def test_many_files(workspace: dict[str, Any], model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    run("Many files on few cores", workspace | {"model": model})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(NAMES)
    assert printed[-1].endswith(f"{NAMES[-1]}.wav {TWO_NINE}")


def test_options(workspace: dict[str, Any], model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    run("Options of a session", workspace | {"model": model})
    assert "the nearest known one is num-nbest" in capsys.readouterr().out


def test_the_table_has_every_option(model: Model) -> None:
    names = set(model.session().options.as_mapping())
    rule = "endpoint-rule1-"
    for name in names:
        listed = name.removeprefix(rule) if name.startswith(rule) else name
        if not re.match(r"endpoint-rule[2-5]-", name):
            assert f"`{listed}`" in PAGE, name
    assert RequestOptions.parse(dict.fromkeys(names)) == RequestOptions()


def test_speakers(workspace: dict[str, Any], model: Model) -> None:
    variables = workspace | {"model": model}
    run("Speakers", variables)
    assert "<OnlineIvectorExtractorAdaptationState>" in variables["state"]


def test_text(workspace: dict[str, Any], model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    run("Text", workspace | {"model": model})
    assert f"transcript='{TWO_NINE.capitalize()}'" in capsys.readouterr().out


def test_porting_from_vosk(workspace: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "porting.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    data = read_wav(workspace["paths"][-1])[1].astype("<i2").tobytes()
    pieces = [data[begin : begin + 4000] for begin in range(0, len(data), 4000)]
    exec(compile(code, "docs/porting.md", "exec"), {"pieces": pieces})
    *partials, final = map(json.loads, capsys.readouterr().out.splitlines())
    assert final["text"].startswith("two nine")
    assert partials
    assert all(partial["partial"] for partial in partials)
