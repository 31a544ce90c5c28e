"""What `deploy/kubernetes` becomes: the objects that kustomize makes of it, and how they hang together."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pykaldi_server.cli import main

__all__ = ["KUBERNETES", "OVERLAYS", "Container", "Manifest", "Object", "build", "parameters"]

KUBERNETES = Path(__file__).resolve().parent.parent / "deploy" / "kubernetes"
OVERLAYS = ("demo", "production")
OLDEST_KUSTOMIZE = (4, 1)
"""The first that knows components as they are used here."""

Object = dict[str, Any]


def _need_kubectl() -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is not None:
        told = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True).stdout
        version = re.search(r"Kustomize Version: v(\d+)\.(\d+)", told)
        if version is not None and tuple(map(int, version.groups())) >= OLDEST_KUSTOMIZE:
            return kubectl
    pytest.skip("needs kubectl with kustomize 4.1 or later")


@cache
def _built(directory: Path) -> tuple[Object, ...]:
    made = subprocess.run([_need_kubectl(), "kustomize", str(directory)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return tuple(each for each in yaml.safe_load_all(made.stdout) if each is not None)


def build(directory: Path) -> "Manifest":
    """What kustomize makes of a directory; the test is skipped where there is no kubectl."""
    return Manifest(_built(directory))


@dataclass(frozen=True, slots=True)
class Container:
    """A container and the pods that it is part of.

    Attributes:
        pods: the template of its pods.
        body: the container.
    """

    pods: Object
    body: Object

    @property
    def spec(self) -> Object:
        """What its pods are."""
        found: Object = self.pods["spec"]
        return found

    @property
    def arguments(self) -> list[str]:
        """The arguments with the variables of the container in them, as the kubelet puts them there."""
        variables = {each["name"]: self._value(each) for each in self.body.get("env", ())}
        return [
            re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], each)
            for each in self.body.get("args", ())
        ]

    @property
    def ports(self) -> dict[str, int]:
        """The ports by their names."""
        return {each["name"]: each["containerPort"] for each in self.body["ports"]}

    def _value(self, variable: Object) -> str:
        if "value" in variable:
            return str(variable["value"])
        path = variable["valueFrom"]["fieldRef"]["fieldPath"]
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
        assert label is not None, path
        return str(self.pods["metadata"]["labels"][label[1]])


class Manifest:
    """Objects for one namespace.

    Args:
        objects: what kustomize has made.
    """

    def __init__(self, objects: tuple[Object, ...]) -> None:
        self.objects = objects

    def of_kind(self, *kinds: str) -> list[Object]:
        """The objects of these kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def get(self, kind: str, name: str) -> Object:
        """An object by its name."""
        (found,) = (each for each in self.of_kind(kind) if each["metadata"]["name"] == name)
        return found

    @property
    def workloads(self) -> list[Object]:
        """What makes pods."""
        return self.of_kind("Deployment", "StatefulSet")

    def containers(self) -> Iterator[Container]:
        """All containers."""
        for each in self.workloads:
            template = each["spec"]["template"]
            for body in template["spec"]["containers"]:
                yield Container(template, body)

    def container(self, workload: str) -> Container:
        """The only container of a workload."""
        (found,) = (each for each in self.workloads if each["metadata"]["name"] == workload)
        (body,) = found["spec"]["template"]["spec"]["containers"]
        return Container(found["spec"]["template"], body)

    def selected(self, selector: Object) -> list[Object]:
        """The workloads whose pods a selector of labels finds."""
        return [
            each
            for each in self.workloads
            if _fits(selector, each["spec"]["template"]["metadata"].get("labels", {}))
        ]


def _fits(selector: Object, labels: dict[str, str]) -> bool:
    unknown = selector.keys() - {"matchLabels", "matchExpressions"}
    assert not unknown, unknown
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def parameters(arguments: list[str]) -> dict[str, Any]:
    """What the program makes of a command line, which begins with the name of its command."""
    name, *rest = arguments
    with main.commands[name].make_context(
        name, rest, parent=click.Context(main, **main.context_settings)
    ) as context:
        return context.params
