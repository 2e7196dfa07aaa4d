"""The prospects topic as members of the group see it, on a real Kafka: what was held while partitions came and went."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from stream_scrub.kafka import options
from stream_scrub.kafka.source import Source
from stream_scrub.model import Deadline
from tests.support.prospects import produce

PARTITIONS = 4


@pytest.fixture(params=["classic", "consumer"])
def sources(request, kafka, topic) -> Iterator[tuple[str, Callable[[], Source]]]:
    """A topic, and members of one group that read it."""
    name, group = topic("in", partitions=PARTITIONS), uuid.uuid4().hex
    made: list[Source] = []

    def make() -> Source:
        member = options.consumer_options(
            kafka.bootstrap, {}, {}, group_id=group, protocol=request.param, logs=None
        )
        made.append(Source(member, name, "log"))
        made[-1].subscribe()
        return made[-1]

    yield name, make
    for source in made:
        source.close()


def until(condition: Callable[[], bool], step: Callable[[], object]) -> None:
    deadline = Deadline.after(30)
    while not condition():
        assert not deadline.passed, "it did not happen in time"
        step()


def test_a_partition_that_was_lost_in_a_hold_and_comes_back_is_read(kafka, sources):
    """After an outage a worker would own partitions, be ready, and never read a prospect of them again: the client keeps
    a partition paused that went away while it was.
    """
    name, make = sources
    first = make()
    until(lambda: len(first.partitions) == PARTITIONS, lambda: first.poll(10, 0.1))
    first.idle(0.1)
    second = make()

    def both() -> None:
        first.idle(0.1)
        second.poll(10, 0.1)

    until(lambda: len(first.partitions) == len(second.partitions) == PARTITIONS / 2, both)
    until(lambda: not first.poll(10, 0.1)[0], lambda: None)  # the hold is over
    second.close()
    until(lambda: len(first.partitions) == PARTITIONS, lambda: first.poll(10, 0.1))

    produce(kafka.bootstrap, name, iter([(b"%d" % key, b"{}") for key in range(200)]))
    read: list[int] = []
    until(lambda: len(read) >= 200, lambda: read.extend(first.poll(200, 0.1)[1]))
    assert set(read) == set(range(PARTITIONS))
