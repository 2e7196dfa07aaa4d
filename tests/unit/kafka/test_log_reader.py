"""The log's reader when something fails after records were fetched: the client's position has moved on by then."""

import itertools
from types import SimpleNamespace

import pytest
from confluent_kafka import OFFSET_BEGINNING, IsolationLevel, KafkaError, Message

from stream_scrub import clock
from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.kafka import log_reader
from stream_scrub.kafka.offsets import EARLIEST
from stream_scrub.kafka.witnesses import QuorumEnd


def fetched(offset: int, code: int | None = None, text: str = "") -> Message:
    """A record, or what came in the place of one."""
    error = None if code is None else KafkaError(code, text)
    return Message(offset=offset, key=b"list", value=b"x", headers=[], error=error, timestamp=(1, 0))


class Client:
    """Hands out one list a fetch. The ends are `end` and `written`, or cannot be asked for while they are None."""

    leader = named = 1  # by the quorum, and by the broker that it asks itself

    def __init__(self, *fetches, end=None, written=0):
        self.fetches, self.end, self.written, self.assigned = list(fetches), end, written, []
        self.first = self.asked = 0

    def poll(self, _timeout):
        return self.fetches[0].pop(0) if self.fetches and self.fetches[0] else None

    def consume(self, _count, _timeout):
        return self.fetches.pop(0)

    def list_topics(self, topic, timeout):
        place = SimpleNamespace(leader=self.named)
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: place})})

    def close(self): ...

    def assign(self, places):
        self.assigned += [(each.partition, each.offset) for each in places]


class Asked:
    """Answers in the place of `Witnesses`, by what a client says."""

    def __init__(self, client):
        self.client = client

    def leader_of(self, _key):
        """As of Witnesses."""
        return self.client.leader

    def id_of(self, _topic, _deadline):
        """No topic has an id."""
        return ""

    def end(self, key, deadline, what, isolation):
        """As of Witnesses."""
        client = self.client
        committed = isolation == IsolationLevel.READ_COMMITTED
        client.asked += not committed
        offset = client.first if what is EARLIEST else client.end if committed else client.written
        if offset is None:
            raise Unavailable("no broker answers")
        return QuorumEnd(clock.elapsed(), offset, 0)


@pytest.fixture
def reader(monkeypatch):
    """Makes a reader of this client, whose time goes on by a second at each look."""
    now = itertools.count()
    monkeypatch.setattr(clock, "elapsed", lambda: float(next(now)))

    def made(client):
        monkeypatch.setattr(log_reader, "Consumer", lambda _: client)
        return log_reader.KafkaLogReader({}, "log", witnesses=Asked(client))

    return made


def offsets(answer):
    return [record.offset for record in answer[0]], answer[1]


def test_records_outlive_a_broker_that_cannot_be_asked_for_the_end(reader):
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


def test_records_outlive_an_error_behind_them_and_what_follows_is_fetched_again(reader):
    """A delta would be missing, or one be taken that does not follow on what was read."""
    client = Client([fetched(0), fetched(1), fetched(0, KafkaError._TRANSPORT), fetched(9)], end=10)
    made = reader(client)
    assert offsets(made.read(0)) == ([0, 1], False)
    assert client.assigned == [(0, OFFSET_BEGINNING), (0, 2)]
    client.fetches, client.first = [[fetched(0, KafkaError._AUTO_OFFSET_RESET)]], 3
    with pytest.raises(Corrupt, match="are gone"):
        made.read(0)


def test_a_damaged_batch_is_fetched_again_before_the_log_counts_as_corrupt(reader):
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


def test_an_offset_that_nobody_asked_for_is_no_end_of_the_log(reader):
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


def test_records_that_a_broker_lost_are_no_wrong_offset(reader):
    """A worker would go on by opt-outs that are on no broker any more, and never compare what it knows with the log."""
    text = "Partition log truncation detected at offset 2 (leader epoch 1)"
    lost = fetched(2, KafkaError._AUTO_OFFSET_RESET, text)
    made = reader(Client([fetched(0), fetched(1)], [lost], end=3))
    assert offsets(made.read(0)) == ([0, 1], False)
    with pytest.raises(Unavailable, match="lost records"):
        made.read(0)


def test_a_record_that_was_returned_is_not_returned_again(reader):
    """A client that begins anew by itself would make every worker find the log corrupt."""
    client = Client([fetched(0), fetched(1)], [fetched(0), fetched(1), fetched(2)], end=3)
    made = reader(client)
    assert offsets(made.read(0)) == ([0, 1], False)
    assert offsets(made.read(0)) == ([2], True)


def test_nothing_is_asked_for_before_it_is_known_where_to_read(reader):
    """The client would go to the beginning when a broker comes back, after it was told to go elsewhere."""
    client = Client([], end=0)
    made = reader(client)
    made.seek(7)
    made.read(0)
    assert client.assigned == [(0, 7)]


def test_the_log_is_known_up_to_the_moment_whose_end_has_been_read(reader):
    """What hides behind an open transaction would count as known, or a busy log never be known at all."""
    client = Client([fetched(0)], [fetched(1)], [fetched(5)], [fetched(8)], end=1)
    made = reader(client)
    made.read(0)
    client.written = 5
    begun = clock.elapsed()
    assert made.complete_at() is None, "five are not read yet"
    client.written, asked = 9, client.asked
    made.read(0)
    assert made.complete_at() is None and client.asked == asked
    made.read(0)
    known_at = made.complete_at()
    assert begun <= known_at < clock.elapsed(), "all of the five, and not of the nine"
    assert client.asked == asked + 1

    client.written = None
    made.read(0)
    with pytest.raises(Unavailable):
        made.complete_at()


def test_a_log_that_is_shorter_than_what_was_read_confirms_nothing(reader):
    """A log that was deleted and made anew would count as confirmed: workers go on by lists that are not on it."""
    client = Client([fetched(0), fetched(1)], [], end=2)
    made = reader(client)
    assert made.read(0)[1]
    client.end = client.written = 1
    with pytest.raises(Unavailable, match="created again"):
        made.read(0)
    with pytest.raises(Unavailable, match="created again"):
        made.complete_at()


def test_records_are_fetched_from_the_leader_that_the_quorum_names(reader, monkeypatch):
    """A follower would stay with a broker that was deposed, and hold for as long as that one is cut off."""
    first, second = Client([fetched(0)], end=2), Client([fetched(1)], end=2)
    made = reader(first)
    assert offsets(made.read(0)) == ([0], False)
    first.leader = second.named = 2
    monkeypatch.setattr(log_reader, "Consumer", lambda _: second)
    assert offsets(made.read(0)) == ([], False)
    assert offsets(made.read(0)) == ([1], True)
    assert second.assigned == [(0, 1)]


def test_a_reader_whose_broker_is_slow_goes_on_fetching(reader, monkeypatch):
    """Workers would hold for as long as a broker takes more than a second: each question would end the fetch under way."""
    client = Client([fetched(0)], [fetched(1)], end=2)
    made = reader(client)
    client.leader, client.named = 2, -1
    monkeypatch.setattr(log_reader, "Consumer", lambda _: pytest.fail("a new client fetches from the start"))
    assert offsets(made.read(0)) == ([0], False)
    assert offsets(made.read(0)) == ([1], True)
