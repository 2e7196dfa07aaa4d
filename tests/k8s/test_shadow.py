"""The component with a shadow of the workers, beside each overlay."""

import pytest

from stream_scrub.kafka import session
from stream_scrub.kafka.client import options, producer_calls
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.shadow import daemon
from tests.k8s.test_pods import the_like_of_all, waits
from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

SHADOW = "stream-scrub-shadow"


@pytest.fixture(scope="module", params=["local", "production"])
def shadowed(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the component."""
    folder = tmp_path_factory.mktemp("with-shadow")
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, "shadow"))


def test_its_pod_is_like_all_others_and_judges_by_what_is_tried(shadowed):
    """The namespace would turn it away, or it would compare the workers with themselves."""
    pod = shadowed.pod(SHADOW)
    container = the_like_of_all(pod)
    assert container["args"] == ["worker", "--shadow"]
    named = {each["name"]: each.get("value") for each in container["env"]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "rules"]
    assert named["STREAM_SCRUB_RULES__FOLDER"] == mount["mountPath"] and mount["readOnly"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] == "probes"


def test_there_is_one_and_it_has_the_time_that_its_end_takes(shadowed):
    """Two would take the work from each other for as long as an update lasts."""
    spec = shadowed.one("Deployment", SHADOW)["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    overrun, queue = producer_calls.GRACE_S, options.TRANSACTION_TIMEOUT_MS / 1000
    step = daemon._ASK_S + session.REOPEN_S + overrun + queue + daemon._ASK_S + overrun
    longest = step + daemon._CLOSE_S + overrun + waits(Follower.stop) + waits(SnapshotWriter.stop)
    assert longest + 5 <= spec["template"]["spec"]["terminationGracePeriodSeconds"] <= longest + 30
