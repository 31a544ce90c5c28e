"""Installs the packages of extras of pyproject.toml, without building this package again.

Arguments are names of extras, or `dependencies` for what the package itself needs.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(names: list[str]) -> list[str]:
    """The requirements that pyproject.toml lists under these names."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    lists: dict[str, list[str]] = {
        "dependencies": project["dependencies"],
        **project["optional-dependencies"],
    }
    return [each for name in names for each in lists[name]]


def main() -> int:
    # Errors are shown; warnings, such as of an index that does not have a package which another has, are not.
    return subprocess.call([sys.executable, "-m", "pip", "install", "-qq", *requirements(sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
