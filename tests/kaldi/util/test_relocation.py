"""Files that have moved are found by the end of their path, or not at all."""

import logging
from pathlib import Path

import pytest

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.util.relocation import PathBase, resolve_path, unpiped


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(value: str, root: Path, config_dir: str = "conf") -> str:
    """What a path is resolved to, relative to the model's directory."""
    return str(resolve_path(value, PathBase(root / config_dir, root), "here").relative_to(root))


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ("/export/exp/tdnn_online/ivector_extractor/final.mat", "ivector_extractor/final.mat"),
        ("/export/exp/tdnn_online/final.mat", "final.mat"),
        ("exp/tdnn_online/am/final.mat", "am/final.mat"),
        ("/x/deep/ivector_extractor/final.mat", "deep/ivector_extractor/final.mat"),
        (r"C:\models\tdnn_online\am\final.mat", "am/final.mat"),
        (r"c:\Models\TDNN_ONLINE\AM\Final.mat", "am/final.mat"),
        (r"\\server\share\ivector_extractor\final.mat", None),
        (r"..\am\final.mat", "am/final.mat"),
        ("d:/tdnn_online/am/final.mat", "am/final.mat"),
    ],
)
def test_the_longest_tail_wins(tmp_path: Path, lost: str, expected: str | None) -> None:
    root = touched(
        tmp_path / "tdnn_online",
        *("final.mat", "am/final.mat", "ivector_extractor/final.mat", "deep/ivector_extractor/final.mat"),
    )
    if expected is None:
        with pytest.raises(ConfigError, match="several may be meant"):
            found(lost, root)
    else:
        assert found(lost, root) == expected


def test_several_files_with_the_longest_tail_are_an_error_that_names_them(tmp_path: Path) -> None:
    root = touched(tmp_path / "mine", "a/x.conf", "z/b/x.conf")
    with pytest.raises(ConfigError, match=r"here: there is no such file: /gone/x\.conf; several") as caught:
        found("/gone/x.conf", root)
    assert str(root / "a/x.conf") in str(caught.value)
    assert str(root / "z/b/x.conf") in str(caught.value)


def test_the_only_file_of_a_name_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touched(tmp_path / "mine", "deep/down/final.mat")
    with caplog.at_level(logging.WARNING):
        assert found("/gone/final.mat", root) == "deep/down/final.mat"
    assert f"here: there is no /gone/final.mat; using {root}/deep/down/final.mat instead" in caplog.text


def test_paths_that_exist_are_taken_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touched(tmp_path / "mine", "final.mat", "conf/final.mat", "other/final.mat")
    assert found(str(root / "other" / "final.mat"), root) == "other/final.mat"
    assert found("final.mat", root) == "conf/final.mat"
    assert found("../other/final.mat", root) == "conf/../other/final.mat"
    assert not caplog.records


def test_paths_relative_to_another_root(tmp_path: Path) -> None:
    """As in a checkout of a recipe, whose scripts run in its topmost folder."""
    touched(tmp_path, "exp/chain/extractor/final.ie", "exp/chain/online/conf/x", "elsewhere/final.ie")
    base = PathBase(tmp_path / "exp/chain/online/conf", tmp_path / "exp/chain/online")
    assert resolve_path("exp/chain/extractor/final.ie", base, "here") == (
        tmp_path / "exp/chain/extractor/final.ie"
    )


def test_files_beside_a_model_are_found_from_its_description(tmp_path: Path) -> None:
    """The description of a model may be above or beside the model's directory."""
    touched(tmp_path, "model/final.mdl", "extractor/final.ie", "conf/extra.conf")
    base = PathBase(tmp_path, tmp_path / "model")
    assert resolve_path("/gone/extractor/final.ie", base, "here") == tmp_path / "extractor/final.ie"
    base = PathBase(tmp_path / "conf", tmp_path / "model")
    assert resolve_path("/gone/final.mdl", base, "here") == tmp_path / "model/final.mdl"
    assert resolve_path("/gone/extra.conf", base, "here") == tmp_path / "conf/extra.conf"


def test_what_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"here: there is no such file: /gone/x, nor a 'x' inside"):
        found("/gone/x", tmp_path)


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    root = touched(tmp_path / "mine", ".hidden/x.conf")
    touched(tmp_path / "elsewhere", "x.conf")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    assert found("/gone/x.conf", root) == "linked/x.conf"


@pytest.mark.parametrize(
    "command",
    ["gunzip -c a/x.gz |", "gunzip -c a/x.gz|", "zcat a/x.gz |", "gzip -cd 'a/x.gz' |", "cat a/x.gz |"],
)
def test_commands_that_only_unpack_are_files(command: str) -> None:
    assert unpiped(command, "here") == "a/x.gz"


@pytest.mark.parametrize(
    "command",
    ["touch x |", "gunzip -c a b |", "gunzip -c $x |", "zcat x | head |", "gunzip -c |", "cat 'x |", "|"],
)
def test_other_commands_are_refused(command: str) -> None:
    with pytest.raises(ConfigError, match=r"here: .*found a command, which is not run"):
        unpiped(command, "here")
