"""Everybody at work on three brokers under a nemesis: workers, publisher, recall, fan-out and three diallers, while leads,
opt-outs, attempts and lists come. One broker after another is cut off from the others, killed or made to hang, and so is one
process after another. `make nemesis NEMESIS=1-500` for hours; each failure names its seed.
"""

import base64
import json
import os
import random
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from datetime import datetime

import pytest
from confluent_kafka import KafkaError, Message, Producer
from pyroaring import BitMap64

from stream_scrub.dialler import Allowed
from tests.support.fakes.web import Web
from tests.support.running.clients import properties
from tests.support.running.dialler import settings as dialler_settings
from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import compare, count, read_all
from tests.support.running.prospects import french_mobiles, true_number
from tests.support.running.publisher import PublisherProcess, evidence, requests, rested
from tests.support.running.stage import TO_EVERYBODY, Stage
from tests.support.running.worker import WorkerProcess, run
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
]


def seeds() -> list[int]:
    """One of either group protocol, or those that are asked for."""
    first, _, last = os.environ.get("STREAM_SCRUB_TEST_SEEDS", "2-3").partition("-")
    return list(range(int(first), int(last or first) + 1))


NUMBERS = french_mobiles(2_000, seed=40)
PER_S, OPT_OUTS_PER_S = 60, 5
ROUNDS = 2  # in the first one, who leads the log is cut off
CUT_S = 40.0
REQUEST_LAG_S = RECALL_LAG_S = 15
ATTEMPTS = 4  # after which a number rests
# An opt-out may be committed ten seconds after it was written (the publisher's transaction timeout). Then workers may be
# three seconds behind (`rules.index_lag_max_s` here), and judge for two; the rest is the machine's.
KNOWN_S = 10 + 3 + 2 + 5


class Objections(OptOuts):
    """Opt-outs of people whose leads are on their way."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.accepted: dict[int, float] = {}
        """By number: when its opt-out was acknowledged. Its timestamp is earlier: the client keeps it while its broker is away."""

    def record(self, at: int) -> tuple[bytes, bytes]:
        request = {"request": "opt-out", "number": f"+{NUMBERS[at]}", "id": f"o{at}"}
        return str(NUMBERS[at]).encode(), json.dumps(request).encode()

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        self.accepted[int(message.key() or b"")] = time.time()


class Dialler(threading.Thread):
    """Calls each lead that it is given, reports the attempt, and acknowledges it."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(name=name, daemon=True)
        topics = stage.topics
        made = dialler_settings(
            stage.bootstrap,
            topics["allowed"],
            topics["recalled"],
            **{
                "rules.request_lag_max_s": REQUEST_LAG_S,
                "recall.lag_max_s": RECALL_LAG_S,
                "lists.requests_group": stage.env["STREAM_SCRUB_LISTS__REQUESTS_GROUP"],
                "worker.group_id": stage.env["STREAM_SCRUB_WORKER__GROUP_ID"],
                "topics.log": topics["log"],
                "topics.requests": topics["requests"],
                "topics.lifts": topics["lifts"],
                "topics.prospects": topics["prospects"],
            },
        )
        self.leads = Allowed("diallers", settings=made, start="beginning")
        self._producer = Producer(properties(stage.bootstrap) | {"enable.idempotence": True, "log_level": 0})
        self._attempts = topics["attempts"]
        self.calls: list[tuple[float, int, tuple[int, int]]] = []  # moment, number, partition and offset
        self.failure: BaseException | None = None
        self._ends = False

    def run(self) -> None:
        try:
            for lead in self.leads:
                number = int(lead.numbers[0].removeprefix("+"))
                self.calls.append((time.time(), number, (lead.partition, lead.offset)))
                attempt = {
                    "request": "attempt",
                    "id": f"{lead.partition}/{lead.offset}",
                    "number": f"+{number}",
                }
                self._producer.produce(self._attempts, json.dumps(attempt).encode(), str(number))
                self._producer.poll(0)
                try:
                    self.leads.ack(lead)
                except RuntimeError:
                    if not self._ends:  # else it was closed between the call and this
                        raise
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        self._ends = True
        self.leads.close()
        self.join(120)
        assert not self.is_alive() and self.failure is None, self.failure
        assert self._producer.flush(120) == 0


class Killer(threading.Thread):
    """Kills one process after another, and starts it again."""

    def __init__(self, processes: dict[str, WorkerProcess], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._processes, self._rng = processes, rng
        self._stopping = threading.Event()
        self.killed: list[str] = []

    def run(self) -> None:
        while not self._stopping.wait(self._rng.uniform(8, 20)):
            name = self._rng.choice(sorted(self._processes))
            self.killed.append(name)
            self._processes[name].kill()
            self._stopping.wait(self._rng.uniform(0, 4))
            self._processes[name].start()

    def finish(self) -> None:
        self._stopping.set()
        self.join(120)
        assert not self.is_alive()


class Imports(threading.Thread):
    """Imports of one list, again and again with more numbers. Each may fail while brokers suffer."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage = stage
        self._stopping = threading.Event()
        self.done = self.refused = 0

    def run(self) -> None:
        while not self._stopping.wait(3):
            numbers = range(33_798_000_000, 33_798_000_001 + self.done + self.refused)
            file = self._stage.list_file(numbers, "partner.txt")
            asked = ["lists", "import", str(file), "--register", "partner", "--register-unknown", "--adds"]
            ended = run(asked, self._stage.env)
            self.done += ended.returncode == 0
            self.refused += ended.returncode != 0

    def finish(self) -> None:
        self._stopping.set()
        self.join(130)
        assert not self.is_alive()


class Nemesis:
    """What it does to whom follows from its seed. One broker suffers at a time, so that two always agree."""

    def __init__(self, cluster, rng: random.Random) -> None:
        self._kafka, self._rng = cluster.kafka, rng
        self.done: list[str] = []

    def strike(self, leader: int | None = None) -> None:
        """Somebody, or this leader."""
        broker = leader or self._rng.randrange(1, 4)
        how = self._cut if leader else self._rng.choice([self._cut, self._kill, self._hang])
        self.done.append(f"{how.__name__.strip('_')} {broker}")
        how(broker)
        self._kafka.start()
        self._kafka.settle()
        time.sleep(self._rng.uniform(2, 6))

    def _cut(self, broker: int) -> None:
        self._kafka.cut_off(broker)
        time.sleep(CUT_S)
        if self._rng.random() < 0.3:  # it never hears that it was deposed
            self._kafka.nodes[broker - 1].kill()
        self._kafka.reconnect()

    def _kill(self, broker: int) -> None:
        self._kafka.nodes[broker - 1].kill()
        time.sleep(self._rng.uniform(1, 8))

    def _hang(self, broker: int) -> None:
        self._kafka.nodes[broker - 1].pause()
        time.sleep(self._rng.uniform(3, 15))
        self._kafka.nodes[broker - 1].resume()


def blocked_since(address: str, log: str) -> dict[int, tuple[int, float]]:
    """By number: the position of the first seal by which it is opposed or rests, and when that one was written."""
    since: dict[int, tuple[int, float]] = {}
    waiting: defaultdict[bytes, set[int]] = defaultdict(set)
    for message in read_all(address, log):
        if (register := message.key()) not in (b"internal", b"rested"):
            continue
        part = dict(message.headers())["part"]
        if part == b"adds":
            waiting[register] |= set(BitMap64.deserialize(message.value()))
        elif part == b"seal":
            for number in waiting.pop(register, ()):
                since.setdefault(number, (message.offset(), message.timestamp()[1] / 1000))
    return since


@pytest.mark.parametrize("seed", seeds())
def test_no_lead_is_dialled_long_after_an_opt_out_and_none_is_lost(cluster, stages, seed):
    """People would be called after their opt-out was accepted, or leads never be called, when networks and processes fail."""
    protocol = "consumer" if seed % 2 else "classic"
    stage = stages(
        cluster.bootstrap,
        partitions=3,
        worker__batch_ms=250,  # twenty transactions a second on three brokers are most of what this test costs
        rules__index_lag_max_s=3,
        rules__request_lag_max_s=REQUEST_LAG_S,
        recall__lag_max_s=RECALL_LAG_S,
        kafka__group_protocol=protocol,
    )
    stage.judge_by(TO_EVERYBODY + f"attempts = {{ most = {ATTEMPTS}, days = 30 }}\n")
    stage.load("internal", [33_799_999_999])
    stage.load("consent", NUMBERS, "--kind", "allow")
    key = stage.folder / "signing-key"
    key.write_text(f"whsec_{base64.b64encode(bytes(32)).decode()}\n")
    with ExitStack() as held:
        web = held.enter_context(Web(lambda _: (204, b"")))
        hook = {
            "connector": "webhook",
            "lists": {"internal": "all"},
            "settings": {"url": web.url},
            "secrets": {"signing_key": str(key)},
        }
        publisher = PublisherProcess(stage, None)
        processes = {
            "worker 1": stage.worker("w1"),
            "worker 2": stage.worker("w2"),
            "publisher": publisher,
            "recall": stage.recall("r1"),
            "fan-out": stage.fanout({"hook": hook}),
        }
        for process in processes.values():
            held.enter_context(process)
        wait_until(lambda: all(processes[f"worker {at}"].logged("partitions assigned") for at in (1, 2)))
        wait_until(publisher.ready)
        diallers = [Dialler(stage, f"dialler {at}") for at in range(3)]
        load = Load(cluster.bootstrap, stage.topics["prospects"], NUMBERS, PER_S)
        objections = Objections(cluster.bootstrap, stage.topics["requests"], 0, OPT_OUTS_PER_S)
        nemesis, killer = Nemesis(cluster, random.Random(seed)), Killer(processes, random.Random(seed))
        imports = Imports(stage)
        for thread in (*diallers, load, objections, killer, imports):
            thread.start()
        for round_ in range(ROUNDS):
            nemesis.strike(cluster.leader(stage.topics["log"]) if round_ == 0 else None)
        killer.finish()
        imports.finish()
        sent, asked = load.finish(), objections.finish()
        print(
            f"\nseed {seed}, {protocol}: {', '.join(nemesis.done)}; killed {', '.join(killer.killed)}; {sent} leads,"
            f" {asked} opt-outs, {imports.done} imports and {imports.refused} that were refused,"
            f" {sum(len(each.calls) for each in diallers)} calls"
        )
        arrived = count(cluster.bootstrap, [stage.topics["prospects"]])
        assert arrived >= sent
        opposed = set(NUMBERS[:asked])
        with suppress(AssertionError):  # that shows which ones are missing
            wait_until(lambda: len(evidence(stage)) == asked, every=2)
        sent_ids = {name for _, name in requests(stage)}
        assert {name for _, name in evidence(stage)} == sent_ids == {f"o{at}" for at in range(asked)}
        wait_until(lambda: count(cluster.bootstrap, stage.outputs) >= arrived, every=2)

        # Every lead that may be called is handed out.
        def dialled() -> set[int]:
            failures = [repr(dialler.failure) for dialler in diallers if dialler.failure is not None]
            assert not failures, failures
            return {number for dialler in diallers for _, number, _ in list(dialler.calls)}

        allowed = {
            json.loads(each.value())["scrub"]["number"]
            for each in read_all(cluster.bootstrap, stage.topics["allowed"])
        }
        callable_ = {int(number[1:]) for number in allowed} - opposed
        wait_until(lambda: dialled() | rested(publisher).keys() >= callable_, every=2)
        for dialler in diallers:
            dialler.finish()

        # No lead is handed out long after its person's opt-out was accepted.
        late = {
            (number, place): round(moment - objections.accepted[number], 1)
            for dialler in diallers
            for moment, number, place in dialler.calls
            if number in opposed and moment - objections.accepted[number] > REQUEST_LAG_S + RECALL_LAG_S
        }
        assert not late, f"{len(late)} calls up to {max(late.values())} s after the opt-out: {late}"

        # What was called as often as the law allows rests.
        attempts = defaultdict(set)
        for dialler in diallers:
            for _, number, place in dialler.calls:
                attempts[number].add(place)
        often = {number for number, places in attempts.items() if len(places) >= ATTEMPTS}
        wait_until(lambda: rested(publisher).keys() >= often, every=2)

        # The other system has heard of every opt-out.
        def told() -> set[int]:
            events = [json.loads(each.body) for each in list(web.asked)]
            return {int(e["data"]["number"][1:]) for e in events if e["type"] == "number.opted-out"}

        wait_until(lambda: told() >= opposed, every=2)

        # Every lead came out once, by the registers at its position, which was not an old one.
        since = blocked_since(cluster.bootstrap, stage.topics["log"])
        assert opposed <= since.keys()
        unknown_s = []

        def expected(lead: dict, stamp: dict) -> str:
            number = true_number(lead["phone"])
            position, at = since.get(number, (2**63, float("inf")))
            is_blocked = stamp["index"] >= position
            behind_s = datetime.fromisoformat(stamp["at"]).timestamp() - at
            if not is_blocked and behind_s > KNOWN_S:
                unknown_s.append(behind_s)
            return f"{'blocked' if is_blocked else 'allowed'} {number}"

        found = compare(cluster.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
        assert not found.wrong, (found.wrong, found.first)
        assert found.total == arrived
        assert not unknown_s, (
            f"{len(unknown_s)} leads were judged without an opt-out of {max(unknown_s):.0f} s before"
        )
        assert set(evidence(stage).values()) == {1}, "a request was applied twice"
        ended = [name for name, process in processes.items() if not process.alive]
        assert not ended, f"gave up: {ended}"
        verified = run(["lists", "verify"], stage.env)
        assert verified.returncode == 0, verified.stdout + verified.stderr
