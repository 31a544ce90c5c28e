"""What several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pykaldi_server.errors import PykaldiServerError, error_text
from pykaldi_server.logs import FORMATS, LEVELS

__all__ = [
    "channels_option",
    "content_type_option",
    "demo_models",
    "has_demo_models",
    "log_format_option",
    "logging_arguments",
    "logging_option",
    "plain_errors",
    "verbose_option",
]

CHECKOUT = Path(__file__).resolve().parents[2]
DEMO_MODELS = CHECKOUT / "models"
DEMOS = ("english:graph", "english:graph-digits", "estonian")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

verbose_option: Decorator = click.option(
    "-v", "--verbose", is_flag=True, help="Log details that help to find faults, too."
)
logging_option: Decorator = click.option(
    "--logging",
    "log_level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="Least severe level of messages to log.",
)
log_format_option: Decorator = click.option(
    "--log-format",
    type=click.Choice(FORMATS, case_sensitive=False),
    default="text",
    show_default=True,
    help="Layout of the log: lines of text, or one JSON object per line.",
)
content_type_option: Decorator = click.option(
    "--content-type",
    metavar="TYPE",
    help="Format of the audio, such as audio/x-raw,rate=8000; required for raw audio other than 16 kHz mono "
    "S16LE.",
)
channels_option: Decorator = click.option(
    "--channels",
    type=click.Choice(("mixed", "left", "right", "split")),
    help="Channels to recognise; split recognises each by itself, as a speaker of its own.  [default: mixed]",
)


def logging_arguments(verbose: bool, log_level: str, log_format: str) -> list[str]:
    """The arguments by which another process logs as this one does."""
    return ["--verbose" if verbose else f"--logging={log_level}", f"--log-format={log_format}"]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Reports errors that a user can do something about in one line, without a traceback."""
    try:
        yield
    except BrokenPipeError:  # whoever read the output has seen enough
        raise
    except (PykaldiServerError, OSError) as error:
        raise click.ClickException(error_text(error)) from error


def has_demo_models() -> bool:
    """Whether the package runs from a checkout of the repository, which has the demo models."""
    return DEMO_MODELS.is_dir()


def demo_models() -> tuple[str, ...]:
    """The models of the checkout: general English, English digits, and Estonian numbers and commands.

    Raises:
        click.UsageError: the package is installed; the models are not part of it.
    """
    if not has_demo_models():
        raise click.UsageError(
            "expected a model, found none; only a checkout of the repository has the demos"
        )
    return tuple(f"{DEMO_MODELS}/{demo}" for demo in DEMOS)
