"""`stream_scrub.producer.Leads` on an embedded broker."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scrub.config import load
from stream_scrub.errors import ConfigError, ScrubError, Uncertain
from stream_scrub.kafka import clients
from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.ops import logs
from stream_scrub.producer import Leads, WouldBlock
from stream_scrub.producer import leads as module
from tests.support.network.faulty_kafka import Api, FaultyKafka

LEAD = {"id": 7, "phone": "06 12 34 56 80", "purpose": "insurance", "name": "Renée"}


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as broker:
        yield broker


def sent(broker: EmbeddedKafka, topic: str) -> list[tuple[bytes | None, object]]:
    """The keys and values on a topic."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "g", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(20)) is not None and message.error() is None:
        found.append((message.key(), json.loads(message.value())))
    consumer.close()
    return found


def test_prospects_are_keyed_by_their_number(broker):
    """Two prospects of a person would overtake each other, and one key would be another person's."""
    broker.create_topic("keyed", 1)
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "topics.prospects": "keyed"}
    several = LEAD | {"phone": ["n/a", "+44 7400 123456", "06 12 34 56 80"]}
    with Leads(settings=settings, strict=False) as leads:
        leads.send(LEAD)
        leads.send(json.dumps(LEAD | {"phone": 7400123456, "country": "United Kingdom"}).encode())
        leads.send(several)
        leads.send(LEAD | {"phone": "n/a"})
        leads.flush()
        assert len(sent(broker, "keyed")) == 4
    assert [key for key, _ in sent(broker, "keyed")] == [b"+33612345680", *[b"+447400123456"] * 2, None]
    assert sent(broker, "keyed")[0][1] == LEAD


@pytest.mark.parametrize(
    ("lead", "reason", "why", "member"),
    [
        ({"id": 7, "purpose": "insurance"}, "invalid-number", "no-number", "phone"),
        (LEAD | {"phone": "abc"}, "invalid-number", "no-digits", ""),
        (LEAD | {"phone": ["06 12 34 56 80", "abc"]}, "invalid-number", "no-digits", ""),
        (LEAD | {"phone": True}, "invalid-number", "wrong-type", "phone"),
        (LEAD | {"country": "XX"}, "unknown-country", None, ""),
        (LEAD | {"purpose": "insurence"}, "unknown-purpose", None, ""),
        ({"id": 7, "phone": "06 12 34 56 80"}, "unknown-purpose", None, ""),
        (LEAD | {"channel": "fax"}, "no-rule", None, ""),
        (LEAD | {"phone": "08 92 12 34 56"}, "not-callable", None, ""),
        (LEAD | {"phone": "+81 90 1234 5678"}, "no-rule", None, ""),
        (b"{", "unreadable", "truncated", ""),
        (b"[]", "unreadable", "not-an-object", ""),
        (b'{"phone":"0612345680","phone":"0612345678"}', "unreadable", "member-twice", "phone"),
        (LEAD | {"Phone": "0612345678"}, "unreadable", "member-twice", "phone"),
        (b"\xff", "unreadable", "not-utf-8", ""),
    ],
)
def test_what_must_come_out_blocked_is_not_sent(broker, lead, reason, why, member):
    """A producer would learn days later that none of its prospects could be called."""
    broker.create_topic("strict", 1)
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "topics.prospects": "strict"}
    with Leads(settings=settings) as leads, pytest.raises(WouldBlock) as raised:
        leads.send(lead)
    assert (raised.value.reason, raised.value.why, raised.value.member) == (reason, why, member)
    assert "12345" not in str(raised.value)
    assert sent(broker, "strict") == []


RULE = """country = "FR"
regions = ["FR"]
timezone = "Europe/Paris"
[[rule]]
from = 2026-12-03
source = "a law that begins at midnight"
deny = ["bloctel", "internal"]
"""


@pytest.mark.parametrize("begun", ["2026-12-02T22:59:30+00:00", "2026-12-05T12:00:00+00:00"])
def test_prospects_are_judged_by_the_rules_of_their_moment(broker, monkeypatch, tmp_path, begun):
    """Good leads would be refused after a rule's midnight, and for days where a clock was set back; forbidden ones be sent."""

    class Clock(datetime):
        moment = begun

        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(cls.moment)

    monkeypatch.setattr(module, "datetime", Clock)
    (tmp_path / "fr.toml").write_text(RULE)
    topic = f"at-{begun[8:10]}"
    broker.create_topic(topic, 1)
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "topics.prospects": topic}
    with Leads(settings=settings | {"rules.folder": str(tmp_path)}) as leads:
        Clock.moment = "2026-12-02T22:59:59+00:00"
        with pytest.raises(WouldBlock, match="no-rule"):
            leads.send(LEAD)
        Clock.moment = "2026-12-02T23:00:05+00:00"
        leads.send(LEAD)
    assert len(sent(broker, topic)) == 1


def test_what_a_register_decides_is_sent(broker):
    """A producer could send nothing to a country whose list it does not have."""
    broker.create_topic("judged", 1)
    settings = {"kafka.bootstrap_servers": broker.bootstrap, "topics.prospects": "judged"}
    with Leads(settings=settings) as leads:
        leads.send(LEAD)
        leads.send(LEAD | {"phone": "+44 7400 123456"})
        leads.send(LEAD | {"purpose": "energy-renovation"})  # a ban, which a contract or a consent may lift
    assert len(sent(broker, "judged")) == 3
    silent = settings | {"prospect.default_purpose": "insurance"}
    with Leads(settings=silent) as leads:
        leads.send({"id": 8, "phone": "06 12 34 56 80"})
    assert len(sent(broker, "judged")) == 4


def test_what_is_not_delivered_is_raised(broker):
    """A producer would believe that its prospects are on the topic."""
    broker.create_topic("large", 1)
    leads = Leads(settings={"kafka.bootstrap_servers": broker.bootstrap, "topics.prospects": "large"})
    leads.send(LEAD)
    leads.send(LEAD | {"name": "é" * 4_000_000})
    with pytest.raises(ScrubError, match="prospect 2 was not taken"):
        leads.close()


@pytest.mark.slow
def test_after_a_client_that_failed_for_good_the_next_records_go_by_another():
    """A producer would wait for ever, and a check API refuse every opt-out until somebody restarts it."""
    with FaultyKafka() as faulty:
        faulty.create_topic("opt-outs")
        settings = load(flags={"kafka.bootstrap_servers": faulty.bootstrap}, environ={})
        with closing(clients.Brokers(settings, logs.of_library()).requests_writer("opt-outs")) as writer:

            def outcome():
                answer = Future()
                writer.send(b"k", b"v", answer.set_result)
                return answer.result(20)

            assert outcome() == (0, 0)
            faulty.push_errors(Api.PRODUCE, [KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER])
            assert isinstance(outcome(), Uncertain)
            assert outcome() == (0, 1)


def test_leads_go_where_workers_read_and_as_json():
    """Prospects would be on a topic that no worker reads, or in a form that it takes for another."""
    with pytest.raises(ConfigError, match="topic elsewhere: workers read prospects"):
        Leads(topic="elsewhere")
    avro = {"prospect.format": "avro", "prospect.stamp": "header", "registry.url": "http://127.0.0.1:1"}
    with pytest.raises(ConfigError, match="sent as json"):
        Leads(settings=avro)
