"""Stand-ins for programs that commands in the documents call and that a test cannot let do their work.

`put_on_path` puts them into a folder. Those that exist are called, with an option that keeps them from
changing or reaching anything; those that need hardware or a cluster do here what they do there.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from pykaldi_server.models import catalogue
from pykaldi_server.models.catalogue import CatalogueEntry

RECORDING, JOBS, MIRROR, PATH = (f"DOCUMENTED_{name}" for name in ("RECORDING", "JOBS", "MIRROR", "PATH"))
"""Variables: what microphones hear, where jobs and archives of models are, and the path without these."""
QUOTE = "\0"
"""In place of a quote that is part of a word."""


def put_on_path(folder: Path) -> dict[str, str]:
    """Puts the programs into a folder; returns the environment in which they are found."""
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name in (*PROGRAMS, "pykaldi-server"):
        if name == "ffmpeg" and shutil.which(name):
            continue
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {python} -P {shlex.quote(__file__)} {name} "$@"\n')
        program.chmod(0o755)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {PATH: path, "PATH": os.pathsep.join([str(folder), path])}


def pykaldi_server(arguments: list[str]) -> None:
    """The command; its microphone hears a recording, and publishers' servers may be a mirror here."""
    from pykaldi_server.cli import main

    sys.modules["sounddevice"] = SoundDevice("sounddevice")
    if mirror := os.environ.get(MIRROR):
        folder, _, url = mirror.partition("=")
        entries = tuple(at_mirror(entry, Path(folder), url) for entry in catalogue.read_catalogue())
        catalogue.read_catalogue = lambda: entries  # type: ignore[assignment]
    main(arguments, prog_name="pykaldi-server")


class Microphone(AbstractContextManager["Microphone"]):
    """A stream that hears a recording; then it is gone, as a microphone whose plug is pulled."""

    def __init__(
        self,
        rate_hz: int,
        device: int | None,
        channels: int,
        dtype: str,
        callback: Callable[[bytes, int, None, None], None],
        finished_callback: Callable[[], None],
    ) -> None:
        self._hear = threading.Thread(target=self._play, args=(callback, finished_callback))
        with wave.open(os.environ[RECORDING]) as recording:
            assert (recording.getframerate(), 1, "int16") == (rate_hz, channels, dtype)
            self._samples = recording.readframes(recording.getnframes())

    def _play(
        self, callback: Callable[[bytes, int, None, None], None], finished_callback: Callable[[], None]
    ) -> None:
        for begin in range(0, len(self._samples), 3200):
            piece = self._samples[begin : begin + 3200]
            callback(piece, len(piece) // 2, None, None)
        finished_callback()

    def __enter__(self) -> Self:
        self._hear.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hear.join()


class SoundDevice(ModuleType):
    """The module, on a machine with one microphone."""

    PortAudioError = OSError
    RawInputStream = Microphone

    @staticmethod
    def query_devices(device: int | str | None = None, kind: str = "") -> Any:
        found = {"name": "microphone", "max_input_channels": 1, "default_samplerate": 48000.0}
        return found if kind else [found]

    @staticmethod
    def check_input_settings(device: int | str | None, channels: int, dtype: str, samplerate: int) -> None:
        """It takes every setting."""


def at_mirror(entry: CatalogueEntry, folder: Path, url: str) -> CatalogueEntry:
    """An entry of the catalogue, with the address and the sum of an archive that the mirror has."""
    archive = folder / entry.file_name
    if not entry.url or not archive.is_file():
        return entry
    content = archive.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return replace(entry, url=f"{url}/{entry.file_name}", size_bytes=len(content), size_mb=0, md5=md5)


def arecord(arguments: list[str]) -> None:
    """A microphone that hears a recording."""
    parser = argparse.ArgumentParser("arecord")
    parser.add_argument("-q", action="store_true")
    parser.add_argument("-t", choices=("wav", "raw"), default="wav")
    parser.add_argument("-f", choices=("S16_LE",), required=True)
    parser.add_argument("-r", type=int, required=True)
    parser.add_argument("-d", type=int)
    options = parser.parse_args(arguments)
    content = Path(os.environ[RECORDING]).read_bytes()
    with wave.open(os.environ[RECORDING]) as recording:
        assert recording.getframerate() == options.r
        samples = recording.readframes(recording.getnframes())
    sys.stdout.buffer.write(content if options.t == "wav" else samples)


def ffmpeg(arguments: list[str]) -> None:
    """The libraries of FFmpeg, where there is no program of it."""
    import av

    parser = argparse.ArgumentParser("ffmpeg")
    parser.add_argument("-v")
    parser.add_argument("-i", required=True)
    parser.add_argument("-f", choices=("s16le",))
    parser.add_argument("-ac", type=int, choices=(1,))
    parser.add_argument("-ar", type=int)
    parser.add_argument("output", choices=("-",))
    options = parser.parse_args(arguments)
    resampler = av.AudioResampler("s16", "mono", options.ar)
    with av.open(options.i) as container:
        for frame in [*container.decode(audio=0), None]:
            for each in resampler.resample(frame):
                sys.stdout.buffer.write(each.to_ndarray().tobytes())


def submit(arguments: list[str]) -> None:
    """A batch system with room for one job, of one process: the first runs at once, the others wait."""
    *_, file = arguments
    script = Path(file).read_text()
    if condor := re.search(r'^Arguments = "(.*)"$', script, re.MULTILINE):
        words = condor[1].replace('""', '"').replace("''", QUOTE)
        command = ["/bin/sh", *(word.replace(QUOTE, "'") for word in shlex.split(words))]
    else:
        command = ["bash", "-c", script]
    command[-1], num = re.subn(r"--nworkers \d+", "--nworkers 1", command[-1])
    assert num == 1, script
    jobs = Path(os.environ[JOBS])
    number = 1
    while True:
        try:
            job = (jobs / str(number)).open("x")
            break
        except FileExistsError:
            number += 1
    with job:
        running = [each for each in jobs.iterdir() if each.read_text()]
        if not running:
            output = (jobs.parent / f"job-{number}").open("wb")
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            job.write(str(process.pid))
    print(f"1 job(s) submitted to cluster {number}." if condor else number)


def cancel(arguments: list[str]) -> None:
    """Ends a job, or takes it out of the queue."""
    *_, number = arguments
    job = Path(os.environ[JOBS]) / number.removesuffix(".0")
    if pid := job.read_text():
        os.killpg(int(pid), signal.SIGTERM)
    job.unlink()


def listing(arguments: list[str]) -> None:
    """Lists the jobs that have not been cancelled."""
    for job in Path(os.environ[JOBS]).iterdir():
        print(job.name)


def kubectl(arguments: list[str]) -> None:
    """The real one, which makes what it would send, and sends nothing."""
    if arguments[0] == "create":
        real("kubectl", *arguments, "--dry-run=client", "--output=yaml")
    elif arguments[:2] == ["apply", "--kustomize"]:
        real("kubectl", "kustomize", *arguments[2:])
    else:
        assert arguments[0] == "config", arguments
        real("kubectl", *arguments)


def apt_get(arguments: list[str]) -> None:
    """The real one, which says what it would install."""
    real("apt-get", "--simulate", *arguments)


def real(name: str, *arguments: str) -> None:
    """Becomes the program that is found behind these."""
    program = shutil.which(name, path=os.environ[PATH])
    assert program is not None, name
    os.execv(program, [program, *arguments])


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "apt-get": apt_get,
    "arecord": arecord,
    "ffmpeg": ffmpeg,
    "kubectl": kubectl,
    "sbatch": submit,
    "qsub": submit,
    "condor_submit": submit,
    "squeue": listing,
    "qstat": listing,
    "condor_q": listing,
    "scancel": cancel,
    "qdel": cancel,
    "condor_rm": cancel,
}

if __name__ == "__main__":
    if sys.argv[1] == "pykaldi-server":
        pykaldi_server(sys.argv[2:])
    else:
        PROGRAMS[sys.argv[1]](sys.argv[2:])
