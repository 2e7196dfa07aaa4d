"""Which topic it is, as it is known before a commit."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import witnesses
from stream_scrub.kafka.witnesses import Witnesses
from stream_scrub.model import Deadline


@pytest.fixture
def brokers(monkeypatch):
    """Brokers that answer at once; `id` is the topic's, `now` the time, `asked` how often they were asked. Client number
    `stale` asks one that gives the first id for ever, and those in `silent` wait for one that is away."""
    there = SimpleNamespace(id="first", now=100.0, asked=0, clients=0, stale=None, silent=set())

    def client(_):
        number, there.clients = there.clients, there.clients + 1

        def describe(topics, request_timeout):
            there.asked += 1
            answer = Future()
            if number in there.silent:
                answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
            else:
                answer.set_result(SimpleNamespace(topic_id="first" if number == there.stale else there.id))
            return dict.fromkeys(topics.topic_names, answer)

        return SimpleNamespace(describe_topics=describe)

    monkeypatch.setattr(witnesses, "AdminClient", client)
    monkeypatch.setattr(witnesses, "time", SimpleNamespace(monotonic=lambda: there.now))
    monkeypatch.setattr(witnesses, "TopicCollection", lambda names: SimpleNamespace(topic_names=names))
    return there


def known(identity):
    return identity.answered_ids(["t"], Deadline.after(1.0)).get("t", "")


def test_an_answer_for_a_batch_that_was_given_up_does_not_count_for_a_later_one(brokers):
    """The later batch is of a topic that was made anew; it would be committed as if it were of the old one, and come out
    a second time."""
    identity = Witnesses({})
    identity.begin_ids(["t"])  # and the batch is given up
    brokers.id, brokers.now = "second", brokers.now + 1.0
    identity.begin_ids(["t"])
    assert known(identity) == "second"


def test_what_is_known_from_just_now_is_not_asked_for_again(brokers):
    """Each batch would wait for a broker's answer."""
    identity = Witnesses({})
    for _ in range(3):
        identity.begin_ids(["t"])
        known(identity)
        brokers.now += 0.05
    assert brokers.asked == 3, "once, and two others at first"


@pytest.mark.parametrize("stale", [0, 1, 2])
def test_one_broker_alone_does_not_say_which_topic_it_is(brokers, stale):
    """A topic would count as created again by the word of a broker that hears no other one, and all of it be emitted a
    second time."""
    brokers.id, brokers.stale = "second", stale
    identity = Witnesses({})
    with pytest.raises(Unavailable, match="do not agree"):
        identity.ids(["t"], Deadline.after(1.0))
    assert identity.ids(["t"], Deadline.after(1.0)) == {"t": "second"}


def test_another_client_asks_once_one_had_no_answer(brokers):
    """Workers would stand still for minutes: a client waits for the controller that it knows, though the others have another."""
    identity = Witnesses({})
    identity.ids(["t"], Deadline.after(1.0))
    brokers.silent = {0}
    with pytest.raises(Unavailable):
        identity.ids(["t"], Deadline.after(1.0))
    assert identity.ids(["t"], Deadline.after(1.0)) == {"t": "first"}
    brokers.silent = set(range(brokers.clients))
    brokers.now += 1.0
    identity.begin_ids(["t"])
    with pytest.raises(Unavailable):
        known(identity)
    brokers.now += 1.0
    identity.begin_ids(["t"])
    assert known(identity) == "first"
