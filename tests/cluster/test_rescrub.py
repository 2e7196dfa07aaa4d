"""A broker of three dies while leads are judged again."""

import json
import random
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.running import forked
from tests.support.running.outcome import count, ends, read_all, read_recalls
from tests.support.running.prospects import produce, prospect
from tests.support.running.worker import SCRIPT, WAIT_S, run_json, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
]

FIRST, LEADS = 32_470_100_000, 6000
BEFORE, MEANWHILE = 50, 100  # how many are opposed before the first renewal, and by the end
DAYS = ["--days", "3"]  # by a list of three days ago Belgian leads end in five days


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days):%Y-%m-%d}"


def number_of(record) -> int:
    return int(json.loads(record.value())["scrub"]["number"][1:]) - FIRST


def test_each_lead_is_renewed_or_taken_back_once_while_a_broker_dies(cluster, stages):
    """A broker's crash would hand leads out twice, let those lapse that may still be called, or leave one with a dialler that
    was opposed meanwhile."""
    stage = stages(cluster.bootstrap, partitions=3, kafka__consumer__session_timeout_ms=6000)
    stage.load("dncm", [FIRST - 1], "--effective-at", day(-3))
    stage.load("internal", [FIRST - 1])
    allowed = stage.topics["allowed"]
    with stage.worker("w1") as worker:
        leads = ((b"k%d" % (at % 31), prospect(at, f"+{FIRST + at}", country="BE")) for at in range(LEADS))
        produce(stage.bootstrap, stage.topics["prospects"], leads)
        wait_until(lambda: count(stage.bootstrap, [allowed]) == LEADS)
        assert worker.stop()[0] == 0
    stage.load("dncm", [FIRST - 1], "--effective-at", day(0))
    with stage.recall("r1") as recall:
        wait_until(lambda: recall.logged("partitions restored"))
        stage.load("internal", range(FIRST, FIRST + BEFORE), "--adds")
        wait_until(lambda: len(read_recalls(stage.bootstrap, stage.topics["recalled"])) == BEFORE)
        upto = ends(stage.bootstrap, [allowed], "read_uncommitted") + random.Random(29).randint(1, 3000)
        running = forked.Popen([SCRIPT, "rescrub", *DAYS], env=stage.env)

        def imported() -> bool:
            with suppress(AssertionError):  # the broker may lead the log
                stage.load("internal", range(FIRST + BEFORE, FIRST + MEANWHILE), "--adds")
                return True
            return False

        opposing = threading.Thread(target=wait_until, args=(imported,))
        opposing.start()
        wait_until(lambda: ends(stage.bootstrap, [allowed], "read_uncommitted") >= upto, every=0.01)
        cluster.kafka.nodes[cluster.leader(allowed) - 1].kill()
        assert running.wait(WAIT_S) == 0
        opposing.join()
        cluster.kafka.start()
        cluster.kafka.settle()
        wait_until(lambda: not outstanding(stage) & {*range(MEANWHILE)}, every=1)
        assert recall.stop()[0] == 0

    records = list(read_all(stage.bootstrap, allowed))
    renewals = Counter(number_of(m) for m in records if "scrub-renews" in dict(m.headers() or ()))
    recalled = Counter(
        int(m.key()[1:]) - FIRST for m in read_recalls(stage.bootstrap, stage.topics["recalled"])
    )
    assert set(renewals.values()) == {1}, "renewed twice"
    assert {*range(MEANWHILE, LEADS)} <= renewals.keys() <= {*range(BEFORE, LEADS)}
    assert recalled.keys() == {*range(MEANWHILE)}
    assert all(times <= 1 + renewals[number] for number, times in recalled.items()), "recalled twice"
    assert run_json(["expiring", *DAYS], stage.env)["days"] == [], "some end soon all the same"


def outstanding(stage) -> set[int]:
    """The numbers of which something was handed out that no recall took back."""
    upto: dict[tuple[int, str], int] = {}
    for recall in read_recalls(stage.bootstrap, stage.topics["recalled"]):
        for text in dict(recall.headers())["upto"].decode().split():
            _, partition, offset = text.rsplit("/", 2)
            place = int(recall.key()[1:]) - FIRST, partition
            upto[place] = max(int(offset), upto.get(place, 0))
    return {
        number_of(record)
        for record in read_all(stage.bootstrap, stage.topics["allowed"])
        if upto.get((number_of(record), str(record.partition())), 0) <= record.offset()
    }
