"""Records in the extension's hands: how long they live, and how they are judged."""

import gc
import json
import time

import pytest
from confluent_kafka import Producer, TopicPartition

from stream_scrub.kafka import bulk
from stream_scrub.kafka.embedded import EmbeddedKafka
from tests.support.fakes import law
from tests.support.fakes.scrubbers import index, scrubber
from tests.support.names import unique_name
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

pytest.importorskip("stream_scrub_native")

MANY = json.dumps({"phone": [f"0612345{at:03d}" for at in range(100)]}).encode()
PADDED = json.dumps({"phone": ["0612345678", "0612345679"], "pad": "x" * 17_000}).encode()


@pytest.fixture(scope="module")
def brokers():
    with EmbeddedKafka() as brokers:
        yield brokers


@pytest.fixture
def topic(brokers):
    name = unique_name()
    brokers.create_topic(name, 1)
    return name


def options(brokers):
    return {
        "bootstrap.servers": brokers.bootstrap,
        "group.id": unique_name(),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }


@pytest.fixture
def fetch(brokers, topic):
    """Writes values, and fetches as many of them as one asks for."""
    consumer, intake = bulk.intake(options(brokers), several=False, bulk=True)
    consumer.subscribe([topic], on_assign=lambda _, each: intake.forward(each))

    def write(values, headers=None):
        producer = Producer({"bootstrap.servers": brokers.bootstrap})
        for value in values:
            producer.produce(topic, value, headers=headers)
        assert producer.flush(30) == 0

    def fetched(most):
        until = time.monotonic() + 60
        came = intake.take(most, 0.1)[0]
        while len(came) < most and time.monotonic() < until:
            more = intake.take(most - len(came), 0.1)[0]
            came = came.then(more)
        assert len(came) == most
        return came

    yield write, fetched
    intake.close()
    consumer.close()


def alive():
    gc.collect()
    return sum(type(each).__name__ == "_Fetched" for each in gc.get_objects())


def test_a_record_that_is_put_back_keeps_no_batch_before_it(fetch):
    """While a worker works through a backlog of prospects of a kilobyte, every batch leaves a record to the next one: all
    that was ever fetched would stay in memory.
    """
    write, fetched = fetch
    write([b"x" * 1000] * 202)
    before, rest = alive(), fetched(2)
    for _ in range(100):
        rest = rest.then(fetched(2)).parted(2)[1]
    assert alive() - before <= 3 and len(rest) == 2
    assert rest.polled().values == [b"x" * 1000] * 2


def test_an_assignment_that_came_while_a_worker_committed_does_not_fail_its_end(brokers, topic):
    """A worker that is asked to stop while its group settles would end with a traceback, not with 0."""
    consumer, intake = bulk.intake(options(brokers), several=False, bulk=True)
    assigned = []

    def on_assign(_, partitions):
        assigned.extend(partitions)
        intake.forward(partitions)

    consumer.subscribe([topic], on_assign=on_assign)
    consumer.poll(0)
    time.sleep(8)  # longer than a group takes to settle
    assert not assigned
    intake.close()
    consumer.close()
    assert assigned


def test_a_partition_that_was_not_forwarded_is_an_error_once(brokers, topic, fetch):
    """A worker would give up every batch until its group moves, or hand a record on out of its order."""
    write, _ = fetch
    write([b"%d" % at for at in range(9)])
    consumer, intake = bulk.intake(options(brokers), several=False, bulk=True)
    place = TopicPartition(topic, 0, 0)
    consumer.assign([place])
    wait_until(lambda: intake.take(9, 0.1)[1] is not None)
    consumer.seek(place)
    came = []

    def nine():
        records, error = intake.take(9 - len(came), 0.1)
        assert error is None
        came.extend(records.polled().values)
        return len(came) == 9

    wait_until(nine)
    assert came == [b"%d" % at for at in range(9)]
    intake.close()
    consumer.close()


@pytest.mark.parametrize("place", [0, 3])
def test_a_prospect_that_must_be_measured_costs_the_others_no_time(fetch, place):
    """The whole batch would be judged for two seconds, then again with no time left: a worker would get one prospect
    further in two seconds.
    """
    write, fetched = fetch
    write([*[MANY] * place, PADDED, *[MANY] * 20])
    asked = []
    verdicts = scrubber().scrub_records(
        fetched(place + 21).records, index(), law.NOW, limit=1 << 20, enough=lambda: bool(asked.append(1))
    )
    if place:
        assert verdicts is not None and len(verdicts.ids) == place == len(verdicts.others)
    else:
        assert verdicts is None and not asked


def test_a_record_with_more_headers_than_the_client_reads_is_said_to_have_lost_them(fetch):
    """It would come out as if its producer had sent none."""
    write, fetched = fetch
    write([b"{}"], headers=[("h", b"1")] * 100_000)
    write([b"{}"], headers=[("h", b"1")] * 100_001)
    came = fetched(2)
    assert came.polled().headers.lost == [1]
    assert came.parted(1)[0].records.has_odd_header() is False
    assert came.parted(1)[1].records.has_odd_header() is True
