"""The component with the fan-out, beside each overlay."""

import pytest

from stream_scrub.fanout import daemon
from stream_scrub.kafka import session
from stream_scrub.kafka.client import options, producer_calls
from tests.k8s.test_pods import the_like_of_all
from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

FANOUT = "stream-scrub-fanout"
CLOSING_S = 15  # the last step of a target may begin just before its deadline


@pytest.fixture(scope="module", params=["local", "production"])
def fanned(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the component."""
    folder = tmp_path_factory.mktemp("with-fanout")
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, "fanout"))


def test_its_pod_is_like_all_others_and_has_its_targets_and_secrets(fanned):
    """The namespace would turn it away, or it would not know whom to tell."""
    pod = fanned.pod(FANOUT)
    container = the_like_of_all(pod)
    assert container["args"] == ["fanout"]
    (targets,) = [each for each in container["env"] if each["name"] == "STREAM_SCRUB_FANOUT__TARGETS"]
    assert targets["valueFrom"]["configMapKeyRef"] == {"name": FANOUT, "key": "targets"}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
    assert mount["readOnly"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] == "probes"


def test_there_is_one_and_it_has_the_time_that_its_end_takes(fanned):
    """Two would take the work from each other for as long as an update lasts."""
    spec = fanned.one("Deployment", FANOUT)["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    overrun, queue = producer_calls.GRACE_S, options.TRANSACTION_TIMEOUT_MS / 1000
    told = daemon.DELIVER_S + CLOSING_S + session.REOPEN_S + overrun
    longest = told + queue + daemon.ASK_S + overrun + daemon.CLOSE_S + overrun
    assert longest + 5 <= spec["template"]["spec"]["terminationGracePeriodSeconds"] <= longest + 30
