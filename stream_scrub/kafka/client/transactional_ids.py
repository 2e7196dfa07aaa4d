"""The names by which Kafka tells transactional producers apart: two that may live side by side never have one name.

A name is its parts joined by hyphens, which parts may hold as well: group `a-b` with worker `c`, and group `a` with
worker `b-c`, would be one producer and fence each other for ever. So a name ends with who it is of and how long its
first part is, and can be taken apart in one way only. It still begins as a broker's rights name it, by prefix.
"""

import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer

from stream_scrub.kafka.client.bounded_call import BoundedCaller
from stream_scrub.kafka.client.leaders import wait_for_leaders
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline

_TRY_S = 5.0
_AGAIN_S = 0.1


def of_worker(group_id: str, identity: str) -> str:
    """`scrub-<group>-<identity>.w<length of the group>`."""
    return f"scrub-{group_id}-{identity}.w{len(group_id)}"


def of_retry(group_id: str) -> str:
    """`scrub-retry-<group>.r<length of the group>`: a right to it is no right to a worker's."""
    return f"scrub-retry-{group_id}.r{len(group_id)}"


def of_shadow(group_id: str) -> str:
    """`scrub-shadow-<group>.s<length of the group>`."""
    return f"scrub-shadow-{group_id}.s{len(group_id)}"


def of_publisher(log_topic: str, register: str) -> str:
    """`scrub-publish-<log>-<register>.p<length of the log's name>`; a register's scope is left out, so that it and its
    scoped ones have one publisher."""
    return f"scrub-publish-{log_topic}-{register.partition('@')[0]}.p{len(log_topic)}"


def former(transactional_id: str) -> str:
    """The name that the same producer had before names could be taken apart in one way only; empty where it has none:
    only workers and publishers are as old as that."""
    name, _, kind = transactional_id.rpartition(".")
    return name if kind[:1] in {"w", "p"} else ""


def take_over(producer: Producer, caller: BoundedCaller, transactional_id: str, deadline: Deadline) -> None:
    """`init_transactions`: fences whoever had the name, and ends what was left open. Blocks until the deadline at most.

    Raises Unavailable (try again: also while the coordinator still ends the old transaction), Refused, Uncertain.
    """
    while True:
        try:
            caller.call("opening", producer.init_transactions, timeout_s=max(0.1, deadline.left(_TRY_S)))
        except KafkaException as error:
            if not error.args[0].retriable() or deadline.passed:
                raise translate(error, f"opening the session {transactional_id}") from error
            time.sleep(_AGAIN_S)
        else:
            return


def end_former(
    options: dict[str, Any], topics: Sequence[str], caller: BoundedCaller, deadline: Deadline
) -> None:
    """End what a release left open that knew this producer by its former name, and fence it. Raises as `take_over`."""
    name = former(options["transactional.id"])
    if not name:
        return
    producer = Producer({**options, "transactional.id": name})
    wait_for_leaders(producer, topics, deadline)
    take_over(producer, caller, name, deadline)
