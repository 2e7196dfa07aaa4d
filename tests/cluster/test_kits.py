"""The kits' diallers when a broker is killed that leads a third of their topics, and their group."""

import math
import threading
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from tests.support.kits import DRIVERS, Program, driver_of
from tests.support.names import unique_name
from tests.support.running.dialler import lead, number_of, recall
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.kafka, pytest.mark.chaos]

BROKERS = [1, 2, 3]  # by partition, the leaders of each topic
GIVEN = 40  # leads before the kill, and then of the partition that got another leader
EVERY_S = 0.02
LATER = 40  # half of the recalls come so many leads after their lead
SEEN_S = 1.0  # docs/dialler.md: no lead is handed out once its recall was committed a second ago


@pytest.fixture(params=DRIVERS)
def driver(request, tmp_path) -> list[str]:
    return driver_of(request.param, tmp_path)


def lead_of(number: str) -> int:
    return int(number) - int(number_of(0))


class Writing(threading.Thread):
    """Writes leads, and recalls one of four: at once, or when it was probably handed out."""

    def __init__(self, bootstrap: str, allowed: str, recalled: str) -> None:
        super().__init__(daemon=True)
        self._allowed, self._recalled = allowed, recalled
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        self._stopping = threading.Event()
        self.sent = 0
        self.recalled_at: dict[str, float] = {}

    def run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            at = self.sent
            self._producer.produce(self._allowed, lead(at), partition=at % len(BROKERS))
            if at % 8 == 0:
                self._recall(at)
            elif at % 8 == 4 and at >= LATER:
                self._recall(at - LATER)
            self._producer.poll(0)
            self.sent += 1
        assert self._producer.flush(120) == 0

    def _recall(self, at: int) -> None:
        def written(*_: object) -> None:
            self.recalled_at[number_of(at)] = time.monotonic()

        self._producer.produce(self._recalled, recall(at), partition=at % len(BROKERS), on_delivery=written)

    def finish(self) -> None:
        self._stopping.set()
        self.join()


class Dialling:
    """A dialler that acknowledges each lead, but those that may be recalled only when they are."""

    def __init__(self, program: Program, writing: Writing) -> None:
        self._program, self._writing = program, writing
        self.places: dict[str, str] = {}  # of the leads that were handed out, by number
        self.open: list[str] = []

    def take_until(self, is_enough: Callable[[], bool]) -> None:
        """Take leads, and ask each time whether the oldest open one may still be called."""
        while not is_enough():
            asked_at = time.monotonic()
            answer = self._program.ask("next")
            assert not answer.startswith("error"), f"it does not go on by itself: {answer}"
            place, number = answer.split(" ")
            assert not self._was_recalled(number, asked_at), "handed out after its recall"
            self.places[number] = place
            if lead_of(number) % 4 != 0:
                self._program.ask(f"ack {place}")
            elif number not in self.open:
                self.open.append(number)
            if self.open:
                self.is_over(self.open[0])

    def is_over(self, number: str) -> bool:
        """Ask whether an open lead may not be called any more, and acknowledge it if so."""
        asked_at = time.monotonic()
        may = self._program.ask(f"may {self.places[number]}")
        assert may != "true" or not self._was_recalled(number, asked_at), "it may be called after its recall"
        is_over = may in ("false recalled", "false not-held")
        if is_over:
            self.open.remove(number)
        return is_over

    def _was_recalled(self, number: str, asked_at: float) -> bool:
        return asked_at > self._writing.recalled_at.get(number, math.inf) + SEEN_S


def test_a_killed_broker_loses_no_lead_and_no_recall(cluster, driver):
    """People would be called after they objected, leads would be lost, or the dialler would stand still until a restart."""
    group = unique_name()
    allowed, recalled = f"allowed-{group}", f"recalled-{group}"
    for topic in (allowed, recalled):
        cluster.create(topic, BROKERS)
    writing = Writing(cluster.bootstrap, allowed, recalled)
    writing.start()
    program = Program([*driver, "dial", cluster.bootstrap, allowed, recalled, group, "none", "beginning"])
    try:
        dialling = Dialling(program, writing)
        dialling.take_until(lambda: len(dialling.places) >= GIVEN)

        victim = cluster.coordinator(group, "__consumer_offsets")
        cluster.kafka.nodes[victim - 1].kill()
        dead_at = writing.sent

        def given_since() -> int:
            leads = map(lead_of, dialling.places)
            return sum(at >= dead_at and BROKERS[at % len(BROKERS)] == victim for at in leads)

        dialling.take_until(lambda: given_since() >= GIVEN)
        writing.finish()
        kept = {number_of(at) for at in range(writing.sent)} - writing.recalled_at.keys()
        dialling.take_until(lambda: kept <= dialling.places.keys())
        for number in [number for number in dialling.open if number in writing.recalled_at]:
            wait_until(lambda number=number: dialling.is_over(number))
    finally:
        program.kill()
