"""`pykaldi-server client`."""

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click

from pykaldi_server.cli.common import channels_option, content_type_option, plain_errors
from pykaldi_server.cli.settings import FILE, help_sentence
from pykaldi_server.errors import AdaptationStateError
from pykaldi_server.protocols.addresses import CLIENT_PATH, check_websocket_url
from pykaldi_server.protocols.credentials import TOKEN_FILE_HELP, TOKEN_HELP, find_token
from pykaldi_server.protocols.trust import CAFILE_HELP, INSECURE_HELP, Trust

__all__ = ["client"]

RAW_CAPS = (
    "audio/x-raw, layout=(string)interleaved, rate=(int){rate_hz}, format=(string)S16LE, channels=(int)1"
)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "-u",
    "--uri",
    "--url",
    "url",
    metavar="URL",
    default=f"ws://localhost:8888{CLIENT_PATH}",
    show_default=True,
    help="Address of the server.",
)
@click.option(
    "-r",
    "--rate",
    type=click.FloatRange(min=0),
    help="Bytes to send per second; 0 sends as fast as the server reads.  [default: raw audio and WAV in "
    "real time, other files as fast as the server reads]",
)
@content_type_option
@channels_option
@click.option("-m", "--model", help="Name of the model to request; the server's default model if not set.")
@click.option("--language", metavar="TAG", help="Language to request, such as et, in place of a model.")
@click.option("--user-id", metavar="ID", help="Identifier of the speaker, which the server logs.")
@click.option("--content-id", metavar="ID", help="Identifier of the recording, which the server logs.")
@click.option(
    "--send-adaptation-state",
    type=click.File("r", encoding="utf-8"),
    help="File with the adaptation state of the speaker to start from.",
)
@click.option(
    "--save-adaptation-state", type=FILE, help="File to which the final adaptation state is written."
)
@click.option("--cafile", type=FILE, help=help_sentence(CAFILE_HELP))
@click.option("--insecure", is_flag=True, help=help_sentence(INSECURE_HELP))
@click.option("--token", default="", metavar="TEXT", help=help_sentence(TOKEN_HELP))
@click.option("--token-file", type=FILE, help=help_sentence(TOKEN_FILE_HELP))
@click.option("--json", "as_json", is_flag=True, help="Print the server's messages as they arrive.")
def client(
    file: BinaryIO,
    url: str,
    rate: float | None,
    send_adaptation_state: TextIO | None,
    save_adaptation_state: Path | None,
    cafile: Path | None,
    insecure: bool,
    token: str,
    token_file: Path | None,
    as_json: bool,
    **fields: str | None,
) -> None:
    """Send FILE (- for standard input) to a server and print the results as they arrive."""
    import asyncio

    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # what fails is said once, by the error
    if rate is not None and not math.isfinite(rate):
        raise click.UsageError(f"--rate: expected a finite number, found {rate}")
    with plain_errors():
        check_websocket_url(url, CLIENT_PATH)
        trust = Trust(cafile, insecure)
        shown = find_token(token, token_file)
        states = read_states(send_adaptation_state) if send_adaptation_state else []
        if file.name.endswith(".raw") and not fields["content_type"]:
            fields["content_type"] = RAW_CAPS.format(rate_hz=round(rate / 2) if rate else 16000)
        with _written_later(save_adaptation_state) as place:
            asyncio.run(_recognize(file, url, rate, states, place, trust, shown, as_json, fields))


@contextmanager
def _written_later(path: Path | None) -> Iterator[Path | None]:
    """A file that can be written, which is better known now than after a recording; none stays empty."""
    if path is None:
        yield None
        return
    is_new = not path.exists()
    path.touch()
    try:
        yield path
    finally:
        if is_new and not path.stat().st_size:
            path.unlink()


def read_states(file: TextIO) -> list[dict[str, Any]]:
    """Reads what an earlier call saved: an adaptation state, or a list with one for each channel.

    Raises:
        AdaptationStateError: the file is something else.
    """
    try:
        state = json.load(file)
    except ValueError as error:
        raise AdaptationStateError(
            f"{file.name}: expected an adaptation state as JSON, found other text: {error}"
        ) from None
    states = state if isinstance(state, list) else [state]
    for each in states:
        if not isinstance(each, dict):
            raise AdaptationStateError(f"{file.name}: expected a JSON object, found {type(each).__name__}")
    return states


async def _recognize(
    file: BinaryIO,
    url: str,
    rate: float | None,
    states: list[dict[str, Any]],
    save_adaptation_state: Path | None,
    trust: Trust,
    token: str,
    as_json: bool,
    fields: dict[str, str | None],
) -> None:
    from pykaldi_server.client.console import ResultPrinter
    from pykaldi_server.client.recognize import recognize_file, request_url

    printer = ResultPrinter(sys.stdout, sys.stderr, as_json=as_json)
    address = request_url(url, queue="true", **fields)
    found: list[dict[str, Any]] = []
    events = recognize_file(address, file, fields["content_type"], rate, states, trust, token)
    async with aclosing(events) as messages:
        async for message in messages:
            printer.show(message)
            if message["status"] != 0:
                raise click.ClickException(f"status {message['status']}: {message.get('message', '')}")
            if save_adaptation_state and "adaptation_state" in message:
                found.append(message["adaptation_state"])
                save_adaptation_state.write_text(json.dumps(found if len(found) > 1 else found[0]))
