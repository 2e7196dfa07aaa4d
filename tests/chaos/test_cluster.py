"""Three secured brokers, everything replicated: one after another is killed under load, and no lead may notice."""

import os
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException

from tests.conftest import started
from tests.kafka.broker import Kafka
from tests.kafka.security import add_user
from tests.support.load import Load
from tests.support.outcome import ages, compare, count, ends
from tests.support.prospects import french_mobiles, true_number
from tests.support.stage import Stage, expected_by
from tests.support.users import IMPORTER, PRODUCER, WORKER, kafka_users
from tests.support.watch import LISTEN, Watched
from tests.support.worker import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("STREAM_SCRUB_TEST_ROUNDS", "3"))  # ten by hand: some fifteen seconds each
PER_S = 500
NUMBERS = french_mobiles(5_000, seed=40)
OPPOSED, CONSENTED = set(NUMBERS[:1_000]), set(NUMBERS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    """Three brokers with replication 3 and two replicas in sync at least, secured."""
    private = started(brokers=3, secured=True)
    yield private
    private.__exit__(None, None, None)


def placed(cluster: Kafka, stages) -> Stage:
    """Topics, users and lists as the manifests and the importer make them."""
    stage = stages(cluster.admin, partitions=6, product_names=True, kafka__consumer__session_timeout_ms=6000)
    for user, rights in kafka_users().items():
        add_user(cluster.admin, user, rights)
    time.sleep(0.5)
    stage.load("internal", NUMBERS[:1_000], client=cluster.user(IMPORTER))
    stage.load("consent", NUMBERS, "--kind", "allow", client=cluster.user(IMPORTER))
    return stage


def come_out(cluster: Kafka, stage: Stage) -> int:
    """About how much has come out; 0 while no broker tells."""
    try:
        return ends(cluster.admin, stage.outputs)
    except KafkaException:
        return 0


def test_brokers_are_killed_in_rotation(cluster, stages):
    """A broker's crash is an ordinary Tuesday: with three of them it must cost seconds of delay, and no lead."""
    stage = placed(cluster, stages)
    workers = [
        stage.worker(f"w{n}", client=cluster.user(WORKER), http__listen=LISTEN).start() for n in range(2)
    ]
    pages = [Watched(worker) for worker in workers]
    for worker in workers:
        wait_until(lambda w=worker: w.logged("partitions assigned"), 90)
    load = Load(cluster.user(PRODUCER), stage.topics["prospects"], NUMBERS, PER_S)
    load.start()
    wait_until(lambda: come_out(cluster, stage) > PER_S, 60, every=1)
    killed = []
    for round_ in range(ROUNDS):
        before = come_out(cluster, stage)
        killed.append(time.time())
        cluster.nodes[round_ % 3].kill()
        for _ in range(4):
            assert all(page.status("/livez") == 200 for page in pages), "an outage is no reason to restart"
            time.sleep(1)
        cluster.start()
        cluster.settle()
        wait_until(lambda: all(page.status("/readyz") == 200 for page in pages), 60, every=1)
        wait_until(lambda before=before: come_out(cluster, stage) > before + PER_S, 90, every=1)
    sent = load.finish()
    wait_until(lambda: come_out(cluster, stage) >= sent, 120, every=1)
    wait_until(lambda: count(cluster.admin, stage.outputs) >= sent, 120, every=2)
    found = compare(
        cluster.admin, stage.topics["prospects"], *stage.outputs, expected_by(OPPOSED, CONSENTED, true_number)
    )
    assert not found.wrong, (found.wrong, found.first)
    assert found.total == sent
    assert all(worker.alive for worker in workers), "a worker gave up"
    assert all(worker.logged("broker is away") for worker in workers), (
        "nobody met a dead broker: proves nothing"
    )
    lines = [line for worker in workers for line in worker.lines()]
    assert not any("Traceback" in str(line) for line in lines)
    assert len(lines) < 60 + 40 * ROUNDS, f"{len(lines)} lines for {ROUNDS} crashes"
    aged = ages(cluster.admin, stage.outputs)
    worst = [max((age for at, age in aged if began <= at < began + 60), default=0) for began in killed]
    given_up = sum(str(line.get("event")).startswith("batch given up") for line in lines)
    aborted = count(cluster.admin, stage.outputs, "read_uncommitted") - sent
    print(
        f"\n{ROUNDS} brokers killed, {sent} prospects, {given_up} batches given up, {aborted} aborted records,"
        f" {len(lines)} log lines; oldest verdict after each kill: {', '.join(f'{s:.1f} s' for s in worst)}"
    )
