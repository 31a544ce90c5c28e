"""The container file: what it copies is there, nothing of it needs root, and its commands are understood.

No image is built here: that takes a container engine (`test_engine.py`).
"""

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from pykaldi_server.cli import main
from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.access import check_ports
from pykaldi_server.master.options import MasterOptions

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "container" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the container file with their arguments, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line]


def last_stage() -> dict[str, str]:
    """The instructions of the stage that becomes the image."""
    all_of_them = instructions()
    start = max(index for index, (name, _) in enumerate(all_of_them) if name == "FROM")
    return dict(all_of_them[start:])


def is_sent(path: str) -> bool:
    """Whether `.dockerignore` lets a file into the build; the last line that fits decides."""
    sent = True
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        ends = [path, *(str(parent) for parent in Path(path).parents)]
        if any(fnmatch.fnmatch(f"/{end}", f"/{pattern}") for end in ends) or (
            pattern.startswith("**/") and fnmatch.fnmatch(Path(path).name, pattern[3:])
        ):
            sent = line.startswith("!")
    return sent


def test_the_build_has_what_the_package_is_built_from() -> None:
    build = ["pyproject.toml", "setup.py", "setup.cfg", "README.md", "LICENSE"]
    used = [REPOSITORY / name for name in build]
    used += [
        path for path in (REPOSITORY / "pykaldi_server").rglob("*") if path.suffix in (".py", ".cc", ".h")
    ]
    used += [path for path in (REPOSITORY / "models" / "english").rglob("*") if path.is_file()]
    assert [path for path in used if not is_sent(str(path.relative_to(REPOSITORY)))] == []
    assert not is_sent(".venv/bin/python")
    assert not is_sent(".git/config")
    assert not is_sent("tests/conftest.py")
    assert not is_sent("pykaldi_server/kaldi/_core.cpython-313-x86_64-linux-gnu.so")


def test_the_base_is_a_supported_python_and_the_same_in_all_stages() -> None:
    bases = {arguments.split()[0] for name, arguments in instructions() if name == "FROM"}
    (base,) = bases
    version = re.fullmatch(r"python:(\d+\.\d+)-slim-bookworm", base)
    assert version is not None
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version.group(1)}" in project["classifiers"]


def test_the_server_has_no_rights_and_writes_only_into_its_volume() -> None:
    image = last_stage()
    assert int(image["USER"]) > 0
    assert f"--uid {image['USER']} " in image["RUN"]
    assert f"--home-dir {image['VOLUME']} " in image["RUN"]
    assert f"HOME={image['VOLUME']}" in image["ENV"].split()
    assert image["WORKDIR"] == image["VOLUME"]


def test_the_command_is_understood_and_lets_nobody_in_unasked() -> None:
    image = last_stage()
    assert json.loads(image["ENTRYPOINT"]) == ["pykaldi-server"]
    name, *arguments = json.loads(image["CMD"])
    with main.commands[name].make_context(
        name, arguments, parent=click.Context(main, **main.context_settings)
    ) as context:
        host, port = context.params["host"], context.params["port"]
    assert str(port) == image["EXPOSE"]
    with pytest.raises(ConfigError, match="--tokens FILE names who may use the server"):
        check_ports(MasterOptions(host=host, port=port))
    check = json.loads(image["HEALTHCHECK"].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    assert f"http://localhost:{port}/healthz" in check[2]
    compile(check[2], "check", "exec")


def test_documented_commands_fit_the_image() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text().partition("## Containers")[2]
    commands = [shlex.split(each) for each in re.findall(r"^(docker run (?:.*\\\n)*.*)$", text, re.MULTILINE)]
    assert len(commands) == 2
    for command in commands:
        words = [word for word in command if word.strip()]
        name, *arguments = words[words.index("pykaldi-server") + 1 :]
        with main.commands[name].make_context(
            name, arguments, parent=click.Context(main, **main.context_settings)
        ) as context:
            assert context.params["host"] == "0.0.0.0"
        assert f"pykaldi-server:{last_stage()['VOLUME']}" in words
        assert "--read-only" in words
