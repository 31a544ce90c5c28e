"""Compressed recordings with many channels, whose samples FFmpeg keeps in a plane per channel.

Each test decodes in a process of its own: memory that is not the decoder's may be read without harm, or end
the process.
"""

import subprocess
import sys

import numpy as np
import pytest
from audio_files import SOURCE_RATE_HZ, Encoding, encode, has_encoder

DECODE = """
import sys
import numpy as np
from pykaldi_server.audio import AudioDecoder
with AudioDecoder(None, None, "split") as decoder:
    pieces = [*decoder.decode(sys.stdin.buffer.read()), *decoder.decode_rest()]
samples = np.concatenate(pieces)
sys.stdout.buffer.write(b"%d " % samples.shape[1] + samples.astype("<f4").tobytes())
"""
LAYOUTS = {2: "stereo", 6: "5.1", 7: "6.1", 8: "7.1", 16: "hexadecagonal"}


def decoded(data: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """All channels of a file, of shape (n, channels)."""
    ran = subprocess.run([sys.executable, "-c", DECODE], input=data, capture_output=True, check=False)
    assert ran.returncode == 0, f"exit code {ran.returncode}: {ran.stderr.decode()}"
    channels, _, samples = ran.stdout.partition(b" ")
    return np.frombuffer(samples, "<f4").reshape(-1, int(channels))


@pytest.mark.parametrize(
    ("container", "codec", "num_channels"),
    [
        *(("wv", "wavpack", number) for number in LAYOUTS),
        *(("adts", "aac", number) for number in (2, 6, 7, 8)),
    ],
)
def test_every_channel_and_no_other_is_read(container: str, codec: str, num_channels: int) -> None:
    if not has_encoder(codec):
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    samples = (8000 * np.sin(np.arange(SOURCE_RATE_HZ) / 20)).astype(np.int16)
    found = decoded(encode(samples, Encoding(container, codec, layout=LAYOUTS[num_channels])))
    assert found.shape[1] == num_channels
    assert len(found) == pytest.approx(len(samples), abs=3000)
    loudest = np.abs(found[1000:-1000]).max(axis=0)
    # FFmpeg puts a mono signal into the centre, or where there is none, left and right.
    assert (loudest > 4000).sum() == (2 if num_channels == 2 else 1)
    assert (loudest < 100).sum() == num_channels - (loudest > 4000).sum()
