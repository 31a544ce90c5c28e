"""`pykaldi-server master`."""

from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import log_format_option, logging_option, plain_errors, verbose_option
from pykaldi_server.cli.settings import ServerCommand, assemble, config_option, reread, settings
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.memory import limit_arenas

__all__ = ["master"]


@click.command(cls=ServerCommand)
@settings(MasterOptions, defaults={"host": "0.0.0.0"})
@config_option("master")
@verbose_option
@logging_option
@log_format_option
@click.pass_context
def master(
    ctx: click.Context,
    /,
    verbose: bool,
    log_level: str,
    log_format: str,
    config: Path | None,
    **values: Any,
) -> None:
    """Run a master alone; workers on this and other machines connect to it."""
    limit_arenas(1)
    from pykaldi_server.logs import configure_logging
    from pykaldi_server.master.server import run_master

    configure_logging("master", verbose, log_level, log_format)
    with plain_errors():
        run_master(
            assemble(MasterOptions, values),
            lambda: reread(ctx, lambda parameters: assemble(MasterOptions, parameters)),
        )
