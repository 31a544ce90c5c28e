"""Looks for known vulnerabilities in the packages that are installed with this one.

pip-audit asks PyPI about every package that the project needs, whatever needs it, at the version that is
installed. A vulnerability ends this with 1. Where the data about vulnerabilities cannot be reached (offline,
or behind a mirror that has packages only), it says so in a line that begins with SKIPPED and ends with 0:
nothing has been found then, and nothing has been looked for either.
"""

import importlib.metadata
import json
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


def needed(requirements: Iterable[str]) -> dict[str, str]:
    """Versions of the installed packages that requirements ask for, directly or not."""
    found: dict[str, str] = {}
    waiting = [(text, ("",)) for text in requirements]
    while waiting:
        text, extras = waiting.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # of an extra that is not installed
            continue
        wanted = ("", *requirement.extras)
        waiting += [(each, wanted) for each in importlib.metadata.requires(name) or ()]
    return found


def ask(versions: dict[str, str]) -> dict[str, Any] | None:
    """What pip-audit reports; None if it cannot reach the data."""
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
            return None
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        print(ran.stderr.strip().splitlines()[-1:] or "", file=sys.stderr)
        return None
    return report


def main() -> int:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    versions = needed([*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])])
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    print(f"{len(versions)} packages: {named}")
    report = ask(versions)
    packages = report["dependencies"] if report is not None else []
    audited = [each for each in packages if "vulns" in each]
    for each in audited:
        for found in each["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
    missing = sorted(versions.keys() - {canonicalize_name(each["name"]) for each in audited})
    if missing:
        print(f"SKIPPED: no data about vulnerabilities can be reached for {', '.join(missing)}")
    vulnerable = [each["name"] for each in audited if each["vulns"]]
    print(f"{len(audited)} packages audited, {len(vulnerable)} of them with known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
