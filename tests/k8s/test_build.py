"""Every manifest builds, fits its schema, and names only what is there."""

import functools
import re
import tomllib
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils as schemas

from tests.support.k8s import kustomize as tool
from tests.support.k8s.kustomize import ROOT
from tests.support.k8s.manifests import IMAGE, UNNAMESPACED, Object, Overlay, selected

CUSTOM = {"kafka.strimzi.io", "keda.sh"}
OLDEST = 30  # of Kubernetes 1.x
VERSIONS = [each for each in schemas.all_versions() if int(each.split(".")[1]) >= OLDEST]
THIRD_PARTY = {image for image in (ROOT / ".ci/images.txt").read_text().split() if "kafka" in image}
NAMESPACE = "stream-scrub"
CLUSTER_CA = "kafka-cluster-ca-cert"

# Each file of schemas is read once and not once an object: minutes.
schemas.schema_contents = functools.cache(schemas.schema_contents)


def group(each: Object) -> str:
    return each["apiVersion"].rpartition("/")[0]


def called(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def test_the_base_builds(kustomize):
    """Whoever writes an overlay of their own would start from something broken."""
    text, _ = tool.build(kustomize, ROOT / "k8s" / "base")
    kinds = {each["kind"] for each in Overlay.of_text("base", text).objects}
    assert {"StatefulSet", "Deployment", "PodDisruptionBudget", "ConfigMap", "ServiceAccount"} <= kinds


def test_kustomize_has_nothing_to_say(overlay):
    """A deprecated field would stop building with the next kustomize."""
    assert overlay.told == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_fits_its_schema(overlay, version):
    """A release of Kubernetes would refuse the manifests, or drop a misspelt field without a word."""
    for each in overlay.objects:
        if group(each) not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)


def strictly(schema: Any) -> Any:
    """A definition's schema as JSON Schema that refuses what an API server would prune."""
    if isinstance(schema, list):
        return [strictly(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strictly(value) for key, value in schema.items()}
    free = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        made["additionalProperties"] = False
    return made


def faults(each: Object, crds: dict[tuple[str, str], Object]) -> list[str]:
    schema = strictly(crds[each["apiVersion"], each["kind"]]["schema"]["openAPIV3Schema"])
    found = jsonschema.Draft202012Validator(schema).iter_errors(each)
    return [f"{called(each)}: {error.json_path}: {error.message}" for error in found]


def test_custom_resources_fit_their_definitions(production, crds):
    """Strimzi or KEDA would refuse them, or not see a misspelt field, and nobody would scale or have a right."""
    custom = [each for each in production.objects if group(each) in CUSTOM]
    assert {each["kind"] for each in custom} == {
        "KafkaTopic",
        "KafkaUser",
        "ScaledObject",
        "TriggerAuthentication",
    }
    assert [fault for each in custom for fault in faults(each, crds)] == []


def test_everything_is_once_and_in_its_namespace(overlay):
    """Something would be made in whatever namespace is the current one, or silently replace another."""
    names = [(group(each), each["kind"], each["metadata"]["name"]) for each in overlay.objects]
    assert len(names) == len(set(names))
    for each in overlay.objects:
        expected = None if each["kind"] in UNNAMESPACED else NAMESPACE
        assert each["metadata"].get("namespace") == expected, called(each)


def test_the_namespace_holds_pods_to_the_restricted_standard(overlay):
    """A pod that somebody adds could run as root beside the registers of phone numbers."""
    (namespace,) = overlay.of("Namespace")
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_manifest_names_this_release():
    """A component in somebody's overlay would run whatever `latest` is."""
    manifests = [path.read_text() for path in sorted((ROOT / "k8s").rglob("*.yaml"))]
    images = re.findall(rf"image: ({IMAGE}\b.*)", "\n".join(manifests))
    assert len(images) > 8 and {*images} == {f"{IMAGE}:{VERSION}"}


def test_there_is_one_image_and_it_is_this_release(overlay):
    """A fleet would run two versions after an upgrade, or one that was never built."""
    images = {each["image"] for pod in overlay.pods() for each in pod.containers}
    assert images - THIRD_PARTY == {f"{IMAGE}:{VERSION}"}
    # A first part with a dot or a port would be a registry's host: whoever deploys says where images come from.
    assert not any(re.match(r"[^/]*[.:][^/]*/|localhost/", image) for image in images)


def test_no_secret_is_in_the_repository(overlay):
    """A password that was ever committed is everybody's."""
    assert overlay.of("Secret") == []
    for pod in overlay.pods():
        for each in pod.containers:
            for name, value in overlay.environment(pod, each).items():
                secret = re.search("PASSWORD|PASSPHRASE|SECRET|TOKEN|KEY_PEM|JAAS", name)
                assert not secret or name.endswith("_FILE"), f"{called(pod.owner)}: {name}"
                assert "-----BEGIN" not in value
    for file in (ROOT / "k8s").rglob("*"):
        assert file.is_dir() or "PRIVATE KEY" not in file.read_text(), file.name


def test_selectors_find_their_pods_and_no_others(overlay):
    """A Service would have no pod behind it, or a budget protect the wrong ones: nobody is told."""
    pods = {pod.name: pod.metadata["labels"] for pod in overlay.pods()}
    for pod in overlay.pods():
        own = pod.owner["spec"]["selector"]["matchLabels"]
        assert [name for name, labels in pods.items() if selected(labels, own)] == [pod.name]
    for each in overlay.of("Service"):
        assert [name for name, labels in pods.items() if selected(labels, each["spec"]["selector"])] == [
            each["metadata"]["name"]
        ], called(each)
    for each in overlay.of("PodDisruptionBudget"):
        assert [
            name for name, labels in pods.items() if selected(labels, each["spec"]["selector"]["matchLabels"])
        ] == [each["metadata"]["name"]], called(each)
    ours = [pod.name for pod in overlay.pods() if pod.ours]
    for each in overlay.of("NetworkPolicy"):
        picked = [
            name
            for name, labels in pods.items()
            if selected(labels, each["spec"]["podSelector"]["matchLabels"])
        ]
        assert picked == ours, called(each)
    for pod in overlay.pods():
        spread = [term["labelSelector"] for term in pod.spec.get("topologySpreadConstraints", [])]
        apart = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        spread += [
            term["podAffinityTerm"]["labelSelector"]
            for term in apart.get("preferredDuringSchedulingIgnoredDuringExecution", [])
        ]
        for selector in spread:
            assert selected(pods[pod.name], selector["matchLabels"]), pod.name


def test_ports_are_called_as_they_are_referred_to(overlay):
    """A probe or a Service of a port that no container has would fail at every start."""
    for pod in overlay.pods():
        named = {
            port["name"]: port["containerPort"] for each in pod.containers for port in each.get("ports", [])
        }
        for each in overlay.of("Service"):
            if selected(pod.metadata["labels"], each["spec"]["selector"]):
                assert {port["targetPort"] for port in each["spec"]["ports"]} <= set(named)
        for policy in overlay.of("NetworkPolicy"):
            if pod.ours:
                asked = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
                assert asked <= set(named)


def test_what_is_referred_to_is_there(overlay):
    """A pod would wait for ever for a volume, an account or a setting that nobody makes."""
    made = {(each["kind"], each["metadata"]["name"]) for each in overlay.objects}
    users = {each["metadata"]["name"] for each in overlay.of("KafkaUser")}
    for pod in overlay.pods():
        if pod.owner["kind"] == "StatefulSet":
            assert ("Service", pod.owner["spec"]["serviceName"]) in made
        assert ("ServiceAccount", pod.spec["serviceAccountName"]) in made
        volumes = {}
        for volume in pod.spec.get("volumes", []):
            volumes[volume["name"]] = volume
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made
            if secret := volume.get("secret"):  # Strimzi makes one for each user
                assert secret["secretName"] in users | {CLUSTER_CA}
        used = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", [])}
        assert used == set(volumes), pod.name
        for each in pod.containers:
            overlay.environment(pod, each)  # finds every ConfigMap
