"""The simulator's model held against a real Kafka: the same scripts on both, and what each call gives word for word.

A script is given an `outside` (topics, clients, and how to wait) and yields what a user of the client sees.
"""

import itertools
import struct
import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import confluent_kafka
import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.simulation.adversary import Adversary
from tests.simulation.broker import Broker
from tests.simulation.consumer import Consumer
from tests.simulation.install import STAGE, simulated
from tests.simulation.producer import Producer
from tests.simulation.world import World
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ids = itertools.count()


def said(function, *arguments, **named) -> str:
    """What a call gives, in a word."""
    try:
        found = function(*arguments, **named)
    except KafkaException as error:
        cause = error.args[0]
        flags = [name for name in ("fatal", "retriable", "txn_requires_abort") if getattr(cause, name)()]
        return " ".join([cause.name(), *flags])
    return "well" if found is None else str(found)


def written(outside, topic, *, all_of_it=False) -> str:
    """What a reader gets from the start to the end, and where that is, once the markers of what has ended are there."""
    outside.sleep(1.0)
    reader = outside.reader("read_uncommitted" if all_of_it else "read_committed")
    low, high = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=60)
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found, until = [], outside.now() + 60
    while outside.now() < until:
        messages = reader.consume(10, 0.2)
        found += [(each.offset(), each.value()) for each in messages if each.error() is None]
        if any(each.error() is not None for each in messages):
            break
    reader.close()
    return f"{found} of {low} to {high}"


def ends(outside) -> Iterator[str]:
    """Commits, aborts and what holds nothing: what is read, and which offsets the markers take."""
    topic, producer = outside.topic(), outside.producer()
    yield said(producer.init_transactions, 60)
    for value, end in (
        (b"a", producer.commit_transaction),
        (b"b", producer.abort_transaction),
        (None, producer.commit_transaction),
    ):
        yield said(producer.begin_transaction)
        if value is not None:
            producer.produce(topic, value, partition=0)
            yield f"{producer.flush(60)} left"
        yield said(end, 60)
        yield written(outside, topic)
    yield written(outside, topic, all_of_it=True)


def states(outside) -> Iterator[str]:
    """Calls that are out of turn."""
    topic, producer = outside.topic(), outside.producer()
    producer.init_transactions(60)
    yield said(producer.produce, topic, b"a", partition=0)
    yield said(producer.commit_transaction, 60)
    producer.begin_transaction()
    yield said(producer.begin_transaction)
    yield said(producer.commit_transaction, 60)
    yield said(producer.abort_transaction, 60)


def fenced(outside) -> Iterator[str]:
    """A second producer of the same id: what it ends, and what the first may still do."""
    topic, first = outside.topic(), outside.producer()
    first.init_transactions(60)
    first.begin_transaction()
    first.produce(topic, b"a", partition=0)
    first.flush(60)
    second = outside.producer(first)
    yield said(second.init_transactions, 60)
    yield said(first.commit_transaction, 60)
    yield said(first.abort_transaction, 60)
    yield said(first.begin_transaction)
    yield written(outside, topic)
    second.begin_transaction()
    second.produce(topic, b"b", partition=0)
    yield said(second.commit_transaction, 60)
    yield written(outside, topic)


def hidden(outside) -> Iterator[str]:
    """What was committed behind an open transaction."""
    topic, hung, other = outside.topic(), outside.producer(), outside.producer()
    for each in (hung, other):
        each.init_transactions(60)
        each.begin_transaction()
        each.produce(topic, b"x", partition=0)
        each.flush(60)
    yield said(other.commit_transaction, 60)
    yield written(outside, topic)
    yield written(outside, topic, all_of_it=True)
    yield said(hung.abort_transaction, 60)
    yield written(outside, topic)


def members(outside) -> Iterator[str]:
    """Offsets of who is a member of nothing, and of nobody at all; what is committed afterwards."""
    topic, producer = outside.topic(), outside.producer()
    reader = outside.reader("read_committed")
    producer.init_transactions(60)
    offsets = [TopicPartition(topic, 0, 5, "a note")]
    for generation, member, end in ((3, "nobody", "abort"), (-1, "", "abort"), (-1, "", "commit")):
        metadata = b"CGMDv2:" + struct.pack("=i", generation) + f"{outside.group}\0{member}\0\1".encode()
        producer.begin_transaction()
        yield said(producer.send_offsets_to_transaction, offsets, metadata, 60)
        yield said(getattr(producer, f"{end}_transaction"), 60)
        (found,) = reader.committed([TopicPartition(topic, 0)], timeout=60)
        yield f"{found.offset} {found.metadata or ''}"
    reader.close()


def refused(outside) -> Iterator[str]:
    """A record that its topic does not take, and the transactions after it."""
    topic, producer = outside.topic(needs_key=True), outside.producer()
    told: list[str] = []
    producer.init_transactions(60)
    for key in (None, b"k", b"k"):
        producer.begin_transaction()
        producer.produce(
            topic,
            b"a",
            key,
            0,
            on_delivery=lambda error, _: told.append("well" if error is None else error.name()),
        )
        producer.flush(60)
        yield f"{told.pop()}"
        if said(producer.commit_transaction, 60) != "well":
            yield said(producer.abort_transaction, 60)
    yield written(outside, topic)


def shared(outside, protocol: str) -> Iterator[str]:
    """Two members that come and go: who has the partition, and which metadata a commit may carry."""
    topic, producer = outside.topic(), outside.producer()
    first, second = outside.member(protocol), outside.member(protocol)
    had: dict[int, set[int]] = {}

    def commits(metadata):
        producer.begin_transaction()
        told = said(producer.send_offsets_to_transaction, [TopicPartition(topic, 0, 0)], metadata, 60)
        return f"{told}, {said(getattr(producer, 'commit_transaction' if told == 'well' else 'abort_transaction'), 60)}"

    producer.init_transactions(60)
    had[0] = _subscribed(first, topic)
    yield _until(outside, lambda: had[0] == {0}, first)
    old = first.consumer_group_metadata()
    yield commits(old)
    had[1] = _subscribed(second, topic)
    yield _until(
        outside, lambda: _epoch(second) > 0 and first.consumer_group_metadata() != old, first, second
    )
    yield f"{had}"
    yield commits(old)
    now = first.consumer_group_metadata()
    yield commits(now)
    first.close()
    yield _until(outside, lambda: had[1] == {0}, second)
    yield commits(now)
    yield commits(second.consumer_group_metadata())
    second.close()


def classic(outside) -> Iterator[str]:
    """Two members by the classic protocol."""
    yield from shared(outside, "classic")


def by_the_broker(outside) -> Iterator[str]:
    """Two members by KIP-848."""
    yield from shared(outside, "consumer")


def static(outside) -> Iterator[str]:
    """By the classic protocol: a static member that is told to give a partition up, ends before it joins again, and
    comes back. That partition is nobody's."""
    topic = outside.topic(partitions=2)
    first, second = outside.member("classic", "a"), outside.member("classic", "b")
    had = [_subscribed(first, topic)]
    yield _until(outside, lambda: len(had[0]) == 2, first)
    had.append(_subscribed(second, topic))
    before = _epoch(first)
    yield _until(outside, lambda: _epoch(first) > before, second)  # the first joins again, and is not polled
    first.close()
    again = outside.member("classic", "a")
    had[0] = _subscribed(again, topic)
    yield _until(outside, lambda: len(had[0]) == 1, again, second)
    _until(outside, lambda: False, again, second, seconds=3.0)
    yield f"{len(had[0])} and {len(had[1])} of 2 partitions"
    for each in (again, second):
        each.close()


def static_by_the_broker(outside) -> Iterator[str]:
    """By KIP-848: two static members of one name, and one that comes when the first has gone."""
    topic = outside.topic()
    first, second, third = (outside.member("consumer", "a") for _ in range(3))
    had = _subscribed(first, topic)
    yield _until(outside, lambda: had == {0}, first)
    _subscribed(second, topic)
    found: list[str] = []
    yield _until(outside, lambda: bool(found), first, errors=found, of=second)
    yield found[0]
    first.close()
    had = _subscribed(third, topic)
    yield _until(outside, lambda: had == {0}, third)
    third.close()


def deleted(outside, topic, reader, metadata, noticed=lambda: "as it should be") -> Iterator[str]:
    """A topic that is deleted and made anew: what was committed of it, and where its reader reads on."""
    producer = outside.producer()
    producer.init_transactions(60)

    def write(count, offsets=()):
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(topic, b"a", partition=0)
        producer.flush(60)
        if offsets:
            producer.send_offsets_to_transaction(list(offsets), metadata(), 60)
        producer.commit_transaction(60)

    def committed(unlike=None):
        last = outside.now() + 60
        while True:
            outside.sleep(0.3)
            (found,) = reader.committed([TopicPartition(topic, 0)], timeout=60)
            if found.offset != unlike or outside.now() > last:
                return f"committed {found.offset}"

    write(3)
    yield f"{_read(outside, reader, 3)}"
    write(1, [TopicPartition(topic, 0, 4)])
    yield f"{_read(outside, reader, 1)}"
    yield committed()
    outside.delete(topic)
    yield noticed()
    outside.create(topic)
    yield committed(unlike=4)
    write(8)
    yield f"{_read(outside, reader, 8, seconds=8.0)}"
    reader.close()


def made_anew(outside) -> Iterator[str]:
    """Whoever chose the partition does not notice; by the classic protocol a member mostly does not either."""
    topic, reader = outside.topic(), outside.reader("read_committed")
    nobody = b"CGMDv2:" + struct.pack("=i", -1) + f"{outside.group}\0\0\1".encode()
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    yield from deleted(outside, topic, reader, lambda: nobody)


def made_anew_by_the_broker(outside) -> Iterator[str]:
    """A member by KIP-848 loses the partition, and gets the new one."""
    topic, member = outside.topic(), outside.member("consumer")
    had = _subscribed(member, topic)
    yield _until(outside, lambda: had == {0}, member)
    lost = partial(_until, outside, lambda: had == set(), member)
    yield from deleted(outside, topic, member, member.consumer_group_metadata, lost)


def _read(outside, reader, count, seconds=60.0) -> list[int]:
    """The offsets of the records that come, up to so many."""
    found, last = [], outside.now() + seconds
    while len(found) < count and outside.now() < last:
        found += [each.offset() for each in reader.consume(count, 0.2) if each.error() is None]
    return found


def _subscribed(member, topic) -> set[int]:
    """Which partitions it has, from now on."""
    had: set[int] = set()
    member.subscribe(
        [topic],
        on_assign=lambda _, came: had.update(p.partition for p in came),
        on_revoke=lambda _, gone: had.difference_update(p.partition for p in gone),
        on_lost=lambda _, gone: had.difference_update(p.partition for p in gone),
    )
    return had


def _epoch(member) -> int:
    return struct.unpack_from("=i", member.consumer_group_metadata(), 7)[0]


def _until(outside, state, *alive, seconds=60.0, errors=None, of=None) -> str:
    """Poll them until the state is reached."""
    last = outside.now() + seconds
    while not state() and outside.now() < last:
        for each in (*alive, *([of] if of is not None else [])):
            for message in each.consume(1, 0.05):
                if each is of and message.error() is not None:
                    errors.append(f"{message.error().name()}: {message.error().str().split(': ')[-1]}")
    return "as it should be" if state() else "not so"


SCRIPTS = (
    ends, states, fenced, hidden, members, refused, classic, by_the_broker, static, static_by_the_broker,
    made_anew, made_anew_by_the_broker,
)  # fmt: skip


def _of(protocol, place) -> dict:
    own = {"group.instance.id": place} if place else {}
    if protocol == "consumer":
        return {"group.protocol": protocol, **own}
    classic = {"session.timeout.ms": 20_000 if place else 6000, "heartbeat.interval.ms": 300, **own}
    return {"group.protocol": protocol, "partition.assignment.strategy": "cooperative-sticky", **classic}


def on_the_model(script) -> list[str]:
    """What the model says."""
    with simulated():
        world = World(1)
        broker = Broker(world)
        broker.session_s = 2.0
        STAGE.world, STAGE.broker, STAGE.adversary = world, broker, Adversary(())
        found: list[str] = []
        options = {"transaction.timeout.ms": 120_000, "transactional.id": ""}

        def topic(*, needs_key=False, partitions=1):
            return broker.create(f"t{next(ids)}", partitions, needs_key=needs_key).name

        def producer(of=None):
            return Producer({**options, "transactional.id": of._tid if of is not None else f"id{next(ids)}"})

        outside = SimpleNamespace(
            topic=topic, delete=broker.delete, create=lambda name: broker.create(name, 1), producer=producer, group="g", now=lambda: world.now, sleep=lambda seconds: world.wait(world.now + seconds),
            reader=lambda isolation: Consumer({"group.id": "g", "isolation.level": isolation, "enable.partition.eof": True}),
            member=lambda protocol, place="": Consumer(
                {
                    "group.id": f"g-{protocol}{place and 's'}",
                    "auto.offset.reset": "earliest",
                    **_of(protocol, place),
                }
            ),
        )  # fmt: skip
        thread = world.process("script").spawn("main", lambda: found.extend(script(outside)))
        world.run(world.now + 300, lambda: thread.ended)
        world.end()
        assert world.faults == []
        return found


def on_kafka(script, kafka, topic) -> list[str]:
    """What a real one says."""
    address = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
    names: dict[int, str] = {}
    group = f"g{time.time_ns()}"

    def make_topic(*, needs_key=False, partitions=1):
        return topic(
            "model", partitions=partitions, config={"cleanup.policy": "compact"} if needs_key else {}
        )

    def producer(of=None):
        name = names[id(of)] if of is not None else f"id{time.time_ns()}"
        made = confluent_kafka.Producer(
            {**address, "transaction.timeout.ms": 120_000, "transactional.id": name}
        )
        names[id(made)] = name
        return made

    def member(protocol, place=""):
        more = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
        return confluent_kafka.Consumer(
            {**address, "group.id": f"{group}-{protocol}", **more, **_of(protocol, place)}
        )

    def reader(isolation):
        more = {"enable.partition.eof": True, "enable.auto.commit": False, "fetch.wait.max.ms": 20}
        return confluent_kafka.Consumer({**address, "group.id": group, "isolation.level": isolation, **more})

    admin = AdminClient(address)

    def create(name):
        def made() -> bool:
            try:
                admin.create_topics([NewTopic(name, num_partitions=1)])[name].result()
            except KafkaException:  # the old one is still being deleted
                return False
            return True

        wait_until(made)

    outside = SimpleNamespace(
        topic=make_topic,
        delete=lambda name: admin.delete_topics([name])[name].result(),
        create=create,
        producer=producer,
        group=group,
        now=time.monotonic,
        sleep=time.sleep,
        reader=reader,
        member=member,
    )
    return list(script(outside))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_model_says_what_a_real_kafka_says(script, kafka, topic):
    """The simulator would prove the product right on a Kafka that there is not."""
    expected, found = on_the_model(script), on_kafka(script, kafka, topic)
    if script is made_anew and found[-1] == f"{list(range(8))}":
        # Where the records take half a second to come, the reader has asked for what the new topic does not have yet.
        found[-1] = expected[-1]
    assert expected == found
