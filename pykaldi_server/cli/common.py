"""What several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from pykaldi_server.errors import PykaldiServerError, error_text
from pykaldi_server.logs import FORMATS, LEVELS
from pykaldi_server.models import CHECKOUT_MODELS, WHEEL_MODELS

__all__ = [
    "channels_option",
    "content_type_option",
    "default_model",
    "default_models",
    "demo_models",
    "log_format_option",
    "logging_arguments",
    "logging_option",
    "plain_errors",
    "say_what_demos_are",
    "verbose_option",
]

PACKAGED_DEMO = WHEEL_MODELS / "english-digits"
"""The only model of a wheel."""
DEMOS = ("english:graph", "english:graph-digits", "estonian")
DIGITS_ONLY = """\
No model was given: this is the demo model, which knows English digits only. Whatever else is said becomes
digits, too. For real models: pykaldi-server model list, then pykaldi-server model download NAME
"""

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


def demo_models() -> tuple[str, ...]:
    """The demo models that are there.

    Returns:
        English digits in an installed package; general English, English digits, and Estonian numbers and
        commands in a checkout of the repository; nothing if somebody has removed them.
    """
    if PACKAGED_DEMO.is_dir():
        return (str(PACKAGED_DEMO),)
    if CHECKOUT_MODELS.is_dir():
        return tuple(f"{CHECKOUT_MODELS}/{demo}" for demo in DEMOS)
    return ()


def default_models() -> tuple[str, ...]:
    """The demo models, for a command that was given no model.

    Raises:
        click.UsageError: there are no demo models.
    """
    models = demo_models()
    if not models:
        raise click.UsageError("expected a model, found none; this installation has no demo models")
    return models


def say_what_demos_are(models: tuple[str, ...]) -> None:
    """Says on standard error what to expect where the only model is the one that a wheel brings."""
    if models == (str(PACKAGED_DEMO),):
        click.echo(DIGITS_ONLY, err=True)


def default_model() -> str:
    """The first of the demo models, for a command that was given none and uses one; says what to expect.

    Raises:
        click.UsageError: there are no demo models.
    """
    models = default_models()
    say_what_demos_are(models)
    return models[0]
