"""`pykaldi-server ray`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import (
    default_model,
    log_format_option,
    logging_option,
    plain_errors,
    verbose_option,
)
from pykaldi_server.cli.settings import (
    ServerCommand,
    assemble,
    config_option,
    relative_to,
    reread,
    settings,
)
from pykaldi_server.cli.worker import END_S, MODEL_HELP, WORKER_FLAGS, worker_command
from pykaldi_server.fleet.options import FleetOptions
from pykaldi_server.options import Settings
from pykaldi_server.protocols.credentials import find_token
from pykaldi_server.worker.options import WorkerOptions

__all__ = ["ray"]


@click.command(cls=ServerCommand)
@click.option("-c", "--conf", metavar="MODEL", help=MODEL_HELP)
@settings(WorkerOptions, flags=WORKER_FLAGS)
@settings(FleetOptions)
@config_option("worker", "ray")
@verbose_option
@logging_option
@log_format_option
@click.pass_context
def ray(
    ctx: click.Context,
    /,
    conf: str | None,
    verbose: bool,
    log_level: str,
    log_format: str,
    config: Path | None,
    **values: Any,
) -> None:
    """Run workers on the machines of a Ray cluster, as many as their masters need.

    Each worker is a process on a machine that Ray chooses, with the options of `worker`, and connects to the
    masters. Model and files have to be at the same place on all machines. Workers end with this command:
    after their requests when it is told to stop.
    """
    from pykaldi_server.fleet.run import FleetRun, run_fleet
    from pykaldi_server.logs import configure_logging

    configure_logging("ray", verbose, log_level, log_format)
    with plain_errors():
        model = relative_to(Path.cwd(), conf or default_model())

        def make(parameters: dict[str, Any]) -> _Options:
            return _Options(assemble(WorkerOptions, parameters), assemble(FleetOptions, parameters))

        def fleet_run(options: _Options) -> FleetRun:
            workers = for_other_machines(options.workers)
            command = worker_command(str(model), workers, verbose, log_level, log_format)
            level = "debug" if verbose else log_level
            return FleetRun(options.fleet, workers, command, workers.drain_s + END_S, level, log_format)

        options = make(values)
        options.validate()
        run_fleet(fleet_run(options), lambda: fleet_run(reread(ctx, make)))


@dataclass(frozen=True, slots=True)
class _Options(Settings):
    """The options of the workers and of the fleet."""

    workers: WorkerOptions
    fleet: FleetOptions

    def validate(self) -> None:
        self.workers.validate()
        self.fleet.validate()
        if self.workers.health_port:
            raise click.UsageError(
                "expected --health-port 0, which picks a port for each of several processes on a machine, "
                f"found {self.workers.health_port}"
            )


def for_other_machines(options: WorkerOptions) -> WorkerOptions:
    """The same options for processes with other working directories and other environments."""
    changes: dict[str, Any] = {
        name: value.absolute()
        for name in ("cafile", "token_file", "out_dir")
        if (value := getattr(options, name)) is not None
    }
    if options.token_file is None:
        changes["token"] = find_token(options.token, None)
    return replace(options, **changes)
