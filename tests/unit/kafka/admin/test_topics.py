"""What the topics must be, compared with what a broker has: no broker needed."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scrub.config.settings import Route
from stream_scrub.errors import Refused
from stream_scrub.kafka.admin.topics import (
    FEW_REPLICAS,
    ONE_IN_SYNC,
    STAMP_ROOM,
    UNCLEAN,
    TopicAdmin,
    TopicDescription,
    doubts,
    durability_costs,
    plan,
    record_limit,
)
from stream_scrub.model import Deadline

NAMES = {
    role: role
    for role in (
        "prospects",
        "allowed",
        "blocked",
        "recalled",
        "log",
        "requests",
        "lifts",
        "refused",
        "attempts",
    )
}
ROUTES = [Route("prospects", "allowed", "blocked")]
LOG = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
}


def found(**changed: TopicDescription | None) -> dict[str, TopicDescription]:
    limit = {"max.message.bytes": "2000000"}
    topics = {
        "prospects": TopicDescription(6, {"max.message.bytes": "1000000"}),
        "allowed": TopicDescription(6, limit),
        "blocked": TopicDescription(6, limit),
        "recalled": TopicDescription(3, {}),
        "log": TopicDescription(1, LOG),
        "requests": TopicDescription(2, {}),
        "lifts": TopicDescription(2, {}),
        "refused": TopicDescription(2, {"max.message.bytes": str(1_048_588 + STAMP_ROOM)}),
        "attempts": TopicDescription(6, {}),
    } | changed
    return {name: topic for name, topic in topics.items() if topic is not None}


def states(**changed: TopicDescription | None) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {s.role: (s.state, s.differences) for s in plan(NAMES, ROUTES, found(**changed), 12)}


def test_nothing_is_said_of_topics_that_are_as_they_must_be_or_may_not_be_read():
    """The user would be asked to change a cluster that is right, or a worker without a right never start."""
    for changed in ({}, {role: TopicDescription(topic.partitions, {}) for role, topic in found().items()}):
        assert set(states(**changed).values()) == {("ok", ())}


def test_topics_keep_what_was_said_and_no_longer():
    """People's leads would lie in Kafka for years that the data protection officer had written down as days."""
    blocked = TopicDescription(6, {"max.message.bytes": "2000000", "retention.ms": "604800000"})
    there = found(blocked=blocked, requests=None, prospects=None)
    made = {s.role: s for s in plan(NAMES, ROUTES, there, 6, {"blocked": 30, "requests": 7, "prospects": 1})}
    assert made["blocked"].differences == ("retention.ms=604800000, should be retention.ms=2592000000",)
    assert made["requests"].config["retention.ms"] == "604800000"
    assert made["prospects"].config == {"compression.type": "uncompressed", "retention.ms": "86400000"}
    assert all("retention.ms" not in s.config for s in made.values() if s.role in ("lifts", "refused"))


def test_calls_and_recalls_are_kept_as_evidence():
    """A regulator asks after four years for the calls to a number, and Kafka deleted them after a month."""
    planned = {s.role: s for s in plan(NAMES, ROUTES, {}, 12)}
    five_years = str(1827 * 86_400_000)
    assert {planned[role].config["retention.ms"] for role in ("recalled", "attempts")} == {five_years}
    french = {s.role: s for s in plan(NAMES, ROUTES, {}, 12, evidence_days=1096)}
    assert french["attempts"].config["retention.ms"] == str(1096 * 86_400_000)
    recallable = {s.role: s for s in plan(NAMES, ROUTES, {}, 12, recall_days=2000, evidence_days=1096)}
    assert recallable["recalled"].config["retention.ms"] == str(2000 * 86_400_000)


def test_what_is_missing_is_planned_like_the_input():
    """Outputs with other partition counts would break the order of keys."""
    planned = {s.role: s for s in plan(NAMES, ROUTES, found(allowed=None, log=None), 12)}

    assert (planned["allowed"].state, planned["allowed"].partitions) == ("missing", 6)
    assert planned["allowed"].config == {
        "max.message.bytes": str(1_000_000 + STAMP_ROOM),
        "cleanup.policy": "delete",
        "retention.ms": str(90 * 86_400_000),
    }
    assert (planned["log"].state, planned["log"].partitions, planned["log"].config) == ("missing", 1, LOG)


def test_an_empty_cluster_is_planned_with_the_partitions_asked_for():
    """`topics --partitions 12` would do something else."""
    planned = {s.role: s.partitions for s in plan(NAMES, ROUTES, {}, 12)}

    assert planned == dict.fromkeys(NAMES, 12) | {"log": 1}


@pytest.mark.parametrize(
    ("role", "topic", "expected"),
    [
        ("blocked", TopicDescription(3, {}), "3 partitions, should have 6"),
        ("log", TopicDescription(2, LOG), "2 partitions, should have 1"),
        (
            "log",
            TopicDescription(1, LOG | {"retention.ms": "604800000"}),
            "retention.ms=604800000, should be retention.ms=-1",
        ),
        (
            "log",
            TopicDescription(1, LOG | {"cleanup.policy": "compact"}),
            "cleanup.policy=compact, should be cleanup.policy=delete",
        ),
        (
            "log",
            TopicDescription(1, LOG | {"max.message.bytes": "500000"}),
            "max.message.bytes=500000, should be max.message.bytes=1048588 or more",
        ),
        (
            "allowed",
            TopicDescription(6, {"max.message.bytes": "1000000"}),
            "max.message.bytes=1000000, should be max.message.bytes=1016384 or more",
        ),
        (
            "blocked",
            TopicDescription(6, {"cleanup.policy": "compact"}),
            "cleanup.policy=compact, should be cleanup.policy=delete",
        ),
    ],
)
def test_what_differs_is_said_in_full(role, topic, expected):
    """Evidence would be deleted after a week, or a prospect at the size limit could not be emitted with its stamp."""
    assert states(**{role: topic})[role] == ("differs", (expected,))


FOR_EVER = str(2**63 - 1)


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        (
            {"message.timestamp.after.max.ms": FOR_EVER},
            {"message.timestamp.after.max.ms": "3600000"},
            (
                f"message.timestamp.after.max.ms=3600000, should be message.timestamp.after.max.ms={FOR_EVER} or more",
            ),
        ),
        (
            {"message.timestamp.before.max.ms": "3600000"},
            {"message.timestamp.before.max.ms": "86400000"},
            (
                f"message.timestamp.before.max.ms=86400000, should be message.timestamp.before.max.ms={FOR_EVER} or more",
            ),
        ),
        (
            {"message.timestamp.after.max.ms": FOR_EVER},
            {"message.timestamp.after.max.ms": "1", "message.timestamp.type": "LogAppendTime"},
            (),
        ),
        ({}, {"message.timestamp.after.max.ms": "3600000"}, ()),
        ({"message.timestamp.after.max.ms": "60000"}, {"message.timestamp.after.max.ms": "3600000"}, ()),
    ],
)
def test_a_bound_on_timestamps_that_prospects_may_be_beyond_is_said(source, output, expected):
    """A prospect that waited for a day, or whose producer counts in microseconds, would be refused by the output, and
    nobody be told before.
    """
    planned = plan(
        NAMES, ROUTES, found(prospects=TopicDescription(6, source), allowed=TopicDescription(6, output)), 1
    )

    (allowed,) = [each for each in planned if each.role == "allowed"]
    assert allowed.differences == expected
    assert doubts(planned) == [f"topic allowed: {each}" for each in expected]
    assert record_limit(planned) is not None


def test_bounds_are_made_only_where_the_brokers_know_them():
    """`topics` would fail on a Kafka that is older than these settings."""
    known = {"message.timestamp.before.max.ms": "7", "message.timestamp.after.max.ms": "9"}
    for source, expected in (({}, {}), (known, known | {"message.timestamp.before.max.ms": FOR_EVER})):
        planned = plan(NAMES, ROUTES, found(prospects=TopicDescription(6, source), blocked=None), 1)
        (blocked,) = [each for each in planned if each.role == "blocked"]
        bounds = {name: value for name, value in blocked.config.items() if "timestamp" in name}
        assert bounds == expected


UNREAD = {role: TopicDescription(topic.partitions, {}) for role, topic in found().items()}


@pytest.mark.parametrize(
    ("changed", "limit"),
    [
        ({"log": TopicDescription(1, LOG | {"max.message.bytes": "500000"})}, 2_000_000),
        ({"blocked": TopicDescription(6, {"max.message.bytes": "1500000"})}, 1_500_000),
        ({"blocked": TopicDescription(1, {})}, 2_000_000),
        ({"blocked": TopicDescription(9, {})}, 2_000_000),
        (UNREAD, None),
    ],
    ids=["small log", "smaller output", "fewer partitions", "more partitions", "may not be read"],
)
def test_the_record_limit_is_the_smaller_output_s(changed, limit):
    """A worker would not start for what does not concern it, or a prospect that only one output takes stop its partition."""
    assert record_limit(plan(NAMES, ROUTES, found(**changed), 1)) == limit


@pytest.mark.parametrize(
    "changed",
    [
        {"allowed": None},
        {"prospects": None},
        {"log": None},
        {"log": TopicDescription(2, LOG)},
    ],
)
def test_a_worker_is_refused_topics_that_break_a_promise(changed):
    """It would start, and lose the order of keys or the evidence without a word."""
    with pytest.raises(Refused, match="stream-scrub topics"):
        record_limit(plan(NAMES, ROUTES, found(**changed), 1))


class Admin:
    """An admin client of a cluster with one topic, whose settings are told with this code."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def list_topics(self, timeout):
        return SimpleNamespace(
            topics={"in": SimpleNamespace(error=None, partitions={0: SimpleNamespace(replicas=[])})}
        )

    def describe_configs(self, resources, request_timeout):
        told: Future[dict] = Future()
        if self.code is None:
            told.set_result({"retention.ms": SimpleNamespace(value="-1")})
        else:
            told.set_exception(KafkaException(KafkaError(self.code)))
        return dict.fromkeys(resources, told)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, {"in": TopicDescription(1, {"retention.ms": "-1"})}),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, {"in": TopicDescription(1, {})}),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, {}),
    ],
)
def test_a_topic_that_one_broker_does_not_know_yet_is_not_there_yet(code, expected):
    """`topics` would fail beside three brokers, one of which hears of a new topic a moment later than the others."""
    topics = TopicAdmin.__new__(TopicAdmin)
    topics._admin, topics._logs = Admin(code), None
    assert topics.describe(["in"], Deadline.after(1)) == expected


def test_what_too_few_copies_cost_is_told():
    """A cluster would be trusted with promises that its topics cannot keep."""
    well = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    assert durability_costs({"a": TopicDescription(6, well, 3), "unread": TopicDescription(6, {})}) == {}
    told = durability_costs(
        {
            "a": TopicDescription(6, well | {"min.insync.replicas": "1"}, 2),
            "b": TopicDescription(6, well | {"unclean.leader.election.enable": "true"}, 1),
        }
    )
    assert told == {FEW_REPLICAS: ["a", "b"], ONE_IN_SYNC: ["a"], UNCLEAN: ["b"]}
