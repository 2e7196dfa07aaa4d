"""Who leads a partition, by the word of enough of its replicas, and the end that the leader gives."""

import gc
import weakref
from types import SimpleNamespace

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError

from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka import witnesses
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline
from tests.support.fakes.leaders import Brokers, Client

LOG = ("log", 0)


@pytest.fixture
def ask(monkeypatch):
    """Asks these brokers for the end."""

    def asked(brokers):
        monkeypatch.setattr(witnesses, "AdminClient", brokers.client)
        return Witnesses({}).end(LOG, Deadline.after(1)).offset

    return asked


@pytest.mark.parametrize(
    ("names", "ends", "replicas", "end"),
    [
        ({1: 1, 2: 2, 3: 2}, {1: 5, 2: 9}, (1, 2, 3), 9),
        ({1: 3, 2: 2, 3: 3}, {2: 5, 3: 9}, (1, 2, 3), 9),
        ({1: 1, 2: 1, 3: 3}, {3: 5, 1: 9}, (1, 2, 3), 9),
        ({1: 1, 2: 1, 3: None}, {1: 7}, (1, 2, 3), 7),
        ({1: None, 2: 3, 3: 3}, {3: 7}, (1, 2, 3), 7),
        ({1: 1}, {1: 7}, (1,), 7),
        ({1: 2, 2: 2, 3: 2}, {2: 7}, (2,), 7),
        (dict.fromkeys(range(1, 61), 40), {40: 7}, (40, 41, 42), 7),
    ],
    ids=["1 deposed", "2 deposed", "3 deposed", "3 down", "1 down", "alone", "one of three", "of sixty"],
)
def test_the_end_is_that_of_the_leader_that_enough_replicas_name(ask, names, ends, replicas, end):
    """Everybody who opted out since a broker was deposed would be called; or every restart of a broker be a hold, nobody try
    it on one broker, and commands fail on a large cluster."""
    assert ask(Brokers(names, ends, replicas=replicas)) == end


@pytest.mark.parametrize(
    "names",
    [
        {1: 1, 2: None, 3: None},
        {1: 1, 2: 2, 3: 3},
        {1: 1, 2: 2, 3: None},
        {1: -1, 2: -1, 3: -1},
        {1: 1, 4: 1, 5: 1},
    ],
    ids=["alone", "disagree", "two disagree", "no leader", "no replicas"],
)
def test_too_few_replicas_confirm_no_end(ask, names):
    """A broker that hears of no other one would be believed."""
    with pytest.raises(Unavailable, match="too few of its replicas"):
        ask(Brokers(names, dict.fromkeys(range(6), 5)))


def test_a_topic_that_may_not_be_described_is_said_to_be_so(ask):
    """Who set it up would look for a network fault where a right is missing."""
    brokers = Brokers({1: 1}, {1: 7}, replicas=(1,))
    brokers.error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(Refused, match="right"):
        ask(brokers)


def test_no_broker_at_all_gives_the_clients_reason(ask):
    """Who is on call would read of replicas where nothing answers."""
    with pytest.raises(Unavailable, match="no broker"):
        ask(Brokers({1: None, 2: None}, {}))


def test_clients_are_kept_from_one_question_to_the_next(monkeypatch):
    """Each question would cost three connections, twice a second for every worker."""
    brokers = Brokers({1: 1, 2: 1, 3: 1}, {1: 7})
    monkeypatch.setattr(witnesses, "AdminClient", brokers.client)
    ends = Witnesses({})
    ends.end(LOG, Deadline.after(1))
    made = brokers.clients
    for _ in range(5):
        assert ends.end(LOG, Deadline.after(1)).offset == 7
    assert brokers.clients == made


def test_clients_that_connect_slowly_answer_the_next_question(monkeypatch):
    """Workers would hold for ever where a connection takes more than two seconds: over TLS and SASL from another continent."""
    brokers = Brokers(dict.fromkeys(range(1, 7), 1), {1: 7})
    monkeypatch.setattr(witnesses, "AdminClient", brokers.client)
    ends = Witnesses({})
    ends.end(LOG, Deadline.after(1))
    brokers.names, brokers.ends, brokers.replicas = dict.fromkeys(range(1, 7), 4), {4: 9}, (4, 5, 6)
    brokers.connects_in = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            ends.end(LOG, Deadline.after(1))
    brokers.connects_in = 99
    assert ends.end(LOG, Deadline.after(1)).offset == 9


def test_without_a_quorum_few_new_clients_are_made(monkeypatch):
    """A fleet would open hundreds of connections a second to brokers that are already in trouble, and not go on at once
    when they agree again."""
    now = 0.0
    monkeypatch.setattr(witnesses.clock, "elapsed", lambda: now)
    brokers = Brokers({1: -1, 2: -1, 3: None}, {1: 7, 2: 7})
    monkeypatch.setattr(witnesses, "AdminClient", brokers.client)
    ends = Witnesses({})
    for _ in range(120):  # a minute
        now += 0.5
        with pytest.raises(Unavailable, match="too few of its replicas"):
            ends.end(LOG, Deadline.after(1))
    assert brokers.clients < 150
    brokers.names = {1: 1, 2: 1, 3: None}
    made = brokers.clients
    assert ends.end(LOG, Deadline.after(1)).offset == 7
    assert brokers.clients <= made + 1


def test_a_leader_that_was_just_elected_is_asked_again(ask):
    """The first command after `stream-scrub topics` would fail now and then."""
    brokers = Brokers({1: 1, 2: 1, 3: 1}, {1: 7})
    brokers.ready_in = 2
    assert ask(brokers) == 7


def test_a_leader_that_does_not_answer_gives_no_end(ask):
    """A worker would take a broker that hangs for a log that was deleted, throw its index away, and hold as if it were corrupt."""
    with pytest.raises(Unavailable, match="leader does not answer"):
        ask(Brokers({1: 1, 2: 1, 3: 1}, {1: OFFSET_INVALID}))


def test_clients_are_given_up_in_an_outage(monkeypatch):
    """Every process would take 5 MB more each minute, and a long outage would end with all of them killed."""
    brokers = Brokers({1: None, 2: None, 3: None}, {})
    made = []

    def client(options):
        made.append(weakref.ref(new := Client(brokers, 1, 1)))
        return new

    monkeypatch.setattr(witnesses, "AdminClient", client)
    monkeypatch.setattr(witnesses, "_PAUSE_S", 0.0)
    ends = Witnesses({})
    gc.disable()  # a collection may be far away in a process that waits
    try:
        for _ in range(10):
            with pytest.raises(Unavailable):
                ends.end(LOG, Deadline.after(1))
        alive = sum(each() is not None for each in made)
    finally:
        gc.enable()
    assert len(made) > 20 and alive < 5


def test_a_client_that_asks_a_broker_that_has_voted_is_replaced(monkeypatch):
    """A worker would hold for ever after its start: a client asks a broker of its own choice, not the one at its address."""
    brokers = {broker: SimpleNamespace(host="kafka", port=broker) for broker in (1, 2, 3)}
    partition = SimpleNamespace(replicas=[1, 2, 3], leader=1)
    chosen = iter([1, 1, 1, 1, 2])  # the broker that each new client asks; the last one asks for the ends

    class Chooser:
        def __init__(self, _options):
            self._broker = next(chosen, 3)

        def list_topics(self, topic, timeout):
            topics = {topic: SimpleNamespace(topic=topic, error=None, partitions={0: partition})}
            return SimpleNamespace(orig_broker_id=self._broker, brokers=brokers, topics=topics)

        def list_offsets(self, places, **_):
            return {
                place: SimpleNamespace(result=lambda: SimpleNamespace(offset=7, leader_epoch=1))
                for place in places
            }

    monkeypatch.setattr(witnesses, "AdminClient", Chooser)
    ends = Witnesses({"bootstrap.servers": "kafka:1,kafka:2,kafka:3"})
    assert ends.ends(["requests", "lifts"], Deadline.after(60)) == {("requests", 0): 7, ("lifts", 0): 7}
