"""The Kafka users that the manifests make, with exactly their rights."""

from pathlib import Path

import yaml

from tests.kafka.security import Right

USERS = Path(__file__).parents[3] / "k8s" / "overlays" / "production" / "kafka-users.yaml"
WORKER, PUBLISHER, IMPORTER = "stream-scrub-worker", "stream-scrub-publisher", "stream-scrub-importer"
SERVER = "stream-scrub-server"
LIFTER, RETRY, RECALL = "stream-scrub-lifter", "stream-scrub-retry", "stream-scrub-recall"
PRODUCER, DIALLER, AUTOSCALER = "stream-scrub-producer", "stream-scrub-dialler", "stream-scrub-autoscaler"


def kafka_users() -> dict[str, list[Right]]:
    """By user, every right that its KafkaUser gives."""
    return {user["metadata"]["name"]: _rights(user) for user in yaml.safe_load_all(USERS.read_text())}


def _rights(user: dict) -> list[Right]:
    assert user["kind"] == "KafkaUser" and user["spec"]["authorization"]["type"] == "simple"
    found = []
    for acl in user["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        assert acl.get("type", "allow") == "allow" and acl.get("host", "*") == "*", "as the tests give them"
        prefix = resource.get("patternType", "literal") == "prefix"
        found += [Right(resource["type"], resource["name"], prefix, each) for each in acl["operations"]]
    return found
