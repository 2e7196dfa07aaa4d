"""Three diallers of one group for a while: leads, recalls, acknowledgements from other threads, members that come and go.

`STREAM_SCRUB_TEST_DIALLERS_S` is for how many seconds leads come at each rate (default 10); `make diallers` takes ten minutes.
"""

import os
import queue
import threading
import time
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_scrub.dialler import Allowed, Lead
from tests.support.names import unique_name
from tests.support.running.dialler import lead, recall, settings
from tests.support.waiting import WAIT_S, wait_until

SECONDS = float(os.environ.get("STREAM_SCRUB_TEST_DIALLERS_S", "10"))
PARTITIONS, LEAVES_EVERY_S = 6, 3.0
TICK_S = 0.02


class Dialler(threading.Thread):
    """Iterates in its own thread. Another one acknowledges, as docs/dialler.md allows."""

    def __init__(self, at: tuple[str, str, str], group: str, done: set[tuple[int, int]]) -> None:
        super().__init__(daemon=True)
        self._at, self._group, self._done = at, group, done
        self._calls: queue.Queue[tuple[Allowed, Lead] | None] = queue.Queue(100)
        self._caller = threading.Thread(target=self._call, daemon=True)
        self.leads: Allowed | None = None
        self.must_leave = threading.Event()
        self.must_end = threading.Event()

    def run(self) -> None:
        self._caller.start()
        while not self.must_end.is_set():
            self.must_leave.clear()
            with Allowed(
                self._group, settings=settings(*self._at), recall="none", start="beginning"
            ) as leads:
                self.leads = leads
                for each in leads:
                    self._calls.put((leads, each))
                    if self.must_leave.is_set() or self.must_end.is_set():
                        break
                self._calls.join()
        self._calls.put(None)
        self._caller.join()

    def _call(self) -> None:
        while (call := self._calls.get()) is not None:
            leads, each = call
            leads.taken_back()
            leads.ack(each)
            self._done.add((each.partition, each.offset))
            self._calls.task_done()


@pytest.mark.slow
@pytest.mark.timeout(900 + 2 * SECONDS)
@pytest.mark.parametrize("rate", [50, 5000])
def test_no_dialler_stands_still(kafka, topic, rate):
    """All campaigns would stop for ever without an error, a log line or a change in the group."""
    at, group = (
        (kafka.bootstrap, topic("allowed", partitions=PARTITIONS), topic("recalled")),
        unique_name(),
    )
    done: set[tuple[int, int]] = set()
    diallers = [Dialler(at, group, done) for _ in range(3)]
    for each in diallers:
        each.start()
    # Idempotent: a request that is sent twice would leave more records than the test counts.
    producer = Producer(
        {"bootstrap.servers": at[0], "log_level": 0, "linger.ms": 5, "enable.idempotence": True}
    )
    started = left = time.monotonic()
    count = recalled = 0
    while (now := time.monotonic()) < started + SECONDS:
        while count < (now - started) * rate:
            try:
                producer.produce(at[1], lead(count), partition=count % PARTITIONS)
            except BufferError:  # a machine that others use has no processor for the broker
                producer.poll(0.1)
                continue
            count += 1
            if count % 50 == 0:
                producer.produce(at[2], recall(count - 1))
                recalled += 1
        producer.poll(0)
        if now - left > LEAVES_EVERY_S:
            left = now
            diallers[recalled % 3].must_leave.set()
        time.sleep(TICK_S)
    assert producer.flush(WAIT_S) == 0
    places = [TopicPartition(at[1], each) for each in range(PARTITIONS)]
    with closing(Consumer({"bootstrap.servers": at[0], "group.id": group, "log_level": 0})) as asking:
        # A recalled lead is done without having been handed out, if its recall was read before.
        wait_until(
            lambda: sum(max(0, each.offset) for each in asking.committed(places, 60)) == count,
            max(WAIT_S, SECONDS),
        )
    assert count - recalled <= len(done) <= count
    wait_until(lambda: all(each.leads.uncommitted_s == 0 for each in diallers))
    for each in diallers:
        each.must_end.set()
    for number in range(PARTITIONS):  # each member may wait for its next lead
        producer.produce(at[1], lead(0), partition=number)
    producer.flush(60)
