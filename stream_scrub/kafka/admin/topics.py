"""The topics: what each role needs, what is missing or differs, and the creation of missing ones.

The needs of a role are data; the admin API describes what the broker has; `plan` compares the two.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource  # type: ignore[attr-defined]  # not in its __all__
from confluent_kafka.cimpl import NewTopic

from stream_scrub.config.evidence import KEPT_DAYS
from stream_scrub.config.settings import Route
from stream_scrub.errors import Refused
from stream_scrub.kafka.admin.acls import RequiredRights, missing
from stream_scrub.kafka.client.client_log import ClientLog
from stream_scrub.kafka.client.translate import translate
from stream_scrub.kafka.offsets import partitions_of
from stream_scrub.model import Deadline

# Room for a stamp next to the largest prospect that the input takes.
STAMP_ROOM = 16_384
_KNOWN_AGAIN_S = 0.1
_TURN_S = 1.0
_REACH_S = 10.0  # a broker that says nothing for so long is not there
_LIMIT = "max.message.bytes"
_OUTPUTS = ("allowed", "blocked")
# How far from the broker's clock a record's own timestamp may be. An output takes what it is given: prospects wait, so
# their timestamps grow old, and they may be as far ahead as `prospects` lets them. Kafka before 3.6 has the third alone.
_EARLIER, _LATER, _EITHER = (f"message.timestamp.{side}.max.ms" for side in ("before", "after", "difference"))
_EVER_MS = str(2**63 - 1)
_ORDERED = frozenset({_LIMIT, _EARLIER, _LATER, _EITHER})  # settings of which more is as good
_DAY_MS = 24 * 3_600_000
EVIDENCE = ("recalled", "attempts")  # the roles of topics that are kept for `evidence.keep_days`
# The log is the evidence: nothing of it may ever be dropped or compacted away.
_LOG_CONFIG = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
# Many may write prospects and requests. The client unpacks a batch that packs a thousandfold before anybody can look at
# it. A broker that keeps a topic uncompressed holds `max.message.bytes` against the unpacked batch, and refuses it.
_UNPACKED = {"compression.type": "uncompressed"}
# No attempt is later than its record, and they are read again from a moment on. By the timestamp of a dialler whose clock
# is years behind, or counts seconds, they would not count, and Kafka would delete them.
_ATTEMPTS_CONFIG = {**_UNPACKED, "message.timestamp.type": "LogAppendTime"}
# Kafka's own default. A part of a delta has 768 KiB at most, with its headers and its batch on top.
_LOG_LIMIT = "1048588"


# No setting of ours can compensate for these: a record that a broker acknowledged and lost is gone.
_REPLICAS, _IN_SYNC = 3, 2
FEW_REPLICAS = (
    f"fewer than {_REPLICAS} replicas: the loss of two brokers loses acknowledged records, and the absence of one stops"
    " writing or leaves a single copy; prospects and opt-outs may be lost"
)
ONE_IN_SYNC = (
    f"min.insync.replicas below {_IN_SYNC}: one broker alone acknowledges, and is lost with what it has not replicated;"
    " prospects and opt-outs may be lost, and with lost offsets prospects are emitted twice"
)
UNCLEAN = (
    "unclean.leader.election.enable: a replica that is behind may become leader, and what it lacks is gone; prospects are"
    " lost or emitted twice, and a log without its end makes every worker hold"
)


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the broker has it."""

    partitions: int
    config: Mapping[str, str]  # empty without the right to read it
    replicas: int = 0  # the fewest of a partition; 0 if unknown


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic's role and name, its state (`ok`, `missing` or `differs`), and the differences."""

    role: str
    name: str
    state: str
    partitions: int
    config: Mapping[str, str]
    differences: tuple[str, ...] = ()


class TopicAdmin:
    """Describes and creates the broker's topics. Each call blocks until its deadline at most, or until `logs`, the log of
    this client, shows that a broker refuses it."""

    def __init__(self, options: dict[str, Any], logs: ClientLog | None = None) -> None:
        self._options = options
        self._admin = AdminClient(options)
        self._logs = logs

    def lacking(self, rights: RequiredRights, deadline: Deadline) -> list[str]:
        """The missing rights, in words. Raises Unavailable, Refused."""
        cluster = self._cluster(deadline)
        if cluster.controller_id not in cluster.brokers:
            return []  # no controller would answer (as with the embedded broker): a missing right shows when it is needed
        return missing(self._admin, self._options, rights, deadline)

    def names(self, deadline: Deadline) -> list[str]:
        """The names of all visible topics. Raises Unavailable, Refused."""
        return list(self._cluster(deadline).topics)

    def partitions(self, name: str, deadline: Deadline) -> list[int]:
        """The partitions of a topic. Raises Unavailable, Refused."""
        self._cluster(deadline)
        return partitions_of(self._admin, name, deadline)

    def _cluster(self, deadline: Deadline) -> ClusterMetadata:
        """Brokers, and the visible topics. Asks in short turns: a refusal shows only between them, and one long call would
        wait for its timeout."""
        deadline = Deadline.after(deadline.left(_REACH_S))
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
        """Those that exist. Raises Unavailable, Refused."""
        found = self._cluster(deadline).topics
        there = {name: found[name] for name in names if name in found}
        for name, topic in there.items():
            if topic.error is not None and topic.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise translate(topic.error, f"asking for {name}")
        there = {name: topic for name, topic in there.items() if topic.error is None}
        if absent := [name for name in names if name not in there]:
            self._need_described(absent, deadline)
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
        """The list of all topics lacks those that we may not describe, so ask for each absent one by name: a missing right
        must not be taken for a missing topic. Raises Refused for it."""
        timeout_s = max(0.1, deadline.left())
        answers = self._admin.describe_topics(TopicCollection(absent), request_timeout=timeout_s)
        for name, future in answers.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translate(error, f"asking for {name}") from error

    def _configs(self, names: list[str], deadline: Deadline) -> dict[str, dict[str, str]]:
        """The settings of topics: none without the right to read them, which stops no worker. A new topic is left out until
        the broker with its settings knows it."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        configs = {}
        answers = self._admin.describe_configs(resources, request_timeout=max(0.1, deadline.left()))
        for resource, future in answers.items():
            try:
                configs[resource.name] = {key: entry.value for key, entry in future.result().items()}
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    configs[resource.name] = {}
                elif code != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise translate(error, f"asking for the settings of {resource.name}") from error
        return configs

    def session_timeout_s(self, group: str, deadline: Deadline) -> float | None:
        """How long the partitions of a killed member of `group` wait with the brokers' own protocol; None if the brokers do
        not tell."""
        resource = ConfigResource(ConfigResource.Type.GROUP, group)
        answers = self._admin.describe_configs([resource], request_timeout=max(0.1, deadline.left()))
        try:
            timeout = answers[resource].result().get("consumer.session.timeout.ms")
        except KafkaException:
            return None
        return None if timeout is None else int(timeout.value) / 1000

    def create(self, missing: Sequence[TopicState], replication: int | None, deadline: Deadline) -> None:
        """Create the missing topics of a `plan`. Raises Unavailable, Refused."""
        factor = replication or -1
        new = [
            NewTopic(t.name, t.partitions, replication_factor=factor, config=dict(t.config)) for t in missing
        ]
        if not new:
            return
        for name, future in self._admin.create_topics(new, request_timeout=max(0.1, deadline.left())).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise translate(error, f"asking to create {name}") from error
        # The controller makes topics a moment before the broker that answers us knows them. A worker started in between
        # would be refused.
        names = [topic.name for topic in missing]
        while not deadline.passed and self.describe(names, deadline).keys() < set(names):
            time.sleep(_KNOWN_AGAIN_S)


def plan(
    names: Mapping[str, str],
    routes: Sequence[Route],
    found: Mapping[str, TopicDescription],
    partitions: int,
    keep_days: Mapping[str, int] = MappingProxyType({}),
    recall_days: int = 90,
    evidence_days: int = KEPT_DAYS,
) -> list[TopicState]:
    """Each role's topics as they are or should be. `names` maps the roles that have one topic each (log, requests, ...)
    to it; `routes` are the inputs with their outputs; `keep_days` says by role for how long to keep what, `recall_days` for
    how long allowed prospects may be recalled, and `evidence_days` for how long calls and recalls are evidence."""
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
        ("recalled", names["recalled"], None, {"cleanup.policy": "delete"}),
        ("log", names["log"], 1, {**_LOG_CONFIG, _LIMIT: _LOG_LIMIT}),
        ("requests", names["requests"], None, _UNPACKED),
        ("lifts", names["lifts"], None, _UNPACKED),
        ("refused", names["refused"], None, {_LIMIT: asked}),
        ("attempts", names["attempts"], None, _ATTEMPTS_CONFIG),
    ]
    usual = max((found[each.input].partitions for each in routes if each.input in found), default=partitions)
    days_of = dict.fromkeys(EVIDENCE, max(evidence_days, recall_days)) | dict(keep_days)
    kept = {role: {"retention.ms": str(days * _DAY_MS)} for role, days in days_of.items()}
    made_with = {"prospects": _UNPACKED, "allowed": {"retention.ms": str(recall_days * _DAY_MS)}}
    return [
        _state(role, name, wanted, config | kept.get(role, {}), found, usual, made_with.get(role, {}))
        for role, name, wanted, config in wishes
    ]


def _state(
    role: str,
    name: str,
    wanted: int | None,
    config: dict[str, str],
    found: Mapping[str, TopicDescription],
    partitions: int,
    made_with: Mapping[str, str],
) -> TopicState:
    topic = found.get(name)
    if topic is None:
        # `made_with` is not required of an existing topic: it costs disk, and not everybody needs it.
        return TopicState(role, name, "missing", wanted or partitions, {**made_with, **config})
    differences = tuple(_differences(topic, wanted, config))
    state = "differs" if differences else "ok"
    return TopicState(role, name, state, topic.partitions, topic.config, differences)


def _output_config(sources: Sequence[TopicDescription | None]) -> dict[str, str]:
    """The settings that an output needs for its inputs. Compaction would refuse prospects without a key, and keep only one
    of those with the same key. A bound on timestamps is named only if the brokers know it."""
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
            continue  # then these do not apply
        or_more = " or more" if key in _ORDERED else ""
        differences.append(f"{key}={value}, should be {key}={wanted}{or_more}")
    return differences


def doubts(states: Sequence[TopicState]) -> list[str]:
    """Differences, in words, that stop no worker but block single prospects for the form of their record."""
    return [
        f"topic {state.name}: {difference}"
        for state in states
        if state.role in _OUTPUTS
        for difference in state.differences
        if "partitions" not in difference
    ]


def too_short(
    found: Mapping[str, TopicDescription], names: Mapping[str, str], asked: Mapping[str, int]
) -> dict[str, list[str]]:
    """What the topics of evidence keep for less than a country asks, in words, each with its topics. `names`: by role;
    `asked`: the days that a country asks for, by country."""
    warnings: dict[str, list[str]] = {}
    for days in sorted({*asked.values()}, reverse=True):
        countries = " and ".join(sorted(country for country in asked if asked[country] == days))
        if short := kept_shorter(found, [names[role] for role in EVIDENCE], days):
            warnings[
                f"kept for less than the {days} days of evidence that the law of {countries} asks for"
            ] = short
    return warnings


def kept_shorter(found: Mapping[str, TopicDescription], names: Iterable[str], days: int) -> list[str]:
    """The topics that keep their records for less than `days`. One whose settings we may not read counts as good."""
    kept = {name: retention_days(found[name]) for name in names if name in found}
    return [name for name, kept_days in kept.items() if kept_days is not None and kept_days < days]


def record_limit(states: Sequence[TopicState]) -> int | None:
    """The largest record that both outputs take, in bytes; None without the right to read their settings.

    Raises Refused if a worker cannot keep its promises with these topics. A different number of partitions is no reason:
    partitions are added to one topic after the other, and those without a counterpart wait.
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
        raise Refused("; ".join(problems) + ": run `stream-scrub topics`")
    return smallest_limit(s.config for s in states if s.role in _OUTPUTS)


def retention_days(topic: TopicDescription) -> float | None:
    """For how long a topic keeps its records; None for ever, or without the right to read its settings."""
    kept_ms = int(topic.config.get("retention.ms") or -1)
    return None if kept_ms < 0 else kept_ms / _DAY_MS


def smallest_limit(configs: Iterable[Mapping[str, str]]) -> int | None:
    """The largest record in bytes that topics with these settings all take; None if unknown."""
    return min((int(config[_LIMIT]) for config in configs if config.get(_LIMIT)), default=None)


def durability_costs(topics: Mapping[str, TopicDescription]) -> dict[str, list[str]]:
    """What the settings of topics risk, in words, each with the names of the topics. A setting that we may not read
    counts as good."""
    risks: dict[str, list[str]] = {}
    for name, topic in sorted(topics.items()):
        if 0 < topic.replicas < _REPLICAS:
            risks.setdefault(FEW_REPLICAS, []).append(name)
        if int(topic.config.get("min.insync.replicas", _IN_SYNC)) < _IN_SYNC:
            risks.setdefault(ONE_IN_SYNC, []).append(name)
        if topic.config.get("unclean.leader.election.enable") == "true":
            risks.setdefault(UNCLEAN, []).append(name)
    return risks
