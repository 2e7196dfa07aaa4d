"""The component that has the log stamped, beside each overlay."""

import pytest

from stream_scrub.config import load
from tests.k8s.test_pods import the_like_of_all
from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

ANCHOR = "stream-scrub-anchor"


@pytest.fixture(scope="module", params=["local", "production"])
def anchored(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the daily timestamp."""
    folder = tmp_path_factory.mktemp("with-anchor")
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, "anchor"))


def test_its_pod_is_like_all_others_and_has_the_log_stamped(anchored):
    """The namespace would turn it away, or a year later nothing would prove that the log is old."""
    pod = anchored.pod(ANCHOR)
    container = the_like_of_all(pod)
    assert container["args"] == ["lists", "anchor", "--json"]
    assert pod.metadata["labels"]["app.kubernetes.io/component"] == "anchor"
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "ca"]
    ca = {each["name"]: each.get("value") for each in container["env"]}["STREAM_SCRUB_EVIDENCE__TIMESTAMP_CA"]
    assert ca.startswith(mount["mountPath"])
    given = {
        "STREAM_SCRUB_EVIDENCE__TIMESTAMP_URL": "http://timestamp.example",
        "STREAM_SCRUB_EVIDENCE__TIMESTAMP_CA": ca,
    }
    assert load(environ=given).evidence.timestamp_ca == ca


def test_it_may_ask_a_timestamp_server(anchored):
    """The policy of the namespace would keep it from asking, each night."""
    (policy,) = [each for each in anchored.of("NetworkPolicy") if each["metadata"]["name"] == ANCHOR]
    ports = {each["port"] for rule in policy["spec"]["egress"] for each in rule["ports"]}
    assert {80, 443, 53, 9092, 9093} == ports
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= anchored.pod(ANCHOR).metadata["labels"].items()
