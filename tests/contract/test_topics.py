"""`topics` against a real Kafka, and against one where rights are missing."""

import json

import pytest

from stream_scrub.config.settings import Route
from stream_scrub.errors import Unavailable
from stream_scrub.kafka.admin.topics import (
    FEW_REPLICAS,
    ONE_IN_SYNC,
    TopicAdmin,
    durability_costs,
    plan,
    record_limit,
)
from stream_scrub.model import Deadline
from tests.kafka.broker import Kafka
from tests.support.names import unique_name
from tests.support.running.worker import environment, run

ROLES = ("prospects", "allowed", "blocked", "recalled", "log", "requests", "lifts", "refused", "attempts")


def names() -> dict[str, str]:
    unique = unique_name()
    return {role: f"{role}-{unique}" for role in ROLES}


def state(topics: TopicAdmin, named: dict[str, str], seconds: float = 20):
    route = Route(named["prospects"], named["allowed"], named["blocked"])
    return plan(named, [route], topics.describe(list(named.values()), Deadline.after(seconds)), 3)


def test_what_is_missing_is_made_and_is_then_as_it_must_be(kafka: Kafka):
    """`stream-scrub topics` would leave a cluster that the worker refuses."""
    topics, named = TopicAdmin({"bootstrap.servers": kafka.bootstrap}), names()
    missing = state(topics, named)
    assert {s.state for s in missing} == {"missing"}

    topics.create(missing, None, Deadline.after(120))
    topics.create(missing, None, Deadline.after(120))  # another operator was quicker

    made = state(topics, named)
    assert {s.role: (s.state, s.differences) for s in made} == dict.fromkeys(ROLES, ("ok", ()))
    assert {s.role: s.partitions for s in made}["allowed"] == 3
    assert {s.role: s.config["retention.ms"] for s in made}["log"] == "-1"
    assert record_limit(made) == 1_048_588 + 16_384
    assert {s.role: s.config["message.timestamp.type"] for s in made}["attempts"] == "LogAppendTime"
    told = durability_costs(
        topics.describe(list(named.values()), Deadline.after(120))
    )  # of a cluster with one broker
    assert told == {word: sorted(named.values()) for word in (FEW_REPLICAS, ONE_IN_SYNC)}


def test_an_operator_is_warned_of_evidence_that_is_kept_for_less_than_a_law_asks(kafka: Kafka):
    """Five years later nobody could show German authorities which calls were made."""
    env = environment(kafka.bootstrap, names(), evidence__keep_days=1096)
    assert run(["topics", "--partitions", "1"], env).returncode == 0
    done = run(["topics", "--check"], env)

    assert done.returncode == 0, done.stderr
    recalled, attempts = env["STREAM_SCRUB_TOPICS__RECALLED"], env["STREAM_SCRUB_TOPICS__ATTEMPTS"]
    said = " ".join(done.stdout.split())
    assert (
        f"{recalled}, {attempts}: kept for less than the 1827 days of evidence that the law of DE and US asks for"
        in said
    )
    assert "1096 days" not in said
    longer = run(["topics", "--check", "--json"], env | {"STREAM_SCRUB_EVIDENCE__KEEP_DAYS": "1827"})
    differing = {each["role"] for each in json.loads(longer.stdout)["topics"] if each["differences"]}
    assert longer.returncode == 1 and differing == {"recalled", "attempts"}


def test_allowed_prospects_that_are_deleted_before_a_recall_show(kafka: Kafka, topic):
    """Recall would refuse to start on the day it is needed, and its leads be dialled for weeks."""
    allowed = topic("allowed", config={"retention.ms": "604800000"})
    done = run(["topics", "--check"], environment(kafka.bootstrap, names() | {"allowed": allowed}))

    said = " ".join(done.stdout.split())
    assert f"{allowed}: kept for less than the 90 days of recall.keep_days: recall does not start" in said


def test_an_output_that_refuses_what_the_input_takes_is_found(kafka: Kafka, topic):
    """The first keyless prospect, or one whose producer counts in microseconds, would say so, in the middle of the work."""
    free = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    named = names() | {
        "prospects": topic("in", config=free),
        "allowed": topic("allowed", config={"cleanup.policy": "compact"}),
    }

    found = {s.role: s for s in state(TopicAdmin({"bootstrap.servers": kafka.bootstrap}), named)}

    assert found["allowed"].differences[1:] == (
        "cleanup.policy=compact, should be cleanup.policy=delete",
        f"message.timestamp.after.max.ms=3600000, should be message.timestamp.after.max.ms={2**63 - 1} or more",
    )
    made = found["blocked"]
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).create([made], None, Deadline.after(120))
    again = {s.role: s for s in state(TopicAdmin({"bootstrap.servers": kafka.bootstrap}), named)}
    assert again["blocked"].state == "ok"


def test_no_broker_is_unavailable_and_keeps_to_the_deadline():
    """The command would hang instead of saying that nobody answers."""
    with pytest.raises(Unavailable):
        state(TopicAdmin({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}), names(), 0.5)


def test_a_log_that_takes_no_whole_part_is_refused_before_a_list_is_read_into_it(kafka, topic, tmp_path):
    """A large list would be given up at its first part, with the broker's word for it, at every try."""
    kept = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "500000"}
    env = environment(kafka.bootstrap, {"log": topic("log", config=kept)})
    (tmp_path / "list.txt").write_text("+33612345678\n")
    done = run(["lists", "import", str(tmp_path / "list.txt"), "--register", "internal"], env)
    assert done.returncode == 1
    assert "max.message.bytes=500000, should be max.message.bytes=1048588 or more" in " ".join(
        done.stderr.split()
    )
