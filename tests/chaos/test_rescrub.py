"""Leads whose verdict ends soon are judged again in place, each once, on a real Kafka."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.running import forked
from tests.support.running.outcome import count, ends, read_all
from tests.support.running.prospects import produce, prospect
from tests.support.running.worker import SCRIPT, run_json
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

FIRST, LEADS = 32_470_100_000, 3000
DAYS = ["--days", "3"]  # by today's list they end in five days
TODAY = datetime.now(UTC).date()


def day(days: int) -> str:
    return f"{TODAY + timedelta(days):%Y-%m-%d}"


@pytest.fixture
def stage(kafka, stages):
    """Belgian leads by a list of three days ago: it is good for five."""
    made = stages(kafka.bootstrap, partitions=2, prospect__cloudevents="urn:example:scrub")
    made.load("dncm", [FIRST - 1], "--effective-at", day(-3))
    made.load("internal", [FIRST - 1])
    with made.worker("w1") as worker:
        leads = ((b"k%d" % (at % 31), prospect(at, f"+{FIRST + at}", country="BE")) for at in range(LEADS))
        produce(made.bootstrap, made.topics["prospects"], leads)
        wait_until(lambda: count(made.bootstrap, [made.topics["allowed"]]) == LEADS)
        assert worker.stop()[0] == 0
    return made


def outcomes(stage):
    return {each["outcome"]: each["leads"] for each in run_json(["rescrub", *DAYS], stage.env)["outcomes"]}


def ending(stage):
    return [
        (each["day"], each["country"], each["leads"])
        for each in run_json(["expiring", *DAYS], stage.env)["days"]
    ]


def emitted(stage):
    """What is on the allowed topic: the leads and their renewals, by partition and offset."""
    records = {(m.partition(), m.offset()): m for m in read_all(stage.bootstrap, stage.topics["allowed"])}
    renewals = {}
    for (partition, _), record in records.items():
        if (renewed := dict(record.headers() or ()).get("scrub-renews")) is not None:
            renewals.setdefault((partition, int(renewed)), []).append(record)
    return records, renewals


def test_two_at_once_renew_each_lead_once(stage):
    """A job that is started again while it still runs would hand leads out twice."""
    stage.load("dncm", [FIRST - 1], "--effective-at", day(0))
    allowed = [stage.topics["allowed"]]
    upto = ends(stage.bootstrap, allowed, "read_uncommitted")
    first = forked.Popen([SCRIPT, "rescrub", *DAYS], env=stage.env)
    wait_until(lambda: ends(stage.bootstrap, allowed, "read_uncommitted") > upto, every=0.01)
    outcomes(stage)
    assert first.wait() in (0, 1)
    _, renewals = emitted(stage)
    assert len(renewals) == LEADS and all(len(each) == 1 for each in renewals.values())
    assert ending(stage) == []


def test_leads_that_end_soon_are_renewed_each_once_through_kills(stage):
    """A crash of a re-scrub would hand leads out twice, or let those lapse that may still be called."""
    (last,) = {
        json.loads(m.value())["scrub"]["until"] for m in read_all(stage.bootstrap, stage.topics["allowed"])
    }
    assert ending(stage) == [(last, "BE", LEADS)] and last > day(0)
    assert outcomes(stage) == {"no-later": LEADS}, "the list has not been renewed yet"

    stage.load("dncm", [FIRST - 1], "--effective-at", day(0))
    stage.load("internal", [FIRST - 1, FIRST, FIRST + 1], "--allow-change")
    allowed, rng = [stage.topics["allowed"]], random.Random(7)
    for _ in range(3):
        upto = ends(stage.bootstrap, allowed, "read_uncommitted") + rng.randint(1, 750)
        run = forked.Popen([SCRIPT, "rescrub", *DAYS], env=stage.env)
        wait_until(lambda u=upto: ends(stage.bootstrap, allowed, "read_uncommitted") >= u, every=0.01)
        run.kill()
        run.wait()
    assert 0 < len(emitted(stage)[1]) < LEADS - 2, "no kill came in between: proves nothing"
    outcomes(stage)
    records, renewals = emitted(stage)
    assert outcomes(stage) == {"blocked": 2}, "nothing is left to renew"
    assert emitted(stage)[1].keys() == renewals.keys()

    assert all(len(each) == 1 for each in renewals.values()), "renewed twice"
    leads = {place for place, m in records.items() if "scrub-renews" not in dict(m.headers() or ())}
    blocked = {place for place in leads if json.loads(records[place].value())["id"] in (0, 1)}
    assert set(renewals) == leads - blocked
    for place, (renewal,) in renewals.items():
        before, after = (json.loads(m.value()) for m in (records[place], renewal))
        old, new = before.pop("scrub"), after.pop("scrub")
        assert before == after and renewal.key() == records[place].key()
        assert new["until"] > old["until"] and new["index"] > old["index"]
        events = [value for name, value in renewal.headers() if name == "ce_id"]
        assert events == ["/".join(map(str, (*allowed, *place))).encode()], "an event of its own"
    assert ending(stage) == [(last, "BE", 2)]
