"""The group of all commands; what takes long to import, the commands import when they run."""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from pykaldi_server.cli.client import client
from pykaldi_server.cli.doctor import doctor
from pykaldi_server.cli.listen import listen
from pykaldi_server.cli.master import master
from pykaldi_server.cli.model import model
from pykaldi_server.cli.model_library import add, download, list_models, remove
from pykaldi_server.cli.ray import ray
from pykaldi_server.cli.requests import requests
from pykaldi_server.cli.serve import serve
from pykaldi_server.cli.states import states
from pykaldi_server.cli.transcribe import transcribe
from pykaldi_server.cli.worker import worker
from pykaldi_server.version import __version__

__all__ = ["main"]

INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


class Program(click.Group):
    """The whole command line; ends as programs do when they are interrupted or nobody reads on."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Reads the options before a command, of which ``--help`` and ``--version`` print something."""
        _replace_closed_streams()
        with _usual_ends():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command."""
        with _usual_ends():
            result = super().invoke(ctx)
            sys.stdout.flush()
        return result


@contextmanager
def _usual_ends() -> Iterator[None]:
    """Exits with 130 after Ctrl-C, with 141 and no word where nobody reads on, and with 1 on a full disk."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(err=True)  # the terminal has written ^C to this line
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _forget_output()
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _forget(sys.stdout)
        raise click.ClickException(f"output: {error.strerror}") from error


def _replace_closed_streams() -> None:
    """Gives a process that was started without some of its streams ones that are empty, or take everything.

    No file that is opened later gets the number of one of them, and what is written to that.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, as long as the process runs
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _forget_output() -> None:
    """Keeps Python from complaining, at its end, that it cannot write what is left."""
    for stream in (sys.stdout, sys.stderr):
        _forget(stream)


def _forget(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # a stream of a test has no file
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Live speech-to-text with Kaldi models."""
    # One thread per matrix product, before NumPy loads its BLAS: sessions are what runs in parallel.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # A transcript or a file name that the terminal cannot show appears escaped; it never ends the command.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


for command in (list_models, download, add, remove):
    model.add_command(command)
for command in (serve, master, worker, ray, client, transcribe, listen, doctor, model, states, requests):
    main.add_command(command)
