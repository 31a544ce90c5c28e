"""Joins the recordings of the repository, over and over, to a long one: Opus in Ogg at a low bit rate.

    scripts/make_long_recording.py long.ogg --minutes 30

Long compressed audio is where servers of this kind lose words: a few kilobytes are minutes of speech, so that
an upload is far ahead of the recogniser at once.
"""

import argparse
import sys
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pykaldi_server.audio import read_audio_file

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden" / "wav"
RATE_HZ = 16000
PAUSE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="Ogg file to write")
    parser.add_argument("--minutes", type=float, default=30.0, help="least length of the recording")
    parser.add_argument("--bit-rate", type=int, default=8000, help="bits per second of speech")
    arguments = parser.parse_args()
    write(arguments.output, 60 * arguments.minutes, arguments.bit_rate)


def write(path: Path, length_s: float, bit_rate: int) -> None:
    """Writes recordings with pauses until they are at least ``length_s`` long."""
    pause = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
    recordings = [read_audio_file(file, RATE_HZ) for file in sorted(RECORDINGS.glob("ps-*.wav"))]
    num_samples = 0
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE_HZ, bit_rate=bit_rate, layout="mono")
        stream.codec_context.options = {"application": "voip"}
        for recording in cycle(recordings):
            samples = np.concatenate([recording, pause])[np.newaxis].astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), num_samples
            container.mux(stream.encode(frame))
            num_samples += samples.size
            if num_samples >= length_s * RATE_HZ:
                break
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
