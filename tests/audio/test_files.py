"""Audio files, whole and in pieces."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pykaldi_server.audio import iterate_audio_file, read_audio_file
from pykaldi_server.errors import AudioError


def test_reads_a_recording(golden: Path, speech: NDArray[np.int16]) -> None:
    result = read_audio_file(golden / "wav" / "ps-librivox-0880.wav", 16000)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, speech)


def test_reads_long_files_in_pieces(tmp_path: Path, speech: NDArray[np.int16]) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(np.tile(speech, 20).tobytes())
    pieces = list(iterate_audio_file(path, 16000))
    assert 0 < min(map(len, pieces)) <= max(map(len, pieces)) < 100_000
    np.testing.assert_array_equal(np.concatenate(pieces), np.tile(speech, 20))


def test_reads_a_compressed_file(
    tmp_path: Path, encode: Callable[..., bytes], speech: NDArray[np.int16]
) -> None:
    path = tmp_path / "memo.m4a"
    path.write_bytes(encode(speech, "mp4", "aac"))
    assert abs(len(read_audio_file(path, 8000)) - len(speech) / 2) < 1024


def test_a_content_type_describes_raw_files(tmp_path: Path, speech: NDArray[np.int16]) -> None:
    path = tmp_path / "speech.raw"
    path.write_bytes(speech.astype(">i2").tobytes())
    np.testing.assert_array_equal(read_audio_file(path, 16000, "audio/x-raw, format=S16BE"), speech)


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_audio_file(tmp_path / "missing.wav", 16000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(AudioError, match=r"folder: expected an audio file, found a directory"):
        read_audio_file(tmp_path / "folder", 16000)
    damaged = tmp_path / "damaged.ogg"
    damaged.write_bytes(b"OggS" + bytes(1000))
    with pytest.raises(AudioError, match=r"damaged\.ogg: expected audio, found Ogg pages without"):
        read_audio_file(damaged, 16000)


def test_an_empty_file_is_silence(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert len(read_audio_file(tmp_path / "empty", 16000)) == 0
