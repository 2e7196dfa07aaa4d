"""What the manifests say to Kafka's and KEDA's operators is what the product makes, needs and can bear."""

from itertools import product

import pytest

from bench.offline.capacity_plan import RESULTS, measured_from
from stream_scrub.config import Settings
from stream_scrub.kafka.admin.topics import TopicDescription, plan
from tests.support.fakes.properties import publisher_of
from tests.support.k8s.manifests import Object, Overlay
from tests.support.texts.pages import ROOT, rows, section, ticked

ROLES = {  # of the operator's page, by user
    "stream-scrub-worker": "worker",
    "stream-scrub-publisher": "publish",
    "stream-scrub-retry": "retry",
    "stream-scrub-recall": "recall",
    "stream-scrub-server": "serve",
    "stream-scrub-importer": "import",
    "stream-scrub-dialler": "dialler",
    "stream-scrub-lifter": "lifter",
    "stream-scrub-producer": "producer",
    "stream-scrub-autoscaler": "autoscaler",
}
KINDS = {"topic": "topic", "group": "group", "transactional id": "transactionalId"}
DEFAULTS = Settings()
REPLICAS, IN_SYNC = 3, 2
TOLERATED_S = (5, 60)  # how long a prospect may wait before there are more workers
LOAD = 0.6

Right = tuple[str, str, str, str]


def config_of(topic: Object) -> dict[str, str]:
    return {key: str(value) for key, value in topic["spec"].get("config", {}).items()}


def test_the_topics_are_those_that_the_command_makes(production):
    """An operator who applies these would have a log that is cut after a week, or outputs that refuse a stamp."""
    topics = {each["metadata"]["name"]: each for each in production.of("KafkaTopic")}
    names = DEFAULTS.topics.model_dump()
    wished = {state.name: state for state in plan(names, DEFAULTS.topics.inputs.among(()), {}, 6)}
    assert set(topics) == set(wished)
    for name, topic in topics.items():
        config = config_of(topic)
        assert config.pop("min.insync.replicas") == str(IN_SYNC)
        assert topic["spec"]["replicas"] == REPLICAS
        assert config == dict(wished[name].config), name
    found = {
        name: TopicDescription(each["spec"]["partitions"], config_of(each)) for name, each in topics.items()
    }
    assert {state.state for state in plan(names, DEFAULTS.topics.inputs.among(()), found, 6)} == {"ok"}


def rights_of(user: Object) -> set[Right]:
    rights = set()
    for acl in user["spec"]["authorization"]["acls"]:
        assert acl.get("type", "allow") == "allow" and acl.get("host", "*") == "*"
        resource = acl["resource"]
        pattern = resource["patternType"]
        rights |= {
            (resource["type"], resource["name"], pattern, operation) for operation in acl["operations"]
        }
    return rights


def rights_on_the_page(role: str) -> set[Right]:
    rights = set()
    for who, kind, name, operations in rows(section(ROOT / "docs" / "reference" / "rights.md", "Rights")):
        if role not in who.split(", "):
            continue
        pattern = "prefix" if "(prefix)" in name else "literal"
        real = [
            each.replace("<group_id>", DEFAULTS.worker.group_id)
            for each in ticked(name)
            if each not in {"worker.group_id", "lists.requests_group"}
        ]
        rights |= {(KINDS[kind], each, pattern, op) for each, op in product(real, operations.split(", "))}
    assert rights
    return rights


def test_every_role_has_a_user(production):
    """Somebody would be given another one's rights, for want of his own."""
    assert {each["metadata"]["name"] for each in production.of("KafkaUser")} == set(ROLES)
    for each in production.of("KafkaUser"):
        assert each["spec"]["authentication"] == {"type": "scram-sha-512"}
        assert each["spec"]["authorization"]["type"] == "simple"


@pytest.mark.parametrize("name", ROLES)
def test_users_have_the_rights_of_the_page_and_no_more(production, name):
    """A dialler could take somebody off the registers, or a worker be turned away in the night."""
    granted = rights_of(production.one("KafkaUser", name))
    page = rights_on_the_page(ROLES[name])
    looked_at = {
        (kind, topic, pattern, "DescribeConfigs") for kind, topic, pattern, _ in page if kind == "topic"
    }
    if name not in {
        "stream-scrub-worker",
        "stream-scrub-publisher",
        "stream-scrub-retry",
        "stream-scrub-recall",
        "stream-scrub-server",
    }:
        looked_at = set()
    assert granted == page | looked_at


def test_only_publishers_write_to_the_log(production):
    """A foreign record makes the log corrupt: every worker holds until somebody begins a new one."""
    writers = {
        each["metadata"]["name"]
        for each in production.of("KafkaUser")
        if (("topic", DEFAULTS.topics.log, "literal", "Write") in rights_of(each))
    }
    assert writers == {"stream-scrub-publisher", "stream-scrub-importer"}


def test_only_the_lifter_writes_what_lifts(production):
    """Every dialler could have everybody called again who ever opposed."""
    writers = {
        each["metadata"]["name"]
        for each in production.of("KafkaUser")
        if (("topic", DEFAULTS.topics.lifts, "literal", "Write") in rights_of(each))
    }
    assert writers == {"stream-scrub-lifter"}


def test_the_prefixes_are_those_of_the_transactional_ids(production):
    """A worker could not open its session, or take over a publisher's."""

    def prefix(user: str) -> str:
        (found,) = {
            name
            for kind, name, _, _ in rights_of(production.one("KafkaUser", user))
            if kind == "transactionalId"
        }
        return found

    made = publisher_of("b:9092", DEFAULTS.topics.log, "internal")
    worker, publisher = prefix("stream-scrub-worker"), prefix("stream-scrub-publisher")
    assert made["transactional.id"].startswith(publisher) and not made["transactional.id"].startswith(worker)
    assert worker == f"scrub-{DEFAULTS.worker.group_id}-"


def scaled(production: Overlay) -> tuple[Object, dict[str, str]]:
    spec = production.one("ScaledObject", "stream-scrub-worker")["spec"]
    (trigger,) = [each["metadata"] for each in spec["triggers"] if each["type"] == "kafka"]
    return spec, trigger


def test_the_autoscaler_looks_where_the_workers_are(production):
    """Nobody would be scaled, or by the lag of something else."""
    spec, trigger = scaled(production)
    target = production.one(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"], "every apply would set the number back"
    (settings,) = [
        each["data"] for each in production.of("ConfigMap") if "STREAM_SCRUB_LOG__FORMAT" in each["data"]
    ]
    assert trigger["bootstrapServers"] == settings["STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS"]
    assert (trigger["consumerGroup"], trigger["topic"]) == (
        DEFAULTS.worker.group_id,
        DEFAULTS.topics.prospects,
    )
    assert (trigger["tls"], trigger["sasl"]) == ("enable", "scram_sha512")
    assert tuple(map(int, trigger["version"].split("."))) >= (2, 1, 0), "Kafka 4 speaks nothing older"


def test_the_autoscaler_may_look_and_nothing_else(production):
    """KEDA would be turned away, or read prospects."""
    auth = production.one("TriggerAuthentication", "stream-scrub-autoscaler")["spec"]
    (user,) = auth["configMapTargetRef"]
    name = production.one("ConfigMap", user["name"])["data"][user["key"]]
    assert user["parameter"] == "username" and production.one("KafkaUser", name)
    secrets = {each["parameter"]: (each["name"], each["key"]) for each in auth["secretTargetRef"]}
    assert secrets == {"password": (name, "password"), "ca": ("kafka-cluster-ca-cert", "ca.crt")}
    assert {operation for *_, operation in rights_of(production.one("KafkaUser", name))} == {"Describe"}


def test_workers_are_between_one_and_the_partitions(production):
    """With none nobody would judge; with more than partitions some would idle."""
    spec, trigger = scaled(production)
    partitions = production.one("KafkaTopic", "prospects")["spec"]["partitions"]
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= partitions
    assert "fallback" not in spec, "it would set a number of its own, whatever the other trigger says"
    assert trigger["allowIdleConsumers"] == "false"
    # An idle topic has a lag of one a partition for ever: the producers' last markers.
    assert int(trigger["activationLagThreshold"]) > partitions


def test_lag_is_counted_as_kafka_means_it(production):
    """Workers that hold would be joined by as many others, or all be sent away with the group's first day."""
    _, trigger = scaled(production)
    assert trigger["excludePersistentLag"] == "true" and trigger["limitToPartitionsWithLag"] == "false"
    assert trigger["offsetResetPolicy"] == "earliest" and trigger["scaleToZeroOnInvalidOffset"] == "false"
    seconds = int(trigger["lagThreshold"]) / (measured_from(RESULTS).per_s * LOAD)
    assert TOLERATED_S[0] <= seconds <= TOLERATED_S[1], "prospects that one worker does in that time"


def test_scaling_down_is_slow(production):
    """The group would rebalance with every wave of prospects."""
    spec, _ = scaled(production)
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert behaviour["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] <= 60


def test_the_network_lets_through_what_is_needed(production):
    """Pods could not reach the brokers that their settings name, or could reach the world."""
    (policy,) = [each["spec"] for each in production.of("NetworkPolicy")]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (settings,) = [
        each["data"] for each in production.of("ConfigMap") if "STREAM_SCRUB_LOG__FORMAT" in each["data"]
    ]
    host, _, port = settings["STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS"].partition(":")
    assert all(rule.get("to") and rule.get("ports") for rule in policy["egress"])
    ports = [{each["port"] for each in rule["ports"]} for rule in policy["egress"]]
    assert sorted(ports, key=max) == [{53}, {int(port)}]
    (brokers,) = [
        rule["to"] for rule in policy["egress"] if {"protocol": "TCP", "port": int(port)} in rule["ports"]
    ]
    (named,) = [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in brokers]
    assert host.split(".")[1] == named
    (cluster,) = {each["metadata"]["labels"]["strimzi.io/cluster"] for each in production.of("KafkaUser")}
    assert host.split(".")[0] == f"{cluster}-kafka-bootstrap"
    assert brokers[0]["podSelector"]["matchLabels"]["strimzi.io/cluster"] == cluster
    (looking,) = policy["ingress"]
    assert [each["port"] for each in looking["ports"]] == ["http"] and len(looking["from"]) == 1


def test_nobody_but_prometheus_may_ask_the_pods(overlay):
    """A neighbour in the cluster could take every connection, and read what stands on the pages."""
    (policy,) = [each["spec"] for each in overlay.of("NetworkPolicy")]
    assert "Ingress" in policy["policyTypes"]
    (looking,) = policy["ingress"]
    assert looking["ports"] == [{"protocol": "TCP", "port": "http"}]
    (source,) = looking["from"]
    assert source == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def test_the_laptops_broker_is_the_one_that_is_named(local):
    """The workers would wait for a broker that nobody starts."""
    pod = local.pod("kafka")
    (container,) = pod.containers
    environment = {each["name"]: each["value"] for each in container["env"]}
    (settings,) = [each["data"] for each in local.of("ConfigMap")]
    bootstrap = settings["STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS"]
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{bootstrap}"
    service = local.one("Service", bootstrap.partition(":")[0])
    assert [each["port"] for each in service["spec"]["ports"]] == [int(bootstrap.partition(":")[2])]
    (first, *_) = local.pod("stream-scrub-publisher").containers
    assert first["args"][0] == "topics" and first["args"][-2:] == ["--replication", "1"]
