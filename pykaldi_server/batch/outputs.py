"""Transcripts in a directory: written whole or not at all, and found again by a later run."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pykaldi_server.batch.locations import file_name
from pykaldi_server.batch.sources import Recording
from pykaldi_server.protocols.transcript import Segment, Transcript
from pykaldi_server.protocols.transcript_formats import TRANSCRIPT_WRITERS
from pykaldi_server.session.events import Event
from pykaldi_server.whole_files import written_whole
from pykaldi_server.worker.event_messages import event_message

__all__ = ["Outputs", "segments_of"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where transcripts go.

    Attributes:
        directory: the directory, which is made when something is written.
        formats: keys of `TRANSCRIPT_WRITERS`, which are also the endings of the files.
    """

    directory: Path
    formats: tuple[str, ...]

    def paths(self, recording: Recording) -> dict[str, Path]:
        """The files of a recording by their formats."""
        base = self.directory / recording.name
        return {each: base.with_name(f"{base.name}.{each}") for each in self.formats}

    def is_complete(self, recording: Recording) -> bool:
        """Whether all files of a recording are there and none is older than the recording.

        Of a URL, whose age would take a question over the network, they only have to be there.
        """
        if recording.is_standard_input:
            return False
        try:
            written_ns = min(path.stat().st_mtime_ns for path in self.paths(recording).values())
            return not isinstance(recording.path, Path) or written_ns >= recording.path.stat().st_mtime_ns
        except OSError:
            return False

    def write(self, recording: Recording, segments: Sequence[Segment]) -> None:
        """Writes all files of a recording; each appears when it is complete.

        Raises:
            OSError: a file cannot be written; the error names it.
        """
        name = recording.name.name if recording.is_standard_input else file_name(recording.path)
        for ending, path in self.paths(recording).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, TRANSCRIPT_WRITERS[ending](segments, name))


def segments_of(events: Iterable[Event], name: str) -> Sequence[Segment]:
    """The segments of a recording with this name that have words."""
    transcript = Transcript()
    for event in events:
        transcript.add(event_message(event, name))
    return transcript.segments


def _write_whole(path: Path, text: str) -> None:
    try:
        with written_whole(path) as temporary:
            # Names of recordings need not be in UTF-8; the transcript always is.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    except OSError as error:
        error.filename = os.fspath(path)  # neither the temporary name nor, as of a full disk, none
        raise
