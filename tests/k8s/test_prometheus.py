"""The component for the Prometheus operator, over each overlay with every other component."""

import pytest

from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

SERVING = ("check-api", "fanout", "shadow")


@pytest.fixture(scope="module", params=["local", "production"])
def monitored(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the daemons of other components and the PodMonitor."""
    folder = tmp_path_factory.mktemp("with-prometheus")
    return Overlay.of_text(
        request.param, *build_with(kustomize, folder, request.param, *SERVING, "prometheus")
    )


def test_every_daemon_is_scraped(monitored):
    """An alert would never fire for a daemon that nobody scrapes."""
    (monitor,) = monitored.of("PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    scraped = {
        pod.metadata["labels"]["app.kubernetes.io/component"]
        for pod in monitored.pods()
        if wanted.items() <= pod.metadata["labels"].items()
        and endpoint["port"] in {port["name"] for each in pod.ours for port in each.get("ports", ())}
    }
    assert {"worker", "publisher", "retry", "server", "fanout", "shadow"} <= scraped
