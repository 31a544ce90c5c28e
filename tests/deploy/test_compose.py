"""The compose file: what docker-compose accepts, hardened, and with options and files that there are.

No container is started here: that takes a container engine, and images from elsewhere.
"""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import parameters

from pykaldi_server.cli.settings import assemble
from pykaldi_server.master.access.access import check_ports
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.version import __version__
from pykaldi_server.worker.options import WorkerOptions

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy" / "compose"
LAST_WORDS_S = 60
"""How long at least a container may take for its end after its requests have had their time."""


@cache
def compose() -> dict[str, Any]:
    """The file as docker-compose understands it; the test is skipped where there is none."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("needs docker-compose (Debian: apt-get install docker-compose)")
    file = str(FOLDER / "compose.yaml")
    command = [program, "--file", file, "--profile", "monitoring", "config"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = yaml.safe_load(ran.stdout)
    return found


def arguments(service: str) -> list[str]:
    found: list[str] = compose()["services"][service]["command"]
    return found


def test_no_service_can_do_more_than_it_must() -> None:
    for service in compose()["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(str(service["user"]).partition(":")[0]) > 0
        assert not service.keys() & {"privileged", "network_mode", "pid", "cap_add"}


def test_images_are_of_one_version() -> None:
    images = {name: service["image"] for name, service in compose()["services"].items()}
    assert images["master"] == images["worker"] == f"pykaldi-server:{__version__}"
    assert re.fullmatch(r"postgres:\d+\.\d+-bookworm", images["postgresql"])
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", images["prometheus"])


def test_the_image_is_built_from_the_container_file_for_its_user() -> None:
    dockerfile = (REPOSITORY / "deploy" / "container" / "Dockerfile").read_text()
    source = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    for name in ("master", "worker"):
        build = source["services"][name]["build"]
        root = (FOLDER / build["context"]).resolve()
        assert root == REPOSITORY
        assert (root / build["dockerfile"]).is_file()
        assert f"\nUSER {source['services'][name]['user']}\n" in dockerfile
        volumes = [each.partition(":")[2] or each for each in source["services"][name]["volumes"]]
        assert volumes == [re.search(r"^VOLUME (.*)$", dockerfile, re.MULTILINE)[1], "/tmp"]  # type: ignore[index]


def test_command_lines_are_understood(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("clients: {c: client-token-0123456789}\n")
    master = assemble(MasterOptions, {**parameters(arguments("master")), "tokens": tokens})
    master.validate()
    check_ports(master)
    assert master.host == "0.0.0.0"
    published = compose()["services"]["master"]["ports"]
    assert [int(each["target"]) for each in published] == [master.port]

    token = tmp_path / "token"
    token.write_text("worker-token-0123456789")
    worker = assemble(WorkerOptions, {**parameters(arguments("worker")), "token_file": token})
    worker.validate()
    assert worker.url == (f"ws://master:{master.port}/worker/ws/speech",)
    check = compose()["services"]["worker"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]
    assert f"http://localhost:{worker.health_port}/healthz" in check[3]
    compile(check[3], "check", "exec")


def test_there_is_time_for_the_requests_to_end() -> None:
    for name in ("master", "worker"):
        grace = re.fullmatch(r"(\d+)m", compose()["services"][name]["stop_grace_period"])
        assert grace is not None
        assert 60 * int(grace[1]) >= parameters(arguments(name))["drain_s"] + LAST_WORDS_S


def test_secrets_are_files_that_the_document_names_and_nobody_publishes() -> None:
    found = compose()
    files = {name: Path(each["file"]) for name, each in found["secrets"].items()}
    assert {each.parent for each in files.values()} == {FOLDER / "secrets"}
    text = (REPOSITORY / "docs" / "operations.md").read_text().partition("## Compose")[2]
    rows = dict(re.findall(r"^\| `([\w.-]+)` \|.*\| (\d+) \|$", text, re.MULTILINE))
    assert rows.keys() == {each.name for each in files.values()}
    used = set()
    for name, service in found["services"].items():
        for secret in service["secrets"]:
            source = secret["source"] if isinstance(secret, dict) else secret
            used.add(source)
            assert rows[files[source].name] == str(service["user"]).partition(":")[0]
            where = f"/run/secrets/{source}"
            if name == "prometheus":
                assert where in (FOLDER / "prometheus.yaml").read_text()
            else:
                values = [*service.get("command", ()), *service.get("environment", {}).values()]
                assert any(str(each).endswith(where) for each in values)
    assert used == files.keys()
    assert (FOLDER / ".gitignore").read_text() == "/secrets/\n"
    assert "prune deploy/compose/secrets" in (REPOSITORY / "MANIFEST.in").read_text().splitlines()


def test_services_reach_those_that_they_name() -> None:
    services = compose()["services"]

    def share_a_network(one: str, other: str) -> bool:
        return bool(services[one]["networks"].keys() & services[other]["networks"].keys())

    assert share_a_network("master", "worker")
    assert share_a_network("master", "postgresql")
    assert not share_a_network("worker", "postgresql")
    assert not share_a_network("prometheus", "postgresql")
    assert services["master"]["depends_on"] == {"postgresql": {"condition": "service_healthy"}}
    assert [name for name, each in compose()["networks"].items() if not (each or {}).get("internal")] == [
        "clients"
    ]
    jobs = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    master, worker = jobs
    port = parameters(arguments("master"))["port"]
    assert master["static_configs"] == [{"targets": [f"master:{port}"]}]
    (names,) = worker["dns_sd_configs"]
    assert (names["names"], names["port"]) == (["worker"], parameters(arguments("worker"))["health_port"])
    assert all(share_a_network("prometheus", name) for name in ("master", "worker"))


def test_prometheus_understands_its_configuration() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian: apt-get install prometheus)")
    mounted = [each.partition(":")[0] for each in compose()["services"]["prometheus"]["volumes"]]
    assert str(FOLDER / "prometheus.yaml") in mounted
    command = [program, "check", "config", "--syntax-only", str(FOLDER / "prometheus.yaml")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
