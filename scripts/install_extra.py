"""Installs the packages of an extra of setup.cfg beside the package, without building the package again."""

import configparser
import subprocess
import sys
from pathlib import Path

SETUP_CFG = Path(__file__).resolve().parent.parent / "setup.cfg"


def requirements(extra: str) -> list[str]:
    """The requirements that setup.cfg lists for an extra."""
    config = configparser.ConfigParser()
    config.read(SETUP_CFG)
    return config["options.extras_require"][extra].split("\n")


def main() -> int:
    wanted = [requirement.strip() for requirement in requirements(sys.argv[1]) if requirement.strip()]
    return subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *wanted])


if __name__ == "__main__":
    sys.exit(main())
