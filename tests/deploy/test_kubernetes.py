"""The manifests for Kubernetes: valid, at one with each other, hardened, and of options that there are.

There is no cluster here. kustomize (of kubectl) makes the objects, the schemas of Kubernetes judge them, and
what they rely on is tested with processes in `test_pods` and `test_figures`.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import KUBERNETES, OVERLAYS, Manifest, Object, build, parameters

from pykaldi_server.cli.settings import assemble
from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.server import LAST_WORDS_S, REQUEST_LOG_S
from pykaldi_server.version import __version__
from pykaldi_server.worker.options import WorkerOptions

DOCUMENT = KUBERNETES.parents[1] / "docs" / "operations.md"
VERSIONS = ("1.30", "1.37")
"""The oldest version of Kubernetes that the document promises, and the latest known one."""
GRACE_S = 1800
CLOSING_S = 5
"""How long Tornado waits for the peers of connections that it closes."""
POD_PORTS = {"http": 8888, "health": 8080, "postgresql": 5432}
QUANTITIES = {"m": 1e-3, "": 1.0, "Mi": 2.0**20, "Gi": 2.0**30}
CUSTOM = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints"}, {"selector", "endpoints"}),
    "PodMonitor": (
        "monitoring.coreos.com/v1",
        {"selector", "podMetricsEndpoints"},
        {"selector", "podMetricsEndpoints", "podTargetLabels"},
    ),
    "PrometheusRule": ("monitoring.coreos.com/v1", set(), {"groups"}),
    "ScaledObject": (
        "keda.sh/v1alpha1",
        {"scaleTargetRef", "triggers"},
        {
            "scaleTargetRef",
            "triggers",
            "pollingInterval",
            "minReplicaCount",
            "maxReplicaCount",
            "fallback",
            "advanced",
        },
    ),
}
"""Kinds that are not Kubernetes' own: their version, what their `spec` must have, what it has at most."""


@pytest.fixture(params=[*OVERLAYS, "keda"])
def manifest(request: pytest.FixtureRequest, with_keda: Path) -> Manifest:
    """What comes of each overlay, and of that for production with the other kind of autoscaler."""
    return build(with_keda if request.param == "keda" else KUBERNETES / "overlays" / request.param)


@pytest.fixture(scope="module")
def with_keda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay for production, changed as the document says."""
    copy = tmp_path_factory.mktemp("keda") / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    for pool in (copy / "overlays" / "production" / "pools").iterdir():
        file = pool / "kustomization.yaml"
        file.write_text(file.read_text().replace("components/hpa", "components/keda"))
    return copy / "overlays" / "production"


@pytest.fixture
def production() -> Manifest:
    return build(KUBERNETES / "overlays" / "production")


def quantity(text: str) -> float:
    """The number that Kubernetes makes of a quantity."""
    found = re.fullmatch(r"(\d+)(\D*)", str(text))
    assert found is not None, text
    return int(found[1]) * QUANTITIES[found[2]]


def used_files(directory: Path) -> Iterator[Path]:
    """The files of which kustomize makes what a directory describes."""
    file = directory / "kustomization.yaml"
    yield file.resolve()
    content = yaml.safe_load(file.read_text())
    for each in (
        *content.get("resources", ()),
        *content.get("components", ()),
        *content.get("configurations", ()),
    ):
        found = directory / each
        if found.is_dir():
            yield from used_files(found)
        else:
            yield found.resolve()


def test_no_file_is_forgotten(with_keda: Path) -> None:
    copy = with_keda.parents[1].resolve()
    used = {
        each.relative_to(KUBERNETES)
        for name in OVERLAYS
        for each in used_files(KUBERNETES / "overlays" / name)
    }
    used |= {each.relative_to(copy) for each in used_files(with_keda)}
    there = {each.relative_to(KUBERNETES) for each in KUBERNETES.rglob("*") if each.is_file()}
    assert there - used == {Path("prometheus-adapter.yaml")}
    assert used <= there


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_are_kept(manifest: Manifest, version: str) -> None:
    for each in manifest.objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_oldest_version_is_the_documented_one() -> None:
    assert f"Kubernetes {VERSIONS[0]} or later" in DOCUMENT.read_text()


def test_the_schemas_notice_mistakes(production: Manifest) -> None:
    (deployment, *_) = production.of_kind("Deployment")
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_other_kinds_are_as_their_makers_describe_them(manifest: Manifest) -> None:
    for each in manifest.objects:
        if each["kind"] in CUSTOM:
            version, needed, known = CUSTOM[each["kind"]]
            assert each["apiVersion"] == version
            assert needed <= each["spec"].keys() <= known
    for each in manifest.of_kind("ScaledObject"):
        horizontal = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": each["metadata"],
            "spec": {
                "scaleTargetRef": each["spec"]["scaleTargetRef"],
                "maxReplicas": each["spec"]["maxReplicaCount"],
                "behavior": each["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
            },
        }
        kubernetes_validate.validate(horizontal, VERSIONS[0], strict=True)
        for trigger in each["spec"]["triggers"]:
            assert trigger["type"] == "prometheus"
            assert trigger["metricType"] in ("AverageValue", "Value")
            assert {"serverAddress", "query", "threshold"} == trigger["metadata"].keys()
            assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_names_are_in_one_namespace(manifest: Manifest) -> None:
    (namespace,) = manifest.of_kind("Namespace")
    names = [(each["kind"], each["metadata"]["name"]) for each in manifest.objects]
    assert len(set(names)) == len(names)
    for each in manifest.objects:
        if each["kind"] not in ("Namespace", "PriorityClass"):
            assert each["metadata"]["namespace"] == namespace["metadata"]["name"]


def test_pods_are_found_by_what_looks_for_them(manifest: Manifest) -> None:
    for workload in manifest.workloads:
        assert manifest.selected(workload["spec"]["selector"]) == [workload]
    for budget in manifest.of_kind("PodDisruptionBudget"):
        (workload,) = manifest.selected(budget["spec"]["selector"])
        assert workload["metadata"]["name"] == budget["metadata"]["name"]
    for service in manifest.of_kind("Service"):
        (workload,) = manifest.selected({"matchLabels": service["spec"]["selector"]})
        ports = manifest.container(workload["metadata"]["name"]).ports
        assert all(each["targetPort"] in ports for each in service["spec"]["ports"])
        if (
            service["spec"].get("clusterIP") == "None"
        ):  # its names lead to pods, whatever the Service's port is
            assert all(each["port"] == ports[each["targetPort"]] for each in service["spec"]["ports"])
    for workload in manifest.of_kind("StatefulSet"):
        manifest.get("Service", workload["spec"]["serviceName"])
    for scaler in manifest.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        found = manifest.get(target["kind"], target["name"])
        assert found["apiVersion"] == target["apiVersion"]
        assert "replicas" not in found["spec"], "each `kubectl apply` would undo what the autoscaler has done"
    for ingress in manifest.of_kind("Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            target = path["backend"]["service"]
            service = manifest.get("Service", target["name"])
            assert target["port"]["name"] in [each["name"] for each in service["spec"]["ports"]]


def test_pools_have_all_that_belongs_to_them(production: Manifest) -> None:
    pools = [each["metadata"]["name"] for each in production.of_kind("Deployment")]
    assert pools == ["worker-english", "worker-english-bulk"]
    for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert {each["metadata"]["name"] for each in production.of_kind(kind)} - {"master"} == set(pools)


def test_monitors_find_ports_and_tokens(production: Manifest) -> None:
    (masters,) = production.of_kind("ServiceMonitor")
    services = [
        each
        for each in production.of_kind("Service")
        if masters["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    assert [each["metadata"]["name"] for each in services] == ["masters"]  # once, not by each Service
    (endpoint,) = masters["spec"]["endpoints"]
    assert endpoint["port"] in [each["name"] for each in services[0]["spec"]["ports"]]
    (workers,) = production.of_kind("PodMonitor")
    (endpoint,) = workers["spec"]["podMetricsEndpoints"]
    for pool in production.selected(workers["spec"]["selector"]):
        assert endpoint["port"] in production.container(pool["metadata"]["name"]).ports
        assert (
            set(workers["spec"]["podTargetLabels"]) <= pool["spec"]["template"]["metadata"]["labels"].keys()
        )


def connections(manifest: Manifest, source: Object, target: Object, port: int) -> bool:
    """Whether policies let pods of one workload reach a port of those of another in the same namespace."""
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in (source, target)]
    ports = {
        each["name"]: each["containerPort"]
        for each in target["spec"]["template"]["spec"]["containers"][0]["ports"]
    }

    def lets(workload: Object, direction: str, side: str, others: dict[str, str]) -> bool:
        policies = [
            each["spec"]
            for each in manifest.of_kind("NetworkPolicy")
            if workload in manifest.selected(each["spec"]["podSelector"])
            and direction.title() in each["spec"]["policyTypes"]
        ]
        assert policies, "no policy: everything would be let through"
        rules = [rule for policy in policies for rule in policy.get(direction, ())]
        return any(
            port in [ports.get(str(each["port"]), each["port"]) for each in rule["ports"]]
            and (
                side not in rule
                or any(
                    "namespaceSelector" not in peer
                    and peer["podSelector"]["matchLabels"].items() <= others.items()
                    for peer in rule[side]
                )
            )
            for rule in rules
        )

    return lets(source, "egress", "to", labels[1]) and lets(target, "ingress", "from", labels[0])


def test_pods_reach_what_they_need_and_nothing_else(manifest: Manifest) -> None:
    master = manifest.get("StatefulSet", "master")
    workers = manifest.of_kind("Deployment")
    for worker in workers:
        assert connections(manifest, worker, master, POD_PORTS["http"])
        assert not connections(manifest, master, worker, POD_PORTS["health"])
        assert not connections(manifest, worker, workers[0], POD_PORTS["health"])
    for database in (each for each in manifest.workloads if each["metadata"]["name"] == "postgresql"):
        assert connections(manifest, master, database, POD_PORTS["postgresql"])
        assert not any(connections(manifest, each, database, POD_PORTS["postgresql"]) for each in workers)


def test_names_are_looked_up_at_the_cluster(manifest: Manifest) -> None:
    """Labels that are added to everything would find no pod of the cluster's own."""
    policy = manifest.get("NetworkPolicy", "names")["spec"]
    (rule,) = policy["egress"]
    assert rule["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {
                "matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["kube-dns"]}]
            },
        }
    ]
    assert [(each["protocol"], each["port"]) for each in rule["ports"]] == [("UDP", 53), ("TCP", 53)]
    names = {each["metadata"]["name"] for each in manifest.selected(policy["podSelector"])}
    assert names == {each["metadata"]["name"] for each in manifest.workloads} - {"postgresql"}


def test_workers_name_every_master(manifest: Manifest) -> None:
    master = manifest.get("StatefulSet", "master")
    service = manifest.get("Service", master["spec"]["serviceName"])
    assert service["spec"]["publishNotReadyAddresses"], "masters are ready only when workers have found them"
    port = manifest.container("master").ports["http"]
    hosts = [f"master-{number}.{service['metadata']['name']}" for number in range(master["spec"]["replicas"])]
    urls = tuple(f"ws://{each}:{port}/worker/ws/speech" for each in hosts)
    for each in manifest.of_kind("Deployment"):
        assert parameters(manifest.container(each["metadata"]["name"]).arguments)["url"] == urls


def test_command_lines_are_understood(manifest: Manifest, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("worker-token-0123456789")
    for container in manifest.containers():
        if not container.arguments:
            continue
        found = parameters(container.arguments)
        if container.arguments[0] == "master":
            options: Any = assemble(MasterOptions, found)
            assert options.port == container.ports["http"]
            assert options.host == "0.0.0.0"
        else:
            options = assemble(WorkerOptions, {**found, "token_file": token})
            assert options.health_port == container.ports["health"]
            assert options.health_host == "0.0.0.0"
            assert options.name == container.pods["metadata"]["labels"]["pool"]
        options.validate()


def test_there_is_time_for_the_requests_to_end(manifest: Manifest) -> None:
    for container in manifest.containers():
        if container.arguments:
            assert container.spec["terminationGracePeriodSeconds"] == GRACE_S
            before_s = container.body["lifecycle"]["preStop"]["sleep"]["seconds"]
            drain_s = parameters(container.arguments)["drain_s"]
            assert before_s + drain_s + LAST_WORDS_S + REQUEST_LOG_S + CLOSING_S <= GRACE_S
            assert drain_s >= GRACE_S - 60


def test_no_container_can_do_more_than_it_must(manifest: Manifest) -> None:
    """The standard for pods that Kubernetes calls restricted, and more."""
    (namespace,) = manifest.of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for container in manifest.containers():
        of_pod, own = container.spec["securityContext"], container.body["securityContext"]
        assert of_pod["runAsNonRoot"]
        assert of_pod["runAsUser"] > 0
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container.spec["automountServiceAccountToken"] is False
        assert container.spec["enableServiceLinks"] is False
        assert not container.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all("hostPort" not in each for each in container.body["ports"])
        assert not any("hostPath" in each for each in container.spec.get("volumes", ()))


def test_the_user_is_that_of_the_image(manifest: Manifest) -> None:
    dockerfile = (KUBERNETES.parent / "container" / "Dockerfile").read_text()
    user = int(re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)[1])  # type: ignore[index]
    for container in manifest.containers():
        if container.arguments:
            assert container.spec["securityContext"]["runAsUser"] == user
            assert container.spec["securityContext"]["fsGroup"] == user


def test_everything_that_is_mounted_is_there(manifest: Manifest) -> None:
    for workload in manifest.workloads:
        pods = workload["spec"]["template"]["spec"]
        claims = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())]
        volumes = {each["name"]: each for each in pods.get("volumes", ())}
        (body,) = pods["containers"]
        mounted = {each["name"]: each for each in body["volumeMounts"]}
        assert mounted.keys() == {*volumes, *claims}
        for name, volume in volumes.items():
            if "secret" in volume:
                assert mounted[name]["readOnly"]
                assert volume["secret"]["defaultMode"] == 0o440
        for priority in {pods.get("priorityClassName")} - {None}:
            manifest.get("PriorityClass", priority)


def documented_secrets() -> dict[str, set[str]]:
    """The secrets that the document has people make, with their keys."""
    text = DOCUMENT.read_text().partition("## Kubernetes")[2].replace("\\\n", " ")
    made: dict[str, set[str]] = {}
    for kind, name, rest in re.findall(r"kubectl create secret (\w+) ([\w-]+)(.*)", text):
        keys = re.findall(r"--from-file ([\w.-]+)", rest)
        made[name] = {"tls.crt", "tls.key"} if kind == "tls" else set(keys)
    return made


def test_the_document_says_how_to_make_each_secret(manifest: Manifest) -> None:
    made = documented_secrets()
    for container in manifest.containers():
        mounts = {each["name"]: Path(each["mountPath"]) for each in container.body["volumeMounts"]}
        texts = [
            *container.arguments,
            *(str(each.get("value", "")) for each in container.body.get("env", ())),
        ]
        for volume in container.spec.get("volumes", ()):
            if "secret" in volume:
                (key,) = made[volume["secret"]["secretName"]]
                assert any(text.endswith(str(mounts[volume["name"]] / key)) for text in texts)
    for monitor in manifest.of_kind("ServiceMonitor"):
        token = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
        assert made[token["name"]] == {token["key"]}
    for ingress in manifest.of_kind("Ingress"):
        assert ingress["spec"]["tls"][0]["secretName"] in made


def test_masters_and_workers_have_different_secrets(manifest: Manifest) -> None:
    def secrets(workload: str) -> set[str]:
        volumes = manifest.container(workload).spec["volumes"]
        return {each["secret"]["secretName"] for each in volumes if "secret" in each}

    assert secrets("master") == {"master-tokens", "database"}
    for each in manifest.of_kind("Deployment"):
        assert secrets(each["metadata"]["name"]) == {"worker-token"}


def test_images_are_of_one_version(manifest: Manifest) -> None:
    for container in manifest.containers():
        image = container.body["image"]
        if container.arguments:
            assert image == f"registry.example.org/pykaldi-server:{__version__}"
        else:
            assert re.fullmatch(r"postgres:\d+\.\d+-bookworm", image)


def test_requests_are_what_the_document_has_measured(production: Manifest) -> None:
    text = DOCUMENT.read_text()
    core = re.search(r"CPU seconds per second of audio \| ([\d.]+) with the compiled graph", text)
    memory = re.search(r"share them \| (\d+) MiB", text)
    stream = re.search(r"each person who speaks \| (\d+) MiB", text)
    assert core is not None
    assert memory is not None
    assert stream is not None
    container = production.container("worker-english")
    sessions = parameters(container.arguments)["sessions"]
    wanted, most = container.body["resources"]["requests"], container.body["resources"]["limits"]
    assert sessions * float(core[1]) <= quantity(wanted["cpu"]) <= 2 * sessions * float(core[1])
    needed = (int(memory[1]) + sessions * int(stream[1])) * 2**20
    assert needed <= quantity(wanted["memory"]) <= 2 * needed
    assert most == {"memory": most["memory"]}, "a limit of CPU time makes words late"
    assert quantity(most["memory"]) >= 2 * needed


def test_there_is_room_for_audio_that_waits(manifest: Manifest) -> None:
    container = manifest.container("master")
    (room,) = (each["emptyDir"]["sizeLimit"] for each in container.spec["volumes"] if each["name"] == "tmp")
    assert quantity(room) > parameters(container.arguments)["store_total_bytes"]


def test_bulk_is_apart_from_live(production: Manifest) -> None:
    live, bulk = (production.container(f"worker-{pool}") for pool in ("english", "english-bulk"))
    assert parameters(live.arguments)["name"] != parameters(bulk.arguments)["name"]
    master = production.container("master")
    assert parameters(master.arguments)["default_model"] == parameters(live.arguments)["name"]
    priority = {
        name: production.get("PriorityClass", each.spec["priorityClassName"])
        for name, each in (("live", live), ("bulk", bulk), ("master", master))
    }
    assert priority["live"]["value"] == priority["master"]["value"] > priority["bulk"]["value"]
    assert priority["bulk"]["preemptionPolicy"] == "Never"


@pytest.mark.parametrize("component", ["hpa", "keda"])
def test_both_kinds_of_autoscaler_go_by_the_same_figures(
    production: Manifest, with_keda: Path, component: str
) -> None:
    rules = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["externalRules"]
    series = {
        each["name"]["as"]: re.fullmatch(r"\^(.+)\$", each["name"]["matches"])[1]  # type: ignore[index]
        for each in rules
    }
    expected = [("workers_busy", "AverageValue", 0.7), ("queue_wait_mean_seconds", "Value", 1.0)]
    for pool in ("english", "english-bulk"):
        if component == "hpa":
            scaler = production.get("HorizontalPodAutoscaler", f"worker-{pool}")
            found = []
            for each in (metric["external"] for metric in scaler["spec"]["metrics"]):
                assert each["metric"]["selector"] == {"matchLabels": {"pool": pool}}
                kind = each["target"]["type"]
                aim = each["target"]["averageValue" if kind == "AverageValue" else "value"]
                found.append((series[each["metric"]["name"]], kind, round(quantity(aim), 6)))
        else:
            scaler = build(with_keda).get("ScaledObject", f"worker-{pool}")
            found = []
            for trigger in scaler["spec"]["triggers"]:
                name, _, selector = trigger["metadata"]["query"].partition("{")
                assert selector == f'pool="{pool}"}}'
                found.append((name, trigger["metricType"], float(trigger["metadata"]["threshold"])))
        assert found == [(f"pykaldi_server:{name}", kind, aim) for name, kind, aim in expected]
