"""`pykaldi-server worker`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import demo_models, plain_errors, verbose_option
from pykaldi_server.cli.settings import assemble, config_option, settings
from pykaldi_server.worker.options import WorkerOptions

__all__ = ["worker"]


@click.command()
@click.option(
    "-c",
    "--conf",
    metavar="MODEL",
    help="Model directory, YAML file of kaldi-gstreamer-server, or name of an installed model package; "
    "without it the demo model of the checkout.",
)
@settings(
    WorkerOptions,
    flags={
        "url": ("-u", "--uri"),
        "silence_timeout_s": ("--silence-timeout",),
        "post_processor_timeout_s": ("--post-processor-timeout",),
    },
)
@config_option("worker")
@click.option("--supervisor-fd", type=int, hidden=True)
@verbose_option
def worker(
    conf: str | None, supervisor_fd: int | None, verbose: bool, config: Path | None, **values: Any
) -> None:
    """Run a worker: load a model, connect to a master, and recognise for its clients."""
    from pykaldi_server.logs import configure_logging

    configure_logging(f"worker {os.getpid()}", verbose)
    with plain_errors():
        options = assemble(WorkerOptions, values)
        options.validate()
        from pykaldi_server.worker.process import run_worker_process

        sys.exit(run_worker_process(conf or demo_models()[0], options, supervisor_fd))
