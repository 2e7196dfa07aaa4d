"""The consumer when the group turns it away for good, on the embedded broker: it is made anew, and never silent."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError

from stream_scrub.errors import Refused, TakenOver, Unavailable
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.resume import Resume
from stream_scrub.kafka.source import ProspectSource
from stream_scrub.kafka.witnesses import Witnesses
from tests.support.fakes.properties import properties_of
from tests.support.network.faulty_kafka import Api, FaultyKafka
from tests.support.running.prospects import produce
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

E = KafkaError
FATAL = [
    (E.UNRELEASED_INSTANCE_ID, Refused, "group.instance.id", False),
    (E.GROUP_AUTHORIZATION_FAILED, Refused, "READ the group", False),
    (E.GROUP_MAX_SIZE_REACHED, Refused, "max.size", False),
    (E.UNSUPPORTED_VERSION, Refused, "too old", False),
    (E.INVALID_REQUEST, Unavailable, "re-created", False),
    (E.INVALID_REQUEST, Unavailable, "re-created", True),
]


@pytest.fixture
def broker() -> Iterator[FaultyKafka]:
    with FaultyKafka() as embedded:
        embedded.create_topic("in", 2)
        yield embedded


@pytest.fixture
def source(broker) -> Iterator[ProspectSource]:
    made = ProspectSource(
        properties_of(Role.MEMBER, broker.bootstrap, {"group.id": "g"}, group_protocol="consumer"),
        ["in"],
        Resume(
            "log", Witnesses({"bootstrap.servers": broker.bootstrap}, has_ids=False), lambda _: None, None
        ),
    )
    made.subscribe()
    wait_until(lambda: len(made.partitions) == 2, every=0, step=lambda: made.poll(10, 1 << 20, 0.1))
    yield made
    made.close()


@pytest.mark.parametrize(("code", "kind", "says", "holding"), FATAL)
def test_a_consumer_that_is_turned_away_for_good_comes_back(broker, source, code, kind, says, holding):
    """A worker would live, be ready, show no lag, and never read a prospect again."""

    def step() -> None:
        try:
            source.idle(0.1) if holding else source.poll(10, 1 << 20, 0.1)
        except Unavailable as error:
            # The first poll rewinds, and may meet a client that is not fetching any more. A worker tries again.
            if says in str(error):
                raise

    broker.push_errors(Api.CONSUMER_GROUP_HEARTBEAT, [code])
    with pytest.raises(kind) as met:
        wait_until(lambda: False, every=0, step=step)

    assert type(met.value) is kind and says in str(met.value) and KafkaError(code).name() in str(met.value)
    assert not source.is_member and not source.partitions
    produce(broker.bootstrap, "in", iter([(b"k", b"{}")]))
    read: list[int] = []

    def reads() -> None:
        with suppress(Unavailable):
            read.extend(source.poll(10, 1 << 20, 0.1).partitions)

    wait_until(lambda: bool(read), every=0, step=reads)


def test_a_member_whose_place_another_has_taken_says_so(broker, source):
    """Two workers of one group.instance.id would throw each other out for ever, or one of them hang."""
    broker.push_errors(Api.CONSUMER_GROUP_HEARTBEAT, [E.FENCED_INSTANCE_ID])

    with pytest.raises(TakenOver, match=r"group\.instance\.id"):
        wait_until(lambda: False, every=0, step=lambda: source.poll(10, 1 << 20, 0.1))
