"""Attempts that the publisher reads on a real Kafka: none is lost when its reader is opened again, and no damaged batch
holds up the others."""

import itertools
import json
import time
from datetime import UTC, datetime

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from stream_scrub.config import load
from stream_scrub.index import Register
from stream_scrub.kafka import clients
from stream_scrub.log.replay import Replay
from stream_scrub.ops import logs
from stream_scrub.requests import rested_numbers
from stream_scrub.requests.rested_numbers import RestedNumbers
from stream_scrub.rules import Rulebook
from tests.support.running.worker import environment
from tests.support.waiting import wait_until

FIRST = 33612345000
CALLS = 4  # in thirty days: then a French number rests
BAD = b"damaged on the way"


class Publisher:
    """Keeps what rests, as if nothing were on the log before."""

    def __init__(self) -> None:
        self.replay = Replay()
        self.rested: set[int] = set()

    def ready(self, _name: str) -> bool:
        return True

    def base(self, name, kind) -> Register:
        return Register.empty(name, kind, datetime.now(UTC))

    def commit(self, due) -> None:
        for pending in due:
            self.rested |= {*pending.delta.adds}


class State:
    def attempted(self, *_counts) -> None:
        """The publisher counts them."""


class Reading:
    """The publisher's part that reads attempts, and how often it opened the topic."""

    def __init__(self, bootstrap: str, topic: str, monkeypatch) -> None:
        env = environment(bootstrap, {"attempts": topic}, lists__requests_group=f"g-{topic}")
        self.opened = 0
        output_reader = clients.Brokers.output_reader

        def opening(*arguments):
            self.opened += 1
            return output_reader(*arguments)

        monkeypatch.setattr(clients.Brokers, "output_reader", opening)
        self._publisher = Publisher()
        log = logs.configure("error", "json")
        self.part = RestedNumbers(
            load(environ=env), Rulebook.load(), self._publisher, State(), log, self._publisher.commit
        )

    def step(self) -> set[int]:
        """One step; the numbers that rest by now."""
        self.part.step(datetime.now(UTC))
        return self._publisher.rested

    def until(self, wanted: set[int]) -> None:
        wait_until(lambda: self.step() >= wanted, every=0.01)


def tell(producer: Producer, topic: str, numbers, partition: int = 0, **more) -> None:
    """Enough calls of each number, in a batch of their own."""
    for number, call in itertools.product(numbers, range(CALLS)):
        said = {"request": "attempt", "id": f"{number}-{call}", "number": f"+{number}", **more}
        producer.produce(topic, json.dumps(said), partition=partition)
    assert not producer.flush(60)


def test_what_was_fetched_and_not_counted_is_read_again(kafka, topic, monkeypatch):
    """People whom a dialler had called often enough would be called on after the topic got more partitions."""
    name = topic("attempts")
    numbers, last = {*range(FIRST, FIRST + 40)}, FIRST + 99
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    tell(producer, name, numbers)
    moments = itertools.count(0, 0.06)
    monkeypatch.setattr(rested_numbers, "elapsed", lambda: next(moments))  # a step counts two records
    reading = Reading(kafka.bootstrap, name, monkeypatch)
    reading.until({FIRST})

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_partitions([NewPartitions(name, 2)])[name].result()
    opened, rested = reading.opened, set[int]()
    while reading.opened == opened:
        reading.part.look()
        rested = {*reading.step()}
    assert not numbers <= rested, "all was counted before: the test shows nothing"
    tell(producer, name, {last})
    reading.until({last})
    assert reading.step() == numbers | {last}
    reading.part.close()


def test_a_damaged_batch_holds_up_no_others_and_is_read_once_it_is_whole(proxy, topic, monkeypatch):
    """One fault of the network would have everybody else called on, or those in the damaged batch, also after it is over."""
    name = topic("attempts", partitions=2)
    damaged, behind, whole, last = range(FIRST, FIRST + 4)
    producer = Producer({"bootstrap.servers": proxy.behind, "compression.type": "none"})
    tell(producer, name, {damaged}, outcome=BAD.decode())
    tell(producer, name, {behind})
    tell(producer, name, {whole}, partition=1)
    proxy.damage(BAD, times=1_000)
    reading = Reading(proxy.bootstrap, name, monkeypatch)
    reading.until({whole})
    opened = reading.opened
    for _ in range(200):
        reading.step()
        time.sleep(0.01)
    assert proxy.harmed and damaged not in reading.step()
    assert reading.opened <= opened + 1, "each time it is opened, opt-outs wait"

    proxy.heal()
    reading.part.look()
    tell(producer, name, {last})
    reading.until({last})
    assert reading.step() == {damaged, behind, whole, last}
    reading.part.close()
