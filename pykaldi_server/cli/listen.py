"""`pykaldi-server listen`."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.common import channels_option, content_type_option, plain_errors
from pykaldi_server.cli.recognition import model_arguments, model_settings

if TYPE_CHECKING:
    from pykaldi_server.client.live_audio import LiveAudio

__all__ = ["listen"]


@click.command()
@click.argument("source", metavar="[-]", default="", type=click.Choice(["", "-"]))
@model_settings
@click.option(
    "--device",
    default="",
    metavar="NAME",
    help="Microphone: its number or a part of its name; the system's default if not set.",
)
@click.option("--list-devices", is_flag=True, help="List the microphones and exit.")
@content_type_option
@channels_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print every event as the JSON message that a server would send."
)
def listen(
    source: str,
    device: str,
    list_devices: bool,
    content_type: str | None,
    channels: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Recognise a microphone, without a server, until Ctrl-C; then print the last words.

    The microphone needs the extra `microphone` of the package. With - the audio comes from standard input,
    which any program may record:

        arecord -f S16_LE -r 16000 | pykaldi-server listen -
    """
    if source and device:
        raise click.UsageError("--device: expected a microphone, found standard input as the source of audio")
    from pykaldi_server.client.live_audio import microphone, microphone_names, pipe

    with plain_errors():
        if list_devices:
            names = microphone_names()
            for number, name in names:
                click.echo(f"{number:3} {name}")
            if not names:
                click.echo("No microphones were found.", err=True)
            return

        def open_source(rate_hz: int) -> AbstractContextManager["LiveAudio"]:
            if source:
                return pipe(sys.stdin.fileno(), "standard input", content_type)
            return microphone(device, rate_hz)

        options = model_arguments(values, content_type=content_type, channels=channels)
        _listen(options, open_source, as_json=as_json)


def _listen(
    options: Any, open_source: Callable[[int], AbstractContextManager["LiveAudio"]], *, as_json: bool
) -> None:
    from pykaldi_server.batch.recognizer import Recognizer
    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.session.events import Final
    from pykaldi_server.worker.event_messages import event_message

    printer = ResultPrinter(sys.stdout, sys.stderr, as_json=as_json)
    has_words = False
    with Recognizer(options) as recognizer, open_source(recognizer.sample_rate_hz) as audio:
        click.echo(f"Listening to {audio.name}; Ctrl-C ends it.", err=True)
        with _ending_at_ctrl_c(audio):
            for event in recognizer.stream(audio, audio.name, audio.content_type, lambda done_s: None):
                printer.show(event_message(event, audio.name))
                has_words = has_words or isinstance(event, Final)
    if not has_words:
        click.echo("No words were recognised.", err=True)


@contextmanager
def _ending_at_ctrl_c(audio: "LiveAudio") -> Iterator[None]:
    """Lets Ctrl-C end the audio, of which all is recognised; a second one ends the program."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        audio.end()

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
