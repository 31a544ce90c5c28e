"""`pykaldi-server requests ...`: look at the requests that a master has written down."""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.states import transaction
from pykaldi_server.database.addresses import DEFAULT
from pykaldi_server.protocols.messages import Message

if TYPE_CHECKING:
    from pykaldi_server.database.requests import RequestFilter

__all__ = ["requests"]

DAY_S = 86_400.0
GROUPS = ("model", "protocol", "caller", "outcome")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

database_option: Decorator = click.option(
    "--request-log",
    "name",
    metavar="TEXT",
    default=DEFAULT,
    show_default=True,
    help="Database, as for `pykaldi-server serve`.",
)
format_option: Decorator = click.option(
    "--format",
    "layout",
    type=click.Choice(("text", "csv", "json")),
    default="text",
    show_default=True,
    help="Layout: lines for people, CSV with a header, or one JSON object per line.",
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that choose requests."""
    for name in reversed(GROUPS):
        command = click.option(f"--{name}", metavar="NAME", help=f"Only requests of this {name}.")(command)
    return click.option(
        "--days", metavar="NUMBER", type=float, help="Only requests that began within this many days."
    )(command)


@click.group()
def requests() -> None:
    """List, show and sum up the requests that a master has written down (--request-log)."""


@requests.command("list")
@database_option
@filter_options
@click.option("--limit", metavar="NUMBER", type=click.IntRange(min=1), help="Only so many, the latest ones.")
@format_option
def list_(name: str, days: float | None, limit: int | None, layout: str, **wanted: str | None) -> None:
    """List requests, the latest first: begin, duration, audio, protocol, model, outcome and id."""
    from pykaldi_server.database.requests import LoggedRequest, list_requests

    found = transaction(name, lambda each: list_requests(each, chosen(days, wanted), limit), "request-log")
    if layout != "text":
        write((each.properties() for each in found), LoggedRequest.names(), layout)
        return
    for each in found:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.begun_s))
        click.echo(
            f"{moment}  {each.ended_s - each.begun_s:8.1f} s  {each.audio_s:8.1f} s  {each.protocol:<11}  "
            f"{each.model or '-':<16}  {each.outcome:<13}  {each.id}"
        )


@requests.command()
@database_option
@click.argument("request_id", metavar="ID")
def show(name: str, request_id: str) -> None:
    """Print all that is known of the request with this ID, as JSON."""
    from pykaldi_server.database.requests import load_request

    found = transaction(name, lambda each: load_request(each, request_id), "request-log")
    if found is None:
        raise click.ClickException(f"no request {request_id!r}")
    click.echo(json.dumps(found.properties(), indent=2))


@requests.command()
@database_option
@filter_options
@click.option("--by", type=click.Choice(GROUPS), default="model", show_default=True, help="What to group by.")
@format_option
def stats(name: str, days: float | None, by: str, layout: str, **wanted: str | None) -> None:
    """Sum requests up: number, successes, audio, CPU time, words, mean waits and delays."""
    from pykaldi_server.database.requests import RequestSummary, summarize_requests

    found = transaction(name, lambda each: summarize_requests(each, chosen(days, wanted), by), "request-log")
    if layout != "text":
        names = [field.name for field in fields(RequestSummary)]
        write((each.properties() for each in found), names, layout)
        return
    headers = (by, "requests", "successes", "audio h", "CPU/audio", "words", "wait s", "partial s", "final s")
    rows = [
        (
            each.group or "-",
            str(each.num_requests),
            str(each.num_successes),
            f"{each.audio_s / 3600:.2f}",
            f"{each.cpu_s / each.audio_s:.3f}" if each.audio_s else "-",
            str(each.num_words),
            *(
                "-" if value is None else f"{value:.2f}"
                for value in (each.queue_wait_s, each.partial_delay_s, each.final_delay_s)
            ),
        )
        for each in found
    ]
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    for row in (headers, *rows):
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        click.echo("  ".join((row[0].ljust(widths[0]), *others)))


def chosen(days: float | None, wanted: dict[str, Any]) -> "RequestFilter":
    """The requests that the options of a command choose."""
    from pykaldi_server.database.requests import RequestFilter

    return RequestFilter(None if days is None else time.time() - DAY_S * days, **wanted)


def write(rows: Iterable[Message], names: Sequence[str], layout: str) -> None:
    """Prints rows as CSV or JSON."""
    if layout == "json":
        for row in rows:
            click.echo(json.dumps(row))
        return
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
