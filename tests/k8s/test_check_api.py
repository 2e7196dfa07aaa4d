"""The component with the check API, beside each overlay: what is the same for every pod, and what is its own."""

import kubernetes_validate
import pytest
import yaml

from stream_scrub.kafka import requests_writer
from stream_scrub.log.follower import Follower
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.serve import serving
from tests.k8s.test_kafka import rights_of
from tests.k8s.test_pods import the_like_of_all, waits
from tests.support.k8s.kustomize import ROOT, build_with
from tests.support.k8s.manifests import Overlay
from tests.support.texts.pages import blocks, rows, section, ticked

SERVER = "stream-scrub-server"


@pytest.fixture(scope="module", params=["local", "production"])
def served(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with the component."""
    components = ["check-api", *(["check-api-strimzi"] if request.param == "production" else [])]
    folder = tmp_path_factory.mktemp("with-server")
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, *components))


def test_its_pods_are_like_all_others(served):
    """The namespace would turn them away, or a pod of diallers be the way in."""
    pod = served.pod(SERVER)
    container = the_like_of_all(pod)
    assert container["args"] == ["serve"]
    assert "cpu" not in container["resources"]["limits"]
    for kind, path in (
        ("startupProbe", "startupz"),
        ("livenessProbe", "livez"),
        ("readinessProbe", "readyz"),
    ):
        assert container[kind]["httpGet"] == {"path": f"/{path}", "port": "probes"}


def test_only_who_has_a_token_may_ask(served):
    """Whoever runs a pod in the cluster could look people up."""
    pod = served.pod(SERVER)
    (container,) = pod.containers
    named = {each["name"]: each.get("value") for each in container["env"]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "tokens"]
    assert named["STREAM_SCRUB_HTTP__TOKENS"].startswith(mount["mountPath"] + "/") and mount["readOnly"]
    (policy,) = [each for each in served.of("NetworkPolicy") if each["metadata"]["name"] == SERVER]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"stream-scrub/asks": "true"}}}]


def test_it_is_somebody_where_brokers_ask(served):
    """Its pods would be turned away by every broker, or be a worker to them and so may write verdicts."""
    if served.name != "production":
        return
    (container,) = served.pod(SERVER).containers
    named = {each["name"]: each.get("value") for each in container["env"]}
    user = named["STREAM_SCRUB_KAFKA__CLIENT__SASL_USERNAME"]
    assert user == served.one("KafkaUser", SERVER)["metadata"]["name"]
    secrets = {
        each["name"]: each["secret"]["secretName"]
        for each in served.pod(SERVER).spec["volumes"]
        if "secret" in each
    }
    assert secrets["kafka-user"] == user and secrets["kafka-ca"] == "kafka-cluster-ca-cert"
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert named["STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE"].startswith(mounted["kafka-user"])


def test_dossiers_get_the_rights_of_the_page_when_they_are_asked_for(kustomize, tmp_path, production):
    """Every dossier on the page would be refused, or each server could read all leads."""
    components = ["check-api", "check-api-strimzi", "dossiers-strimzi"]
    built = Overlay.of_text("production", *build_with(kustomize, tmp_path, "production", *components))
    before, granted = (rights_of(each.one("KafkaUser", SERVER)) for each in (production, built))
    page = section(ROOT / "docs" / "reference" / "rights.md", "Other commands")
    (needs,) = [needs for command, needs in rows(page) if "`dossier`" in command]
    outputs = {"prospects.allowed", "prospects.blocked"}  # "both outputs"
    read = {topic for kind, topic, _, operation in granted if kind == "topic" and operation == "Read"}
    assert read - {"opposition.log", "opposition.refused"} == outputs | {*ticked(needs)} - {"dossier"}
    assert before < granted and {operation for *_, operation in granted - before} == {
        "Read",
        "DescribeConfigs",
    }


def test_the_ingress_of_the_page_leads_to_it(served):
    """Whoever copies it would have a host that answers nothing, or figures that the whole world can read."""
    (block,) = [each.text for each in blocks(ROOT / "docs" / "kubernetes.md") if "kind: Ingress" in each.text]
    ingress = yaml.safe_load(block)
    kubernetes_validate.validate(ingress, "1.30", strict=True)
    service = served.one("Service", SERVER)
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            to = path["backend"]["service"]
            assert to["name"] == service["metadata"]["name"] and path["path"] == "/v1"
            assert to["port"]["name"] in {each["name"] for each in service["spec"]["ports"]}


def test_diallers_always_have_one_that_answers(served):
    """An update or a drain would leave every dialler without an answer."""
    spec = served.one("Deployment", SERVER)["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0 and "replicas" not in spec
    (scaler,) = [each for each in served.of("HorizontalPodAutoscaler") if each["metadata"]["name"] == SERVER]
    assert scaler["spec"]["minReplicas"] >= 2
    (budget,) = [each for each in served.of("PodDisruptionBudget") if each["metadata"]["name"] == SERVER]
    selected = budget["spec"]["selector"]["matchLabels"]
    assert (
        budget["spec"]["maxUnavailable"] == 1
        and selected.items() <= spec["template"]["metadata"]["labels"].items()
    )
    (service,) = [each for each in served.of("Service") if each["metadata"]["name"] == SERVER]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()


def test_it_has_the_time_that_its_end_takes(served):
    """Opt-outs that were answered for would be killed on their way."""
    longest = (
        serving._STOP_S + 2 * 2 * requests_writer._FLUSH_S + waits(Follower.stop) + waits(SnapshotWriter.stop)
    )
    assert longest + 5 <= served.pod(SERVER).spec["terminationGracePeriodSeconds"] <= longest + 30
