"""Client properties: one table of roles, and what a user may not change because a promise rests on it.

Only `refusals` makes clients. A user's properties come after ours, except those that are refused.
"""

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, libversion

from stream_scrub.config import Kafka
from stream_scrub.kafka.client.allowed_properties import ALLOWED, SIDES, objection
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.repeated_requests import BACKOFF_MS

ClientProperties = Mapping[str, Any]

TRANSACTION_TIMEOUT_MS = (
    15_000  # a killed worker's open transaction holds its readers up for at most this long
)
# The same for the log. A day's changes are written in a second; a list of 250 million numbers is half a gigabyte and
# takes ten. So the timeout grows with what is published, at a tenth of the pace that two cores reach, up to what a
# broker allows by default (its transaction.max.timeout.ms).
PUBLISH_TIMEOUT_MS = 10_000
_PUBLISH_TIMEOUT_MAX_MS = 900_000
_PUBLISH_BYTES_AT_ONCE = 16 << 20
_PUBLISH_BYTES_A_MS = 4 << 10
_BATCH_BYTES = 524_288  # of the client's own batches; well under Kafka's default max.message.bytes
# An idempotent client has one request a partition under way, and its thread spins while a second one waits for it. So
# what a worker's usual batch has for one partition fits in one. Kafka's default max.message.bytes is a little more than
# the first; the second fits it once it is packed to a half, and prospects with stamps are packed to a quarter or less.
_WORKER_BATCH_BYTES = 1_000_000
_PACKED_BATCH_BYTES = 2_000_000
_PACKED_TO = 2

_CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",  # also makes a new owner wait for its predecessor's pending offsets
}
UNCOMMITTED = {"isolation.level": "read_uncommitted"}  # over a reader's own
_FETCH: dict[str, Any] = {
    # New partitions are read after half a minute, and a leader that does not know it was deposed is left.
    "topic.metadata.refresh.interval.ms": 30_000,
    "fetch.queue.backoff.ms": 10,  # at librdkafka's 1 s a backlog idles between two fetches
    "fetch.wait.max.ms": 50,
}
_PRODUCER: dict[str, Any] = {
    "enable.idempotence": True,
    "retry.backoff.ms": BACKOFF_MS,  # shows that a call has repeated nothing (`repeated_requests`)
    "compression.type": "lz4",
    "linger.ms": 5,
    "batch.size": _BATCH_BYTES,
    "batch.num.messages": 50_000,
}

_IN_ORDER = "exactly-once and the order of keys rest on it"
_CODE = "what it names is code, which would run inside this process"
_REPEATED = "by the time of a call it is known that the client has sent no request a second time"
_REFUSED = {
    "bootstrap.servers": "set [kafka] bootstrap_servers",
    "metadata.broker.list": "set [kafka] bootstrap_servers",
    "group.id": "set [worker] group_id",
    "transactional.id": "it follows from [worker] group_id and id",
    "enable.auto.commit": "offsets are committed with the outputs, in one transaction",
    "enable.auto.offset.store": "offsets are committed with the outputs, in one transaction",
    "auto.commit.interval.ms": "offsets are committed with the outputs, in one transaction",
    "isolation.level": "an aborted record must never be judged, and pending offsets must be waited for",
    "auto.offset.reset": "a prospect would be skipped, or a truncated log go unnoticed",
    "enable.idempotence": _IN_ORDER,
    "acks": "a record that one broker has may be lost with it",
    "request.required.acks": "a record that one broker has may be lost with it",
    "max.in.flight": _IN_ORDER,
    "max.in.flight.requests.per.connection": _IN_ORDER,
    "retries": "a record given up too early aborts its batch for ever",
    "message.send.max.retries": "a record given up too early aborts its batch for ever",
    "enable.gapless.guarantee": _IN_ORDER,
    "transaction.timeout.ms": "it fits the commit deadline, and bounds how long a dead worker holds up readers",
    "message.timeout.ms": "it must stay under the transaction's timeout",
    "delivery.timeout.ms": "it must stay under the transaction's timeout",
    "partition.assignment.strategy": 'mixing strategies in a group loses partitions: set [kafka] group_protocol = "consumer" for the broker\'s own',
    "group.protocol": "set [kafka] group_protocol",
    "enable.partition.eof": "the follower tells the log's end by it",
    "retry.backoff.ms": _REPEATED,
    "retry.backoff.max.ms": _REPEATED,
    "plugin.library.paths": _CODE,
    "ssl.engine.location": _CODE,
    "ssl.engine.id": _CODE,
    "ssl.providers": _CODE,
    "interceptors": _CODE,
    "sasl.kerberos.kinit.cmd": "it is a command, which the client would run in a shell",
    "message.max.bytes": "it follows from the topics' max.message.bytes",
    "allow.auto.create.topics": "`stream-scrub topics` creates them as they must be",
}
_REPORTED_AT_POLLS = frozenset({"logger", "error_cb", "stats_cb", "statistics.interval.ms", "debug"})
_OF_MEMBERS = ("group.", "session.", "heartbeat.", "max.poll.")  # a reader in no group has none of them
# With the broker's own group protocol librdkafka makes no client that has any of these.
_BROKER_CHOOSES = frozenset({"session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type"})


def refusals(
    client: ClientProperties,
    consumer: ClientProperties,
    producer: ClientProperties,
    *,
    protocol: str = "classic",
) -> list[str]:
    """Everything wrong with the user's properties, each with its reason: those that a promise rests on, those that
    are not on the list or would do nothing in their section, bad values, and contradictions.

    `protocol` is [kafka] group_protocol. Reads the files that properties name; connects to nothing.
    """
    problems = [
        f"kafka.{section}: {problem}"
        for section, chosen in (("client", client), ("consumer", consumer), ("producer", producer))
        for name, value in chosen.items()
        if (problem := _problem(section, name, str(value), protocol))
    ]
    if problems or not (client or consumer or producer):
        return problems
    return _client_errors(client, consumer, producer, protocol)


def _problem(section: str, name: str, value: str, protocol: str) -> str:
    """What is wrong with this one property; empty if nothing is."""
    if reason := _REFUSED.get(name):
        return f"{name} cannot be changed: {reason}"
    if name not in ALLOWED:
        near = get_close_matches(name, ALLOWED | _REFUSED.keys(), n=1)
        hint = f"did you mean {near[0]}?" if near else "docs/reference/settings.md, Client properties"
        return f"{name} cannot be set: it is not on the list of client properties ({hint})"
    for side, names in SIDES.items():
        if name in names and section != side:
            return f"{name} would do nothing here: it is a {side}'s property, set it in [kafka.{side}]"
    if name in _BROKER_CHOOSES and protocol == "consumer":
        return f'{name} cannot be set with group_protocol = "consumer": the broker chooses it'
    if name == "group.instance.id" and protocol == "classic":
        return (  # tests/contract/test_simulation_model.py shows it
            f"{name} cannot be set with the classic protocol: if a worker ends during a rebalance, Kafka"
            ' never assigns one of its partitions again. Leave it out, or set group_protocol = "consumer"'
        )
    return objection(name, value)


def _client_errors(
    client: ClientProperties, consumer: ClientProperties, producer: ClientProperties, protocol: str
) -> list[str]:
    """What librdkafka says against the properties together. Makes each kind of client once, without a server."""
    kafka = Kafka.model_construct(
        bootstrap_servers="", client=client, consumer=consumer, producer=producer, group_protocol=protocol
    )
    for section, kind, roles in (
        ("client", Producer, (Role.ADMIN,)),
        ("consumer", Consumer, (Role.MEMBER, Role.LOG_READER)),
        ("producer", Producer, (Role.WORKER, Role.PUBLISHER)),
    ):
        for role in roles:
            own = {"group.id": "g"} if kind is Consumer else {"transactional.id": "t"}
            given = client_options(kafka, role, None, {} if role is Role.ADMIN else own)
            if error := _client_error(kind, given):
                return [f"kafka.{section}: {error}"]
    return []


def _client_error(kind: type[Consumer] | type[Producer], options: dict[str, Any]) -> str:
    """What librdkafka says against a client of these properties; empty if it makes one. It connects to no broker and
    logs nothing."""
    silent = logging.Logger("check")  # noqa: LOG001  # without one librdkafka writes what `debug` asks for to stderr
    silent.addHandler(logging.NullHandler())
    alone = {name: value for name, value in options.items() if name != "bootstrap.servers"}
    try:
        made = kind(alone | {"logger": silent})
    except KafkaException as error:
        return str(error.args[0].str()).strip()
    except (TypeError, ValueError) as error:
        return str(error)
    if isinstance(made, Consumer):
        made.close()
    return ""


class Role(StrEnum):
    """What a client is for."""

    ADMIN = "admin"  # topics and their settings
    MEMBER = "member"  # a consumer in the worker group
    LOG_READER = "log reader"  # in no group; reports the log's end, and any offset that is gone
    REQUESTS_READER = "requests reader"  # its group has offsets and no members
    OUTPUT_READER = "output reader"  # for `retry` and a shadow; its group has offsets and no members
    WORKER = "worker"  # a worker's transactional producer, and that of `retry` and a shadow
    PUBLISHER = "publisher"  # the one publisher of a register and its scoped ones
    REQUESTS_WRITER = "requests writer"  # its caller waits: a record is sent at once, and given up soon
    PROSPECTS_WRITER = (
        "prospects writer"  # a file's rows: each once, in order, as fast as the brokers take them
    )


class _Properties(NamedTuple):
    """A role's properties. The user's own section comes between `usual` and `fixed`."""

    section: str
    usual: ClientProperties
    fixed: ClientProperties


_READER = {**_FETCH, "check.crcs": True}
# As in Java's clients, so that all programs agree on a key's partition, and its requests and prospects keep their order.
_WRITER = {"partitioner": "murmur2_random", "acks": "all"}
_MESSAGE_BYTES = 16 << 20  # the broker has the last word
_ROLES: dict[Role, _Properties] = {
    Role.ADMIN: _Properties("", {}, {}),
    Role.MEMBER: _Properties(
        "consumer",
        {
            "queued.min.messages": 100_000,
            "queued.max.messages.kbytes": 65_536,
            "max.poll.interval.ms": 300_000,
            **_FETCH,
        },
        {**_CONSUMER, "auto.offset.reset": "earliest"},
    ),
    # A truncated log would otherwise be read from its new start, with deltas missing.
    Role.LOG_READER: _Properties(
        "consumer", _READER, {**_CONSUMER, "auto.offset.reset": "error", "enable.partition.eof": True}
    ),
    # By the end of a partition it knows that what follows are markers of transactions.
    Role.REQUESTS_READER: _Properties(
        "consumer", _READER, {**_CONSUMER, "auto.offset.reset": "earliest", "enable.partition.eof": True}
    ),
    # What was deleted cannot be retried.
    Role.OUTPUT_READER: _Properties(
        "consumer", _READER, {**_CONSUMER, "auto.offset.reset": "earliest", "enable.partition.eof": True}
    ),
    Role.WORKER: _Properties(
        "producer",
        {
            **_PRODUCER,
            "batch.size": _WORKER_BATCH_BYTES,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 524_288,
        },
        {"message.max.bytes": _MESSAGE_BYTES, "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS},
    ),
    # Without statistics: they would pile up in a client that is not polled for days.
    Role.PUBLISHER: _Properties(
        "producer",
        {**_PRODUCER, "statistics.interval.ms": 0},
        {"message.max.bytes": _MESSAGE_BYTES, "transaction.timeout.ms": PUBLISH_TIMEOUT_MS},
    ),
    Role.REQUESTS_WRITER: _Properties(
        "producer",
        _PRODUCER,
        {**_WRITER, "linger.ms": 0, "message.timeout.ms": 10_000, "queue.buffering.max.messages": 10_000},
    ),
    Role.PROSPECTS_WRITER: _Properties(
        "producer",
        _PRODUCER,
        {**_WRITER, "queue.buffering.max.messages": 200_000, "message.timeout.ms": 60_000},
    ),
}
# The partitions of a killed member stand still for so long: their opposed leads are not taken back. It is the least that a
# broker takes by default (group.min.session.timeout.ms). The client's own thread sends the heartbeats, so a busy or
# garbage-collecting process does not miss them.
SESSION_TIMEOUT_MS = 6_000
_CLASSIC = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": SESSION_TIMEOUT_MS,
    "heartbeat.interval.ms": 1_000,  # a member learns of a rebalance with its next one: at 3 s a restart stops leads for 3 s
}


def client_options(
    kafka: Kafka,
    role: Role,
    logs: ClientLog | None,
    own: ClientProperties = MappingProxyType({}),
    *,
    max_bytes: int | None = None,
    refits: bool = False,
) -> dict[str, Any]:
    """The properties of a client with that role. `own`: those of this client alone, such as its group.id.

    `max_bytes` is the largest record that the output topics take, if known: brokers hold the client's whole batches to
    it, as they are packed, and refuse every record of a larger one. `refits`: the caller makes a client with smaller
    batches if that happens, so they may be larger before they are packed. `logs` None: the client's log lines are dropped.
    """
    section, usual, fixed = _ROLES[role]
    of_user: ClientProperties = getattr(kafka, section) if section else {}
    packs = refits and "none" not in (of_user.get("compression.type"), of_user.get("compression.codec"))
    if packs:
        usual = {**usual, "batch.size": _PACKED_BATCH_BYTES}
    if role is Role.MEMBER:
        fixed = {**fixed, "group.protocol": kafka.group_protocol}
        usual = {**usual, **(_CLASSIC if kafka.group_protocol == "classic" else {})}
    elif section == "consumer":
        of_user = {name: value for name, value in of_user.items() if not name.startswith(_OF_MEMBERS)}
    options = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "stream-scrub",
        "reconnect.backoff.max.ms": 1_000,  # librdkafka's 10 s would be added to every outage
        "socket.keepalive.enable": True,  # finds a connection that a firewall has forgotten
        # Else every process that asks for a topic that was deleted makes it again, as brokers do by default: an empty log.
        "allow.auto.create.topics": False,
        # Without a log librdkafka would write to stderr by itself.
        **({"log_level": 0} if logs is None else logs.properties()),
        **kafka.client,
        **usual,
        **of_user,
        **fixed,
        **own,
    }
    if max_bytes is not None:
        options["batch.size"] = min(int(options["batch.size"]), max_bytes * (_PACKED_TO if packs else 1))
        options["message.max.bytes"] = max(max_bytes, _MESSAGE_BYTES)
    return options


def publish_timeout_ms(nbytes: int) -> int:
    """How long a transaction may last that puts so much on the log."""
    more_ms = max(0, nbytes - _PUBLISH_BYTES_AT_ONCE) // _PUBLISH_BYTES_A_MS
    return min(PUBLISH_TIMEOUT_MS + more_ms, _PUBLISH_TIMEOUT_MAX_MS)


def asking_options(options: ClientProperties) -> dict[str, Any]:
    """The same for a client that only asks, and whose answers include open transactions. It is polled only when it asks, so
    little may wait in it for a poll: statistics alone would pile up to 100 MB a day.
    """
    kept = {name: value for name, value in options.items() if name not in _REPORTED_AT_POLLS}
    return {**kept, **UNCOMMITTED, "log_level": 0}


def librdkafka_version() -> str:
    """The version of the C library that every client here runs on."""
    return str(libversion()[0])
