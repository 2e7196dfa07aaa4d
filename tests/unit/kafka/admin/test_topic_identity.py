"""Which topic it is, as it is known before a commit."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from stream_scrub.kafka.admin import topic_identity
from stream_scrub.kafka.admin.topic_identity import TopicIdentity
from stream_scrub.model import Deadline


@pytest.fixture
def brokers(monkeypatch):
    """Brokers that answer at once; `id` is the topic's, `now` the time, `asked` how often they were asked."""
    there = SimpleNamespace(id="first", now=100.0, asked=0)

    def describe(topics, request_timeout):
        there.asked += 1
        answer = Future()
        answer.set_result(SimpleNamespace(topic_id=there.id))
        return dict.fromkeys(topics.topic_names, answer)

    monkeypatch.setattr(topic_identity, "AdminClient", lambda _: SimpleNamespace(describe_topics=describe))
    monkeypatch.setattr(topic_identity, "time", SimpleNamespace(monotonic=lambda: there.now))
    monkeypatch.setattr(topic_identity, "TopicCollection", lambda names: SimpleNamespace(topic_names=names))
    return there


def known(identity):
    return identity.answer(["t"], Deadline.after(1.0)).get("t", "")


def test_an_answer_for_a_batch_that_was_given_up_does_not_count_for_a_later_one(brokers):
    """The later batch is of a topic that was made anew; it would be committed as if it were of the old one, and come out
    a second time."""
    identity = TopicIdentity({})
    identity.begin(["t"])  # and the batch is given up
    brokers.id, brokers.now = "second", brokers.now + 1.0
    identity.begin(["t"])
    assert known(identity) == "second"


def test_what_is_known_from_just_now_is_not_asked_for_again(brokers):
    """Each batch would wait for a broker's answer."""
    identity = TopicIdentity({})
    for _ in range(3):
        identity.begin(["t"])
        known(identity)
        brokers.now += 0.05
    assert brokers.asked == 1
