"""The command line. Heavy imports stand inside the commands, so that help is there at once."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.options import field_of
from pykaldi_server.serve.options import ServeOptions
from pykaldi_server.version import __version__
from pykaldi_server.worker.options import WorkerOptions

CHECKOUT = Path(__file__).resolve().parents[2]
DEMO_MODEL = CHECKOUT / "models" / "english"
DEMO_GRAPHS = ("graph", "graph-digits")
SAMPLE = Path("tests/data/golden/wav/ps-librivox-0880.wav")
RAW_CAPS = (
    "audio/x-raw, layout=(string)interleaved, rate=(int){rate_hz}, format=(string)S16LE, channels=(int)1"
)
CLIENT_URL = "ws://localhost:8888/client/ws/speech"

Command = Callable[..., Any]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Live speech-to-text with Kaldi models."""
    # One thread a product, before NumPy loads its BLAS: sessions are what runs in parallel.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def setting(options: type, name: str, *flags: str, **changes: Any) -> Callable[[Command], Command]:
    """A command-line option for a field of an options class, with its default and its help text."""
    field = field_of(options, name)
    text = str(field.metadata["help"])
    known = {
        "help": text[0].upper() + text[1:] + ".",
        "default": field.default,
        "show_default": field.default not in (None, ""),
    }
    return click.option(*(flags or (f"--{name.replace('_', '-')}",)), name, **{**known, **changes})


verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Log what is of use for finding errors, too."
)
model_option = click.option("-m", "--model", metavar="MODEL", help="Model directory or configuration file.")
file_type = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Shows errors that a user can do something about without a traceback."""
    from tornado.httpclient import HTTPError

    try:
        yield
    except (PykaldiServerError, OSError, HTTPError) as error:
        raise click.ClickException(str(error)) from error


def demo_models() -> tuple[str, ...]:
    """The models of the checkout: general English, and digits."""
    if not DEMO_MODEL.is_dir():
        raise click.UsageError("name a model; the demo models come with a checkout of the repository only")
    return tuple(f"{DEMO_MODEL}:{graph}" for graph in DEMO_GRAPHS)


@main.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@setting(MasterOptions, "host")
@setting(MasterOptions, "port")
@setting(ServeOptions, "sessions")
@setting(ServeOptions, "workers")
@setting(MasterOptions, "references", type=file_type)
@setting(MasterOptions, "drain_s")
@verbose_option
def serve(models: tuple[str, ...], sessions: int, workers: int, verbose: bool, **master: Any) -> None:
    """Run a server on this machine: a master, and worker processes for each MODEL.

    A MODEL is a model directory (DIRECTORY:GRAPH chooses a graph) or a configuration file. The first is what
    clients get that name none. Without any, the demo models of the checkout are served.
    """
    from pykaldi_server.logs import configure_logging
    from pykaldi_server.serve.server import run_server

    configure_logging("master", verbose)
    options = ServeOptions(
        models=models or demo_models(),
        workers=workers,
        sessions=sessions,
        master=MasterOptions(**master),
        worker_arguments=("--verbose",) if verbose else (),
    )
    with plain_errors():
        run_server(options, announce)


def announce(url: str) -> None:
    """Says where the server is and what to try."""
    sample = SAMPLE if SAMPLE.exists() else "FILE.wav"
    click.echo(f"\nServing on {url}/\nTry:  curl -T {sample} {url}/client/dynamic/recognize\n")


@main.command()
@setting(MasterOptions, "host", default="0.0.0.0")
@setting(MasterOptions, "port")
@setting(MasterOptions, "references", type=file_type)
@setting(MasterOptions, "certfile", type=file_type)
@setting(MasterOptions, "keyfile", type=file_type)
@setting(MasterOptions, "drain_s")
@verbose_option
def master(verbose: bool, **options: Any) -> None:
    """Run a master alone; workers on any machines connect to it."""
    from pykaldi_server.logs import configure_logging
    from pykaldi_server.master.server import run_master

    configure_logging("master", verbose)
    with plain_errors():
        run_master(MasterOptions(**options))


@main.command()
@setting(WorkerOptions, "url", "-u", "--url", "--uri")
@click.option("-c", "--conf", metavar="MODEL", help="Model directory or configuration file.")
@setting(WorkerOptions, "sessions")
@setting(WorkerOptions, "language")
@setting(WorkerOptions, "silence_timeout_s", "--silence-timeout", type=float)
@setting(WorkerOptions, "drain_s")
@click.option("--supervisor-fd", type=int, hidden=True)
@verbose_option
def worker(conf: str | None, supervisor_fd: int | None, verbose: bool, **options: Any) -> None:
    """Run a worker: load a model, connect to a master, and recognise for its clients."""
    from pykaldi_server.logs import configure_logging
    from pykaldi_server.worker.process import run_worker_process

    configure_logging(f"worker {os.getpid()}", verbose)
    with plain_errors():
        sys.exit(run_worker_process(conf or demo_models()[0], WorkerOptions(**options), supervisor_fd))


@main.command()
@click.argument("file", type=click.File("rb"))
@click.option("-u", "--url", "--uri", default=CLIENT_URL, show_default=True, help="The server's address.")
@click.option(
    "-r",
    "--rate",
    type=click.FloatRange(min=0),
    help="Bytes a second to send; 0 is as fast as the server takes them.  [default: raw audio and WAV as "
    "fast as they are spoken, other files at once]",
)
@click.option(
    "--content-type", help="How the audio is encoded; needed for raw audio that is not 16 kHz mono S16LE."
)
@click.option("-m", "--model", help="Model to ask for.")
@click.option("--user-id", help="Who speaks.")
@click.option("--content-id", help="What is spoken.")
@click.option("--send-adaptation-state", type=click.File("r"), help="Start with the state in this file.")
@click.option("--save-adaptation-state", type=file_type, help="Write the state at the end to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's messages as they come.")
def client(
    file: BinaryIO,
    url: str,
    rate: float | None,
    send_adaptation_state: Any,
    save_adaptation_state: Path | None,
    as_json: bool,
    **fields: str | None,
) -> None:
    """Send FILE (- is standard input) to a server and print results while it is sent."""
    import asyncio

    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.client.recognize import recognize_file, request_url

    printer = ResultPrinter(sys.stdout, sys.stderr, as_json=as_json)
    state = json.load(send_adaptation_state) if send_adaptation_state else None

    if file.name.endswith(".raw") and not fields["content_type"]:
        fields["content_type"] = RAW_CAPS.format(rate_hz=round(rate / 2) if rate else 16000)

    async def run() -> None:
        address = request_url(url, **fields)
        async with aclosing(recognize_file(address, file, fields["content_type"], rate, state)) as messages:
            async for message in messages:
                printer.show(message)
                if message["status"] != 0:
                    raise click.ClickException(f"status {message['status']}: {message.get('message', '')}")
                if save_adaptation_state and "adaptation_state" in message:
                    save_adaptation_state.write_text(json.dumps(message["adaptation_state"]))

    with plain_errors():
        asyncio.run(run())


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=file_type)
@model_option
@click.option(
    "--content-type", help="How the audio is encoded; needed for raw audio that is not 16 kHz mono S16LE."
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a message of the server.")
def transcribe(files: tuple[Path, ...], model: str | None, content_type: str | None, as_json: bool) -> None:
    """Recognise audio files, without a server."""
    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.session import Model, transcribe_file
    from pykaldi_server.worker.event_messages import event_message

    with plain_errors():
        loaded = Model.load(model or demo_models()[0])
        for file in files:
            prefix = f"{file}: " if len(files) > 1 else ""
            printer = ResultPrinter(sys.stdout, sys.stderr, prefix=prefix, as_json=as_json)
            for event in transcribe_file(loaded, file, content_type):
                printer.show(event_message(event, str(file)))


@main.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
def doctor(models: tuple[str, ...]) -> None:
    """Tell what is installed, whether it fits together, and whether each MODEL can be loaded."""
    from pykaldi_server.doctor import examine

    to_load = models or (demo_models() if DEMO_MODEL.is_dir() else ())
    all_ok = True
    for finding in examine(to_load):
        click.echo(f"{'ok   ' if finding.ok else 'ERROR'} {finding.what:<18} {finding.text}")
        all_ok = all_ok and finding.ok
    sys.exit(0 if all_ok else 1)


@main.group()
def model() -> None:
    """Look at models, and prepare them."""


@model.command()
@click.argument("path", metavar="MODEL|FILE")
def info(path: str) -> None:
    """Tell what a model, or a file of one, is made of."""
    from pykaldi_server.session.formats.description import describe

    with plain_errors():
        for what, text in describe(Path(path)):
            click.echo(f"{what:<18} {text}")


@model.command("compile")
@click.argument("path", metavar="MODEL")
@click.option("--cache", is_flag=True, help="Keep the graph in the user's cache, not beside the model.")
def compile_(path: str, cache: bool) -> None:
    """Compose a graph that comes in two parts (HCLr.fst and Gr.fst) once and for all.

    Workers find the compiled graph and use it as long as its parts do not change.
    """
    from rich.progress import Progress

    from pykaldi_server.kaldi.fstext import compile_graph
    from pykaldi_server.session.graph import COMPILED_NAME, cached_path, is_lookahead
    from pykaldi_server.session.loading import read_source

    with plain_errors(), Progress(transient=True) as progress:
        graph = read_source(path, {}).graph
        if not is_lookahead(graph):
            raise click.ClickException(f"{graph} is static; there is nothing to compile")
        out = cached_path(graph.parent) if cache else graph.parent / COMPILED_NAME
        out.parent.mkdir(parents=True, exist_ok=True)
        task = progress.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        compile_graph(graph.parent, out, show)
    click.echo(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


@model.command("const-arpa")
@click.argument("arpa", type=file_type)
@click.argument("output", type=file_type)
@click.option("--words", type=file_type, help="Table of words; without it the words in ARPA are integers.")
@click.option(
    "--bos-symbol", default="<s>", show_default=True, help="Begins sentences; a word or an integer."
)
@click.option("--eos-symbol", default="</s>", show_default=True, help="Ends sentences.")
@click.option("--unk-symbol", help="Stands for unknown words.")
def const_arpa(
    arpa: Path, output: Path, words: Path | None, bos_symbol: str, eos_symbol: str, unk_symbol: str | None
) -> None:
    """Build G.carpa, the model that rescoring adds, from an n-gram model in ARPA form."""
    from rich.progress import Progress

    from pykaldi_server.kaldi.fstext import SymbolTable
    from pykaldi_server.kaldi.lm import build_const_arpa

    with plain_errors(), Progress(transient=True) as progress:
        task = progress.add_task(f"{arpa} -> {output}", total=None)
        left_out = build_const_arpa(
            arpa,
            output,
            bos_symbol=_word_or_id(bos_symbol),
            eos_symbol=_word_or_id(eos_symbol),
            unk_symbol=-1 if unk_symbol is None else _word_or_id(unk_symbol),
            symbols=SymbolTable.read_text(str(words)) if words else None,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    click.echo(f"{output} is ready; {left_out:,} n-grams have words that the table does not have")


def _word_or_id(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)
