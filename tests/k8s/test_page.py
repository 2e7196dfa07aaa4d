"""The commands and examples of docs/kubernetes.md, run as they stand there.

The pods of the laptop's overlay run as processes here, with the very arguments and settings that the manifests give
them, on a real Kafka. Between the commands and them stands a kubectl of our own (`kubectl.py`), which knows what the
overlays build: a command that names what is not there fails.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.kafka.broker import free_ports
from tests.support.fakes.lists import consents
from tests.support.k8s import kustomize as tool
from tests.support.k8s.kustomize import ROOT
from tests.support.k8s.manifests import Object, Overlay, Pod
from tests.support.running import forked
from tests.support.running.outcome import count, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.worker import SCRIPT
from tests.support.texts.pages import blocks
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "kubernetes.md"
VOLUME = "/var/lib/stream-scrub"
STUB = ROOT / "tests" / "support" / "k8s" / "kubectl.py"


def scripts() -> list[str]:
    return [block.text for block in blocks(PAGE) if block.language == "sh"]


def example(first: str) -> Object:
    (found,) = [
        yaml.safe_load(each.text) for each in blocks(PAGE) if each.language == "yaml" and first in each.text
    ]
    return found


class Cluster:
    """Stands for a cluster: processes for pods, and a kubectl that knows them."""

    def __init__(self, folder: Path, overlays: list[Overlay], bootstrap: str = "") -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        unique = uuid.uuid4().hex[:8]
        roles = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused")
        self.topics = {role: f"{role}-{unique}" for role in roles}
        self.group = f"stream-scrub-{unique}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pages: dict[str, list[str]] = {}
        self.world: Object = {
            "objects": [
                f"{each['kind'].lower()}/{each['metadata']['name']}"
                for made in overlays
                for each in made.objects
            ],
            "folders": [f"k8s/overlays/{made.name}" for made in overlays],
            "namespaces": ["stream-scrub", "kafka"],
            "applied": str(folder / "applied.json"),
            "pods": {},
        }
        tools = folder / "bin"
        tools.mkdir()
        (tools / "kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
        (tools / "kubectl").chmod(0o755)
        self.path = f"{tools}:{Path(SCRIPT).parent}:{os.environ['PATH']}"

    def environment(self, overlay: Overlay, pod: Pod, container: Object, port: int) -> dict[str, str]:
        """The container's own, but for the broker, the names of topics, the volume and the address to listen on."""
        own = overlay.environment(pod, container)
        volume = str(self.folder / pod.name)
        own = {name: value.replace(VOLUME, volume) for name, value in own.items()}
        own |= {f"STREAM_SCRUB_TOPICS__{role.upper()}": name for role, name in self.topics.items()}
        own |= {
            "STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "STREAM_SCRUB_WORKER__GROUP_ID": self.group,
            "STREAM_SCRUB_LISTS__REQUESTS_GROUP": f"{self.group}-publisher",
            "STREAM_SCRUB_HTTP__LISTEN": f"127.0.0.1:{port}",
            "STREAM_SCRUB_HTTP__PROBES": "",
        }
        return own | {"PATH": self.path}

    def start(self, overlay: Overlay, name: str) -> None:
        """A pod: its first containers to their end, then the one that stays."""
        pod = overlay.pod(name)
        (port,) = free_ports(1)
        (self.folder / name).mkdir()
        *first, last = pod.containers
        for each in first:
            command = [SCRIPT, *each["args"]]
            done = forked.run(
                command,
                env=self.environment(overlay, pod, each, port),
                capture_output=True,
                text=True,
                timeout=240,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        environment = self.environment(overlay, pod, last, port)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes.append(
                forked.Popen([SCRIPT, *last["args"]], env=environment, stdout=log, stderr=log)
            )
        stands = {
            "environment": environment,
            "volume": str(self.folder / name),
            "ready": f"http://127.0.0.1:{port}{last['readinessProbe']['httpGet']['path']}",
        }
        paths = [
            last[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        ]
        paths.append(pod.metadata["annotations"]["prometheus.io/path"])
        self.pages[name] = [f"http://127.0.0.1:{port}{path}" for path in paths]
        kind = pod.owner["kind"].lower()
        self.world["pods"] |= {f"{kind}/{name}": stands, f"{name}-0": stands}

    def shell(self, script: str) -> str:
        """A block to its end, stopping at the first command that fails; what it printed."""
        world = self.folder / "world.json"
        world.write_text(json.dumps(self.world))
        environment = {**os.environ, "PATH": self.path, "KUBECTL_WORLD": str(world)}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        logs = "".join(file.read_text()[-2000:] for file in self.folder.glob("*.log"))
        assert done.returncode == 0, done.stdout + done.stderr + logs
        return done.stdout

    def stop(self) -> list[int]:
        for each in self.processes:
            each.terminate()
        return [each.wait() for each in self.processes]


@pytest.fixture
def cluster(kafka, local: Overlay, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, [local], kafka.bootstrap)
    yield made
    made.stop()


def test_a_laptops_commands_lead_to_verdicts(cluster, local):
    """Whoever tries it for the first time would be left with workers that are never ready."""
    applied, handed, looked = scripts()[:3]
    (cluster.folder / "opt-outs.csv").write_text("name;phone\nA;06 12 34 56 78\n")
    (cluster.folder / "consents.csv").write_text(consents(["+33612345678", "+33612345680"]))
    cluster.start(local, "stream-scrub-publisher")
    cluster.start(local, "stream-scrub-worker")
    cluster.shell(applied)
    cluster.shell(handed)
    said = cluster.shell(looked)
    assert "+33612345678  blocked opposed" in said and "list.csv" in said

    leads = [(b"1", prospect(1, "06 12 34 56 78")), (b"2", prospect(2, "06 12 34 56 80"))]
    produce(cluster.bootstrap, cluster.topics["prospects"], iter(leads))
    allowed, blocked = cluster.topics["allowed"], cluster.topics["blocked"]
    wait_until(lambda: count(cluster.bootstrap, [allowed]) and count(cluster.bootstrap, [blocked]), every=0.5)
    (told,) = [json.loads(each.value())["scrub"] for each in read_all(cluster.bootstrap, allowed)]
    assert told["number"] == "+33612345680"
    for page in [page for pages in cluster.pages.values() for page in pages]:
        with urllib.request.urlopen(page, timeout=60) as answer:
            assert answer.status == 200, page
    assert cluster.stop() == [0, 0]


def test_the_other_commands_name_what_is_there(production, tmp_path):
    """An operator would type a name that no manifest has, in the middle of an upgrade."""
    world = Cluster(tmp_path, [production])
    installed, *others = scripts()[3:]
    (tmp_path / "monitoring").symlink_to(ROOT / "monitoring")
    world.world["pods"] = {name: {"ready": None} for name in world.world["objects"]}
    world.shell(installed)
    secret = json.loads((tmp_path / "applied.json").read_text())
    assert secret["metadata"]["name"] == "kafka-cluster-ca-cert"
    assert secret["stringData"] == {"ca.crt": "a certificate"}
    for each in others:
        world.shell(each)
    rule = json.loads((tmp_path / "applied.json").read_text())
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"] == yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yaml").read_text())


def test_the_example_overlay_builds(kustomize, tmp_path):
    """Whoever starts from the example would get an error, or settings that nobody reads."""
    above = example("team/stream-scrub")
    above["resources"] = [os.path.relpath(ROOT / "k8s" / "overlays" / "production", tmp_path)]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(above))
    made = Overlay.of_text("mine", *tool.build(kustomize, tmp_path))
    for pod in made.pods():
        (container,) = pod.ours or pod.containers
        assert container["image"].startswith("team/stream-scrub:")
        settings = made.environment(pod, container)
        assert settings["STREAM_SCRUB_PROSPECT__DEFAULT_REGION"] == "GB"
        assert settings["STREAM_SCRUB_KAFKA__CLIENT__SECURITY_PROTOCOL"] == "SASL_SSL"


def test_the_kafka_of_the_page_is_the_overlays(production):
    """Topics and users would be made by nobody, or pods knock at a port that is closed."""
    kafka = example("kind: Kafka\n")
    name, namespace = kafka["metadata"]["name"], kafka["metadata"]["namespace"]
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    (settings,) = [
        each["data"] for each in production.of("ConfigMap") if "STREAM_SCRUB_LOG__FORMAT" in each["data"]
    ]
    bootstrap = settings["STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS"]
    assert bootstrap == f"{name}-kafka-bootstrap.{namespace}.svc:{listener['port']}"
    assert listener["tls"] is True
    users = production.of("KafkaUser")
    assert all(each["spec"]["authentication"]["type"] == listener["authentication"]["type"] for each in users)
    assert all(each["metadata"]["labels"]["strimzi.io/cluster"] == name for each in users)
    watched = {each["watchedNamespace"] for each in kafka["spec"]["entityOperator"].values()}
    assert watched == {each["metadata"]["namespace"] for each in users}
    assert re.search(r"KEDA \d+\.\d+", PAGE.read_text())
