"""Three brokers under a nemesis: one after another is cut off from the others, killed or made to hang, while leads,
opt-outs and lists come. `make nemesis NEMESIS=1-500` for hours; each failure names its seed.
"""

import json
import os
import random
import threading
import time
from contextlib import ExitStack
from datetime import date, datetime

import pytest
from pyroaring import BitMap64

from tests.support.running.load import Load, OptOuts
from tests.support.running.outcome import compare, count, read_all
from tests.support.running.prospects import french_mobiles, true_number
from tests.support.running.publisher import PublisherProcess, evidence
from tests.support.running.stage import Stage
from tests.support.running.worker import run, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.alone,
]


def seeds() -> list[int]:
    """One of either group protocol, by turns of the days, or those that are asked for."""
    today = str(2 + date.today().toordinal() % 2)
    first, _, last = os.environ.get("STREAM_SCRUB_TEST_SEEDS", today).partition("-")
    return list(range(int(first), int(last or first) + 1))


NUMBERS = french_mobiles(3_000, seed=26)
PER_S, OPT_OUTS_PER_S = 100, 10
ROUNDS = 3  # in the first one, who leads the log is cut off
CUT_S = 40.0
# An opt-out may be committed ten seconds after it was written (the publisher's transaction timeout). Then workers may be
# three seconds behind (`rules.index_lag_max_s` here), and judge for two; the rest is the machine's.
KNOWN_S = 10 + 3 + 2 + 5


class Regrets(OptOuts):
    """Opt-outs of people whose leads are on their way."""

    def record(self, at: int) -> tuple[bytes, bytes]:
        asked = {"request": "opt-out", "number": f"+{NUMBERS[at]}", "id": f"o{at}"}
        return str(NUMBERS[at]).encode(), json.dumps(asked).encode()


def opposed_since(address: str, log: str) -> dict[int, tuple[int, float]]:
    """By number: the position of the seal that opposed it first, and when that one was written."""
    since: dict[int, tuple[int, float]] = {}
    waiting: set[int] = set()
    for message in read_all(address, log):
        if message.key() != b"internal":
            continue
        part = dict(message.headers())["part"]
        if part == b"adds":
            waiting |= set(BitMap64.deserialize(message.value()))
        elif part == b"seal":
            for number in waiting:
                since.setdefault(number, (message.offset(), message.timestamp()[1] / 1000))
            waiting = set()
    return since


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


@pytest.mark.parametrize("seed", seeds())
def test_every_lead_comes_out_once_and_no_opt_out_is_late(cluster, stages, seed):
    """Leads would be lost or called twice, or people be called after their opt-out, whenever a network is torn."""
    rng = random.Random(seed)
    protocol = "consumer" if seed % 2 else "classic"
    short = {} if protocol == "consumer" else {"kafka__consumer__session_timeout_ms": 6000}
    stage = stages(
        cluster.bootstrap, partitions=6, rules__index_lag_max_s=3, kafka__group_protocol=protocol, **short
    )
    stage.load("internal", [33_799_999_999])
    stage.load("consent", NUMBERS, "--kind", "allow")
    workers = [stage.worker(f"w{at}").start() for at in range(2)]
    with ExitStack() as held:
        publisher = held.enter_context(PublisherProcess(stage, None))
        for each in workers:
            wait_until(lambda each=each: each.logged("partitions assigned"))
        wait_until(publisher.ready)
        load = Load(cluster.bootstrap, stage.topics["prospects"], NUMBERS, PER_S)
        regrets = Regrets(cluster.bootstrap, stage.topics["requests"], 0, OPT_OUTS_PER_S)
        nemesis = Nemesis(cluster, rng)
        imports = Imports(stage)
        for each in (load, regrets, imports):
            each.start()
        for round_ in range(ROUNDS):
            nemesis.strike(cluster.leader(stage.topics["log"]) if round_ == 0 else None)
        imports.finish()
        sent, asked = load.finish(), regrets.finish()
        print(
            f"\nseed {seed}, {protocol}: {', '.join(nemesis.done)}; {sent} leads, {asked} opt-outs,"
            f" {imports.done} imports and {imports.refused} that were refused"
        )

        arrived = count(cluster.bootstrap, [stage.topics["prospects"]])
        assert arrived >= sent
        wait_until(lambda: len(evidence(stage)) == asked, every=2)
        wait_until(lambda: count(cluster.bootstrap, stage.outputs) >= arrived, every=2)

        since = opposed_since(cluster.bootstrap, stage.topics["log"])
        assert set(NUMBERS[:asked]) <= since.keys()
        late = []

        def expected(lead: dict, stamp: dict) -> str:
            number = true_number(lead["phone"])
            position, at = since.get(number, (2**63, float("inf")))
            knows = stamp["index"] >= position
            behind = datetime.fromisoformat(stamp["at"]).timestamp() - at
            if not knows and behind > KNOWN_S:
                late.append(behind)
            return f"{'blocked' if knows else 'allowed'} {number}"

        found = compare(cluster.bootstrap, stage.topics["prospects"], *stage.outputs, expected)
        assert not found.wrong, (found.wrong, found.first)
        assert found.total == arrived
        assert not late, f"{len(late)} leads were judged without an opt-out of up to {max(late):.0f} s before"
        assert set(evidence(stage).values()) == {1}, "a request was applied twice"
        assert all(each.alive for each in [*workers, publisher]), "one gave up"
        verified = run(["lists", "verify"], stage.env)
        assert verified.returncode == 0, verified.stdout + verified.stderr
