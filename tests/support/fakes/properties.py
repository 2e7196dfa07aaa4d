"""The product's properties for a client of a test."""

from collections.abc import Mapping
from typing import Any

from stream_scrub.config import Kafka
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.options import Role, client_options, publish_timeout_ms
from stream_scrub.kafka.client.producer_calls import id_of_publisher


def properties_of(
    role: Role,
    bootstrap: str,
    own: Mapping[str, Any] | None = None,
    logs: ClientLog | None = None,
    **kafka: Any,
) -> dict[str, Any]:
    """Of a client with that role. A reader gets a group's name, and a worker a transactional id."""
    needed = {"group.id": "g"} if "READER" in role.name else {}
    needed |= {"transactional.id": "t"} if role is Role.WORKER else {}
    return client_options(Kafka(bootstrap_servers=bootstrap, **kafka), role, logs, {**needed, **(own or {})})


def publisher_of(
    bootstrap: str, log_topic: str, register: str, nbytes: int = 0, logs: ClientLog | None = None
) -> dict[str, Any]:
    """Of the publisher of a register."""
    own = {
        "transactional.id": id_of_publisher(log_topic, register),
        "transaction.timeout.ms": publish_timeout_ms(nbytes),
    }
    return properties_of(Role.PUBLISHER, bootstrap, own, logs)
