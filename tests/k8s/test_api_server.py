"""A real API server accepts everything: server-side apply, and its own judgement of every pod.

Opt-in, since there is no cluster on most machines: STREAM_SCRUB_TEST_API_SERVER names a kubeconfig whose user may make
definitions and namespaces, on a server that may be thrown away. Schemas know fields; only the server knows defaults,
immutable fields, CEL rules, field ownership, and what Pod Security admission says of a pod.
"""

import copy
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.k8s.conftest import CRDS
from tests.k8s.test_build import NAMESPACE
from tests.support.k8s.manifests import Object, Overlay

KUBECONFIG = os.environ.get("STREAM_SCRUB_TEST_API_SERVER", "")
pytestmark = [
    pytest.mark.skipif(
        not KUBECONFIG, reason="no API server: STREAM_SCRUB_TEST_API_SERVER names no kubeconfig"
    ),
]


def kubectl(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    found = shutil.which("kubectl")
    assert found is not None, "STREAM_SCRUB_TEST_API_SERVER is set, and there is no kubectl"
    command = [found, "--kubeconfig", KUBECONFIG, "--request-timeout=60s", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)


def done(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    said = kubectl(*arguments, given=given)
    assert said.returncode == 0, said.stdout + said.stderr
    return said


def moved(overlay: Overlay, namespace: str) -> list[Object]:
    """The same objects in another namespace."""
    objects = copy.deepcopy(list(overlay.objects))
    for each in objects:
        if each["kind"] == "Namespace":
            each["metadata"]["name"] = namespace
        else:
            assert each["metadata"]["namespace"] == NAMESPACE
            each["metadata"]["namespace"] = namespace
    return objects


@pytest.fixture(scope="module")
def defined() -> None:
    """The server knows Strimzi's and KEDA's kinds."""
    folder = Path(os.environ.get("STREAM_SCRUB_TEST_CRDS", CRDS))
    if not list(folder.glob("*.yaml")):
        pytest.skip("no definitions of custom resources")
    for file in sorted(folder.glob("*.yaml")):
        done("apply", "--server-side", "--force-conflicts", "-f", str(file))
    done("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")


@pytest.fixture
def applied(overlay: Overlay, defined: None) -> Iterator[tuple[list[Object], str]]:
    """An overlay's objects on the server, in a namespace of their own, and what the server said."""
    namespace = f"{NAMESPACE}-{uuid.uuid4().hex[:8]}"
    objects = moved(overlay, namespace)
    said = done("apply", "--server-side", "-f", "-", given=yaml.safe_dump_all(objects))
    yield objects, said.stdout + said.stderr
    kubectl("delete", "namespace", namespace, "--wait=false")


def pods(objects: list[Object]) -> list[Object]:
    """What the workloads' controllers would make of them."""
    made = []
    for each in Overlay("", "", "", tuple(objects)).pods():
        metadata = copy.deepcopy(each.metadata) | {
            "name": f"{each.name}-0",
            "namespace": each.owner["metadata"]["namespace"],
        }
        made.append(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(each.spec)}
        )
    return made


def test_everything_is_accepted_without_a_warning(applied):
    """The first command of a deployment would end half-way, or pods be refused when they are made."""
    objects, said = applied
    assert said.count("serverside-applied") == len(objects)
    assert "Warning" not in said, said


def test_it_can_be_applied_again(applied):
    """An upgrade would fail on a field that may not change, or that something else took over."""
    objects, _ = applied
    said = done("apply", "--server-side", "-f", "-", given=yaml.safe_dump_all(objects))
    assert said.stdout.count("serverside-applied") == len(objects)


def test_the_server_takes_every_pod(applied):
    """Pod Security judges pods and not what makes them: a StatefulSet would be there, and never have a pod."""
    objects, _ = applied
    for pod in pods(objects):
        said = done("create", "--dry-run=server", "-f", "-", given=yaml.safe_dump(pod))
        assert "Warning" not in said.stderr


def test_the_server_does_judge(applied):
    """The test above would pass on a server that takes anything."""
    objects, _ = applied
    pod = pods(objects)[0]
    pod["spec"]["securityContext"]["runAsUser"] = 0
    said = kubectl("create", "--dry-run=server", "-f", "-", given=yaml.safe_dump(pod))
    assert said.returncode != 0 and "violates PodSecurity" in said.stderr
