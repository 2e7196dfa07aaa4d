"""The component with a drill, beside each overlay."""

import json

import pytest

from stream_scrub.config import load
from stream_scrub.drill.main import DRAMA
from tests.k8s.test_pods import the_like_of_all
from tests.support.k8s.kustomize import build_with
from tests.support.k8s.manifests import Overlay

DRILL = "stream-scrub-drill"


@pytest.fixture(scope="module", params=["local", "production"])
def drilled(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the recall and the drill."""
    folder = tmp_path_factory.mktemp("with-drill")
    components = ["recall", "drill"] if request.param == "local" else ["drill"]
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, *components))


def test_its_pod_is_like_all_others_and_sends_its_result(drilled):
    """The namespace would turn it away, or nobody would hear that opt-outs get lost."""
    pod = drilled.pod(DRILL)
    container = the_like_of_all(pod)
    command, *arguments = container["args"]
    assert command == "drill" and "--push" in arguments
    assert arguments[arguments.index("--region") + 1] in DRAMA


def test_workers_recall_and_drill_agree_on_its_topic_and_only_there_are_its_leads(drilled):
    """Its leads would wait for ever, or come out where a dialler reads."""
    for name in (DRILL, "stream-scrub-worker", "stream-scrub-recall"):
        pod = drilled.pod(name)
        environment = drilled.environment(pod, pod.containers[0])
        topics = {key: value for key, value in environment.items() if key.startswith("STREAM_SCRUB_TOPICS__")}
        inputs = load(environ=topics).topics.inputs
        assert [inputs.route(each) for each in inputs.names] == [
            ("prospects", "prospects.allowed", "prospects.blocked"),
            ("prospects.drill", "prospects.drill.allowed", "prospects.drill.blocked"),
        ]


def test_it_may_ask_the_processes_that_it_names(drilled):
    """Each drill would miss the positions of the indexes, which a policy of the namespace keeps from it."""
    pod = drilled.pod(DRILL)
    environment = drilled.environment(pod, pod.containers[0])
    named = {each.partition(":")[0] for each in json.loads(environment["STREAM_SCRUB_HTTP__WATCH"])}
    assert named == {each["metadata"]["name"] for each in drilled.of("Service")} & named != set()
    (policy,) = [each for each in drilled.of("NetworkPolicy") if each["metadata"]["name"] == DRILL]
    (rule,) = policy["spec"]["ingress"]
    labels = rule["from"][0]["podSelector"]["matchLabels"]
    assert labels.items() <= pod.metadata["labels"].items() and rule["ports"] == [
        {"protocol": "TCP", "port": "http"}
    ]
