"""The prospects topic as members of the group see it, on a real Kafka: what was held while partitions came and went."""

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scrub.errors import Migrated, Unavailable
from stream_scrub.kafka import bulk
from stream_scrub.kafka.bulk import polled
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.resume import Resume
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses
from tests.support.fakes.properties import properties_of
from tests.support.names import unique_name
from tests.support.running.prospects import produce
from tests.support.waiting import wait_until

PARTITIONS = 4
MUCH = 1 << 30


SLOW = pytest.mark.slow


@pytest.fixture(
    params=[
        pytest.param("classic", marks=SLOW),
        "consumer",
        pytest.param("classic-bulk", marks=SLOW),
        "consumer-bulk",
    ]
)
def sources(request, kafka, topic) -> Iterator[tuple[str, Callable[[], ProspectSource]]]:
    """A topic, and members of one group that read it."""
    name, group = topic("in", partitions=PARTITIONS), unique_name()
    made: list[ProspectSource] = []
    protocol, _, bulk = request.param.partition("-")

    def make() -> ProspectSource:
        member = properties_of(Role.MEMBER, kafka.bootstrap, {"group.id": group}, group_protocol=protocol)
        made.append(
            ProspectSource(
                member,
                [name],
                Resume("log", Witnesses(member, has_ids=False), lambda _: None, None),
                bulk=bool(bulk),
            )
        )
        assert made[-1].transport == (bulk or "python")
        made[-1].subscribe()
        return made[-1]

    yield name, make
    for source in made:
        source.close()


def until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    """As a worker's loop: after a broker that answered too late it polls again."""

    def patient(ask: Callable[[], object]) -> object:
        try:
            return ask()
        except Unavailable:
            return None

    wait_until(lambda: patient(condition), every=0, step=lambda: patient(step))


def test_a_partition_that_was_lost_in_a_hold_and_comes_back_is_read(kafka, sources):
    """After an outage a worker would own partitions, be ready, and never read a prospect of them again: the client keeps
    a partition paused that went away while it was.
    """
    name, make = sources
    first = make()
    until(lambda: len(first.partitions) == PARTITIONS, lambda: first.poll(10, MUCH, 0.1))
    first.idle(0.1)
    second = make()

    def both() -> None:
        first.idle(0.1)
        second.poll(10, MUCH, 0.1)

    until(lambda: len(first.partitions) == len(second.partitions) == PARTITIONS / 2, both)
    until(lambda: not polled(first.poll(10, MUCH, 0.1)).messages, lambda: None)  # the hold is over
    second.close()
    until(lambda: len(first.partitions) == PARTITIONS, lambda: first.poll(10, MUCH, 0.1))

    produce(kafka.bootstrap, name, iter([(b"%d" % key, b"{}") for key in range(200)]))
    read: list[int] = []
    until(lambda: len(read) >= 200, lambda: read.extend(polled(first.poll(200, MUCH, 0.1)).partitions))
    assert set(read) == set(range(PARTITIONS))


def test_a_batch_has_no_more_bytes_than_it_may_and_nothing_is_lost_to_that(kafka, sources):
    """Prospects of a megabyte would come by the hundred, and outgrow the pod, or the time of a transaction. What is cut off,
    or put back, comes next, in its order, unless it was dropped with everything that was fetched.
    """
    name, make = sources
    values = [b"%03d" % at + b"x" * (10_000 if at % 5 else 60_000) for at in range(100)]
    key = b"one" * 3333
    produce(kafka.bootstrap, name, iter([(key, value) for value in values]), headers=[("a", b"1")])
    source = make()
    until(lambda: len(source.partitions) == PARTITIONS, lambda: source.poll(1, MUCH, 0.1))
    source.drop()

    read: list[bytes] = []
    sizes: list[int] = []

    def step() -> None:
        fetched = source.poll(1000, 60_000, 0.1)
        shown = polled(fetched)
        assert len({*map(len, (shown.messages, shown.partitions, shown.headers.each))}) == 1
        if len(fetched) > 2:
            fetched, back = fetched.parted(2)
            source.put_back(back)
        sizes.append(fetched.nbytes)
        read.extend(value for value in polled(fetched).values if value is not None)
        if len(read) >= 40 and b"again" not in read:
            source.drop()  # nothing is committed: it begins anew
            read.append(b"again")

    until(lambda: read[-100:] == values and b"again" in read, step)
    first = read.index(b"again")
    assert read[:first] == values[:first] and read[first + 1 :] == values
    assert max(size for size in sizes if size > 75_000 or size <= 60_000) <= 60_000
    assert 70_000 < max(sizes) < 75_000, "one that is too large comes by itself"


def test_no_rest_outlives_the_loss_of_its_partition(kafka, sources):
    """A record that waits in memory would be emitted by this worker, and by the one that has its partition now."""
    name, make = sources
    produce(kafka.bootstrap, name, iter([(b"%d" % key, b"{}") for key in range(400)]))
    first = make()
    fetched: list[int] = []
    until(lambda: bool(fetched), lambda: fetched.extend(polled(first.poll(10, MUCH, 0.1)).partitions))
    second = make()

    # One record at a time: all the while there is a rest.
    until(
        lambda: 0 < len(second.partitions) < PARTITIONS,
        lambda: [first.poll(1, MUCH, 0.1), second.poll(1, MUCH, 0.1)],
    )
    seen: set[int] = set()
    for _ in range(20):
        seen.update(polled(first.poll(50, MUCH, 0.1)).partitions)
    assert seen and {(name, partition) for partition in seen} <= first.partitions


def test_what_the_client_gives_again_is_not_taken_again(kafka, sources, monkeypatch):
    """Thousands of prospects would be emitted twice: after a rebalance, the client went back in a partition that stayed."""
    clients: list[Consumer] = []
    monkeypatch.setattr(bulk, "Consumer", lambda options: clients.append(Consumer(options)) or clients[-1])
    name, make = sources
    produce(kafka.bootstrap, name, iter([(b"%d" % key, b"%d" % key) for key in range(400)]))
    source = make()
    read: list[bytes | None] = []
    refused: list[Migrated] = []

    sought: list[TopicPartition] = []

    def step() -> None:
        try:
            fetched = source.poll(20, MUCH, 0.1)
        except Migrated as error:
            if "gave records again" in str(error):
                refused.append(error)
            return
        if fetched:
            places = source.offsets(fetched, 0)
            clients[-1].commit(offsets=places, asynchronous=False)
            source.has_committed(places)
            read.extend(polled(fetched).values)
            if len(read) > 100 and not sought:
                # Once: each seek begins the fetch anew, and a slow broker would not answer before the next one.
                sought.append(TopicPartition(name, places[0].partition, 0))
                clients[-1].seek(sought[0])

    until(lambda: len(read) >= 400 and bool(refused), step)
    assert sorted(map(int, filter(None, read))) == list(range(400))
