"""How long a recording is, without decoding it."""

import os
from pathlib import Path

import pytest

from pykaldi_server.audio import AudioDecoder
from pykaldi_server.audio.duration import estimated_duration_s

WAV = "ps-tidigits-2934z.wav"


def decoded_s(path: Path) -> float:
    """What decoding finds."""
    with AudioDecoder(None, None) as decoder:
        num_samples = len(decoder.push(path.read_bytes())) + len(decoder.finish())
        return num_samples / (decoder.sample_rate_hz or 1)


def test_wav(golden: Path, tmp_path: Path) -> None:
    path = golden / "wav" / WAV
    assert estimated_duration_s(path) == pytest.approx(decoded_s(path), abs=1e-3)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(path.read_bytes()[: 44 + 32000])  # shorter than its header says
    assert estimated_duration_s(cut) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["speech.wv", "fragmented.mp4", "video.ts", "rifx.wav", "antiphase.wav"])
def test_other_formats(golden: Path, name: str) -> None:
    """What a container says is not exact."""
    path = golden.parent / "cases" / name
    assert estimated_duration_s(path) == pytest.approx(decoded_s(path), abs=0.2)


def test_gzip_does_not_say(golden: Path) -> None:
    assert estimated_duration_s(golden.parent / "cases" / "speech.wav.gz") is None


def test_raw_audio(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(bytes(range(200)) * 160)
    assert estimated_duration_s(path) == pytest.approx(1.0)
    assert estimated_duration_s(path, "audio/x-raw,rate=8000,format=S16LE,channels=2") == pytest.approx(1.0)
    assert estimated_duration_s(path, "audio/x-mulaw") == pytest.approx(4.0)


def test_what_has_no_length(tmp_path: Path) -> None:
    (tmp_path / "page.wav").write_text("<!DOCTYPE html><html><body>not found</body></html>" * 20)
    (tmp_path / "broken.ogg").write_bytes(b"OggS" + bytes(range(256)) * 40)
    os.mkfifo(tmp_path / "pipe")
    for name in ("page.wav", "broken.ogg", "pipe", "nothing", "."):
        assert estimated_duration_s(tmp_path / name) is None, name
    assert estimated_duration_s(tmp_path / "page.wav", "nonsense/") is None
