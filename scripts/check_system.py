"""Tells which system packages are missing before anything is built (needs nothing but Python itself)."""

import importlib.util
import shutil
import sys
import sysconfig
from pathlib import Path

MINIMUM = (3, 11)


def missing_packages() -> list[str]:
    """Returns the Debian packages that `make setup` needs and does not find."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    found = {
        "python3-dev": header.exists(),
        "python3-venv": importlib.util.find_spec("ensurepip") is not None,
        "g++": shutil.which("c++") is not None or shutil.which("g++") is not None,
        "make": shutil.which("make") is not None,
    }
    return [package for package, present in found.items() if not present]


def main() -> int:
    if sys.version_info < MINIMUM:
        print(f"Python {'.'.join(map(str, MINIMUM))} or newer is needed, this is {sys.version.split()[0]}.")
        return 1
    missing = missing_packages()
    if missing:
        print("System packages are missing. On Debian or Ubuntu:")
        print(f"    apt-get install {' '.join(missing)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
