"""What Vosk loads of a directory in its layout, and what is refused there."""

import gzip
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import WORDS, network, replace_file

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.session import Model


@pytest.mark.parametrize("line", ["--cmn-window=100", "--speaker-frames=100", "--global-frames=700"])
def test_counts_of_cmvn_in_any_order(digits: Path, line: str, recognised: Callable[[Model], str]) -> None:
    replace_file(digits / "ivector" / "online_cmvn.conf", f"{line}\n")
    assert recognised(Model.load(digits)) == WORDS


@pytest.mark.parametrize(
    "comment", ["# Gerät".encode("latin-1"), "# a\u2028b".encode(), "# a\u0085b".encode(), b"# a\x0bb"]
)
def test_comments_in_any_encoding(digits: Path, comment: bytes) -> None:
    for name in ("conf/mfcc.conf", "conf/model.conf", "ivector/splice.conf"):
        replace_file(digits / name, comment + b"\n" + (digits / name).read_bytes())
    assert network(Model.load(digits)).options.decoder.beam == 13.0


@pytest.mark.parametrize(
    "line",
    [
        "--max-active=99999999999",
        "--max-active=2147483648",
        "--prune-interval=2147483648",
        "--max-active=7_000",
    ],
)
def test_integers_that_kaldi_refuses(digits: Path, line: str) -> None:
    replace_file(digits / "conf" / "model.conf", f"--min-active=200\n{line}\n")
    with pytest.raises(ConfigError, match=rf"model\.conf:2: {line.split('=')[0]}: expected an integer"):
        Model.load(digits)


def test_values_out_of_range_are_named_with_file_and_line(digits: Path) -> None:
    replace_file(digits / "conf" / "model.conf", "--min-active=200\n--beam=-1\n")
    with pytest.raises(ConfigError, match=r"model\.conf: .*beam.*expected.*, set in .*model\.conf:2$"):
        Model.load(digits)


def test_the_frame_subsampling_factor_of_a_flat_directory(flat: Path, digits: Path) -> None:
    """Kaldi's archives have it in a file of its own; in Vosk's layout, model.conf says it."""
    assert network(Model.load(flat)).options.decodable.frame_subsampling_factor == 3
    replace_file(flat / "frame_subsampling_factor", "1\n")
    assert network(Model.load(flat)).options.decodable.frame_subsampling_factor == 1
    replace_file(flat / "frame_subsampling_factor", "three\n")
    with pytest.raises(ConfigError, match=r"frame_subsampling_factor: .*expected an integer.*'three'"):
        Model.load(flat)
    replace_file(digits / "frame_subsampling_factor", "1\n")
    assert network(Model.load(digits)).options.decodable.frame_subsampling_factor == 3


def test_a_folder_of_i_vectors_without_extractor_is_left_out(
    digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace_file(digits / "ivector" / "final.ie", None)
    # This network needs i-vectors; without the folder, the error is the same.
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(ModelFormatError, match="expected i-vectors of dimension 40, found 0"),
    ):
        Model.load(digits)
    assert "there are no i-vectors without final.ie" in caplog.text


def test_models_without_i_vectors_may_have_their_folder(models: Path, tmp_path: Path) -> None:
    for name in ("am/final.mdl", "am/global_cmvn.stats", "conf/mfcc.conf", "conf/model.conf"):
        replace_file(tmp_path / name, models / "estonian" / name)
    for name in ("HCLG.fst", "words.txt"):
        replace_file(tmp_path / "graph" / name, models / "estonian" / "graph" / name)
    replace_file(tmp_path / "ivector" / "splice.conf", "--left-context=3\n")
    assert Model.load(tmp_path).sample_rate_hz == 16000


def test_a_larger_language_model_needs_the_smaller_one(digits: Path, models: Path) -> None:
    replace_file(digits / "rescore" / "G.carpa", models / "english" / "rescore" / "G.carpa")
    with pytest.raises(ConfigError, match=r"G\.carpa: expected G\.fst, .* found none; add it, or remove"):
        Model.load(digits)


def test_the_smaller_language_model_alone_means_nothing(
    digits: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace_file(digits / "rescore" / "G.fst", models / "english" / "rescore" / "G.fst")
    with caplog.at_level(logging.INFO):
        assert Model.load(digits).rescorer is None
    assert "there is no rescoring without G.carpa" in caplog.text


def test_other_graphs_are_not_rescored(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Model.load(f"{models}/english:graph-digits").rescorer is None
    assert f"{models}/english/rescore: without effect for" in caplog.text


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize(
    "name",
    [
        *("am/final.mdl", "conf/mfcc.conf", "conf/model.conf", "ivector/final.ie", "ivector/final.mat"),
        *("graph/HCLG.fst", "graph/words.txt", "graph/phones.txt", "graph/phones/word_boundary.int"),
    ],
)
def test_git_lfs_pointers_are_named_as_such(digits: Path, name: str) -> None:
    replace_file(digits / name, LFS_POINTER)
    with pytest.raises(ModelFormatError, match=rf"{name}: .*Git LFS pointer.*git lfs pull"):
        Model.load(digits)


@pytest.mark.parametrize("name", ["am/final.mdl", "ivector/final.ie", "ivector/final.mat"])
def test_packed_files(digits: Path, name: str, recognised: Callable[[Model], str]) -> None:
    replace_file(digits / name, gzip.compress((digits / name).read_bytes(), 1))
    assert recognised(Model.load(digits)) == WORDS


@pytest.mark.parametrize("name", ["graph/HCLG.fst", "graph/words.txt"])
def test_files_that_are_mapped_are_not_unpacked(digits: Path, name: str) -> None:
    replace_file(digits / name, gzip.compress((digits / name).read_bytes(), 1))
    with pytest.raises(ModelFormatError, match=rf"{name}: .*found gzip data; unpack it \(gunzip\)"):
        Model.load(digits)
