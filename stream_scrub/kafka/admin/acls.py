"""Checks a client's rights at the start, so that every missing one is reported at once and by name.

A client that may describe a topic also gets its other rights on it (KIP-430). The offsets of a group are asked for as a
consumer does. For transactional ids there is no such question: the right shows when a session is opened, here with an id
that nobody uses. A right that is revoked later shows in an error of `translate`.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from logging import getLogger
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.kafka.client.options import asking_options
from stream_scrub.kafka.client.translate import cause_of, translate
from stream_scrub.model import Deadline

_TRY_S = 0.5
_COORDINATOR_S = 4.0
_ANY_TOPIC = "offsets"  # whether a group may be read does not depend on the topic
_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED})
# It does not exist yet, or the broker is too old to tell: a missing right shows when it is needed.
_UNKNOWN = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


@dataclass(frozen=True, slots=True)
class RequiredRights:
    """Topics to read, to write to and to describe, groups to read and commit as, and groups whose offsets are read. The
    prefixes of the transactional ids to write as, and of groups whose names end with a part of their own: empty for none."""

    reads: Collection[str] = ()
    writes: Collection[str] = ()
    groups: Collection[str] = ()
    describes: Collection[str] = ()
    describes_groups: Collection[str] = ()
    transactional_prefix: str = ""
    group_prefix: str = ""


def missing(
    admin: AdminClient, options: Mapping[str, Any], rights: RequiredRights, deadline: Deadline
) -> list[str]:
    """Each missing right, in words: "to READ topic prospects". If a broker does not tell, none is missing. `options` are
    the admin client's.

    Raises Unavailable, Refused.
    """
    names = TopicCollection(sorted({*rights.reads, *rights.writes, *rights.describes}))
    timeout_s = max(0.1, deadline.left())
    topics = _allowed(
        admin.describe_topics(names, include_authorized_operations=True, request_timeout=timeout_s)
    )
    lacking = [f"to READ topic {name}" for name in rights.reads if _lacks(topics[name], AclOperation.READ)]
    lacking += [
        f"to WRITE to topic {name}" for name in rights.writes if _lacks(topics[name], AclOperation.WRITE)
    ]
    lacking += [
        f"to DESCRIBE topic {name}"
        for name in rights.describes
        if _lacks(topics[name], AclOperation.DESCRIBE)
    ]
    for operation, groups in (("READ", rights.groups), ("DESCRIBE", rights.describes_groups)):
        lacking += [
            f"to {operation} group {name}" for name in sorted(groups) if _is_denied(options, name, deadline)
        ]
    # With all other rights the client opens its own session next, which shows this one.
    prefix = rights.transactional_prefix
    if lacking and prefix and _is_denied_session(options, f"{prefix}rights", deadline):
        lacking.append(f"to WRITE to transactional ids {prefix} (prefix)")
    return lacking


def _is_denied_session(options: Mapping[str, Any], transactional_id: str, deadline: Deadline) -> bool:
    # librdkafka would print the refusal. Lines for a logger wait for a poll, and none comes.
    own = {"transactional.id": transactional_id, "logger": getLogger(__name__)}
    producer = Producer({**asking_options(options), **own})
    try:
        producer.init_transactions(max(0.1, deadline.left(_COORDINATOR_S)))
    except KafkaException as error:
        return cause_of(error).code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    return False


def _is_denied(options: Mapping[str, Any], group: str, deadline: Deadline) -> bool:
    """Whether the group may not be read. Asks for some seconds: in a new cluster the coordinators take a while."""
    # Not with AdminClient.describe_consumer_groups: if the coordinator is late or its connection breaks, librdkafka 2.16
    # ends the process by an assertion (librdkafka#4605).
    until = Deadline.after(deadline.left(_COORDINATOR_S))
    with closing(Consumer(asking_options(options) | {"group.id": group})) as consumer:
        while not until.passed:
            try:
                consumer.committed([TopicPartition(_ANY_TOPIC, 0)], timeout=max(0.1, until.left(_TRY_S)))
            except KafkaException as error:
                # A refused question for the coordinator ends in the timeout of ours, and the consumer reports why.
                message = consumer.poll(0)
                errors = (cause_of(error), None if message is None else message.error())
                if any(each and each.code() == KafkaError.GROUP_AUTHORIZATION_FAILED for each in errors):
                    return True
            else:
                return False
        return False


def _allowed(answers: Mapping[str, "Future[Any]"]) -> dict[str, Collection[AclOperation] | None]:
    """By name the rights on it; None if the broker does not tell."""
    allowed: dict[str, Collection[AclOperation] | None] = {}
    for name, future in answers.items():
        try:
            # An empty list means "unknown": a client that may describe has at least that right.
            allowed[name] = future.result().authorized_operations or None
        except KafkaException as error:
            code = cause_of(error).code()
            if code not in _DENIED | _UNKNOWN:
                raise translate(error, f"asking for topic {name}") from error
            allowed[name] = () if code in _DENIED else None
    return allowed


def _lacks(operations: Collection[AclOperation] | None, wanted: AclOperation) -> bool:
    return operations is not None and wanted not in operations
