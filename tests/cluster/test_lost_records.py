"""Kafka loses acknowledged records of the log, or of allowed or recalled prospects: a replica that lacks them is elected (an
unclean election)."""

import json
import signal
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scrub.dialler import Allowed, Lead
from stream_scrub.kafka.client.producer_calls import id_of_publisher, id_of_recall, id_of_worker
from tests.support.network.left_open import left_open
from tests.support.running.dialler import settings
from tests.support.running.outcome import ends, read_all, read_recalls
from tests.support.running.prospects import french_mobiles, produce, prospect
from tests.support.running.publisher import PublisherProcess, evidence
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import run_json
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
]

CLEAR, LOST, LATER = (french_mobiles(36, seed=27)[at : at + 12] for at in (0, 12, 24))
VICTIM, OTHERS = 3, (1, 2)
RULE = TO_EVERYBODY.replace('deny = ["internal"]\nrequire = ["consent"]', 'deny = ["internal", "partner"]')


def name_for(cluster) -> str:
    """A suffix of names such that the victim coordinates nothing: only the log is to suffer."""
    cluster.create_coordinators()
    cluster.kafka.settle()
    for at in range(10_000):
        suffix = f"u{time.time_ns() % 10**6}x{at}"
        group, log = f"group-{suffix}", f"log-{suffix}"
        ids = [id_of_worker(group, name) for name in ("w0", "w1")] + [id_of_recall(group, "r1")]
        ids += [id_of_publisher(log, name) for name in ("internal", "consent", "rested", "partner", "rules")]
        ids.append(f"tests-{log}")
        groups = (group, f"{group}-recall", f"diallers-{suffix}", f"publisher-{log}")
        busy = {cluster.coordinator(each, "__consumer_offsets") for each in groups}
        if VICTIM not in busy | {cluster.coordinator(each, "__transaction_state") for each in ids}:
            return suffix
    raise AssertionError("the victim coordinates everything")


class Lossy:
    """A log, or another topic of that role, that the victim leads, and that may lose records."""

    def __init__(self, cluster, role: str = "log", **config: str) -> None:
        self.cluster = cluster
        self.suffix = name_for(cluster)
        self.log = f"{role}-{self.suffix}"
        unclean = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
        cluster.create(self.log, [VICTIM], **unclean, **{"retention.ms": "-1"} | config)
        # Who begins now must not begin with a broker that is dead.
        self.place = cluster.without(VICTIM)
        self.tests = {"bootstrap.servers": self.place, "transactional.id": f"tests-log-{self.suffix}"}

    def copy_no_more(self) -> None:
        """From here on only the victim has what is acknowledged."""
        self.starve()
        self.abort_something()  # a replica that misses nothing stays in sync
        wait_until(lambda: self.cluster.in_sync(self.log) == [VICTIM], every=0.5)

    def starve(self) -> None:
        """Let nobody copy what the victim writes."""
        self.cluster.kafka.starve(VICTIM)
        time.sleep(1)  # a fetch that is on its way is still answered (replica.fetch.wait.max.ms)

    def abort_something(self) -> None:
        """Have the log grow by two offsets that no reader sees."""
        self.open_transaction().abort_transaction(60)

    def open_transaction(self) -> Producer:
        """One of nobody's, on the log."""
        producer = Producer(self.tests)
        producer.init_transactions(60)
        producer.begin_transaction()
        producer.produce(self.log, b"x", b"x", 0)
        assert producer.flush(60) == 0
        return producer

    def lose(self) -> None:
        """Elect another broker, which lacks the last records."""
        self.cluster.kafka.nodes[VICTIM - 1].kill()
        self.cluster.kafka.reconnect()
        wait_until(lambda: self.cluster.leader(self.log, by=VICTIM) in OTHERS, every=0.5)

    def written(self) -> int:
        return ends(self.place, [self.log], "read_uncommitted")


class Scene(Lossy):
    """The same with a worker and a publisher."""

    def __init__(self, cluster, stages, tmp_path) -> None:
        super().__init__(cluster)
        large, plain = {"max.message.bytes": "2000000"}, {"compression.type": "uncompressed"}
        special = {"prospects": {}, "requests": plain, "lifts": plain}
        special |= dict.fromkeys(("allowed", "recalled"), large | {"retention.ms": str(10_000 * 86_400_000)})
        for role in ("prospects", "requests", "lifts", "allowed", "blocked", "recalled", "refused"):
            cluster.create(f"{role}-{self.suffix}", list(OTHERS), **special.get(role, large))
        self.stage = stages(
            self.place,
            partitions=2,
            suffix=self.suffix,
            rules__index_lag_max_s=3,
            worker__batch_ms=50,
            worker__state_dir=tmp_path / "state",
        )
        self.stage.judge_by(RULE)
        self.stage.load("internal", [33_799_999_999])
        self.stage.load("partner", [33_799_999_998])
        self.publisher = PublisherProcess(self.stage, None)
        self.worker = self.stage.worker("w0").start()
        self.sent = 0

    def assigned(self, worker) -> None:
        wait_until(lambda: worker.logged("partitions assigned"))

    def verdicts(self, numbers) -> set[str]:
        """How these are judged now."""
        producer = Producer({"bootstrap.servers": self.place, "acks": "all"})
        first = self.sent
        for number in numbers:
            value = prospect(self.sent, f"+{number}")
            producer.produce(self.stage.topics["prospects"], value, partition=self.sent % 2)
            self.sent += 1
        assert producer.flush(60) == 0
        wait_until(lambda: len(self._out()) == self.sent, every=0.5)
        return {role for id_, role in self._out().items() if id_ >= first}

    def _out(self) -> dict[int, str]:
        return {
            json.loads(message.value())["id"]: role
            for role in ("allowed", "blocked")
            for message in read_all(self.place, self.stage.topics[role])
        }

    def opt_out(self, numbers) -> None:
        producer = Producer({"bootstrap.servers": self.place, "acks": "all"})
        for number in numbers:
            asked = {"request": "opt-out", "number": f"+{number}", "id": f"o{number}"}
            producer.produce(self.stage.topics["requests"], json.dumps(asked).encode(), str(number).encode())
        assert producer.flush(60) == 0

    def is_sound(self) -> bool:
        return run_json(["lists", "verify"], self.stage.env)["sound"]


class Handed(Lossy):
    """A worker, a recall and a dialler; the allowed or the recalled topic may lose records."""

    def __init__(self, cluster, stages, role: str) -> None:
        large = {"max.message.bytes": "2000000", "retention.ms": str(10_000 * 86_400_000)}
        configs = {"prospects": {}, "allowed": large, "blocked": large, "recalled": large}
        configs["log"] = {"retention.ms": "-1"}  # who leads it must be able to have it copied
        super().__init__(cluster, role, **configs.pop(role))
        for other, config in configs.items():
            cluster.create(f"{other}-{self.suffix}", [OTHERS[0]], **config)
        self.stage = stages(self.place, partitions=1, suffix=self.suffix)
        self.stage.judge_by(RULE)
        self.stage.load("internal", [33_799_999_999])
        self.stage.load("partner", [33_799_999_998])

    def send(self, numbers) -> None:
        leads = ((b"k", prospect(number, f"+{number}")) for number in numbers)
        produce(self.place, self.stage.topics["prospects"], leads)

    def allowed(self) -> list[int]:
        messages = read_all(self.place, self.stage.topics["allowed"])
        return [json.loads(each.value())["id"] for each in messages]

    def recalled(self) -> set[int]:
        return {int(each.key()[1:]) for each in read_recalls(self.place, self.stage.topics["recalled"])}

    def recall_offset(self) -> int:
        """Where recall has read the allowed topic to."""
        group = f"{self.stage.env['STREAM_SCRUB_WORKER__GROUP_ID']}-recall"
        with closing(Consumer({"bootstrap.servers": self.place, "group.id": group})) as asking:
            return asking.committed([TopicPartition(self.stage.topics["allowed"], 0)], 60)[0].offset

    def dialler(self, **options) -> Allowed:
        named = {f"topics.{role}": self.stage.topics[role] for role in ("prospects", "requests", "lifts")}
        named |= {"recall.keep_days": 10_000, "kafka.consumer": {"session.timeout.ms": "6000"}}
        made = settings(self.place, self.stage.topics["allowed"], self.stage.topics["recalled"], **named)
        return Allowed(f"diallers-{self.suffix}", settings=made, max_age=timedelta(9_000), **options)


@pytest.mark.parametrize("is_killed", [False, True])
def test_new_leads_at_the_offsets_of_lost_ones_are_neither_skipped_nor_out_of_reach(
    cluster, stages, caplog, is_killed
):
    """Who objected would stay with the diallers, and new leads be taken for acknowledged ones and never be called."""
    caplog.set_level("INFO", "stream_scrub")
    scene = Handed(cluster, stages, "allowed")
    with scene.stage.worker("w0"), scene.stage.recall("r1") as recall:
        scene.send(CLEAR)
        wait_until(lambda: len(scene.allowed()) == len(CLEAR))
        scene.copy_no_more()
        scene.send(LOST)
        with scene.dialler(start="beginning") as leads:
            for _ in CLEAR + LOST:
                leads.ack(next(leads))
        ghost = scene.written()
        wait_until(lambda: scene.recall_offset() >= ghost - 1)
        if is_killed:
            recall.kill()
        else:
            recall.send(signal.SIGSTOP)
        scene.lose()
        scene.send(LATER)
        wait_until(lambda: {*LATER} <= {*scene.allowed()})
        while scene.written() <= ghost:
            scene.abort_something()

        if is_killed:
            recall.start()
        else:
            recall.send(signal.SIGCONT)
        wait_until(lambda: recall.logged("partitions restored", outstanding=len(CLEAR + LATER)))
        scene.stage.load("partner", LATER[:3], "--adds")
        wait_until(lambda: {*LATER[:3]} == scene.recalled())
        for _ in range(2):
            caplog.clear()
            with scene.dialler() as leads:
                given: list[Lead] = []
                asking = threading.Thread(target=lambda: given.extend(leads))
                asking.start()
                wait_until(lambda: "brokers lost leads there" in caplog.text)
                leads.close()
                asking.join(60)
                assert given == []


def test_new_prospects_at_the_offsets_of_lost_ones_are_not_skipped(cluster, stages):
    """New prospects would be taken for ones that were judged, and never come out, without a word."""
    scene = Handed(cluster, stages, "prospects")
    with scene.stage.worker("w0") as worker:
        scene.send(CLEAR)
        wait_until(lambda: len(scene.allowed()) == len(CLEAR))
        scene.copy_no_more()
        scene.send(LOST)
        wait_until(lambda: len(scene.allowed()) == len(CLEAR + LOST))
        assert worker.stop()[0] == 0
        ghost = scene.written()
        scene.lose()
        while scene.written() <= ghost:
            scene.send(LATER)
        with scene.stage.worker("w0") as later:
            wait_until(lambda: later.logged("holding: nothing is emitted", cause="no-offsets"))
        assert len(scene.allowed()) == len(CLEAR + LOST)


@pytest.fixture
def scene(cluster, stages, tmp_path):
    made = Scene(cluster, stages, tmp_path)
    yield made
    made.publisher.__exit__()


def test_workers_go_by_the_log_that_is_left(scene, tmp_path):
    """Whoever opted out after an unclean election would be called, by workers that know as many records as the log has."""
    scene.assigned(scene.worker)
    scene.copy_no_more()
    scene.stage.load("partner", LOST, "--adds")
    wait_until(lambda: scene.verdicts(LOST[:1]) == {"blocked"})
    assert scene.verdicts(LOST) == {"blocked"}
    ghost = scene.written()
    folder = tmp_path / "later"
    with scene.stage.worker("w1", worker__state_dir=folder) as later:
        scene.assigned(later)
        assert later.stop()[0] == 0  # its snapshot holds what is lost
    scene.worker.send(signal.SIGSTOP)
    scene.lose()
    scene.abort_something()
    scene.stage.load("partner", LATER, "--adds")
    assert scene.written() == ghost, "nobody sees it by the length"
    scene.worker.send(signal.SIGCONT)
    assert scene.verdicts(LATER) == {"blocked"}
    scene.worker.kill()
    with scene.stage.worker("w1", worker__state_dir=folder) as later:
        assert scene.verdicts(LATER) == {"blocked"}
        assert later.logged("snapshot not used")
    assert scene.is_sound()


def test_opt_outs_that_the_log_lost_come_into_force_again(cluster, scene):
    """Opt-outs that were confirmed would be gone for good, or their publisher make the log corrupt for everybody."""
    scene.assigned(scene.worker)
    scene.copy_no_more()
    scene.publisher.start()  # so a new leader knows nothing of its producer
    wait_until(scene.publisher.ready)
    scene.opt_out(LOST)
    wait_until(lambda: len(evidence(scene.stage)) == len(LOST), every=0.5)
    wait_until(lambda: scene.verdicts(LOST[:1]) == {"blocked"})
    assert scene.verdicts(LOST) == {"blocked"}
    ghost = scene.written()
    scene.publisher.send(signal.SIGSTOP)
    scene.lose()
    assert not evidence(scene.stage), "the log has lost them"
    later = 0
    while scene.written() <= ghost:  # so nobody sees it by the length
        later += 1
        scene.stage.load("partner", LATER[:later], "--adds")
    scene.opt_out(CLEAR[:2])  # it publishes before it hears of the log
    scene.publisher.send(signal.SIGCONT)
    wait_until(lambda: len(evidence(scene.stage)) == len(LOST) + 2, every=0.5)
    assert set(evidence(scene.stage).values()) == {1}
    wait_until(lambda: scene.verdicts(LOST[:1]) == {"blocked"})
    assert scene.verdicts([*LOST, *LATER[:later], *CLEAR[:2]]) == {"blocked"}
    assert scene.verdicts(CLEAR[2:]) == {"allowed"}
    assert scene.publisher.alive and scene.worker.alive
    assert scene.is_sound()


def test_a_marker_that_was_lost_leaves_a_transaction_open_that_no_coordinator_knows(scene):
    """Tests of crashes would take a fault of ours for one of Kafka, or the reverse."""
    producer = scene.open_transaction()
    assert left_open(scene.place) == [], "a client left it open"
    scene.starve()
    producer.abort_transaction(60)
    Producer(scene.tests).init_transactions(60)  # it waits until the marker is acknowledged
    scene.lose()
    # One broker may name the new leader before another does.
    wait_until(lambda: left_open(scene.place) == [f"{scene.log}-0"], every=0.5)
    wait_until(lambda: scene.worker.logged("holding: nothing is emitted", cause="log-open"))
