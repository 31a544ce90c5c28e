"""`pykaldi-server worker`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import (
    default_model,
    log_format_option,
    logging_arguments,
    logging_option,
    plain_errors,
    verbose_option,
)
from pykaldi_server.cli.settings import (
    ServerCommand,
    assemble,
    command_arguments,
    config_option,
    reread,
    settings,
)
from pykaldi_server.cores import num_cores
from pykaldi_server.memory import limit_arenas
from pykaldi_server.serve.supervisor import WorkerCommand
from pykaldi_server.worker.options import WorkerOptions

__all__ = ["worker"]

MODEL_HELP = (
    "Model directory, YAML file of kaldi-gstreamer-server, or name or language of a model that `model "
    "list` lists as installed; a demo model of English if not set."
)
WORKER_FLAGS = {
    "url": ("-u", "--uri"),
    "silence_timeout_s": ("--silence-timeout",),
    "post_processor_timeout_s": ("--post-processor-timeout",),
}
"""Spellings that kaldi-gstreamer-server has."""
END_S = 10.0
"""How much longer than for its requests a process may take to end."""
CORES_PER_ARENA = 4
"""As many threads that recognise share an arena of memory, and do not get into each other's way."""


@click.command(cls=ServerCommand)
@click.option("-c", "--conf", metavar="MODEL", help=MODEL_HELP)
@settings(WorkerOptions, flags=WORKER_FLAGS)
@config_option("worker")
@click.option(
    "-f",
    "--fork",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="INTEGER",
    help="Processes to start, all with these options; one that dies or hangs is restarted, and a signal "
    "lets all of them finish their requests.",
)
@click.option("--supervisor-fd", type=int, hidden=True)
@verbose_option
@logging_option
@log_format_option
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    conf: str | None,
    fork: int,
    supervisor_fd: int | None,
    verbose: bool,
    log_level: str,
    log_format: str,
    config: Path | None,
    **values: Any,
) -> None:
    """Run a worker: load a model, connect to a master, and recognise its clients' speech."""
    from pykaldi_server.logs import configure_logging

    configure_logging(f"worker {os.getpid()}", verbose, log_level, log_format)
    with plain_errors():
        options = assemble(WorkerOptions, values)
        options.validate()
        if fork > 1 and options.health_port:
            raise click.UsageError(
                f"expected --health-port 0, which picks a port for each of {fork} processes, "
                f"found {options.health_port}"
            )
        model = conf or default_model()

        def reread_options() -> WorkerOptions:
            return reread(ctx, lambda parameters: assemble(WorkerOptions, parameters))

        if fork > 1:
            from pykaldi_server.serve.fork import run_forked

            def commands(options: WorkerOptions) -> list[WorkerCommand]:
                return fork * [worker_command(model, options, verbose, log_level, log_format)]

            run_forked(commands(options), lambda: commands(reread_options()), options.drain_s + END_S)
            return
        limit_arenas(max(1, num_cores() // CORES_PER_ARENA))
        from pykaldi_server.worker.process import run_worker_process

        sys.exit(run_worker_process(model, options, reread_options, supervisor_fd))


def worker_command(
    model: str, options: WorkerOptions, verbose: bool, log_level: str, log_format: str
) -> WorkerCommand:
    """The command of one of several processes."""
    others = command_arguments(options, leave_out=("url", "sessions", "name", "token"))
    extra = (*others, *logging_arguments(verbose, log_level, log_format))
    return WorkerCommand(model, options.url, options.sessions, options.name, extra, options.token)
