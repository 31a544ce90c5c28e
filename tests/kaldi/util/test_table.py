"""Archives and scripts: what is written is read back, and no command is ever run."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav

from pykaldi_server.errors import AudioError, ConfigError, ModelFormatError
from pykaldi_server.kaldi.util import (
    MatrixWriter,
    RandomAccessMatrixReader,
    RandomAccessVectorReader,
    SequentialMatrixReader,
    SequentialVectorReader,
    SequentialWaveReader,
    VectorWriter,
)

MATRICES = {"a": np.eye(2, dtype=np.float32), "b": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize("form", ["ark", "ark,t"])
def test_archives_of_matrices(tmp_path: Path, form: str) -> None:
    with MatrixWriter(f"{form}:{tmp_path}/x.ark") as writer:
        for key, matrix in MATRICES.items():
            writer[key] = matrix
    found = dict(SequentialMatrixReader(f"ark:{tmp_path}/x.ark"))
    assert list(found) == ["a", "b"]
    assert all(np.array_equal(found[key], MATRICES[key]) for key in MATRICES)


def test_script_points_into_the_archive(tmp_path: Path) -> None:
    with MatrixWriter(f"ark,scp:{tmp_path}/x.ark,{tmp_path}/x.scp") as writer:
        for key, matrix in MATRICES.items():
            writer.write(key, matrix)
    reader = RandomAccessMatrixReader(f"scp:{tmp_path}/x.scp")
    assert reader.has_key("b")
    assert "c" not in reader
    assert np.array_equal(reader["b"], MATRICES["b"])


def test_vectors(tmp_path: Path) -> None:
    with VectorWriter(f"ark:{tmp_path}/v.ark") as writer:
        writer["k"] = np.arange(3, dtype=np.float32)
    assert [key for key, _ in SequentialVectorReader(f"ark:{tmp_path}/v.ark")] == ["k"]
    assert RandomAccessVectorReader(f"ark:{tmp_path}/v.ark")["k"].tolist() == [0, 1, 2]


def test_recordings(tmp_path: Path, golden: Path) -> None:
    path = golden / "wav" / "ps-cards-001.wav"
    (tmp_path / "wav.scp").write_text(f"one {path}\n")
    ((key, recording),) = list(SequentialWaveReader(f"scp:{tmp_path}/wav.scp"))
    rate_hz, samples = read_wav(path)
    assert (key, recording.samp_freq) == ("one", rate_hz)
    assert np.array_equal(recording.data()[0], samples)
    assert recording.duration == pytest.approx(len(samples) / rate_hz)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFFxxxxWAVEjunk")
    (tmp_path / "wav.scp").write_text(f"one {tmp_path}/x.wav\n")
    with pytest.raises(AudioError, match=r"x\.wav: expected a WAV file"):
        list(SequentialWaveReader(f"scp:{tmp_path}/wav.scp"))


@pytest.mark.parametrize("specifier", ["x.ark", "ark:touch x.gz |", "pipe:x", "scp,ark:a,b"])
def test_wrong_specifiers_are_refused(specifier: str) -> None:
    with pytest.raises(ConfigError):
        SequentialMatrixReader(specifier)


def test_commands_in_scripts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.scp").write_text(f"a touch {tmp_path}/ran |\n")
    with pytest.raises(ModelFormatError, match=r"x\.scp:1: .* a command, which is not run"):
        list(SequentialMatrixReader(f"scp:{tmp_path}/x.scp"))
    assert not (tmp_path / "ran").exists()


def test_packed_archives(tmp_path: Path) -> None:
    packed = tmp_path / "x.ark.gz"
    packed.write_bytes(gzip.compress(b"a  [ 1 2 ]\nb  [ 3 ]\n"))
    (tmp_path / "x.scp").write_text(f"a\tzcat {packed} |\nb {packed}:12\n")
    read = {key: vector.tolist() for key, vector in SequentialVectorReader(f"ark:gunzip -c {packed} |")}
    assert read == {"a": [1, 2], "b": [3]}
    with pytest.raises(ModelFormatError, match="expected a vector"):  # an archive has keys, a file has none
        list(SequentialVectorReader(f"scp:{tmp_path}/x.scp"))
    assert dict(SequentialVectorReader(f"ark:{packed}")).keys() == {"a", "b"}


def test_offset_beyond_the_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_bytes(b"a ")
    (tmp_path / "x.scp").write_text(f"a {tmp_path}/x.ark:100\n")
    with pytest.raises(ModelFormatError, match="expected 100 bytes or more, found 2"):
        list(SequentialMatrixReader(f"scp:{tmp_path}/x.scp"))
