"""What `pykaldi-server transcribe` prints and writes: transcripts, progress, errors, a summary."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pykaldi_server.batch.outputs import Outputs
from pykaldi_server.batch.runner import Outcome
from pykaldi_server.batch.sources import Recording
from pykaldi_server.cli.progress_bar import ProgressBar, duration_text
from pykaldi_server.client.console import ResultPrinter
from pykaldi_server.errors import PykaldiServerError, error_text
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.transcript import Transcript
from pykaldi_server.protocols.transcript_formats import TRANSCRIPT_WRITERS
from pykaldi_server.session.events import Event, in_order_of_time
from pykaldi_server.worker.event_messages import event_message

if TYPE_CHECKING:
    from pykaldi_server.batch.recognizer import Recognizer

__all__ = ["BatchReport"]


class BatchReport:
    """Prints and writes what a batch finds out, and counts.

    Results that are printed come in the order of the recordings. Progress is shown on a terminal only.

    Args:
        recordings: all recordings that are to be recognised.
        num_skipped: how many more are not, as their transcripts are there already.
        outputs: where transcripts are written; None prints them.
        format_name: a key of `TRANSCRIPT_WRITERS`, for what is printed; None prints events as JSON.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        num_skipped: int,
        outputs: Outputs | None,
        format_name: str | None,
    ) -> None:
        self.num_failed = 0
        self._recordings = recordings
        self._num_skipped = num_skipped
        self._outputs = outputs
        self._format_name = format_name
        self._num_done = 0
        self._audio_s = 0.0
        self._start_s = time.monotonic()
        self._waiting: dict[Recording, Outcome] = {}  # until those before them have been printed
        self._num_printed = 0
        self._bar = ProgressBar()

    @property
    def wants_all_events(self) -> bool:
        """Whether events are printed."""
        return self._format_name is None

    @property
    def _is_summarised(self) -> bool:
        return self._outputs is not None or len(self._recordings) > 1

    @contextmanager
    def progress(self, total_s: float) -> Iterator[None]:
        """Shows progress and the time that is left while the context lasts; printed results show it anyway.

        Args:
            total_s: how much audio there is; 0 if that is not known.
        """
        if (self._outputs is None and sys.stdout.isatty()) or not (
            sys.stderr.isatty() and self._is_summarised
        ):
            yield
            return
        with self._bar.shown(total_s, self._files_text()):
            yield

    def advance(self, audio_s: float) -> None:
        """Notes that so many more seconds of audio have been recognised."""
        self._audio_s += audio_s
        self._bar.advance(audio_s, self._files_text())

    def recognise_here(self, recording: Recording, recognizer: "Recognizer") -> None:
        """Recognises the only recording in this process, and prints its text while it is being recognised."""
        positions_s = [0.0]

        def report(now_s: float) -> None:
            self.advance(now_s - positions_s[-1])
            positions_s.append(now_s)

        events = recognizer.events(recording.path, report)
        printer = None
        if self._outputs is None and self._format_name in (None, "txt"):
            printer = ResultPrinter(sys.stdout, sys.stderr, as_json=self._format_name is None)
        known: list[Event] = []
        try:
            for event in events if self.wants_all_events else in_order_of_time(events):
                known.append(event)
                if printer is not None:
                    printer.show(event_message(event, str(recording.path)))
        except BrokenPipeError:
            raise
        except (PykaldiServerError, OSError) as error:
            self._fail(error_text(error))
            return
        self._take(Outcome(recording, tuple(known)), is_printed=printer is not None)

    def take(self, outcome: Outcome) -> None:
        """Prints or writes what became of a recording, or keeps it until it is its turn."""
        if self._outputs is not None:
            self._take(outcome)
            return
        self._waiting[outcome.recording] = outcome
        while self._num_printed < len(self._recordings):
            following = self._waiting.pop(self._recordings[self._num_printed], None)
            if following is None:
                break
            self._num_printed += 1
            self._take(following)

    def summarise(self) -> None:
        """Says how many recordings were recognised, and how fast; nothing if there is only one to print."""
        if not self._is_summarised and not self._num_skipped:
            return
        elapsed_s = max(1e-3, time.monotonic() - self._start_s)
        num = len(self._recordings) + self._num_skipped
        num_files = f"{num} file{'' if num == 1 else 's'}"
        counts = [f"{self._num_done} recognised"]
        counts += [f"{self.num_failed} failed"] if self.num_failed else []
        counts += [f"{self._num_skipped} complete already"] if self._num_skipped else []
        speed = ""
        if self._audio_s:
            speed = (
                f"; {duration_text(self._audio_s)} of audio in {duration_text(elapsed_s)}, "
                f"{self._audio_s / elapsed_s:.1f} times as fast as real time"
            )
        print(f"{num_files}: {', '.join(counts)}{speed}", file=sys.stderr)

    def _files_text(self) -> str:
        return f"{self._num_done + self.num_failed}/{len(self._recordings)}"

    def _take(self, outcome: Outcome, is_printed: bool = False) -> None:
        if outcome.error:
            self._fail(outcome.error)
            return
        path = str(outcome.recording.path)
        messages = [event_message(event, path) for event in outcome.events]
        transcript = Transcript()
        for message in messages:
            transcript.add(message)
        try:
            if self._outputs is not None:
                self._outputs.write(outcome.recording, transcript.segments)
            elif not is_printed:
                self._print(path, messages, transcript)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._fail(error_text(error))
            return
        self._num_done += 1
        if not transcript.segments:
            self._bar.say(f"{path}: no words were recognised")

    def _print(self, path: str, messages: Iterable[Message], transcript: Transcript) -> None:
        if self._format_name in (None, "txt"):
            prefix = f"{path}: " if len(self._recordings) > 1 else ""
            printer = ResultPrinter(sys.stdout, sys.stderr, prefix=prefix, as_json=self._format_name is None)
            for message in messages:
                printer.show(message)
        else:
            print(TRANSCRIPT_WRITERS[self._format_name](transcript.segments, path), end="", flush=True)

    def _fail(self, text: str) -> None:
        self.num_failed += 1
        self._bar.say(f"Error: {text}")
