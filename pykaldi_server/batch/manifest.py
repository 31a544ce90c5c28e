"""Lists of recordings, one per line, which may have millions of lines: nothing keeps them in memory.

The ending of the file says what its lines are:

    .txt    a path or URL
    .scp    as in Kaldi: the name of the transcripts, then a path or URL
    .csv    a table with a heading; its columns ``path`` (or ``url``) and, if there is one, ``name``
    .jsonl  an object with ``path`` (or ``url``) and perhaps ``name``, or just the path as a string

Empty lines are left out, and so are lines of ``.txt`` and ``.scp`` that begin with ``#``. A relative path is
looked for in the manifest's folder. Where no name is given, transcripts have the whole path, as it is written
and with its ending, below the output directory: names that depend on no other line stay the same from run to
run.
"""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pykaldi_server.batch.locations import Location, is_url, location, opened
from pykaldi_server.batch.sources import Recording, below_output
from pykaldi_server.errors import ConfigError

__all__ = ["MANIFEST_SUFFIXES", "is_manifest", "read_manifest"]

MANIFEST_SUFFIXES = (".txt", ".scp", ".csv", ".jsonl")

_Entry = tuple[int, str, str]  # number of the line, path, name or nothing


def is_manifest(place: Location) -> bool:
    """Whether a place is a list of recordings, by its ending."""
    return str(place).lower().endswith(MANIFEST_SUFFIXES)


def read_manifest(place: Location) -> Iterator[Recording]:
    """Yields the recordings of a manifest, in order, while it is being read.

    Raises:
        ConfigError: a line is not as the ending of the file says; the text has its number.
        OSError: the file cannot be read.
    """
    suffix = str(place).lower().rpartition(".")[2]
    read = {"txt": _lines, "scp": _scp, "csv": _csv, "jsonl": _jsonl}[suffix]
    with opened(place) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            for number, path, name in read(text, str(place)):
                yield _recording(place, number, path, name)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{place}: expected text in UTF-8, found {error.reason}") from error


def _recording(manifest: Location, number: int, path: str, name: str) -> Recording:
    if not path:
        raise ConfigError(f"{manifest}: line {number}: expected a path or URL, found none")
    if not name:
        parts = urlsplit(path)
        name = f"{parts.netloc}/{unquote(parts.path)}" if is_url(path) else path
    if not is_url(path) and isinstance(manifest, Path):
        path = str(manifest.parent / path)
    inside = below_output(Path(name))
    wrong = [text for text in (name, path) if not _is_possible(text)] or ([] if inside.name else [name])
    if wrong:
        raise ConfigError(f"{manifest}: line {number}: expected the name of a file, found {wrong[0]!r}")
    return Recording(location(path), inside)


def _is_possible(name: str) -> bool:
    """Whether a file can have such a name."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a character, which JSON can have
        return False


def _lines(file: io.TextIOWrapper, name: str) -> Iterator[_Entry]:
    for number, line in enumerate(file, 1):
        path = line.strip()
        if path and not path.startswith("#"):
            yield number, path, ""


def _scp(file: io.TextIOWrapper, name: str) -> Iterator[_Entry]:
    for number, line, _ in _lines(file, name):
        utterance, path = (*line.split(maxsplit=1), "")[:2]
        if path.endswith("|"):
            raise ConfigError(f"{name}: line {number}: expected a path or URL, found a command, {path!r}")
        yield number, path, utterance


def _csv(file: io.TextIOWrapper, name: str) -> Iterator[_Entry]:
    rows = csv.DictReader(file, strict=True)  # or a quote too many would make one line of several
    try:
        columns = rows.fieldnames or ()
        column = next((each for each in ("path", "url") if each in columns), None)
        if column is None:
            raise ConfigError(f"{name}: line 1: expected a column path or url, found {', '.join(columns)}")
        for row in rows:
            yield rows.line_num, row[column] or "", row.get("name") or ""
    except csv.Error as error:
        raise ConfigError(
            f"{name}: line {rows.reader.line_num}: expected a row of a table: {error}"
        ) from None


def _jsonl(file: io.TextIOWrapper, name: str) -> Iterator[_Entry]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{name}: line {number}: expected JSON: {error}") from None
        if isinstance(entry, str):
            entry = {"path": entry}
        fields = entry if isinstance(entry, dict) else {}
        path, given = fields.get("path", fields.get("url")), fields.get("name", "")
        if not isinstance(path, str) or not isinstance(given, str):
            raise ConfigError(
                f"{name}: line {number}: expected a path, or an object with path and perhaps name, "
                f"found {line.strip()[:100]}"
            )
        yield number, path, given
