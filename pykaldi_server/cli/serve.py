"""`pykaldi-server serve`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import (
    default_models,
    log_format_option,
    logging_arguments,
    logging_option,
    plain_errors,
    say_what_demos_are,
    verbose_option,
)
from pykaldi_server.cli.settings import (
    ServerCommand,
    assemble,
    config_option,
    read_config,
    reread,
    settings,
)
from pykaldi_server.errors import ConfigError
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.memory import limit_arenas
from pykaldi_server.serve.options import ServeOptions

__all__ = ["serve"]

SAMPLE = Path("tests/data/golden/wav/ps-librivox-0880.wav")
SET_HERE = {"url", "sessions", "name", "token", "token_file"}


@click.command(cls=ServerCommand)
@click.argument("models", metavar="[[NAME=]MODEL]...", nargs=-1)
@settings(ServeOptions, leave_out=("models",))
@settings(MasterOptions)
@config_option("serve", "master")
@verbose_option
@logging_option
@log_format_option
@click.pass_context
def serve(
    ctx: click.Context,
    /,
    verbose: bool,
    log_level: str,
    log_format: str,
    config: Path | None,
    **values: Any,
) -> None:
    """Run a server on this machine: a master, and worker processes for each MODEL.

    A MODEL is a model directory (DIRECTORY:GRAPH chooses a graph), a YAML file of kaldi-gstreamer-server, or
    the name or language of a model that `model list` lists as installed. Clients request it by its language,
    or by the name of the directory or file, or by NAME if it is given as NAME=MODEL; those that request none
    get the first one. Without MODEL, the demo models are served: those of the checkout, or the English digits
    that an installed package brings.
    """
    limit_arenas(1)
    from pykaldi_server.logs import configure_logging
    from pykaldi_server.serve.server import run_server

    configure_logging("master", verbose, log_level, log_format)
    with plain_errors():
        logging_values = {"verbose": verbose, "log_level": log_level, "log_format": log_format}
        options = serve_options({**logging_values, "config": config, **values})
        if not values["models"]:
            say_what_demos_are(options.models)
        run_server(
            options,
            lambda url: announce(url, options.master),
            lambda: reread(ctx, serve_options),
        )


def serve_options(parameters: Mapping[str, Any]) -> ServeOptions:
    """Makes the options of a server from the parameters of the command."""
    config = parameters["config"]
    arguments = list(parameters["worker_arguments"])
    arguments += logging_arguments(*(parameters[each] for each in ("verbose", "log_level", "log_format")))
    if config is not None:
        num_models = len(parameters["models"] or default_models())
        check_worker_section(config, num_models * parameters["workers"])
        arguments += ["--config", str(config.resolve())]
    values = {
        **parameters,
        "models": parameters["models"] or default_models(),
        "worker_arguments": tuple(arguments),
    }
    return assemble(ServeOptions, values, master=assemble(MasterOptions, values))


def check_worker_section(config: Path, num_processes: int) -> None:
    """Refuses options of workers that `serve` itself sets, and one port for several processes.

    Raises:
        ConfigError: the section ``worker`` has one of them.
    """
    section = read_config(config).get("worker", {})
    for name in SET_HERE & section.keys():
        raise ConfigError(f"{config}: worker: {name} has no effect: serve sets it")
    if num_processes > 1 and section.get("health_port"):
        raise ConfigError(
            f"{config}: worker: health_port: expected 0, which picks a port for each of {num_processes} "
            f"processes, found {section['health_port']}"
        )


def announce(url: str, options: MasterOptions) -> None:
    """Prints the server's address and a command to try."""
    from pykaldi_server.master.certificates import CERTIFICATE, own_directory

    sample = SAMPLE if SAMPLE.exists() else "FILE.wav"
    trust = f"--cacert {own_directory() / CERTIFICATE} " if options.self_signed else ""
    needs_token = options.tokens is not None and not options.open
    token = "-H 'Authorization: Bearer TOKEN' " if needs_token else ""
    click.echo(f"\nServing on {url}/\nTry:  curl {trust}{token}-T {sample} {url}/client/dynamic/recognize\n")
