"""Copies of rows by number, as few large copies.

Source and target rows are known when a chunk is planned. A list of row numbers is split into
*runs*, in which both numbers grow by a constant step; each run is one copy between two slices. Networks over
time nearly always need only one or two runs.
"""

from collections.abc import Iterator, Sequence

__all__ = ["MISSING", "row_runs"]

MISSING = -1


def row_runs(targets: Sequence[int], sources: Sequence[int]) -> Iterator[tuple[slice, slice | None]]:
    """Splits pairs of row numbers into slices.

    Args:
        targets: rows to write, each once.
        sources: the row to read for each target; `MISSING` for none.

    Yields:
        Pairs of slices of equal length; a repeated source is a slice of one row;
        None if the sources are missing.
    """
    start = 0
    while start < len(targets):
        end = start + 1
        if end < len(targets):
            step = (targets[end] - targets[start], sources[end] - sources[start])
            if step[0] > 0 and step[1] >= 0 and (sources[start] != MISSING or step[1] == 0):
                while end < len(targets) and step == (
                    targets[end] - targets[end - 1],
                    sources[end] - sources[end - 1],
                ):
                    end += 1
        target = _to_slice(targets[start], targets[end - 1], end - start)
        missing = sources[start] == MISSING
        yield target, None if missing else _to_slice(sources[start], sources[end - 1], end - start)
        start = end


def _to_slice(first: int, last: int, count: int) -> slice:
    step = (last - first) // (count - 1) if count > 1 and last > first else 1
    return slice(first, last + 1, step)
