"""The version is stated once, and the changelog knows it."""

import re
import tomllib
from pathlib import Path

from pykaldi_server.version import __version__

REPOSITORY = Path(__file__).resolve().parent.parent
FIRST_WITH_A_HEADING = (1, 0, 0)


def headings() -> list[str]:
    """The versions that the changelog has, the newest first, each with its date."""
    return re.findall(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_version_is_stated_in_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", __version__)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]


def test_the_changelog_has_what_is_released() -> None:
    first, *released = headings()
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", heading) for heading in released)
    numbers = [tuple(map(int, heading.split(" ")[0].split("."))) for heading in released]
    assert numbers == sorted(numbers, reverse=True)
    current = tuple(map(int, re.findall(r"\d+", __version__)[:3]))
    if current >= FIRST_WITH_A_HEADING:
        assert numbers[:1] == [current]
