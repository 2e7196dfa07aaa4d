"""What a client may do, asked of the brokers at the start: whatever is missing is then said at once, and by name.

Brokers tell whoever may describe a topic or a group what else he may do with it (KIP-430). A transactional id cannot be
asked for: opening the session tells. What is taken away later is said where it is missed, by `translate`.
"""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # not in its __all__

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.translate import cause_of, translate
from stream_scrub.model import Deadline

_AGAIN_S = 0.2
_TRY_S = 1.5
_COORDINATOR_S = 4.0
_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
# There is none yet, or the broker is too old to tell: whatever is missing is said where it is missed.
_UNTOLD = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


@dataclass(frozen=True, slots=True)
class RequiredRights:
    """What somebody must be able to do: topics to read and to write to, groups to read and commit as."""

    reads: Collection[str] = ()
    writes: Collection[str] = ()
    groups: Collection[str] = ()


def missing(admin: AdminClient, rights: RequiredRights, deadline: Deadline) -> list[str]:
    """Each right that is missing, in words: "to READ topic prospects". A broker that does not tell is taken at its best.

    Raises Unavailable, Refused.
    """
    names = sorted({*rights.reads, *rights.writes})
    asked = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=max(0.1, deadline.left())
    )
    topics = _allowed(asked, "topic")
    lacking = [f"to READ topic {name}" for name in rights.reads if _lacks(topics[name], AclOperation.READ)]
    lacking += [
        f"to WRITE to topic {name}" for name in rights.writes if _lacks(topics[name], AclOperation.WRITE)
    ]
    groups = _groups(admin, sorted(rights.groups), deadline)
    return lacking + [
        f"to READ group {name}" for name in rights.groups if _lacks(groups[name], AclOperation.READ)
    ]


def _groups(
    admin: AdminClient, names: list[str], deadline: Deadline
) -> dict[str, Collection[AclOperation] | None]:
    """What may be done with each group. Asks again while their coordinators are still being found, but not for long: a new
    cluster takes its time for that, and nobody need wait for it here.
    """
    until = Deadline.after(deadline.left(_COORDINATOR_S))
    while names:
        asked = admin.describe_consumer_groups(
            names, include_authorized_operations=True, request_timeout=max(0.1, until.left(_TRY_S))
        )
        try:
            return _allowed(asked, "group")
        except Unavailable:
            if until.passed:
                return dict.fromkeys(names)
            time.sleep(_AGAIN_S)
    return {}


def _allowed(asked: Mapping[str, "Future[Any]"], kind: str) -> dict[str, Collection[AclOperation] | None]:
    """By name, what may be done with it; None where that is not told."""
    found: dict[str, Collection[AclOperation] | None] = {}
    for name, future in asked.items():
        try:
            # An empty list is the binding's word for "not told": whoever may describe has that right at least.
            found[name] = future.result().authorized_operations or None
        except KafkaException as error:
            code = cause_of(error).code()
            if code not in _DENIED | _UNTOLD:
                raise translate(error, f"asking for {kind} {name}") from error
            found[name] = () if code in _DENIED else None
    return found


def _lacks(operations: Collection[AclOperation] | None, wanted: AclOperation) -> bool:
    return operations is not None and wanted not in operations
