"""`pykaldi-server transcribe`."""

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.bulk import SchedulerOptions, recognise_in_bulk, scheduler_settings
from pykaldi_server.cli.common import channels_option, content_type_option, plain_errors
from pykaldi_server.cli.recognition import model_arguments, model_settings
from pykaldi_server.options import parse_assignments
from pykaldi_server.protocols.transcript_formats import TRANSCRIPT_WRITERS

if TYPE_CHECKING:
    from pykaldi_server.batch.locations import Location
    from pykaldi_server.batch.sources import Recording
    from pykaldi_server.batch.tasks import RecognizerOptions
    from pykaldi_server.cli.batch_report import BatchReport

__all__ = ["transcribe"]

# A file of one of these formats is one document; several make no sense one after the other.
DOCUMENTS = ("srt", "vtt", "ttml", "csv")


@click.command(epilog="Exit status: 0 if all files were recognised, 1 if one was not, 130 after Ctrl-C.")
@click.argument(
    "names", metavar="[FILE|URL|DIRECTORY|MANIFEST|-]...", nargs=-1, required=True, type=click.Path()
)
@model_settings
@content_type_option
@channels_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Write a file per recording and format to this directory. Recordings whose files are there already "
    "are skipped, so that a run that was interrupted can be taken up again.",
)
@click.option(
    "-f",
    "--format",
    "formats",
    type=click.Choice(list(TRANSCRIPT_WRITERS)),
    multiple=True,
    help="Format of the transcripts; may be given several times with --output.  [default: txt]",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Number of processes; each loads the model. Long recordings are cut at pauses and recognised by "
    "several. With --scheduler, number of workers on this machine or of jobs of the batch system.  "
    "[default: one per core; one job]",
)
@click.option(
    "--overwrite", is_flag=True, help="Recognise also recordings whose transcripts are there already."
)
@scheduler_settings
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print every event, partial results included, as the JSON message that a server would send.",
)
def transcribe(
    names: tuple[str, ...],
    output: Path | None,
    formats: tuple[str, ...],
    jobs: int | None,
    overwrite: bool,
    as_json: bool,
    content_type: str | None,
    channels: str | None,
    scheduler: str | None,
    cluster_options: tuple[str, ...],
    retries: int | None,
    retry_failed: bool,
    **values: Any,
) -> None:
    """Recognise audio files, and those in directories, without a server.

    A MANIFEST is a list of files and URLs: a file that ends in .txt, .scp (as in Kaldi), .csv or .jsonl.
    Transcripts are printed, or written to a directory. Post-processors that the model's YAML file names are
    run as well. With several channels, the results of a file are in the order of time.
    """
    from pykaldi_server.batch.bulk_options import BulkOptions
    from pykaldi_server.batch.locations import location
    from pykaldi_server.batch.outputs import Outputs
    from pykaldi_server.batch.runner import Outcome
    from pykaldi_server.batch.sources import STANDARD_INPUT
    from pykaldi_server.cli.batch_report import BatchReport

    if as_json and (output or formats):
        raise click.UsageError("--json prints events: expected neither --output nor --format")
    formats = tuple(dict.fromkeys(formats)) or ("txt",)
    if output is None and len(formats) > 1:
        raise click.UsageError("--format: expected one format without --output, found several")
    if scheduler is None and (cluster_options or retry_failed or retries is not None):
        raise click.UsageError("--cluster-option, --retries, --retry-failed: expected --scheduler as well")
    if scheduler is not None and output is None:
        raise click.UsageError("--scheduler: expected --output as well")
    if "" in names:
        raise click.UsageError("expected files, URLs and directories, found an empty name")
    if scheduler is not None and STANDARD_INPUT in names:
        raise click.UsageError("--scheduler: expected files, URLs and directories, found standard input")
    places = [location(name) for name in names]
    with plain_errors():
        options = model_arguments(values, content_type=content_type, channels=channels)
        if scheduler is not None and output is not None:
            where = SchedulerOptions(scheduler, jobs, parse_assignments(cluster_options, "cluster option"))
            bulk = BulkOptions(
                retries=2 if retries is None else retries, overwrite=overwrite, retry_failed=retry_failed
            )
            is_complete = recognise_in_bulk(
                lambda: _recordings(places), options, Outputs(output, formats), bulk, where
            )
            sys.exit(0 if is_complete else 1)
        recordings = list(dict.fromkeys(_recordings(places)))
        if len(recordings) > 1:
            _check_several(recordings, formats[0] if output is None else "")
        outputs = None if output is None else Outputs(output, formats)
        refused = {} if outputs is None else _without_names(recordings)
        named = [each for each in recordings if each not in refused]
        complete = {each for each in named if outputs and not overwrite and outputs.is_complete(each)}
        todo = [each for each in named if each not in complete]
        report = BatchReport([*refused, *todo], len(complete), outputs, None if as_json else formats[0])
        for recording, text in refused.items():
            report.take(Outcome(recording, error=text))
        if todo:
            _recognise(todo, options, jobs, report, longest_first=output is not None)
        report.summarise()
    sys.exit(1 if report.num_failed else 0)


def _recordings(places: "Iterable[Location]") -> "Iterable[Recording]":
    """The recordings of files, URLs and directories, then those of manifests, one by one."""
    from pykaldi_server.batch.manifest import is_manifest, read_manifest
    from pykaldi_server.batch.sources import find_recordings

    manifests = [each for each in places if is_manifest(each)]
    others = [each for each in places if not is_manifest(each)]
    return chain(find_recordings(others), chain.from_iterable(map(read_manifest, manifests)))


def _check_several(recordings: "list[Recording]", format_name: str) -> None:
    if any(each.is_standard_input for each in recordings):
        raise click.UsageError("-: expected standard input alone, found other files as well")
    if format_name in DOCUMENTS:
        raise click.UsageError(
            f"--format {format_name}: expected --output for several files, as each has its own document"
        )


def _without_names(recordings: "list[Recording]") -> "dict[Recording, str]":
    """The recordings whose transcripts would take the place of another one's, each with an error."""
    owners: dict[Path, Recording] = {}
    return {
        each: f"{each.path}: expected transcripts of its own, found those of {owner.path}: {each.name}"
        for each in recordings
        if (owner := owners.setdefault(each.name, each)) is not each
    }


def _recognise(
    recordings: "list[Recording]",
    options: "RecognizerOptions",
    jobs: int | None,
    report: "BatchReport",
    longest_first: bool,
) -> None:
    """Recognises recordings: a short one here, where it is shown word by word, all others in processes."""
    from pykaldi_server.audio.duration import estimated_duration_s
    from pykaldi_server.batch.parts import SHORTEST_PART_S
    from pykaldi_server.batch.runner import Batch
    from pykaldi_server.cores import num_cores

    num_processes = jobs or num_cores()
    durations_s = {each: estimated_duration_s(each.path, options.content_type) for each in recordings}
    is_long = any((length_s or 0.0) >= 2 * SHORTEST_PART_S for length_s in durations_s.values())
    with report.progress(sum(length_s or 0.0 for length_s in durations_s.values())):
        if len(recordings) == 1 and (num_processes == 1 or not is_long or report.wants_all_events):
            from pykaldi_server.batch.recognizer import Recognizer

            with Recognizer(options) as recognizer:
                report.recognise_here(recordings[0], recognizer)
            return
        batch = Batch(
            options,
            num_processes,
            with_all_events=report.wants_all_events,
            longest_first=longest_first,
        )
        for outcome in batch.run(durations_s, report.advance):
            report.take(outcome)
