"""A broker that hears nothing of the others while clients still reach it: it was deposed, and answers as before."""

import time
from contextlib import suppress

import pytest
from confluent_kafka import Producer

from stream_scrub.kafka.client.producer_calls import id_of_worker
from tests.support.running.outcome import read_all
from tests.support.running.prospects import french_mobiles, prospect
from tests.support.running.stage import Stage
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
]

NUMBERS = french_mobiles(60, seed=25)
WORKER = "w0"
LEADS = 20


def coordinators(cluster, group: str) -> set[int]:
    """The brokers that a worker of this group commits through."""
    worker = id_of_worker(group, WORKER)
    cluster.create_coordinators(worker)
    return {
        cluster.coordinator(group, "__consumer_offsets"),
        cluster.coordinator(worker, "__transaction_state"),
    }


class Scene:
    """A worker, and a log that is led by a broker through which the worker commits nothing."""

    def __init__(self, cluster, stages, suffix: str, *, led: str = "log", **settings) -> None:
        """`led`: which topic that broker leads: of prospects, their first partition."""
        self.cluster = cluster
        busy = coordinators(cluster, f"group-{suffix}")
        self.victim = next(each for each in (1, 2, 3) if each not in busy)
        others = [each for each in (1, 2, 3) if each != self.victim]
        self.led = f"{led}-{suffix}"
        cluster.create(
            f"log-{suffix}", [self.victim if led == "log" else others[0]], **{"retention.ms": "-1"}
        )
        cluster.create(f"prospects-{suffix}", [self.victim if led == "prospects" else others[0], others[1]])
        for role in ("allowed", "blocked"):
            cluster.create(f"{role}-{suffix}", others, **{"max.message.bytes": "2000000"})
        self.stage: Stage = stages(
            cluster.bootstrap,
            partitions=2,
            suffix=suffix,
            rules__index_lag_max_s=3,
            worker__batch_ms=50,
            **settings,
        )
        self.stage.load("internal", NUMBERS[:1])
        self.stage.load("consent", NUMBERS, "--kind", "allow")
        self.worker = self.stage.worker(WORKER).start()
        wait_until(lambda: self.worker.logged("partitions assigned"))
        self.sent = 0

    def send(self, numbers) -> None:
        producer = Producer({"bootstrap.servers": self.cluster.without(self.victim), "acks": "all"})
        for number in numbers:
            value = prospect(self.sent, f"+{number}")
            producer.produce(self.stage.topics["prospects"], value, partition=self.sent % 2)
            self.sent += 1
        assert producer.flush(60) == 0

    def verdicts(self) -> list[str]:
        """Where each lead came out."""
        place = self.cluster.without(self.victim)
        return [role for role in ("allowed", "blocked") for _ in read_all(place, self.stage.topics[role])]

    def depose(self) -> None:
        self.cluster.kafka.cut_off(self.victim)
        wait_until(lambda: self.cluster.leader(self.led, by=self.victim) != self.victim, every=0.5)

    def knows(self) -> int:
        """Up to where the worker has read the log."""
        swaps = [line["position"] for line in self.worker.lines() if line["event"] == "index swapped"]
        return max(swaps, default=-1)

    def oppose(self, numbers) -> None:
        """Import opt-outs through the brokers that hear each other."""
        self.stage.env["STREAM_SCRUB_KAFKA__BOOTSTRAP_SERVERS"] = self.cluster.without(self.victim)

        def imported() -> bool:
            with suppress(AssertionError):  # on a busy machine a quorum may not answer in time
                self.imported_at = self.stage.load("internal", numbers, "--adds")["position"]
                return True
            return False

        wait_until(imported)


@pytest.fixture
def scene(cluster, stages):
    """Makes a scene."""
    return lambda **more: Scene(cluster, stages, f"s{time.time_ns() % 10**8}", **more)


def test_an_opt_out_is_in_force_while_a_deposed_broker_denies_it(scene):
    """Everybody who opted out would be called for as long as one broker hears nothing of the others."""
    scene = scene()
    scene.send(NUMBERS[1 : 1 + LEADS])
    wait_until(lambda: scene.verdicts() == ["allowed"] * LEADS, every=0.5)
    scene.depose()
    scene.oppose(NUMBERS[1 : 1 + LEADS])
    wait_until(lambda: scene.knows() >= scene.imported_at)
    scene.send(NUMBERS[1 : 1 + LEADS])
    wait_until(lambda: len(scene.verdicts()) == 2 * LEADS, every=0.5)
    assert scene.verdicts() == ["allowed"] * LEADS + ["blocked"] * LEADS


def test_leads_on_the_partition_of_a_deposed_broker_flow(scene):
    """Leads would wait for as long as one broker hears nothing of the others, with a lag of nothing."""
    # The client asks for leaders so often, by default each half minute, and at times the deposed one.
    scene = scene(led="prospects", kafka__consumer__topic_metadata_refresh_interval_ms=2000)
    scene.send(NUMBERS[1 : 1 + LEADS])
    wait_until(lambda: scene.verdicts() == ["allowed"] * LEADS, every=0.5)
    scene.depose()
    scene.send(NUMBERS[1 : 1 + LEADS])
    wait_until(lambda: scene.verdicts() == ["allowed"] * 2 * LEADS, every=1)
