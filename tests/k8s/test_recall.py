"""The component with the recall."""

import pytest

from stream_scrub.kafka import source
from stream_scrub.kafka.client import options, producer_calls
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.recall import daemon
from tests.k8s.test_pods import ends_in_code, the_like_of_all, waits
from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

RECALL = "stream-scrub-recall"


@pytest.fixture(scope="module", params=["local", "production"])
def recalled(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the component. The one for production has it already."""
    components = ["recall"] if request.param == "local" else []
    folder = tmp_path_factory.mktemp("with-recall")
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, *components))


def test_its_pods_are_like_all_others(recalled):
    """The namespace would turn them away, and nobody would be taken back."""
    pod = recalled.pod(RECALL)
    container = the_like_of_all(pod)
    assert container["args"] == ["recall"]
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[kind]["httpGet"]["port"] == "probes"


def test_a_pod_ends_before_it_is_killed(recalled):
    """Each update would cut a transaction off, and dialling would stop until the brokers end it."""
    overrun, queue = producer_calls.GRACE_S, options.TRANSACTION_TIMEOUT_MS / 1000
    step = source.REWIND_S + 2 * (daemon._ASK_S + overrun) + queue  # a session is reopened, and a commit
    closing = ends_in_code(daemon.RecallLoop.run, daemon) + overrun
    longest = step + closing + waits(Follower.stop) + waits(SnapshotWriter.stop)
    grace = recalled.one("StatefulSet", RECALL)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert longest + 5 <= grace <= longest + 30


def test_it_has_its_own_user(recalled):
    """The brokers would turn it away, or it could emit verdicts as a worker."""
    if recalled.name != "production":
        return
    pod = recalled.pod(RECALL)
    (container,) = pod.containers
    named = {each["name"]: each.get("value") for each in container["env"]}
    user = named["STREAM_SCRUB_KAFKA__CLIENT__SASL_USERNAME"]
    assert user == recalled.one("KafkaUser", RECALL)["metadata"]["name"]
    secrets = {each["name"]: each["secret"]["secretName"] for each in pod.spec["volumes"] if "secret" in each}
    assert secrets["kafka-user"] == user and secrets["kafka-ca"] == "kafka-cluster-ca-cert"
