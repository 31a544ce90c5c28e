"""A progress bar on standard error, with lines above it, and lengths of time for people."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["ProgressBar", "duration_text"]


class ProgressBar:
    """A bar with a text before it and the time that is left after it; nothing unless it is shown."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    @contextmanager
    def shown(self, total: float, text: str) -> Iterator[None]:
        """Shows the bar while the context lasts.

        Args:
            total: what all steps together come to; 0 if that is not known.
            text: what is before the bar.
        """
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.fields[text]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        console = Console(file=sys.stderr)
        with Progress(*columns, console=console, transient=True, redirect_stdout=False) as self._progress:
            self._progress.add_task("", total=total or None, text=text)
            yield
        self._progress = None

    def advance(self, step: float, text: str) -> None:
        """Moves the bar on, and changes the text before it."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=step, text=text)

    def say(self, line: str) -> None:
        """Prints a line, above the bar if that is shown."""
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def duration_text(seconds: float) -> str:
    """A duration for people: 3.2 s, 12:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, whole_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_s:02}" if hours else f"{minutes}:{whole_s:02}"
