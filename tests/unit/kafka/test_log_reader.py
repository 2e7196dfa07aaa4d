"""The log's reader when something fails after records were fetched: the client's position has moved on by then."""

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stream_scrub import clock
from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.kafka.log_reader import KafkaLogReader
from stream_scrub.kafka.partition_ends import PartitionEnds


def fetched(offset: int, code: int | None = None) -> Message:
    """A record, or what came in the place of one."""
    error = None if code is None else KafkaError(code)
    return Message(offset=offset, key=b"list", value=b"x", headers=[], error=error, timestamp=(1, 0))


class Client:
    """Hands out one list a fetch; the end is `end`, or cannot be asked for while it is None."""

    def __init__(self, *fetches, end=None):
        self.fetches, self.end, self.assigned = list(fetches), end, []
        self.first = 0
        self.asked = self.leaders_asked = 0

    def poll(self, _timeout):
        return self.fetches[0].pop(0) if self.fetches and self.fetches[0] else None

    def consume(self, _count, _timeout):
        return self.fetches.pop(0)

    def get_watermark_offsets(self, _partition, timeout):
        self.asked += 1
        if self.end is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self.first, self.end

    def list_topics(self, _topic, timeout):
        self.leaders_asked += 1

    def assign(self, places):
        self.assigned += [(each.partition, each.offset) for each in places]


def reader(client):
    made = KafkaLogReader.__new__(KafkaLogReader)
    made._partition, made._consumer = TopicPartition("log", 0), client
    made._next, made._confirmed, made._assigned = 0, float("-inf"), True
    made._damaged = made._astray = made._seen = 0
    made._mark = made._complete_at = None
    made._identity, made._id = None, ""
    made._committed, made._written = asks(client), asks(Client(end=0))
    return made


def asks(client):
    """Partition ends whose own client is this one."""
    made = PartitionEnds({})
    made._asking = client
    return made


def offsets(answer):
    return [record.offset for record in answer[0]], answer[1]


def test_records_outlive_a_broker_that_cannot_be_asked_for_the_end():
    """A delta would be missing, and the worker hold for a log that is in order."""
    client = Client([fetched(0), fetched(1)], [])
    made = reader(client)
    assert offsets(made.read(0)) == ([0, 1], False)
    with pytest.raises(Unavailable):
        made.read(0)
    client.fetches, client.end = [[]], 3
    assert offsets(made.read(0)) == ([], False)
    client.fetches = [[fetched(3, KafkaError._PARTITION_EOF)]]
    assert offsets(made.read(0)) == ([], True)


def test_records_outlive_an_error_behind_them_and_what_follows_is_fetched_again():
    """A delta would be missing, or one be taken that does not follow on what was read."""
    client = Client([fetched(0), fetched(1), fetched(0, KafkaError._TRANSPORT), fetched(9)], end=10)
    made = reader(client)
    assert offsets(made.read(0)) == ([0, 1], False)
    assert client.assigned == [(0, 2)]
    client.fetches, client.first = [[fetched(0, KafkaError._AUTO_OFFSET_RESET)]], 3
    with pytest.raises(Corrupt, match="are gone"):
        made.read(0)


def test_a_damaged_batch_is_fetched_again_before_the_log_counts_as_corrupt():
    """One bit that flipped on the way would make every worker hold until somebody restarts it."""
    client = Client([fetched(0)], end=2)
    made = reader(client)
    for again in range(7):  # three in a row, a record, and three in a row
        bad = again not in (3, 7)
        client.fetches = [[fetched(again // 4, KafkaError._BAD_MSG if bad else None)], []]
        assert offsets(made.read(0)) == ([] if bad else [0], False), again
    client.fetches = [[fetched(1, KafkaError._BAD_MSG)], []]
    with pytest.raises(Corrupt, match="damaged"):
        made.read(0)
    assert client.assigned[-1] == (0, 1)


def test_an_offset_that_nobody_asked_for_is_no_end_of_the_log():
    """An operator would read that the log's beginning was deleted, where a network damages bytes."""
    client = Client(end=2)
    made = reader(client)
    astray = KafkaError._AUTO_OFFSET_RESET
    for code in (astray, *[KafkaError._BAD_MSG, astray] * 3):
        client.fetches = [[fetched(0, code)], []]
        assert offsets(made.read(0)) == ([], False)
    client.fetches = [[fetched(0, KafkaError._BAD_MSG)], []]
    with pytest.raises(Corrupt, match="damaged"):
        made.read(0)


def test_a_record_that_was_returned_is_not_returned_again():
    """A client that begins anew by itself would make every worker find the log corrupt."""
    client = Client([fetched(0), fetched(1)], [fetched(0), fetched(1), fetched(2)], end=3)
    made = reader(client)
    assert offsets(made.read(0)) == ([0, 1], False)
    assert offsets(made.read(0)) == ([2], True)


def test_nothing_is_asked_for_before_it_is_known_where_to_read():
    """The client would go to the beginning when a broker comes back, after it was told to go elsewhere."""
    client = Client([], end=0)
    made = reader(client)
    made._assigned = False
    made.seek(7)
    made.read(0)
    assert client.assigned == [(0, 7)]


def test_the_log_is_known_up_to_the_moment_whose_end_has_been_read():
    """What hides behind an open transaction would count as known, or a busy log never be known at all."""
    made = reader(Client([fetched(0)], [fetched(1)], [fetched(5)], end=1))
    assert made.complete_at() is None or made._next == 0
    made.read(0)
    made._written._asking.end = 5
    begun = clock.elapsed()
    empty_log_at = made.complete_at()
    assert empty_log_at is not None and empty_log_at <= begun, "nothing was on it when it was asked first"

    written = made._written._asking
    written.end, asked = 9, written.asked
    made.read(0)
    assert made.complete_at() == empty_log_at and written.asked == asked, "five are not read yet"
    made.read(0)
    known_at = made.complete_at()
    assert begun <= known_at < clock.elapsed(), "all of the five, and not of the nine"
    assert written.asked == asked + 1

    written.end = None
    made._next = 9
    with pytest.raises(Unavailable):
        made.complete_at()


def test_a_log_that_is_shorter_than_what_was_read_confirms_nothing():
    """A log that was deleted and made anew would count as confirmed: workers go on by lists that are not on it."""
    made = reader(Client([fetched(0), fetched(1)], [], end=2))
    assert made.read(0)[1]
    made._consumer.end = 1

    made._confirmed = float("-inf")
    with pytest.raises(Unavailable, match="made anew"):
        made.read(0)
    made._written._asking.end = 1
    with pytest.raises(Unavailable, match="made anew"):
        made.complete_at()
