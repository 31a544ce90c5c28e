"""`pykaldi-server transcribe`."""

import sys
from pathlib import Path

import click

from pykaldi_server.cli.common import content_type_option, demo_models, plain_errors
from pykaldi_server.cli.settings import FILE, help_sentence
from pykaldi_server.options import MODEL_OPTIONS_HELP, parse_assignments

__all__ = ["transcribe"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model directory, YAML file, or name of an installed model package.",
)
@click.option(
    "--model-option",
    "model_options",
    metavar="NAME=VALUE",
    multiple=True,
    help=help_sentence(MODEL_OPTIONS_HELP),
)
@content_type_option
@click.option("--json", "as_json", is_flag=True, help="Print every event in the form of a server's message.")
def transcribe(
    files: tuple[Path, ...],
    model: str | None,
    model_options: tuple[str, ...],
    content_type: str | None,
    as_json: bool,
) -> None:
    """Recognise audio files, without a server."""
    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.session import Model, transcribe_file
    from pykaldi_server.worker.event_messages import event_message

    with plain_errors():
        loaded = Model.load(model or demo_models()[0], **parse_assignments(model_options))
        for file in files:
            prefix = f"{file}: " if len(files) > 1 else ""
            printer = ResultPrinter(sys.stdout, sys.stderr, prefix=prefix, as_json=as_json)
            for event in transcribe_file(loaded, file, content_type):
                printer.show(event_message(event, str(file)))
