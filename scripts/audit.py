"""Looks for known vulnerabilities in the packages that are installed with this one.

pip-audit asks PyPI about every package that the project needs, whatever needs it, at the version that is
installed. A vulnerability ends this with 1. Where the data about vulnerabilities cannot be reached (offline,
or behind a mirror that has packages only, so that there is nothing about any package), it says so in a line
that begins with SKIPPED and ends with 0: nothing has been found then, and nothing has been looked for either.
Any other failure of pip-audit, and data about some packages only, end this with 2.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
EXTRAS = ("postgresql", "numbers")
"""Extras that servers use; the tools of developers are not audited."""
PATIENCE_S = 300
UNREACHABLE = re.compile(
    r"^requests\.exceptions\.(?:ConnectionError|ConnectTimeout|ProxyError|ReadTimeout)\b"
    r"|Could not connect to PyPI|PyPI is not redirecting properly",
    re.MULTILINE,
)
"""What pip-audit says, in the last lines of its stack trace or by itself, if there is no way to PyPI."""


def needed(requirements: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """What requirements need, directly or not: versions of installed packages, and names of absent ones."""
    found: dict[str, str] = {}
    absent: set[str] = set()
    followed: set[tuple[str, frozenset[str]]] = set()  # a package may be asked for again, with other extras
    waiting: list[tuple[str, frozenset[str]]] = [(text, frozenset({""})) for text in requirements]
    while waiting:
        text, extras = waiting.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        wanted = frozenset({"", *requirement.extras})
        if (name, wanted) in followed:
            continue
        followed.add((name, wanted))
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.add(name)
            continue
        waiting += [(each, wanted) for each in importlib.metadata.requires(name) or ()]
    return found, absent


def ask(versions: dict[str, str]) -> list[dict[str, Any]]:
    """What pip-audit reports about each package; nothing if it cannot reach the data.

    Raises:
        RuntimeError: pip-audit has failed.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in sorted(versions.items()))
        file.flush()
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            file.name,
            "--no-deps",
            "--disable-pip",
        ]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"pip-audit has not ended after {PATIENCE_S} s") from None
    try:
        packages: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        if UNREACHABLE.search(ran.stderr):
            return []
        raise RuntimeError(f"pip-audit ended with {ran.returncode}:\n{ran.stderr.strip()}") from None
    return packages


def main() -> int:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    versions, absent = needed(
        [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]
    )
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    print(f"{len(versions)} packages: {named}")
    if absent:
        print(f"SKIPPED: not installed: {', '.join(sorted(absent))}")
    try:
        packages = ask(versions)
    except RuntimeError as error:
        print(f"FAILED: {error}")
        return 2
    audited = [each for each in packages if "vulns" in each]
    for each in audited:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    missing = sorted(versions.keys() - {canonicalize_name(each["name"]) for each in audited})
    if missing:
        kind = "FAILED" if audited else "SKIPPED"
        print(f"{kind}: no data about vulnerabilities can be reached for {', '.join(missing)}")
    vulnerable = [each["name"] for each in audited if each["vulns"]]
    print(f"{len(audited)} packages audited, {len(vulnerable)} of them with known vulnerabilities")
    return 1 if vulnerable else 2 if missing and audited else 0


if __name__ == "__main__":
    sys.exit(main())
