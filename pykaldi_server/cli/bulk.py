"""`pykaldi-server transcribe --scheduler`: what it prints while a Dask cluster recognises."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.progress_bar import ProgressBar, duration_text
from pykaldi_server.errors import ConfigError

if TYPE_CHECKING:
    from pykaldi_server.batch import Bulk, BulkOptions, Ledger, Outputs, RecognizerOptions, Recording, Result

__all__ = ["SchedulerOptions", "recognise_in_bulk", "scheduler_settings"]

_MOST_NAMED = 20  # recordings that the summary names
Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """Which cluster recognises.

    Attributes:
        scheduler: see `pykaldi_server.batch.connected`.
        jobs: likewise.
        cluster_options: likewise.
    """

    scheduler: str
    jobs: int | None
    cluster_options: Mapping[str, str]


def scheduler_settings(command: Command) -> Command:
    """Gives a command the options of bulk runs."""
    decorators = [
        click.option(
            "--scheduler",
            metavar="local|slurm|sge|pbs|htcondor|ADDRESS",
            help="Let a Dask cluster recognise: workers on this machine, jobs of a batch system, or the "
            "cluster whose scheduler has this address. Needs --output.",
        ),
        click.option(
            "--cluster-option",
            "cluster_options",
            metavar="NAME=VALUE",
            multiple=True,
            help="Option of the jobs of a batch system, such as memory=4GB; may be given several times.",
        ),
        click.option(
            "--retries",
            type=click.IntRange(min=0),
            help="How often --scheduler tries a recording again before it is set aside.  [default: 2]",
        ),
        click.option(
            "--retry-failed",
            is_flag=True,
            help="With --scheduler, recognise also recordings that earlier runs have set aside.",
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def recognise_in_bulk(
    recordings: Callable[[], Iterable["Recording"]],
    recognizer: "RecognizerOptions",
    outputs: "Outputs",
    options: "BulkOptions",
    where: SchedulerOptions,
) -> bool:
    """Recognises recordings on a Dask cluster, and prints what becomes of them.

    Args:
        recordings: returns the recordings; called once more to count them where a bar is shown.
        recognizer: how they are recognised.
        outputs: where transcripts are written.
        options: what happens with failures, and with what is done.
        where: the cluster.

    Returns:
        Whether none of them is set aside.

    Raises:
        ConfigError, DatabaseError, BatchError, OSError: as for `Bulk.run`; or Dask is not installed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigError("--scheduler needs Dask: pip install 'pykaldi-server[batch]'") from error
    from pykaldi_server.batch import Bulk, Ledger, connected
    from pykaldi_server.batch.clusters import BATCH_SYSTEMS, LOCAL

    with Ledger(outputs.directory) as ledger:
        report = _Report(ledger)
        if where.scheduler not in (LOCAL, *BATCH_SYSTEMS):
            report.say(f"connecting to {where.scheduler}")
        with connected(where.scheduler, where.jobs, where.cluster_options) as client:
            report.say(f"dashboard: {client.dashboard_link}")
            report.follow(Bulk(client, recognizer, outputs, ledger, options, report.say), recordings)
        report.summarise()
    return not report.num_failed


class _Report:
    """Prints what a bulk run finds out, and counts."""

    def __init__(self, ledger: "Ledger") -> None:
        self.num_failed = 0
        self._ledger = ledger
        self._num_done = 0
        self._num_skipped = 0
        self._audio_s = 0.0
        self._named: list[str] = []  # those that failed, as far as the summary names them
        self._start_s = time.monotonic()
        self._bar = ProgressBar()
        self.say = self._bar.say

    def follow(self, bulk: "Bulk", recordings: Callable[[], Iterable["Recording"]]) -> None:
        if not sys.stderr.isatty():
            for result in bulk.run(recordings()):
                self._take(result)
            return
        total = sum(1 for _ in recordings())
        with self._bar.shown(total, f"0/{total}"):
            for result in bulk.run(recordings()):
                self._take(result)
                num = self._num_done + self.num_failed + self._num_skipped
                self._bar.advance(1, f"{num}/{total}")

    def _take(self, result: "Result") -> None:
        entry = result.entry
        if entry.error:
            self.num_failed += 1
            if len(self._named) < _MOST_NAMED:
                self._named.append(entry.source)
            self.say(f"Error: {entry.error}{'' if result.is_new else ' (set aside by an earlier run)'}")
        elif not result.is_new:
            self._num_skipped += 1
        else:
            self._num_done += 1
            self._audio_s += entry.audio_s
            if not entry.num_words:
                self.say(f"{entry.source}: no words were recognised")

    def summarise(self) -> None:
        num = self._num_done + self.num_failed + self._num_skipped
        counts = [f"{self._num_done} recognised"]
        counts += [f"{self.num_failed} set aside"] if self.num_failed else []
        counts += [f"{self._num_skipped} complete already"] if self._num_skipped else []
        speed = ""
        if self._audio_s:
            elapsed_s = max(1e-3, time.monotonic() - self._start_s)
            speed = (
                f"; {duration_text(self._audio_s)} of audio in {duration_text(elapsed_s)}, "
                f"{self._audio_s / elapsed_s:.1f} times as fast as real time"
            )
        print(f"{num} file{'' if num == 1 else 's'}: {', '.join(counts)}{speed}", file=sys.stderr)
        if self.num_failed:
            print(
                f"set aside, with the reasons in {self._ledger.path}:{_listed(self._named, self.num_failed)}",
                file=sys.stderr,
            )


def _listed(names: Sequence[str], num: int) -> str:
    """Names, one per line, and how many more there are."""
    more = [f"... and {num - len(names)} more"] if num > len(names) else []
    return "".join(f"\n  {name}" for name in (*names, *more))
