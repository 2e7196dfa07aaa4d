"""A dialler over sixty days on a real Kafka, whose clock moves with that of all daemons."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scrub.errors import Unavailable
from stream_scrub.stamp import decode
from tests.conftest import started
from tests.support.oracles.dialling import PROFESSIONALS, START, Dialler
from tests.support.running.clients import properties
from tests.support.running.moved_clock import MovedClock
from tests.support.running.outcome import read_all
from tests.support.running.publisher import PublisherProcess, replayed, resting
from tests.support.running.worker import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


@pytest.fixture
def clock(tmp_path, monkeypatch):
    made = MovedClock(tmp_path, monkeypatch)
    made.move(START)
    return made


@pytest.fixture
def kafka(clock):
    moved = started(properties={"broker.session.timeout.ms": "60000"})  # a busy machine must not fence it
    yield moved
    moved.__exit__(None, None, None)


class Daemons:
    """A worker and a publisher, which die now and then, and what goes in and comes out of their topics."""

    def __init__(self, stage, clock):
        self._stage, self._clock, self._rng = stage, clock, random.Random(1)
        # A killed worker that comes back waits for the end of its session.
        self._worker = stage.worker("w1", kafka__consumer__session_timeout_ms=6000).start()
        self._publisher = PublisherProcess(stage, None).start()
        self._producer = Producer(properties(stage.bootstrap) | {"linger.ms": 0})
        self._reader = Consumer(
            properties(stage.bootstrap) | {"group.id": "tests", "isolation.level": "read_committed"}
        )
        self._reader.assign([TopicPartition(topic, at, 0) for topic in stage.outputs for at in range(2)])
        self.asked, self.kills = 0, 0
        self._rests, self._opposed, self._is_opposed = {}, set(), set()

    def stamps(self, asks, now):
        self._let_end(now)
        self._clock.move(now)
        first = self.asked
        for number, campaign in asks:
            lead = {"id": self.asked, "phone": f"+{number}", "campaign": campaign, "purpose": "insurance"}
            lead["contract"] = True
            self._send("prospects", json.dumps(lead).encode(), number)
            self.asked += 1
        self._producer.flush(20)
        self._perhaps_kill(self._worker)
        found = {}
        wait_until(lambda: found.update(self._read()) or len(found) >= len(asks), every=0)
        return [found[each] for each in range(first, self.asked)]

    def _read(self) -> Iterator:
        for message in self._reader.consume(100, 0.2):
            lead = json.loads(message.value())
            yield lead["id"], decode(json.dumps(lead["scrub"]).encode())

    def report(self, records, opposed, now):
        for record in records:
            self._send("attempts", record, json.loads(record)["number"])
        for number in opposed:
            said = {"request": "opt-out", "id": f"o{number}", "number": f"+{number}"}
            self._send("requests", json.dumps(said).encode(), number)
        self._producer.flush(20)
        self._perhaps_kill(self._publisher)
        self._opposed.update(opposed)

    def settle(self, rests, now):
        wanted = {}
        for (number, who), end in rests.items():
            wanted.setdefault(f"rested@{who}", {})[number] = int(end.timestamp())
        if wanted != self._rests or self._opposed != self._is_opposed:
            wait_until(lambda: self._is_published(wanted))
        self._rests, self._is_opposed = wanted, {*self._opposed}

    def _is_published(self, rests):
        """Whether the log holds that, and nothing else."""
        try:
            replay = replayed(self._publisher)
        except Unavailable:
            return False
        internal = replay.index.registers.get("internal")
        found = {name: ends for name, ends in resting(replay).items() if ends}
        return found == rests and {*(internal.numbers if internal else ())} == self._opposed

    def _let_end(self, now):
        """What ends before that moment leaves its register within two minutes of its end."""
        ends = {end for each in self._rests.values() for end in each.values() if end <= now.timestamp()}
        if not ends:
            return
        self._clock.move(now - timedelta(seconds=150))
        self._rests = {
            name: left
            for name, each in self._rests.items()
            if (left := {n: end for n, end in each.items() if end not in ends})
        }

        def is_settled():
            self._clock.move(min(self._clock.now + timedelta(seconds=10), now))
            return self._is_published(self._rests)

        wait_until(is_settled, every=0.2)

    def _perhaps_kill(self, daemon):
        if self._rng.random() < 0.08:
            daemon.kill()
            daemon.start()
            self.kills += 1

    def _send(self, role, value, number):
        stamp = int(self._clock.now.timestamp() * 1000)
        self._producer.produce(self._stage.topics[role], value, f"{number}", timestamp=stamp)

    def stop(self):
        self._reader.close()
        assert self._worker.stop()[0] == self._publisher.stop()[0] == 0


def test_a_dialler_that_calls_whatever_it_may_keeps_the_law(kafka, clock, stages):
    """A crash or a restart would cost somebody's fifth call in thirty days, or one at night, for 75 000 euros each."""
    stage = stages(kafka.bootstrap, partitions=2, prospect__professionals=json.dumps(PROFESSIONALS))
    stage.load("partner", [33612999999])  # a worker holds while the log has no list
    daemons = Daemons(stage, clock)
    dialler = Dialler(daemons, random.Random(8))  # somebody opposes
    dialler.work(a_day=1)
    daemons.stop()
    assert len(dialler.calls) > 60 and len(dialler.refusals) > 2 and dialler.opposed and len(dialler.told) > 9
    assert daemons.kills > 5
    out = Counter(json.loads(m.value())["id"] for t in stage.outputs for m in read_all(stage.bootstrap, t))
    assert out == Counter(range(daemons.asked)), "each prospect once"
