"""`pykaldi-server states ...`: look at the adaptation states that a master keeps, and delete them."""

import json
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pykaldi_server.cli.common import plain_errors
from pykaldi_server.database.addresses import DEFAULT

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["states"]

T = TypeVar("T")

database_option = click.option(
    "--states",
    "name",
    metavar="TEXT",
    default=DEFAULT,
    show_default=True,
    help="Database, as for `pykaldi-server serve`.",
)


@click.group()
def states() -> None:
    """List, show and delete what is kept of users for their next sessions."""


@states.command("list")
@database_option
@click.option("--model", metavar="NAME", help="Only states for this model.")
@click.option("--user", metavar="ID", help="Only states of this user.")
def list_(name: str, model: str | None, user: str | None) -> None:
    """List states: end of the last session, size, model and user."""
    from pykaldi_server.database.states import list_states

    for entry in transaction(name, lambda each: list_states(each, model, user, 0.0)):
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.ended_s))
        click.echo(f"{moment}  {entry.num_bytes:>8}  {entry.model}  {entry.user_id}")


@states.command()
@database_option
@click.option("--model", metavar="NAME", required=True, help="Name of the model.")
@click.option("--user", metavar="ID", required=True, help="The user.")
@click.option("--text", is_flag=True, help="Print the state in Kaldi's text form instead of as JSON.")
def show(name: str, model: str, user: str, text: bool) -> None:
    """Print a state in the form in which clients send it."""
    from pykaldi_server.database.states import load_state
    from pykaldi_server.protocols.gstreamer import decode_adaptation_state, decode_cmvn_state

    state = transaction(name, lambda each: load_state(each, model, user, 0.0))
    if state is None:
        raise click.ClickException(f"no state of user {user!r} for model {model!r}")
    if not text:
        click.echo(json.dumps({"adaptation_state": state.properties()}))
        return
    with plain_errors():
        click.echo(
            decode_adaptation_state(state.properties()) + (decode_cmvn_state(state.properties()) or "")
        )


@states.command()
@database_option
@click.option("--model", metavar="NAME", help="Delete the states for this model.")
@click.option("--user", metavar="ID", help="Delete the states of this user.")
@click.option("--days", metavar="NUMBER", type=float, help="Delete states not used for this many days.")
def delete(name: str, model: str | None, user: str | None, days: float | None) -> None:
    """Delete the states that fulfil all conditions; at least one is needed."""
    from pykaldi_server.database.states import delete_states

    if model is None and user is None and days is None:
        raise click.UsageError("name a model, a user or a number of days")
    if days is not None and not 0 <= days < math.inf:
        raise click.UsageError(f"--days: expected a finite number of at least 0, found {days}")
    before_s = None if days is None else time.time() - 86_400 * days
    click.echo(f"{transaction(name, lambda each: delete_states(each, model, user, before_s))} deleted")


def transaction(name: str, work: "Callable[[Connection], T]", option: str = "states") -> T:
    """Runs a transaction in the database of this name, which an option has and a master has made."""
    from pykaldi_server.database.database import Database

    with plain_errors():
        database: Any = Database(name, option, must_exist=True)
        try:
            result: T = database.run(work)
        finally:
            database.close()
    return result
