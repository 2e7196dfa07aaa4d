"""How many Kafka clients the processes have: each is a thread, and one more thread and a connection for every broker."""

from pathlib import Path

import pytest

from tests.support.running.outcome import count
from tests.support.running.prospects import french_mobiles, produce, prospect, spell
from tests.support.running.publisher import PublisherProcess
from tests.support.running.stage import TO_EVERYBODY
from tests.support.running.worker import WorkerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NUMBERS = french_mobiles(20, seed=41)


def clients(process: WorkerProcess) -> int:
    """The librdkafka clients of a process: each has one main thread."""
    names = [each.read_text().strip() for each in Path(f"/proc/{process.process.pid}/task").glob("*/comm")]
    return names.count("rdk:main")


def test_no_process_has_more_clients_than_it_was_counted_to_need(kafka, stages):
    """A fleet would hold thousands of connections to its brokers: with 30 brokers each client is 31 threads."""
    stage = stages(kafka.bootstrap, partitions=2)
    stage.judge_by(TO_EVERYBODY)
    stage.load("consent", NUMBERS, "--kind", "allow")
    with stage.worker("w1") as worker, stage.recall("r1") as recall, PublisherProcess(stage, None):
        for sent in range(10):
            produce(
                stage.bootstrap, stage.topics["prospects"], [(b"k", prospect(sent, spell(NUMBERS[sent], 0)))]
            )
            wait_until(lambda sent=sent: count(stage.bootstrap, [stage.topics["allowed"]]) == sent + 1)
            if sent > 5:  # those that asked for topics and rights at the start are gone
                assert clients(worker) <= 6
        # Two read, one writes, one votes who leads (with three brokers two), one asks all else, and one asks what the publisher
        # has committed.
        wait_until(lambda: clients(worker) == 6)
        wait_until(lambda: clients(recall) == 6)
