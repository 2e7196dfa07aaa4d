"""Who may take people out of the registers of opposition, on a real Kafka: only who may write to the topic of lifts."""

import json
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from stream_scrub.config import load
from stream_scrub.ops import logs, read_log
from tests.support.running.outcome import read_all
from tests.support.running.publisher import PublisherProcess, evidence
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

OPPOSED, AGREED, TYPED = 33_612_000_001, 33_612_000_002, 33_612_000_003
NOW_MS = int(time.time() * 1000)


def ask(stage, role: str, name: str, number: int, at_ms: int = 0, **said: object) -> None:
    """One request, written at a moment that may lie back."""
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    moment = at_ms or int(time.time() * 1000)
    if said.get("request") == "consent":
        said = {"at": datetime.fromtimestamp(moment / 1000, UTC).isoformat(), **said}
    value = json.dumps({"id": name, "number": f"+{number}", **said}).encode()
    producer.produce(stage.topics[role], value, f"{number}".encode(), timestamp=moment)
    assert producer.flush(10) == 0


def opposed(publisher) -> set[int]:
    """Who is in `internal` by the log, every promise of its format checked."""
    settings = load(environ=publisher.env)
    replay = read_log.replayed(settings, logs.configure("error", "json"), start="beginning", keep_ends=True)
    held = replay.index.registers.get("internal")
    return set(held.numbers) if held is not None else set()


def refused(stage) -> dict[str, tuple[str, str]]:
    """By request: why it was refused, and the topic that it came over."""
    found = {}
    for message in read_all(stage.bootstrap, stage.topics["refused"]):
        headers = dict(message.headers())
        found[json.loads(message.value())["id"]] = headers["reason"].decode(), headers["topic"].decode()
    return found


def correction() -> dict[str, str]:
    return {"request": "correction", "remove_from": "internal", "reason": "typed wrong"}


def test_a_lift_over_the_topic_of_requests_is_refused_and_takes_nobody_out(kafka, stages):
    """Every dialler may write opt-outs; with the same right it could have everybody called again who ever opposed."""
    stage = stages(kafka.bootstrap, partitions=2)
    consent = {"request": "consent", "after_opt_out": True}
    with PublisherProcess(stage, None) as publisher:
        for number in (OPPOSED, AGREED, TYPED):
            ask(stage, "requests", f"o{number}", number, request="opt-out")
        wait_until(lambda: opposed(publisher) == {OPPOSED, AGREED, TYPED})
        ask(stage, "requests", "c1", AGREED, **consent)
        ask(stage, "requests", "c2", TYPED, **correction())
        wait_until(lambda: len(refused(stage)) == 2)
        assert opposed(publisher) == {OPPOSED, AGREED, TYPED}
        ask(stage, "lifts", "c3", AGREED, **consent)
        ask(stage, "lifts", "c4", TYPED, **correction())
        wait_until(lambda: opposed(publisher) == {OPPOSED})
        publisher.kill()
    with PublisherProcess(stage, None, "again") as publisher:
        ask(stage, "lifts", "o5", TYPED, request="opt-out")
        wait_until(lambda: opposed(publisher) == {OPPOSED, TYPED})
        assert publisher.stop()[0] == 0
    told = evidence(stage)
    assert told["internal", "c3"] == told["consent", "c3"] == told["internal", "c4"] == 1
    assert set(told.values()) == {1}, "each once, whatever was killed"
    assert not any(name in {"c1", "c2"} for _, name in told)
    reason = ("may-not-lift", stage.topics["requests"])
    assert refused(stage) == {"c1": reason, "c2": reason}


def test_a_lift_that_is_read_late_undoes_no_opposition_that_came_after_it(kafka, stages):
    """The support desk's queue is a minute behind: who opposed meanwhile would be taken out again, also by a publisher
    that was killed in between and remembers nothing."""
    stage = stages(kafka.bootstrap, partitions=2)
    with PublisherProcess(stage, None) as publisher:
        ask(stage, "requests", "o1", OPPOSED, NOW_MS, request="opt-out")
        ask(stage, "requests", "o2", AGREED, NOW_MS - 120_000, request="opt-out")
        wait_until(lambda: opposed(publisher) == {OPPOSED, AGREED})
        publisher.kill()
    ask(stage, "lifts", "late", OPPOSED, NOW_MS - 60_000, **correction())
    ask(stage, "lifts", "later", AGREED, NOW_MS - 60_000, **correction())
    with PublisherProcess(stage, None, "again") as publisher:
        wait_until(lambda: opposed(publisher) == {OPPOSED})
        wait_until(lambda: refused(stage) == {"late": ("superseded", stage.topics["lifts"])})
        assert publisher.stop()[0] == 0
