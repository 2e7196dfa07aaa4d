"""The opposition log on a real Kafka: its end among markers and aborted records, beginning in its middle, seeking."""

from contextlib import suppress

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.index import deltas
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.log_writer import KafkaLogWriter
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.log import wire
from stream_scrub.log.encode import records_of
from stream_scrub.log.scan import SealHead, begin, check_seals, last_seal, replay_to_end
from stream_scrub.model import Deadline
from tests.conftest import until_known
from tests.support.fakes.log import Log
from tests.support.fakes.properties import properties_of, publisher_of
from tests.support.fakes.publisher import AT, NOW, SOURCE, Publisher, bitmap
from tests.support.network import raw_headers

LONG = {"retention.ms": "-1"}


class OnKafka(Publisher):
    """The tests' publisher, on a real log."""

    def __init__(self, bootstrap: str, topic: str, **more) -> None:
        self.bootstrap, self.topic = bootstrap, topic
        self._reader = reader(bootstrap, topic)
        super().__init__(Log(), **more)
        self.writer = writer(bootstrap, topic)

    def put(self, *arguments, **more):
        """As Publisher's; what was committed can be read a moment later, when its markers are written."""
        made = super().put(*arguments, **more)
        deadline = Deadline.after(120)
        while self.replay.index.position < made.position:
            assert not deadline.passed, "what was published cannot be read"
            self.catch_up()
        return made

    def restart(self, start="latest-full") -> None:
        self.replay = begin(self._reader, Deadline.after(120), start=start, keep_ends=True)
        self.catch_up()


def reader(bootstrap, topic):
    return KafkaLogReader(properties_of(Role.LOG_READER, bootstrap), topic)


def writer(bootstrap, topic, register="list"):
    made = publisher_of(bootstrap, topic, register)
    reading = properties_of(Role.LOG_READER, bootstrap)
    return KafkaLogWriter(made, reading, topic, Deadline.after(120))


def abort(bootstrap, topic, count=3, *, register="list", leave_open=False):
    """Records of a publisher that gave up, or that was killed and is not back yet."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"abort-{topic}",
            "transaction.timeout.ms": 600_000,
        }
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    for i in range(count):
        headers = wire.part_headers("adds", register, 99, i)
        producer.produce(topic, b"x", register.encode(), 0, headers=headers)
    producer.flush(60)
    if leave_open:
        return producer
    producer.abort_transaction(60)
    return None


@pytest.fixture
def log(kafka, topic):
    return kafka.bootstrap, topic("log", config=LONG)


def whole(log, start, **more):
    made = reader(*log)
    replay = begin(made, Deadline.after(120), start=start, **more)
    replay_to_end(made, Deadline.after(120), replay=replay)
    made.close()
    return replay


def test_a_log_made_anew_to_the_same_length_confirms_nothing(kafka, log):
    """Whoever opposed on the new log would be called, and nobody would hear of it."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    options_ = properties_of(Role.LOG_READER, kafka.bootstrap)
    followed = KafkaLogReader(options_, log[1], witnesses=Witnesses(options_))
    OnKafka(*log).import_list("list", {33_612_000_001: 0})
    replay = begin(followed, Deadline.after(120))
    replay_to_end(followed, Deadline.after(120), replay=replay)

    admin.delete_topics([log[1]])[log[1]].result()
    deadline = Deadline.after(120)
    while not deadline.passed:  # the brokers forget the old one a moment later
        with suppress(KafkaException):
            admin.create_topics([NewTopic(log[1], 1, config=LONG)])[log[1]].result()
            break
    until_known(admin, log[1])
    OnKafka(*log).import_list("list", {33_612_000_002: 0})
    with pytest.raises(Corrupt, match="created again"):
        _read_for(followed, 120)
    followed.close()


def _read_for(reader, seconds):
    deadline = Deadline.after(seconds)
    while not deadline.passed:
        with suppress(Unavailable):
            reader.read(0.1)


def test_a_record_with_a_header_that_is_no_utf_8_is_corrupt(log):
    """Every follower of the log would be killed, at every start, without a word why."""
    OnKafka(*log).import_list("list", {1: 0})
    raw_headers.produce(*log, b"x", b"list", [(b"part", b"adds"), (b"h\xff", b"")])
    with pytest.raises(Corrupt, match="offset"):
        whole(log, "beginning")


def test_every_way_to_begin_comes_to_the_same_among_aborted_records(log):
    """A worker started today would judge otherwise than one that has run for years."""
    publisher = OnKafka(*log, full_every=6)
    for number in range(5):
        abort(*log, count=1 + 9 * number)
        publisher.import_list("list", {number: NOW + number, 1000: 0})
    abort(*log, count=200)

    replays = [whole(log, start, keep_ends=True) for start in ("beginning", "latest-full")]
    for replay in replays:
        register = replay.index.registers["list"]
        assert (set(register.numbers), register.seq, register.chain) == (
            {4, 1000},
            publisher.base("list").seq,
            publisher.base("list").chain,
        )
        assert register.next_end.timestamp() == NOW + 4
    assert publisher.replay.known("list").span[0] > 0
    found = last_seal(publisher._reader, 120)
    assert found.offset == replays[0].index.position


def test_an_open_transaction_is_after_the_end_and_the_end_is_not_known(log):
    """A command would wait for a publisher that was killed; or a worker go on by what was known before it, for good."""
    publisher = OnKafka(*log)
    publisher.import_list("list", {1: 0})
    made = reader(*log)
    replay = begin(made, Deadline.after(120))
    replay_to_end(made, Deadline.after(120), replay=replay)
    known_at = made.complete_at()
    assert known_at is not None
    left = abort(*log, register="other", leave_open=True)
    publisher.writer.publish(publisher_records(publisher, [1, 2]), after=publisher.replay.known("list").upto)

    assert set(whole(log, "latest-full").index.registers["list"].numbers) == {1}
    deadline = Deadline.after(3)
    moments = set()
    while not deadline.passed:
        records, at_end = made.read(0.1)
        assert not records
        if at_end:
            moments.add(made.complete_at())
    assert len(moments - {known_at}) <= 1, "at most once more: asked before the transaction began"

    left.abort_transaction(60)
    replay_to_end(made, Deadline.after(120), replay=replay)
    assert set(replay.index.registers["list"].numbers) == {1, 2}
    assert made.complete_at() > max(moments)
    made.close()


def publisher_records(publisher, numbers):
    base = publisher.base("list")
    delta = deltas.full(base.numbers, bitmap(numbers))
    return records_of(base, delta, AT, SOURCE, known=publisher.replay.known("list"))[0]


def test_the_reader_goes_on_where_it_is_put(log):
    """A snapshot would cost as much as the whole log."""
    publisher = OnKafka(*log)
    positions = [publisher.import_list("list", dict.fromkeys(range(n), 0)).position for n in range(1, 5)]
    made = reader(*log)
    first, end = made.bounds()
    assert (first, end) == (0, positions[-1] + 2)
    for position in reversed(positions):
        made.seek(position)
        records = []
        deadline = Deadline.after(120)
        at_end = False
        while not at_end and not deadline.passed:
            some, at_end = made.read(0.5)
            records += some
        assert [r.offset for r in records if r.offset in positions] == [p for p in positions if p >= position]
        assert records[0].offset == position
    base = publisher.base("list")
    head = SealHead(base.chain, len(base.numbers))
    check_seals(made, {positions[-1]: head}, Deadline.after(120))
    other = head._replace(numbers=len(base.numbers) + 1)
    for place, said in (
        (positions[0], head),
        (positions[-1] + 1, head),
        (10_000, head),
        (positions[-1], other),
    ):
        with pytest.raises(ValueError, match=r"seal|position|size"):
            check_seals(made, {place: said}, Deadline.after(120))


def test_offsets_that_are_gone_are_an_error_wherever_the_reader_is_put(log):
    """A truncated log would be read from its new start, with deltas missing."""
    made = reader(*log)
    made.seek(500)
    with pytest.raises(Corrupt):
        replay_to_end(made, Deadline.after(120))
