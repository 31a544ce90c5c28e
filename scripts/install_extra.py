"""Installs the packages of an extra of pyproject.toml, without building this package again."""

import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(extra: str) -> list[str]:
    """The requirements that pyproject.toml lists for an extra."""
    extras: dict[str, list[str]] = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    return extras[extra]


def main() -> int:
    return subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *requirements(sys.argv[1])])


if __name__ == "__main__":
    sys.exit(main())
