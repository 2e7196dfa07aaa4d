"""The components, all of them over each overlay: what is the same for every pod, and what is each one's own."""

import json

import kubernetes_validate
import pytest
import yaml

from bench.offline.capacity_plan import FILTER_BYTES
from stream_scrub.config import load
from stream_scrub.drill.main import DRAMA
from stream_scrub.serve.files.jobs import ALL_BYTES_MAX
from stream_scrub.serve.page.list_import import PENDING_BYTES_MAX
from tests.k8s.test_kafka import rights_of
from tests.k8s.test_pods import ROARING_BYTES, UID
from tests.support.k8s.kustomize import ROOT, build_with
from tests.support.k8s.manifests import Object, Overlay, mib
from tests.support.texts.pages import blocks, rows, section, ticked

ANCHOR, DRILL, FANOUT, RECALL, SERVER, SHADOW = (
    f"stream-scrub-{name}" for name in ("anchor", "drill", "fanout", "recall", "server", "shadow")
)
COMPONENTS = {
    "local": ["recall", "drill", "anchor", "fanout", "shadow", "check-api", "prometheus"],
    "production": ["drill", "anchor", "fanout", "shadow", "check-api", "check-api-strimzi", "prometheus"],
}
# By pod: its arguments, as far as they are fixed, and whether it stays and so has probes.
PODS = {
    ANCHOR: (["lists", "anchor", "--json"], False),
    DRILL: (["drill"], False),
    FANOUT: (["fanout"], True),
    RECALL: (["recall"], True),
    SERVER: (["serve"], True),
    SHADOW: (["worker", "--shadow"], True),
}


@pytest.fixture(scope="module", params=COMPONENTS)
def built(kustomize, request, tmp_path_factory) -> Overlay:
    """An overlay with every component. The one for production has the recall already."""
    folder = tmp_path_factory.mktemp("components")
    components = COMPONENTS[request.param]
    return Overlay.of_text(request.param, *build_with(kustomize, folder, request.param, *components))


def the_one_container(built: Overlay, name: str) -> Object:
    (container,) = built.pod(name).containers
    return container


def named(container: Object) -> dict[str, str | None]:
    return {each["name"]: each.get("value") for each in container["env"]}


def mount(container: Object, name: str) -> Object:
    (found,) = [each for each in container["volumeMounts"] if each["name"] == name]
    return found


def policy_of(built: Overlay, name: str) -> Object:
    (policy,) = [each for each in built.of("NetworkPolicy") if each["metadata"]["name"] == name]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert labels.items() <= built.pod(name).metadata["labels"].items()
    return policy["spec"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_like_all_others(built, name):
    """The namespace would turn it away, or a component's pod be the way in."""
    arguments, stays = PODS[name]
    pod, container = built.pod(name), the_one_container(built, name)
    assert pod.spec["securityContext"]["runAsUser"] == UID and pod.spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod.spec["automountServiceAccountToken"] is False
    assert container["image"].startswith("stream-scrub:")
    assert container["args"][: len(arguments)] == arguments
    assert "cpu" not in container["resources"]["limits"]
    if stays:
        for kind, path in (("startupProbe", "startupz"), ("livenessProbe", "livez")):
            assert container[kind]["httpGet"] == {"path": f"/{path}", "port": "probes"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}


@pytest.mark.parametrize("name", [FANOUT, SHADOW])
def test_there_is_one(built, name):
    """Two would take the work from each other for as long as an update lasts."""
    spec = built.one("Deployment", name)["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", [RECALL, SERVER])
def test_it_has_its_own_user(built, name):
    """The brokers would turn it away, or it could emit verdicts as a worker."""
    if built.name != "production":
        return
    container = the_one_container(built, name)
    user = named(container)["STREAM_SCRUB_KAFKA__CLIENT__SASL_USERNAME"]
    assert user == built.one("KafkaUser", name)["metadata"]["name"]
    volumes = [each for each in built.pod(name).spec["volumes"] if "secret" in each]
    secrets = {each["name"]: each["secret"]["secretName"] for each in volumes}
    assert secrets["kafka-user"] == user and secrets["kafka-ca"] == "kafka-cluster-ca-cert"
    password = named(container)["STREAM_SCRUB_KAFKA__CLIENT__SASL_PASSWORD_FILE"]
    assert password.startswith(mount(container, "kafka-user")["mountPath"])


def test_the_anchor_may_ask_a_timestamp_server_and_knows_its_authority(built):
    """A year later nothing would prove that the log is old."""
    container = the_one_container(built, ANCHOR)
    ca = named(container)["STREAM_SCRUB_EVIDENCE__TIMESTAMP_CA"]
    assert ca.startswith(mount(container, "ca")["mountPath"])
    given = {
        "STREAM_SCRUB_EVIDENCE__TIMESTAMP_URL": "http://timestamp.example",
        "STREAM_SCRUB_EVIDENCE__TIMESTAMP_CA": ca,
    }
    assert load(environ=given).evidence.timestamp_ca == ca
    ports = {each["port"] for rule in policy_of(built, ANCHOR)["egress"] for each in rule["ports"]}
    assert {80, 443, 53, 9092, 9093} == ports


def test_the_fan_out_has_its_targets_and_secrets(built):
    """It would not know whom to tell."""
    container = the_one_container(built, FANOUT)
    (targets,) = [each for each in container["env"] if each["name"] == "STREAM_SCRUB_FANOUT__TARGETS"]
    assert targets["valueFrom"]["configMapKeyRef"] == {"name": FANOUT, "key": "targets"}
    assert mount(container, "secrets")["readOnly"]


def test_the_shadow_judges_by_what_is_tried(built):
    """It would compare the workers with themselves."""
    container = the_one_container(built, SHADOW)
    rules = mount(container, "rules")
    assert named(container)["STREAM_SCRUB_RULES__FOLDER"] == rules["mountPath"] and rules["readOnly"]


def test_the_drill_sends_its_result_and_may_ask_the_processes_that_it_names(built):
    """Nobody would hear that opt-outs get lost, or each drill would miss the positions of the indexes."""
    arguments = the_one_container(built, DRILL)["args"]
    assert "--push" in arguments and arguments[arguments.index("--region") + 1] in DRAMA
    pod = built.pod(DRILL)
    environment = built.environment(pod, pod.containers[0])
    watched = {each.partition(":")[0] for each in json.loads(environment["STREAM_SCRUB_HTTP__WATCH"])}
    assert watched == {each["metadata"]["name"] for each in built.of("Service")} & watched != set()
    (policy,) = [each for each in built.of("NetworkPolicy") if each["metadata"]["name"] == DRILL]
    (rule,) = policy["spec"]["ingress"]
    labels = rule["from"][0]["podSelector"]["matchLabels"]
    assert labels.items() <= pod.metadata["labels"].items()
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]


def test_workers_recall_and_drill_agree_on_its_topic_and_only_there_are_its_leads(built):
    """Its leads would wait for ever, or come out where a dialler reads."""
    for name in (DRILL, "stream-scrub-worker", RECALL):
        pod = built.pod(name)
        environment = built.environment(pod, pod.containers[0])
        topics = {key: value for key, value in environment.items() if key.startswith("STREAM_SCRUB_TOPICS__")}
        inputs = load(environ=topics).topics.inputs
        assert [inputs.route(each) for each in inputs.names] == [
            ("prospects", "prospects.allowed", "prospects.blocked"),
            ("prospects.drill", "prospects.drill.allowed", "prospects.drill.blocked"),
        ]


def test_only_who_has_a_token_may_ask_the_server(built):
    """Whoever runs a pod in the cluster could look people up."""
    container = the_one_container(built, SERVER)
    tokens = mount(container, "tokens")
    assert named(container)["STREAM_SCRUB_HTTP__TOKENS"].startswith(tokens["mountPath"] + "/")
    assert tokens["readOnly"]
    (rule,) = policy_of(built, SERVER)["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"stream-scrub/asks": "true"}}}]


def test_diallers_always_have_a_server_that_answers(built):
    """An update or a drain would leave every dialler without an answer."""
    spec = built.one("Deployment", SERVER)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0 and "replicas" not in spec
    assert built.one("HorizontalPodAutoscaler", SERVER)["spec"]["minReplicas"] >= 2
    budget = built.one("PodDisruptionBudget", SERVER)["spec"]
    assert budget["maxUnavailable"] == 1 and budget["selector"]["matchLabels"].items() <= labels.items()
    assert built.one("Service", SERVER)["spec"]["selector"].items() <= labels.items()


def test_the_ingress_of_the_page_leads_to_the_server(built):
    """Whoever copies it would have a host that answers nothing, or figures that the whole world can read."""
    (block,) = [each.text for each in blocks(ROOT / "docs" / "kubernetes.md") if "kind: Ingress" in each.text]
    ingress = yaml.safe_load(block)
    kubernetes_validate.validate(ingress, "1.30", strict=True)
    service = built.one("Service", SERVER)
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            to = path["backend"]["service"]
            assert to["name"] == service["metadata"]["name"] and path["path"] == "/v1"
            assert to["port"]["name"] in {each["name"] for each in service["spec"]["ports"]}


def test_dossiers_get_the_rights_of_the_page_when_they_are_asked_for(kustomize, tmp_path, production):
    """Every dossier on the page would be refused, or each server could read all leads."""
    components = ["check-api", "check-api-strimzi", "dossiers-strimzi"]
    asked = Overlay.of_text("production", *build_with(kustomize, tmp_path, "production", *components))
    before, granted = (rights_of(each.one("KafkaUser", SERVER)) for each in (production, asked))
    page = section(ROOT / "docs" / "reference" / "rights.md", "Other commands")
    (needs,) = [needs for command, needs in rows(page) if "`dossier`" in command]
    outputs = {"prospects.allowed", "prospects.blocked"}  # "both outputs"
    read = {topic for kind, topic, _, operation in granted if kind == "topic" and operation == "Read"}
    assert read - {"opposition.log", "opposition.refused"} == outputs | {*ticked(needs)} - {"dossier"}
    operations = {operation for *_, operation in granted - before}
    assert before < granted and operations == {"Read", "DescribeConfigs"}


def test_every_daemon_is_scraped(built):
    """An alert would never fire for a daemon that nobody scrapes."""
    (monitor,) = built.of("PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    scraped = {
        pod.metadata["labels"]["app.kubernetes.io/component"]
        for pod in built.pods()
        if wanted.items() <= pod.metadata["labels"].items()
        and endpoint["port"] in {port["name"] for each in pod.ours for port in each.get("ports", ())}
    }
    assert {"worker", "publisher", "retry", "recall", "server", "fanout", "shadow"} <= scraped


def test_a_servers_volume_holds_its_snapshot_and_the_lists_of_its_page(built):
    """A pod whose volume overflows is evicted: whoever uploads lists would end every dialler's answers."""
    pod = built.pod(SERVER)
    numbers = int(pod.owner["metadata"]["annotations"]["stream-scrub/sized-for-numbers"])
    index = numbers * (ROARING_BYTES + FILTER_BYTES) / 2**20
    (state,) = [volume["emptyDir"] for volume in pod.spec["volumes"] if volume["name"] == "state"]
    assert mib(state["sizeLimit"]) >= 2 * index + (PENDING_BYTES_MAX + ALL_BYTES_MAX) / 2**20
