"""Client properties: what we choose and why, and what a user may not change because the promises rest on it.

Dictionaries in, dictionaries out; only `refusals` asks librdkafka itself. A user's properties come after ours, except
those that are refused. `logs` is None where the client's lines go nowhere.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from stream_scrub.kafka.client import allowed_properties, transactional_ids
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.librdkafka import (
    ClientKind,
    ClientProperty,
    contradiction,
    objection,
    properties,
)
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

_CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",  # also makes a new owner wait for its predecessor's pending offsets
}
UNCOMMITTED = {"isolation.level": "read_uncommitted"}  # over a reader's own
_FETCH: dict[str, Any] = {
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
_TOLD_AT_POLLS = frozenset({"logger", "error_cb", "stats_cb", "statistics.interval.ms", "debug"})
_SIDES = {"*": "", "C": "consumer", "P": "producer"}
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
    the client does not know or that would do nothing where they stand, bad values, and contradictions.

    `protocol` is [kafka] group_protocol. Reads the files that properties name; connects to nothing.
    """
    known = properties()
    problems = [
        f"kafka.{section}: {problem}"
        for section, chosen in (("client", client), ("consumer", consumer), ("producer", producer))
        for name, value in chosen.items()
        if (problem := _problem(known, section, name, str(value), protocol))
    ]
    return problems or _contradictions(client, consumer, producer, protocol)


def _problem(known: Mapping[str, ClientProperty], section: str, name: str, value: str, protocol: str) -> str:
    """What is wrong with this one property; empty when nothing is."""
    if name.startswith("test."):
        return f"{name} cannot be set: it replaces the brokers by an embedded one"
    if name not in known:
        near = get_close_matches(name, known, n=1)
        return f"{name} is no client property" + (f" (did you mean {near[0]}?)" if near else "")
    if reason := _REFUSED.get(name) or _REFUSED.get(known[name].alias_of):
        return f"{name} cannot be changed: {reason}"
    if (side := _SIDES[known[name].side]) and section != side:
        return f"{name} would do nothing here: it is a {side}'s property, set it in [kafka.{side}]"
    if name in _BROKER_CHOOSES and protocol == "consumer":
        return f'{name} cannot be set with group_protocol = "consumer": the broker chooses it'
    if name == "group.instance.id" and protocol == "classic":
        return (  # tests/contract/test_simulation_model.py shows it
            f"{name} cannot be set with the classic protocol: when a worker ends in the midst of a rebalance, Kafka gives"
            ' a partition of its to nobody, for ever. Leave it out, or set group_protocol = "consumer"'
        )
    return allowed_properties.objection(name, known[name].alias_of, value) or objection(name, value)


def _contradictions(
    client: ClientProperties, consumer: ClientProperties, producer: ClientProperties, protocol: str
) -> list[str]:
    """What librdkafka says against the properties together, asked by making each client once, without a server."""
    if said := _said(ClientKind.PRODUCER, admin_options("", client, logs=None)):
        return [f"kafka.client: {said}"]
    member = consumer_options("", client, consumer, group_id="g", protocol=protocol, logs=None)
    reader = log_reader_options("", client, consumer, group_id="g", logs=None)
    worker = producer_options("", client, producer, transactional_id="t", max_bytes=None, logs=None)
    publisher = publisher_options("", client, producer, log_topic="l", register="r", logs=None)
    found = (
        ("consumer", _said(ClientKind.CONSUMER, member) or _said(ClientKind.CONSUMER, reader)),
        ("producer", _said(ClientKind.PRODUCER, worker) or _said(ClientKind.PRODUCER, publisher)),
    )
    return [f"kafka.{section}: {said}" for section, said in found if said]


def _said(kind: ClientKind, options: dict[str, Any]) -> str:
    unasked = {
        "bootstrap.servers",
        "debug",
        "log_level",
    }  # this client is to connect nowhere and to say nothing
    texts = {name: str(value) for name, value in options.items() if name not in unasked}
    return contradiction({**texts, "log_level": "0"}, kind=kind)


def _base(bootstrap: str, client: ClientProperties, logs: ClientLog | None) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "client.id": "stream-scrub",
        "reconnect.backoff.max.ms": 1_000,  # librdkafka's 10 s would be added to every outage
        "socket.keepalive.enable": True,  # a connection that a firewall forgot is found out
        # Without a log librdkafka would write to stderr by itself.
        **({"log_level": 0} if logs is None else logs.properties()),
        **client,
    }


def consumer_options(
    bootstrap: str,
    client: ClientProperties,
    consumer: ClientProperties,
    *,
    group_id: str,
    protocol: str,
    logs: ClientLog | None,
) -> dict[str, Any]:
    """A member of the worker group."""
    classic = {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 45_000,
        "heartbeat.interval.ms": 1_000,  # a member hears of a rebalance with its next one: at 3 s a restart stops leads for 3 s
    }
    return {
        **_base(bootstrap, client, logs),
        "queued.min.messages": 100_000,
        "queued.max.messages.kbytes": 65_536,
        "max.poll.interval.ms": 300_000,
        **(classic if protocol == "classic" else {}),
        **_FETCH,
        **consumer,
        **_CONSUMER,
        "auto.offset.reset": "earliest",
        "group.id": group_id,
        "group.protocol": protocol,
    }


def log_reader_options(
    bootstrap: str,
    client: ClientProperties,
    consumer: ClientProperties,
    *,
    group_id: str,
    logs: ClientLog | None,
) -> dict[str, Any]:
    """A reader of the log: member of no group. The client reports the end, and any offset that is gone."""
    ours = {
        k: v
        for k, v in consumer.items()
        if not k.startswith(("group.", "session.", "heartbeat.", "max.poll."))
    }
    return {
        **_base(bootstrap, client, logs),
        **_FETCH,
        "check.crcs": True,
        **ours,
        **_CONSUMER,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "group.id": group_id,  # of no group, but the client cannot do without a name, nor the broker without its right
    }


def requests_options(
    bootstrap: str,
    client: ClientProperties,
    consumer: ClientProperties,
    *,
    group_id: str,
    logs: ClientLog | None,
) -> dict[str, Any]:
    """The reader of the requests: its group has offsets and no members."""
    return {
        **log_reader_options(bootstrap, client, consumer, group_id=group_id, logs=logs),
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,  # by this it knows that what follows are markers of transactions
    }


def output_options(
    bootstrap: str,
    client: ClientProperties,
    consumer: ClientProperties,
    *,
    group_id: str,
    logs: ClientLog | None,
) -> dict[str, Any]:
    """The reader of an output topic, for `retry` and a shadow: its group has offsets and no members."""
    return {
        **log_reader_options(bootstrap, client, consumer, group_id=group_id, logs=logs),
        "auto.offset.reset": "earliest",  # what was deleted cannot come back
    }


def producer_options(
    bootstrap: str,
    client: ClientProperties,
    producer: ClientProperties,
    *,
    transactional_id: str,
    max_bytes: int | None,
    logs: ClientLog | None,
) -> dict[str, Any]:
    """A worker's transactional producer. `max_bytes` is the largest record that the output topics take, if known: the
    brokers hold the client's whole batches to it, and refuse every record of one that is larger.
    """
    chosen = {**_PRODUCER, **producer}
    if max_bytes is not None:
        chosen["batch.size"] = min(int(chosen["batch.size"]), max_bytes)
    return {
        **_base(bootstrap, client, logs),
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 524_288,
        **chosen,
        "message.max.bytes": max(max_bytes or 0, 16 << 20),  # the broker has the last word
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
    }


def requests_writer_options(
    bootstrap: str, client: ClientProperties, producer: ClientProperties, *, logs: ClientLog | None
) -> dict[str, Any]:
    """For whoever puts requests on their topic. The partitioner is the one that Java's clients have, so that all
    programs put a number's requests in one order. Whoever asked waits: a record is sent at once, and given up soon."""
    return {
        **_base(bootstrap, client, logs),
        **_PRODUCER,
        **producer,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "message.timeout.ms": 10_000,
        "queue.buffering.max.messages": 10_000,
        "acks": "all",
    }


def prospects_writer_options(
    bootstrap: str, client: ClientProperties, producer: ClientProperties, *, logs: ClientLog | None
) -> dict[str, Any]:
    """For a file's rows on their way to the prospects: each once, in order, as fast as the brokers take them."""
    return {
        **_base(bootstrap, client, logs),
        **_PRODUCER,
        **producer,
        "partitioner": "murmur2_random",  # as Java's clients: a key's prospects of all programs are in one order
        "queue.buffering.max.messages": 200_000,
        "message.timeout.ms": 60_000,
        "acks": "all",
    }


def publish_timeout_ms(nbytes: int) -> int:
    """How long a transaction may last that puts so much on the log."""
    more_ms = max(0, nbytes - _PUBLISH_BYTES_AT_ONCE) // _PUBLISH_BYTES_A_MS
    return min(PUBLISH_TIMEOUT_MS + more_ms, _PUBLISH_TIMEOUT_MAX_MS)


def publisher_options(
    bootstrap: str,
    client: ClientProperties,
    producer: ClientProperties,
    *,
    log_topic: str,
    register: str,
    logs: ClientLog | None,
    nbytes: int = 0,
) -> dict[str, Any]:
    """The one publisher of a register and its scoped ones on that log. `nbytes` says for how much a transaction needs time.
    It has no statistics: they would pile up in a client that is not polled for days.
    """
    return {
        **_base(bootstrap, client, logs),
        "statistics.interval.ms": 0,
        **_PRODUCER,
        **producer,
        "message.max.bytes": 16
        << 20,  # a refused request goes out as it came in; the broker has the last word
        "transactional.id": transactional_ids.of_publisher(log_topic, register),
        "transaction.timeout.ms": publish_timeout_ms(nbytes),
    }


def asking_options(options: ClientProperties) -> dict[str, Any]:
    """The same for a client that only asks, and whose answers include open transactions. It is never polled, so nothing
    may wait in it for a poll: statistics alone would pile up to 100 MB a day.
    """
    kept = {name: value for name, value in options.items() if name not in _TOLD_AT_POLLS}
    return {**kept, **UNCOMMITTED, "log_level": 0}


def admin_options(bootstrap: str, client: ClientProperties, *, logs: ClientLog | None) -> dict[str, Any]:
    """For topics and their settings."""
    return _base(bootstrap, client, logs)
