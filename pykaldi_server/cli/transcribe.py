"""`pykaldi-server transcribe`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import channels_option, content_type_option, demo_models, plain_errors
from pykaldi_server.cli.settings import FILE, assemble, help_sentence, settings
from pykaldi_server.options import MODEL_OPTIONS_HELP, parse_assignments
from pykaldi_server.worker.options import PostProcessorOptions

__all__ = ["transcribe"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Model directory, YAML file of kaldi-gstreamer-server, or name of an installed model package; the "
    "English demo model if not set.",
)
@click.option(
    "--model-option",
    "model_options",
    metavar="NAME=VALUE",
    multiple=True,
    help=help_sentence(MODEL_OPTIONS_HELP),
)
@settings(PostProcessorOptions, flags={"post_processor_timeout_s": ("--post-processor-timeout",)})
@content_type_option
@channels_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print every event as the JSON message that a server would send."
)
def transcribe(
    files: tuple[Path, ...],
    model: str | None,
    model_options: tuple[str, ...],
    content_type: str | None,
    channels: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Recognise audio files without a server.

    Post-processors that the model's YAML file names are run as well. With several channels, final results
    come at the end of each file, in the order of time.
    """
    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.session import Model
    from pykaldi_server.session.channels import in_order_of_time
    from pykaldi_server.session.transcribe import transcribe as recognise
    from pykaldi_server.worker.event_messages import event_message
    from pykaldi_server.worker.post_processor import PostProcessor
    from pykaldi_server.worker.settings import WorkerSettings

    model = model or demo_models()[0]
    with plain_errors():
        worker = WorkerSettings.read(model)
        options = worker.complete(assemble(PostProcessorOptions, values))
        with PostProcessor.start(options, worker.directory) or nullcontext() as post_processor:
            loaded = Model.load(worker.model, **parse_assignments(model_options))
            if post_processor is not None:
                post_processor.check()
            for file in files:
                prefix = f"{file}: " if len(files) > 1 else ""
                printer = ResultPrinter(sys.stdout, sys.stderr, prefix=prefix, as_json=as_json)
                events = recognise(
                    loaded,
                    file,
                    content_type=content_type,
                    text_processor=post_processor,
                    channels=channels or "mixed",
                )
                for event in events if as_json else in_order_of_time(events):
                    printer.show(event_message(event, str(file)))
