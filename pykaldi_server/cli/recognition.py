"""What the commands that recognise by themselves, without a server, have in common."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.common import default_model
from pykaldi_server.cli.settings import assemble, help_sentence, settings
from pykaldi_server.options import MODEL_OPTIONS_HELP, parse_assignments
from pykaldi_server.worker.options import PostProcessorOptions

if TYPE_CHECKING:
    from pykaldi_server.batch.tasks import RecognizerOptions

__all__ = ["model_arguments", "model_settings"]

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

# Options of models that have an option of the command line of their own: flag, name, type, help.
SHORTCUTS: tuple[tuple[str, str, Any, str], ...] = (
    ("--nbest", "num-nbest", click.IntRange(1, 1000), "Number of hypotheses of each segment."),
    ("--beam", "beam", float, "Width of the search; larger is slower and more accurate."),
    (
        "--max-active",
        "max-active",
        click.IntRange(min=2),
        "Maximum number of active states per frame; larger is slower and more accurate.",
    ),
    ("--lattice-beam", "lattice-beam", float, "Width of the lattice, from which alternatives come."),
)


def model_settings(command: Command) -> Command:
    """Gives a command the options that say which model recognises, and how."""
    decorators: list[Decorator] = [
        click.option(
            "-m",
            "--model",
            metavar="MODEL",
            help="Model directory, YAML file of kaldi-gstreamer-server, or name or language of a model that "
            "`model list` lists as installed; a demo model of English if not set.",
        ),
        *(
            click.option(flag, name.replace("-", "_"), type=kind, help=f"{text}  [default: the model's]")
            for flag, name, kind, text in SHORTCUTS
        ),
        click.option(
            "--model-option",
            "model_options",
            metavar="NAME=VALUE",
            multiple=True,
            help=help_sentence(MODEL_OPTIONS_HELP),
        ),
        settings(PostProcessorOptions, flags={"post_processor_timeout_s": ("--post-processor-timeout",)}),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def model_arguments(
    values: Mapping[str, Any], *, content_type: str | None, channels: str | None
) -> "RecognizerOptions":
    """Makes the options of a recogniser from the parameters of a command with `model_settings`.

    Raises:
        ConfigError: an option is invalid.
        click.UsageError: there is no model.
    """
    from pykaldi_server.batch.tasks import RecognizerOptions

    shortcuts = {name: values[name.replace("-", "_")] for _, name, _, _ in SHORTCUTS}
    given = {name.replace("-", "_"): str(value) for name, value in shortcuts.items() if value is not None}
    return RecognizerOptions(
        model=values["model"] or default_model(),
        model_options={**given, **parse_assignments(values["model_options"])},
        content_type=content_type,
        channels=channels or "mixed",
        post_processing=assemble(PostProcessorOptions, values),
    )
