"""Everybody at work on three brokers under a nemesis: workers, publisher, recall, fan-out and three diallers, while leads,
opt-outs and attempts come, brokers are torn from each other and processes are killed. Only `make nemesis` runs it.
"""

import base64
import json
import random
import threading
import time
from collections import defaultdict
from contextlib import ExitStack

import pytest
from confluent_kafka import Producer
from pyroaring import BitMap64

from stream_scrub.dialler import Allowed
from tests.cluster.test_nemesis import Nemesis, seeds
from tests.support.fakes.web import Web
from tests.support.running.clients import properties
from tests.support.running.dialler import settings as dialler_settings
from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import compare, count, read_all
from tests.support.running.prospects import french_mobiles, true_number
from tests.support.running.publisher import PublisherProcess, evidence, rested
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import run, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.alone,
]

NUMBERS = french_mobiles(2_000, seed=40)
PER_S, OPT_OUTS_PER_S = 60, 5
ROUNDS = 3
REQUEST_LAG_S = RECALL_LAG_S = 15
ATTEMPTS = 4  # after which a number rests


class Dialler(threading.Thread):
    """Calls each lead that it is given, reports the attempt, and acknowledges it."""

    def __init__(self, stage, name: str) -> None:
        super().__init__(name=name, daemon=True)
        topics = stage.topics
        lags = {
            "rules.request_lag_max_s": REQUEST_LAG_S,
            "recall.lag_max_s": RECALL_LAG_S,
            "lists.requests_group": stage.env["STREAM_SCRUB_LISTS__REQUESTS_GROUP"],
            "worker.group_id": stage.env["STREAM_SCRUB_WORKER__GROUP_ID"],
            "topics.log": topics["log"],
            "topics.requests": topics["requests"],
            "topics.lifts": topics["lifts"],
            "topics.prospects": topics["prospects"],
        }
        made = dialler_settings(stage.bootstrap, topics["allowed"], topics["recalled"], **lags)
        self.leads = Allowed("diallers", settings=made)
        self._producer = Producer(properties(stage.bootstrap) | {"enable.idempotence": True, "log_level": 0})
        self._attempts = topics["attempts"]
        self.calls: list[tuple[float, int, tuple[int, int]]] = []  # moment, number, partition and offset
        self.failure: BaseException | None = None

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
                self.leads.ack(lead)
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        self.leads.close()
        self.join(120)
        assert not self.is_alive() and self.failure is None, self.failure
        assert self._producer.flush(120) == 0


class Objections(OptOuts):
    """Opt-outs of people whose leads are on their way."""

    def record(self, at: int) -> tuple[bytes, bytes]:
        request = {"request": "opt-out", "number": f"+{NUMBERS[at]}", "id": f"o{at}"}
        return str(NUMBERS[at]).encode(), json.dumps(request).encode()


class Killer(threading.Thread):
    """Kills one process after another, and starts it again."""

    def __init__(self, processes, rng: random.Random) -> None:
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


def blocked_since(address: str, log: str) -> dict[int, int]:
    """By number: the position of the first seal by which it is opposed, or rests."""
    since: dict[int, int] = {}
    waiting: defaultdict[bytes, set[int]] = defaultdict(set)
    for message in read_all(address, log):
        if (register := message.key()) not in (b"internal", b"rested"):
            continue
        part = dict(message.headers())["part"]
        if part == b"adds":
            waiting[register] |= set(BitMap64.deserialize(message.value()))
        elif part == b"seal":
            for number in waiting.pop(register, ()):
                since.setdefault(number, message.offset())
    return since


def accepted_at(address: str, requests: str) -> dict[int, float]:
    """By number: when Kafka took its opt-out."""
    return {
        int(json.loads(message.value())["number"][1:]): message.timestamp()[1] / 1000
        for message in read_all(address, requests)
    }


@pytest.mark.parametrize("seed", seeds())
def test_no_lead_is_dialled_long_after_an_opt_out_and_none_is_lost(cluster, stages, seed):
    """People would be called after their opt-out was accepted, or leads never be called, when networks and processes fail."""
    rng = random.Random(seed)
    protocol = "consumer" if seed % 2 else "classic"
    stage = stages(
        cluster.bootstrap,
        partitions=3,
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
        regrets = Objections(cluster.bootstrap, stage.topics["requests"], 0, OPT_OUTS_PER_S)
        nemesis, killer = Nemesis(cluster, rng), Killer(processes, random.Random(seed))
        for thread in (*diallers, load, regrets, killer):
            thread.start()
        for round_ in range(ROUNDS):
            nemesis.strike(cluster.leader(stage.topics["log"]) if round_ == 0 else None)
        killer.finish()
        sent, asked = load.finish(), regrets.finish()
        print(
            f"\nseed {seed}, {protocol}: {', '.join(nemesis.done)}; killed {', '.join(killer.killed)}; {sent} leads,"
            f" {asked} opt-outs, {sum(len(each.calls) for each in diallers)} calls"
        )
        arrived = count(cluster.bootstrap, [stage.topics["prospects"]])
        opposed = set(NUMBERS[:asked])
        wait_until(lambda: len(evidence(stage)) == asked, every=2)
        wait_until(lambda: count(cluster.bootstrap, stage.outputs) >= arrived, every=2)

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
        accepted = accepted_at(cluster.bootstrap, stage.topics["requests"])
        late = [
            moment - accepted[number]
            for dialler in diallers
            for moment, number, _ in dialler.calls
            if number in accepted and moment - accepted[number] > REQUEST_LAG_S + RECALL_LAG_S
        ]
        assert not late, f"{len(late)} calls up to {max(late):.0f} s after the opt-out"

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

        # Every lead came out once, by the registers at its position.
        since = blocked_since(cluster.bootstrap, stage.topics["log"])

        def expected(lead: dict, stamp: dict) -> str:
            number = true_number(lead["phone"])
            is_blocked = stamp["index"] >= since.get(number, 2**63)
            return f"{'blocked' if is_blocked else 'allowed'} {number}"

        found = compare(cluster.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
        assert not found.wrong, (found.wrong, found.first)
        assert found.total == arrived
        assert set(evidence(stage).values()) == {1}, "a request was applied twice"
        verified = run(["lists", "verify"], stage.env)
        assert verified.returncode == 0, verified.stdout + verified.stderr
