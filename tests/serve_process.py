"""Runs `pykaldi-server serve` as a user does: real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from processes import children

REPOSITORY = Path(__file__).resolve().parent.parent
ENGLISH = "models/english:graph-digits"
PATIENCE_S = 200


class Serve:
    """A running `pykaldi-server serve`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Serving on "):
                self.url = line.split()[2].rstrip("/")
                return
        raise AssertionError("serve ended before it was ready")

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def children(self) -> list[int]:
        """The worker processes."""
        return children(self.process.pid)


@contextmanager
def running_serve(directory: Path, *arguments: str, log: Path | None = None) -> Iterator[Serve]:
    """Runs `serve` with models and options; `log` is a file for what it writes to its standard error."""
    command = [sys.executable, "-m", "pykaldi_server", "serve", "--port", "0", *arguments]
    references = ["--references", str(directory / "references.jsonl")]
    with log.open("wb") if log is not None else nullcontext() as errors:
        process = subprocess.Popen(
            [*command, *references], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield Serve(process)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()
