"""Checks an installed wheel: it recognises a recording of digits with the model that it brings.

Run it with the interpreter of the environment, in a folder that is not the checkout:
`python check_package.py ps-tidigits-2934z.wav`.
"""

import subprocess
import sys
from pathlib import Path

import pykaldi_server

EXPECTED = "two nine three four zero"


def main() -> int:
    package = Path(pykaldi_server.__file__).resolve()
    if "site-packages" not in package.parts:
        print(f"{package}: expected an installed package, found another one")
        return 1
    command = [sys.executable, "-m", "pykaldi_server", "transcribe", sys.argv[1]]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = ran.stdout.strip()
    print(f"{sys.argv[1]}: expected {EXPECTED!r}, found {found!r}")
    if ran.returncode or found != EXPECTED:
        print(ran.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
