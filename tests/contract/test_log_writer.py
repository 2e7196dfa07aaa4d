"""The register's writer on a real Kafka: who it fences, what it waits for, and what is one with a delta."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_scrub.errors import TakenOver, Unavailable
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.requests_reader import OwnerNote, RequestsReader
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.log.wire import seal_headers
from stream_scrub.model import Deadline, Request
from tests.support.fakes.properties import properties_of, publisher_of
from tests.support.network.faulty_kafka import Api, FaultyKafka
from tests.support.running.outcome import read_all
from tests.support.waiting import wait_until

LONG = {"retention.ms": "-1"}


def end(log):
    """The last offset of the log that can be read."""
    return max((message.offset() for message in read_all(*log)), default=-1)


@pytest.fixture
def log(kafka, topic):
    return kafka.bootstrap, topic("log", config=LONG)


def writer(log, register, wait_s=120.0, also=(), nbytes=0):
    bootstrap, topic = log
    made = publisher_of(bootstrap, topic, register, nbytes)
    reading = properties_of(Role.LOG_READER, bootstrap)
    opened = KafkaLogWriter(made, reading, topic, Deadline.after(120), also)
    opened.wait_for_others(Deadline.after(wait_s))
    return opened


def record(register, seq):
    return register.encode(), b"x", seal_headers(register, seq)


def test_a_log_whose_leader_is_not_ready_yet_is_waited_for():
    """The first import after `stream-scrub topics` would fail now and then, and its user would look for what is wrong."""
    with FaultyKafka() as broker:
        broker.create_topic("log", 1)
        broker.push_errors(Api.LIST_OFFSETS, [KafkaError.NOT_LEADER_FOR_PARTITION] * 3)
        mine = writer((broker.bootstrap, "log"), "internal")
        assert mine.publish([record("internal", 1)], after=-1) >= 0
        mine.close()


def test_a_register_and_its_scoped_ones_have_one_publisher(log):
    """The daemon and an import of a campaign's register would publish side by side."""
    first = writer(log, "internal@acme")
    first.publish([record("internal@acme", 1)], after=end(log))
    other = writer(log, "consent")
    second = writer(log, "internal")
    with pytest.raises(TakenOver):
        first.publish([record("internal@acme", 2)], after=end(log))
    first.close()
    assert second.publish([record("internal", 1)], after=end(log)) > 0
    assert other.publish([record("consent", 1)], after=end(log)) > 0
    seen = [message.key() for message in read_all(*log)]
    assert seen == [b"internal@acme", b"internal", b"consent"]


def test_it_is_open_only_when_nothing_of_its_register_is_hidden(log):
    """Behind another register's open transaction our own last deltas cannot be read: the next one would have their
    sequence number again, and every worker would find the log corrupt."""
    mine = writer(log, "internal")
    blocking = Producer({"bootstrap.servers": log[0], "transactional.id": f"slow-{log[1]}"})
    blocking.init_transactions(60)
    blocking.begin_transaction()
    blocking.produce(log[1], b"x", b"other", 0)
    blocking.flush(60)
    mine.publish([record("internal", 1)], after=end(log))
    assert not list(read_all(*log)), "committed, and nobody sees it"
    with pytest.raises(Unavailable, match="still open"):
        writer(log, "internal", wait_s=2.0)
    blocking.abort_transaction(60)
    writer(log, "internal").close()
    assert len(list(read_all(*log))) == 1


def test_what_is_beside_a_delta_is_committed_with_it_or_not_at_all(log, topic):
    """A refused request would be reported twice, or an opt-out be counted as done that is not on the log."""
    bootstrap = log[0]
    asked, refused, group = topic("asked", partitions=2), topic("refused"), f"g-{log[1]}"
    made = properties_of(Role.REQUESTS_READER, bootstrap, {"group.id": group})
    requests = RequestsReader(made, Witnesses(made), asked)
    ask = Producer({"bootstrap.servers": bootstrap})
    ask.produce(asked, b"nonsense", b"k", partition=1, headers=[("trace", b"1")])
    ask.flush(60)
    mine = writer(log, "internal", also=[refused])
    requests.begin(Deadline.after(120))
    deadline = time.monotonic() + 60
    got: list[Request] = []
    while not got and time.monotonic() < deadline:
        got = requests.poll(0.2, 0.05, 10)
    assert [(r.partition, r.offset, r.key, r.value, r.headers) for r in got] == [
        (1, 0, b"k", b"nonsense", [("trace", b"1")])
    ]
    note = OwnerNote("me", 1, frozenset({"internal"}))
    beside = requests.extras(note, {1: 1}, refused, got)
    writer(log, "internal", also=[refused]).close()
    with pytest.raises(TakenOver):
        mine.publish([record("internal", 1)], beside, after=end(log))
    assert requests.note().owner == "" and requests.lag() == 1
    assert not list(read_all(bootstrap, refused)) and not list(read_all(*log))
    again = writer(log, "internal", also=[refused])
    again.publish([record("internal", 1)], beside, after=end(log))
    # Committed, and the brokers may still be writing so into the topics of offsets and of what was refused.
    wait_until(lambda: requests.note() == note._replace(topic=requests.id) and requests.lag() == 0)
    wait_until(lambda: bool(list(read_all(bootstrap, refused))))
    (turned,) = read_all(bootstrap, refused)
    assert (turned.key(), turned.value(), turned.headers()) == (b"k", b"nonsense", [("trace", b"1")])
    assert turned.timestamp()[1] == got[0].timestamp_ms
    assert again.publish([], requests.extras(note._replace(beat=2), {}), after=end(log)) == -1
    wait_until(lambda: requests.note().beat == 2)


def test_requests_that_were_deleted_unread_are_counted_once(log, topic):
    """A publisher that was away for longer than the topic keeps requests would go on as if nothing had been lost, or wake
    somebody for the same ones each time that it begins anew.
    """
    bootstrap = log[0]
    asked, group = topic("asked"), f"g-{log[1]}"
    ask = Producer({"bootstrap.servers": bootstrap})
    for _ in range(5):
        ask.produce(asked, b"x")
    ask.flush(60)
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    reader.commit(offsets=[TopicPartition(asked, 0, 1)], asynchronous=False)
    reader.close()
    admin = properties_of(Role.ADMIN, bootstrap)
    made = properties_of(Role.REQUESTS_READER, bootstrap, {"group.id": group})
    requests = RequestsReader(made, Witnesses(made), asked)
    assert requests.topic_id() and requests.partitions() == 1
    keeper = AdminClient(admin)
    (deleted,) = keeper.delete_records([TopicPartition(asked, 0, 3)]).values()
    deleted.result()
    requests.begin(Deadline.after(120))
    assert requests.missed == 2 and requests.lag() == 2
    note = OwnerNote("somebody", 1, frozenset({"list"}))
    writer(log, "list").publish([], requests.extras(note, requests.skipped), after=end(log))
    requests.begin(Deadline.after(120))
    assert requests.missed == 0 and requests.lag() == 2
    requests.close()


def test_a_topic_that_was_made_anew_is_known_by_who_read_the_old_one(log, topic):
    """Kafka forgets the offsets of a topic that it deletes: nobody would be told that opt-outs are lost."""
    bootstrap = log[0]
    made = properties_of(Role.REQUESTS_READER, bootstrap, {"group.id": f"g-{log[1]}"})
    requests = RequestsReader(made, Witnesses(made), topic("asked"))
    for known, anew in (("", False), (requests.topic_id(), False), ("of-the-old-one", True)):
        requests.begin(Deadline.after(120), known)
        assert requests.recreated == anew and requests.skipped == ({0: 0} if anew else {})
    requests.close()


def test_a_delta_is_not_published_behind_one_that_its_publisher_has_not_read(log):
    """A broker that does not know that it was deposed would have two deltas get one sequence number, and every worker find
    the log corrupt for good."""
    first = writer(log, "list")
    read = first.publish([record("list", 1)], after=end(log))
    unread = first.publish([record("list", 2)], after=read)
    first.close()
    second = writer(log, "list")
    with pytest.raises(Unavailable, match="published by somebody else meanwhile"):
        second.publish([record("list", 2)], after=read)
    with pytest.raises(Unavailable, match="published by somebody else meanwhile"):
        second.publish([record("list@acme", 1)], after=read)
    assert second.publish([record("list", 3)], after=unread) > unread, "what was aborted does not count"
    second.close()
    assert [dict(message.headers())["seq"] for message in read_all(*log)] == [b"1", b"2", b"3"]


def test_a_delta_is_published_while_others_publish_theirs(log):
    """Every opt-out would wait for as long as somebody imports a long list."""
    mine = writer(log, "internal")
    read = mine.publish([record("internal", 1)], after=end(log))
    writer(log, "bloctel").publish([record("bloctel", 1)], after=read)
    slow = Producer({"bootstrap.servers": log[0], "transactional.id": f"slow-{log[1]}"})
    slow.init_transactions(60)
    slow.begin_transaction()
    slow.produce(log[1], b"x", b"other", 0)
    slow.flush(60)
    started = time.monotonic()
    assert mine.publish([record("internal", 2)], after=read) > read
    print(f"\nread and published in {1000 * (time.monotonic() - started):.0f} ms")
    slow.abort_transaction(60)


def test_nothing_is_published_where_the_log_lost_what_was_read_of_it(log):
    """A publisher would go on along records that are gone, and every worker find the log corrupt."""
    mine = writer(log, "internal")
    with pytest.raises(Unavailable, match="a broker lost what others had"):
        mine.publish([record("internal", 8)], after=7)
    assert not list(read_all(*log))
