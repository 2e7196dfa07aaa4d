"""Takes apart what an overlay builds: its objects, and every pod that would run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Object = dict[str, Any]
WORKLOADS = {"StatefulSet", "Deployment", "Job", "CronJob", "DaemonSet", "Pod"}
UNNAMESPACED = {"Namespace"}
IMAGE = "stream-scrub"


@dataclass(frozen=True)
class Pod:
    """A workload's pod: the object that makes it, its labels and annotations, and its spec."""

    owner: Object
    metadata: Object
    spec: Object

    @property
    def name(self) -> str:
        return self.owner["metadata"]["name"]

    @property
    def containers(self) -> list[Object]:
        """All of them, in the order in which they start."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ours(self) -> list[Object]:
        """Those that run stream-scrub."""
        return [each for each in self.containers if each["image"].partition(":")[0] == IMAGE]


@dataclass(frozen=True)
class Overlay:
    """An overlay's objects, in the order in which kustomize gives them."""

    name: str
    text: str
    told: str
    objects: tuple[Object, ...]

    @classmethod
    def of_text(cls, name: str, text: str, told: str = "") -> "Overlay":
        return cls(name, text, told, tuple(each for each in yaml.safe_load_all(text) if each))

    def of(self, kind: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def pods(self) -> list[Pod]:
        return list(self._pods())

    def pod(self, name: str) -> Pod:
        (found,) = [each for each in self.pods() if each.name == name]
        return found

    def _pods(self) -> Iterator[Pod]:
        for each in self.objects:
            if each["kind"] in WORKLOADS:
                spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
                template = spec["template"]
                yield Pod(each, template["metadata"], template["spec"])

    def environment(self, pod: Pod, container: Object, ordinal: int = 0) -> dict[str, str]:
        """The environment that the kubelet would give a container, with its pod's name."""
        environment: dict[str, str] = {}
        for source in container.get("envFrom", []):
            environment |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for each in container.get("env", []):
            if "value" in each:
                environment[each["name"]] = each["value"]
            else:
                assert each["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}, each["name"]
                environment[each["name"]] = f"{pod.name}-{ordinal}"
        return environment


def selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    """Whether a selector of equal labels selects these labels. An empty selector selects nothing here: nobody means
    to select everything."""
    return bool(selector) and selector.items() <= labels.items()


def mib(quantity: str) -> float:
    """A quantity of memory in MiB."""
    return float(quantity[:-2]) * {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}[quantity[-2:]]
