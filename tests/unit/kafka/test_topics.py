"""What the topics must be, compared with what a broker has: no broker needed."""

import pytest

from stream_scrub.errors import Refused
from stream_scrub.kafka.topics import STAMP_ROOM, Described, plan, record_limit

NAMES = {role: role for role in ("prospects", "allowed", "blocked", "recalled", "log", "requests", "refused")}
LOG = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


def found(**changed: Described | None) -> dict[str, Described]:
    limit = {"max.message.bytes": "2000000"}
    topics = {
        "prospects": Described(6, {"max.message.bytes": "1000000"}),
        "allowed": Described(6, limit),
        "blocked": Described(6, limit),
        "recalled": Described(3, {}),
        "log": Described(1, LOG),
        "requests": Described(2, {}),
        "refused": Described(2, {"max.message.bytes": str(1_048_588 + STAMP_ROOM)}),
    } | changed
    return {name: topic for name, topic in topics.items() if topic is not None}


def states(**changed: Described | None) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {s.role: (s.state, s.differences) for s in plan(NAMES, found(**changed), 12)}


def test_nothing_is_said_of_topics_that_are_as_they_must_be():
    """The user would be asked to change a cluster that is right."""
    assert set(states().values()) == {("ok", ())}


def test_what_is_missing_is_planned_like_the_input():
    """Outputs with other partition counts would break the order of keys."""
    planned = {s.role: s for s in plan(NAMES, found(allowed=None, log=None), 12)}

    assert (planned["allowed"].state, planned["allowed"].partitions) == ("missing", 6)
    assert planned["allowed"].config == {"max.message.bytes": str(1_000_000 + STAMP_ROOM)}
    assert (planned["log"].state, planned["log"].partitions, planned["log"].config) == ("missing", 1, LOG)


def test_an_empty_cluster_is_planned_with_the_partitions_asked_for():
    """`topics --partitions 12` would do something else."""
    planned = {s.role: s.partitions for s in plan(NAMES, {}, 12)}

    assert planned == {
        "prospects": 12,
        "allowed": 12,
        "blocked": 12,
        "recalled": 12,
        "log": 1,
        "requests": 12,
        "refused": 12,
    }


@pytest.mark.parametrize(
    ("role", "topic", "expected"),
    [
        ("blocked", Described(3, {}), "3 partitions, should have 6"),
        ("log", Described(2, LOG), "2 partitions, should have 1"),
        ("log", Described(1, LOG | {"retention.ms": "604800000"}), "retention.ms is 604800000, should be -1"),
        (
            "log",
            Described(1, LOG | {"cleanup.policy": "compact"}),
            "cleanup.policy is compact, should be delete",
        ),
        (
            "allowed",
            Described(6, {"max.message.bytes": "1000000"}),
            "max.message.bytes is 1000000, should be at least 1016384",
        ),
    ],
)
def test_what_differs_is_said_in_full(role, topic, expected):
    """Evidence would be deleted after a week, or a prospect at the size limit could not be emitted with its stamp."""
    assert states(**{role: topic})[role] == ("differs", (expected,))


def test_settings_that_may_not_be_read_are_no_difference():
    """A worker without the right to describe settings would never start."""
    unread = {role: Described(topic.partitions, {}) for role, topic in found().items()}

    planned = plan(NAMES, unread, 1)

    assert {s.state for s in planned} == {"ok"}
    assert record_limit(planned) is None


def test_the_record_limit_is_the_smaller_output_s():
    """A prospect that only one of the two outputs takes would stop its partition."""
    planned = plan(NAMES, found(blocked=Described(6, {"max.message.bytes": "1500000"})), 1)

    assert record_limit(planned) == 1_500_000


@pytest.mark.parametrize(
    "changed",
    [
        {"allowed": None},
        {"prospects": None},
        {"log": None},
        {"blocked": Described(1, {})},
        {"log": Described(2, LOG)},
    ],
)
def test_a_worker_is_refused_topics_that_break_a_promise(changed):
    """It would start, and lose the order of keys or the evidence without a word."""
    with pytest.raises(Refused, match="stream-scrub topics"):
        record_limit(plan(NAMES, found(**changed), 1))
