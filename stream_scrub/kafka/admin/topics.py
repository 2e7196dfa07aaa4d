"""The topics as they must be: what is missing, what differs, and making what is missing.

A role's wishes are data; what the broker has is described by the admin API; `plan` compares the two and does nothing.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource  # type: ignore[attr-defined]  # not in its __all__
from confluent_kafka.cimpl import NewTopic

from stream_scrub.config.inputs import Route
from stream_scrub.errors import Refused
from stream_scrub.kafka.admin.acls import RequiredRights, missing
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.translate import translate
from stream_scrub.model import Deadline

# Room for a stamp beside the largest prospect that the input takes.
STAMP_ROOM = 16_384
_KNOWN_AGAIN_S = 0.1
_TURN_S = 1.0
_LIMIT = "max.message.bytes"
_OUTPUTS = ("allowed", "blocked")
# How far from the broker's clock a record's own timestamp may be. An output takes what it is given: prospects wait, so
# their timestamps grow old, and they may be as far ahead as `prospects` lets them. Kafka before 3.6 has the third alone.
_EARLIER, _LATER, _EITHER = (f"message.timestamp.{side}.max.ms" for side in ("before", "after", "difference"))
_EVER_MS = str(2**63 - 1)
_ORDERED = frozenset({_LIMIT, _EARLIER, _LATER, _EITHER})  # settings of which more is as good
# The log is the evidence: nothing of it may ever be dropped or compacted away.
_DAY_MS = 24 * 3_600_000
_LOG_CONFIG = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
# Many may write prospects and requests. The client unpacks a batch that packs a thousandfold before anybody can look at
# it. A broker that keeps a topic uncompressed holds `max.message.bytes` against the unpacked batch, and refuses it.
_UNPACKED = {"compression.type": "uncompressed"}
# Kafka's own default. A part of a delta has 768 KiB at most, with its headers and its batch on top.
_LOG_LIMIT = "1048588"


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the broker has it; `config` is empty where it may not be read. `replicas` is the fewest of a
    partition, 0 where that is not known."""

    partitions: int
    config: Mapping[str, str]
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic's role and name, whether it is `ok`, `missing` or `differs`, and how."""

    role: str
    name: str
    state: str
    partitions: int
    config: Mapping[str, str]
    differences: tuple[str, ...] = ()


class TopicAdmin:
    """The broker's topics, looked at and made. Blocks until each call's deadline at most, or until a broker turns us
    away, which `logs` (of `options`) knows.
    """

    def __init__(self, options: dict[str, Any], logs: ClientLog | None = None) -> None:
        self._admin = AdminClient(options)
        self._logs = logs

    def lacking(self, rights: RequiredRights, deadline: Deadline) -> list[str]:
        """The rights that are missing, in words. Raises Unavailable, Refused."""
        cluster = self._cluster(deadline)
        if cluster.controller_id not in cluster.brokers:
            return []  # nobody would answer (the embedded broker has none): what is missing is said where it is missed
        return missing(self._admin, rights, deadline)

    def _all(self, deadline: Deadline) -> dict[str, Any]:
        """Every topic that may be seen, by name."""
        return self._cluster(deadline).topics

    def names(self, deadline: Deadline) -> list[str]:
        """Of every topic that may be seen. Raises Unavailable, Refused."""
        return list(self._all(deadline))

    def _cluster(self, deadline: Deadline) -> ClusterMetadata:
        """Brokers, and the topics that may be seen. The call is made in short turns: only between them is it noticed that a
        broker turns us away; one long call would wait on.
        """
        while True:
            try:
                return self._admin.list_topics(timeout=max(0.1, deadline.left(_TURN_S)))
            except KafkaException as error:
                self._admin.poll(_KNOWN_AGAIN_S)
                if self._logs is not None and (refusal := self._logs.refusal()) is not None:
                    raise refusal from error
                if deadline.passed:
                    raise translate(error, "asking for the topics") from error

    def describe(self, names: Sequence[str], deadline: Deadline) -> dict[str, TopicDescription]:
        """Those that are there. Raises Unavailable, Refused."""
        found = self._all(deadline)
        there = {name: found[name] for name in names if name in found}
        for name, topic in there.items():
            if topic.error is not None and topic.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise translate(topic.error, f"asking for {name}")
        there = {name: topic for name, topic in there.items() if topic.error is None}
        self._need_described([name for name in names if name not in there], deadline)
        configs = self._configs(list(there), deadline)
        return {
            name: TopicDescription(
                len(topic.partitions),
                configs[name],
                min((len(each.replicas) for each in topic.partitions.values()), default=0),
            )
            for name, topic in there.items()
            if name in configs
        }

    def _need_described(self, absent: list[str], deadline: Deadline) -> None:
        """The list of all topics leaves out those that may not be described, so each absent one is asked for by name:
        a missing right must not be taken for a missing topic. Raises Refused for it.
        """
        if not absent:
            return
        asked = self._admin.describe_topics(
            TopicCollection(absent), request_timeout=max(0.1, deadline.left())
        )
        for name, future in asked.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translate(error, f"asking for {name}") from error

    def _configs(self, names: list[str], deadline: Deadline) -> dict[str, dict[str, str]]:
        """The settings of topics; without the right to read them, none: that stops no worker. A topic that was just made
        may be known to the broker that lists it and not yet to the one that tells its settings: then it is left out.
        """
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        configs = {}
        for resource, future in self._admin.describe_configs(
            resources, request_timeout=max(0.1, deadline.left())
        ).items():
            try:
                configs[resource.name] = {key: entry.value for key, entry in future.result().items()}
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    configs[resource.name] = {}
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translate(error, f"asking for the settings of {resource.name}") from error
        return configs

    def create(self, missing: Sequence[TopicState], replication: int | None, deadline: Deadline) -> None:
        """Make what `plan` found missing. Raises Unavailable, Refused."""
        new = [
            NewTopic(
                t.name,
                num_partitions=t.partitions,
                replication_factor=replication or -1,
                config=dict(t.config),
            )
            for t in missing
        ]
        if not new:
            return
        for name, future in self._admin.create_topics(new, request_timeout=max(0.1, deadline.left())).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise translate(error, f"asking to create {name}") from error
        self._wait_until_known([topic.name for topic in missing], deadline)

    def _wait_until_known(self, names: list[str], deadline: Deadline) -> None:
        """Wait until the broker that answers us knows the topics. The controller makes them a moment earlier, and a worker
        started in between would be refused.
        """
        while not deadline.passed and self.describe(names, deadline).keys() < set(names):
            time.sleep(_KNOWN_AGAIN_S)


def plan(
    names: Mapping[str, str],
    routes: Sequence[Route],
    found: Mapping[str, TopicDescription],
    partitions: int,
    keep_days: Mapping[str, int] = MappingProxyType({}),
) -> list[TopicState]:
    """Each role's topics as they are or should be. `names` maps the roles that have one topic each (log, requests, ...)
    to it; `routes` are the inputs with their outputs; `keep_days` says by role for how long to keep what."""
    asked = max((_roomier(found.get(names[role])) for role in ("requests", "lifts")), key=int)
    wishes: list[tuple[str, str, int | None, dict[str, str]]] = [
        ("prospects", each.input, None, {}) for each in routes
    ]
    for role in _OUTPUTS:
        for name in dict.fromkeys(getattr(each, role) for each in routes):
            sources = [found.get(each.input) for each in routes if getattr(each, role) == name]
            wanted = max((each.partitions for each in sources if each is not None), default=partitions)
            wishes.append((role, name, wanted, _output_config(sources)))
    wishes += [
        ("recalled", names["recalled"], None, {}),
        ("log", names["log"], 1, {**_LOG_CONFIG, _LIMIT: _LOG_LIMIT}),
        ("requests", names["requests"], None, _UNPACKED),
        ("lifts", names["lifts"], None, _UNPACKED),
        ("refused", names["refused"], None, {_LIMIT: asked}),
    ]
    usual = max((found[each.input].partitions for each in routes if each.input in found), default=partitions)
    kept = {role: {"retention.ms": str(days * _DAY_MS)} for role, days in keep_days.items()}
    return [
        _state(role, name, wanted, config | kept.get(role, {}), found, usual)
        for role, name, wanted, config in wishes
    ]


def _state(
    role: str,
    name: str,
    wanted: int | None,
    config: dict[str, str],
    found: Mapping[str, TopicDescription],
    partitions: int,
) -> TopicState:
    topic = found.get(name)
    if topic is None:
        # Not held against a topic that is there: it costs disk, and who trusts all producers may do without.
        made_with = _UNPACKED | config if role == "prospects" else config
        return TopicState(role, name, "missing", wanted or partitions, made_with)
    differences = tuple(_differences(topic, wanted, config))
    state = "differs" if differences else "ok"
    return TopicState(role, name, state, topic.partitions, topic.config, differences)


def _output_config(sources: Sequence[TopicDescription | None]) -> dict[str, str]:
    """What an output's settings should be, given what the inputs take that come out there. Compaction would refuse prospects without a key, and
    keep only one of those with the same key. A bound on timestamps is named only where the brokers know it.
    """
    config = {_LIMIT: max(map(_roomier, sources), key=int), "cleanup.policy": "delete"}
    for source in filter(None, sources):
        latest = max((source.config.get(_LATER, ""), config.get(_LATER, "")), key=lambda ms: int(ms or 0))
        bounds = {_EARLIER: _EVER_MS, _LATER: latest, _EITHER: _EVER_MS}
        config |= {name: bound for name, bound in bounds.items() if name in source.config}
    return config


def _roomier(source: TopicDescription | None) -> str:
    """The limit of a topic that takes what `source` takes, and a stamp or a reason with it."""
    return str(int((source.config if source is not None else {}).get(_LIMIT) or _LOG_LIMIT) + STAMP_ROOM)


def _differences(topic: TopicDescription, partitions: int | None, config: Mapping[str, str]) -> list[str]:
    differences = []
    if partitions is not None and topic.partitions != partitions:
        differences.append(f"{topic.partitions} partitions, should have {partitions}")
    stamped_by_broker = topic.config.get("message.timestamp.type") == "LogAppendTime"
    for key, wanted in config.items():
        value = topic.config.get(key)
        if value is None or value == wanted or (key in _ORDERED and int(value) >= int(wanted)):
            continue
        if stamped_by_broker and key.startswith("message.timestamp."):
            continue  # then these bind nobody
        more = "at least " if key in _ORDERED else ""
        differences.append(f"{key} is {value}, should be {more}{wanted}")
    return differences


def doubts(states: Sequence[TopicState]) -> list[str]:
    """What stops no worker, and has single prospects come out blocked for what their record is, in words."""
    return [
        f"topic {state.name}: {difference}"
        for state in states
        if state.role in _OUTPUTS
        for difference in state.differences
        if "partitions" not in difference
    ]


def record_limit(states: Sequence[TopicState]) -> int | None:
    """The largest record that both outputs take, in bytes; None where the settings may not be read.

    Raises Refused when a worker cannot keep its promises with these topics. Outputs with other numbers of partitions are
    no reason: partitions are added to one topic after the other, and those that have no counterpart wait.
    """
    problems = [
        f"topic {s.name} is missing"
        for s in states
        if s.state == "missing" and s.role in ("prospects", *_OUTPUTS, "log")
    ]
    problems += [
        f"topic {s.name}: {difference}"
        for s in states
        for difference in s.differences
        if s.role == "log" and _LIMIT not in difference
    ]
    if problems:
        raise Refused("; ".join(problems) + ": see `stream-scrub topics`")
    return smallest_limit(s.config for s in states if s.role in _OUTPUTS)


def smallest_limit(configs: Iterable[Mapping[str, str]]) -> int | None:
    """The largest record that topics with these settings all take, in bytes; None where none may be read."""
    return min((int(config[_LIMIT]) for config in configs if config.get(_LIMIT)), default=None)
