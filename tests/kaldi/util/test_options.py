"""Configuration files fill dataclasses; mistakes are named with file and line."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi.util.options import (
    Options,
    ParseOptions,
    group,
    option,
    parse_int_list,
    read_options,
)


@dataclass
class Inner(Options):
    without_effect: ClassVar[tuple[str, ...]] = ("tuning.",)

    max_size: int = option(3, "A size.")


@dataclass
class Outer(Options):
    without_effect: ClassVar[tuple[str, ...]] = ("old-name",)

    beam: float = option(16.0, "A beam.")
    use_energy: bool = option(True, "A flag.")
    window: str = option("povey", "A word.", name="window-type")
    file: str = option("", "A file.", path=True)
    flat: Inner = group(Inner, prefix="")
    rule1: Inner = group(Inner)

    def validate(self) -> None:
        if self.beam <= 0:
            raise ConfigError(f"beam: expected more than 0, found {self.beam}")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "test.conf"
    path.write_text(text, errors="surrogateescape")
    return path


def test_all_forms_of_lines(tmp_path: Path) -> None:
    text = """
    # a comment
    --beam=13   # another
    --use_energy=false
    --window-type=hamming
    --max-size=7
    --rule1.max-size=9
    """
    options = read_options(Outer, written(tmp_path, text))
    assert (options.beam, options.use_energy, options.window) == (13.0, False, "hamming")
    assert (options.flat.max_size, options.rule1.max_size) == (7, 9)


def test_boolean_without_value_is_true(tmp_path: Path) -> None:
    assert read_options(Outer, written(tmp_path, "--use-energy=false\n--use-energy")).use_energy is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--beem=3", "test.conf:1: unknown option --beem; the nearest known one is --beam"),
        ("\n--beam=x", "test.conf:2: --beam: expected a number, found 'x'"),
        ("--max-size=1.5", "expected an integer, found '1.5'"),
        ("--use-energy=maybe", "expected true or false, found 'maybe'"),
        ("beam=3", "expected --name=value, found 'beam=3'"),
        ("--beam=nan", "expected a number"),
        ("--beam=-1", "test.conf: beam: expected more than 0"),
        ("--file=nowhere.mat", "there is no such file"),
        ("--max-size=7_000", "test.conf:1: --max-size: expected an integer, found '7_000'"),
        ("--max-size=99999999999", "test.conf:1: --max-size: expected an integer from -2147483648 to 2147"),
        ("--max-size=-2147483649", "test.conf:1: --max-size: expected an integer from"),
        ("--beam=1_3", "expected a number, found '1_3'"),
        ("--beam=1e39", "expected a number of single precision"),
        ("--beam", "test.conf:1: --beam: expected a value after '=', found none"),
        ("--window-type", "expected a value after '=', found none"),
        ("--use-energy=", "expected true or false, found ''"),
        ("--beam =3", "unknown option --beam ; the nearest known one is --beam"),
        ("--=3", "expected --name=value, found '--=3'"),
        ("--ger\udce4t=3", "unknown option"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_options(Outer, written(tmp_path, text))
    assert expected in str(caught.value)


def test_options_without_effect_are_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "--old-name=3\n--rule1.tuning.of-cache=x\n--print-args=false\n--verbose=2\n--Beam=12"
    with caplog.at_level(logging.INFO):
        assert read_options(Outer, written(tmp_path, text)).beam == 12.0
    assert "test.conf:1: --old-name has no effect" in caplog.text
    for other in ("--old-names=3", "--tuning=x", "--rule1.old-name=3"):
        with pytest.raises(ConfigError, match="unknown option"):
            read_options(Outer, written(tmp_path, other))


def test_options_register_themselves_as_in_pykaldi(tmp_path: Path) -> None:
    options, parser = Outer(), ParseOptions("usage")
    options.register(parser)
    parser.read_config_file(written(tmp_path, "--beam=11"))
    assert options.beam == 11.0
    assert parser.given == {"beam"}


def test_file_beside_the_configuration_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.mat").touch()
    options = read_options(Outer, written(tmp_path, "--file=a.mat"))
    assert Path(options.file) == tmp_path / "a.mat"


def test_file_of_another_machine_is_found_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "final.mat").touch()
    (tmp_path / "conf").mkdir()
    config = written(tmp_path / "conf", "--file=/home/someone/exp/final.mat")
    with caplog.at_level(logging.WARNING):
        options = read_options(Outer, config, model_dir=tmp_path)
    assert Path(options.file) == tmp_path / "deep" / "final.mat"
    assert "/home/someone/exp/final.mat" in caplog.text


@pytest.mark.parametrize(
    "comment", [b"Ger\xe4t", "a\u2028b".encode(), "a\u0085b".encode(), b"a\x0bb", b"a\x0cb", b"a\rb", b"\0"]
)
def test_comments_are_any_bytes_up_to_a_newline(tmp_path: Path, comment: bytes) -> None:
    path = tmp_path / "test.conf"
    lines = (b"\xef\xbb\xbf# " + comment, b"--beam=13 # " + comment + b"\r", b"\x0b--max-size=7\x0c", b"")
    path.write_bytes(b"\n".join(lines))
    options = read_options(Outer, path)
    assert (options.beam, options.flat.max_size) == (13.0, 7)


def test_names_of_files_are_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "ger\udce4t.mat").touch()
    path = tmp_path / "test.conf"
    path.write_bytes(b"--file=ger\xe4t.mat\n")
    assert Path(read_options(Outer, path).file).exists()


def test_git_lfs_pointer_in_place_of_a_configuration(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(ModelFormatError, match="Git LFS pointer"):
        read_options(Outer, written(tmp_path, text))


def test_directory_in_place_of_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found a directory"):
        read_options(Outer, tmp_path)


def test_lists_of_integers() -> None:
    assert parse_int_list("1:2,3", "x") == [1, 2, 3]
    assert parse_int_list("", "x") == []
    for text in ("1:b", "1::2", "1:7_0", "4294967297"):
        with pytest.raises(ConfigError, match="x: expected integers"):
            parse_int_list(text, "x")
