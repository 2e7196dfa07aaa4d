"""What the client says of its brokers becomes one line a change."""

import logging
import re

import pytest
import structlog
from confluent_kafka import Consumer, KafkaError

from stream_scrub.kafka.client.client_log import BrokersAway, ClientLog
from tests.support.network.faulty_kafka import FaultyKafka
from tests.support.waiting import wait_until

REFUSED = "127.0.0.1:9092/{}: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)"
UP = '{"brokers":{"127.0.0.1:9092/1":{"nodename":"127.0.0.1:9092","state":"UP"}}}'


@pytest.fixture
def lines():
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def client(lines):
    return ClientLog(structlog.get_logger(), "consumer")


def say(client: ClientLog, text: str, facility: str = "FAIL", level: int = logging.ERROR) -> None:
    thread = text.split(": ", maxsplit=1)[0]
    client.properties()["logger"].log(
        level, "%s [%s] [thrd:%s]: %s", facility, "rdkafka#consumer-1", thread, text
    )


def test_a_broker_that_is_away_is_told_once_and_once_when_it_is_back(client, lines):
    """An outage of an hour would fill the user's log with ninety thousand equal lines, and never say that it is over."""
    told = client.properties()
    for _ in range(50):
        say(client, REFUSED.format("bootstrap"))
        say(client, REFUSED.format("1"))
        say(client, "GroupCoordinator: " + REFUSED.format("1"))
        told["error_cb"](KafkaError(KafkaError._TRANSPORT, REFUSED.format("1")))
        told["error_cb"](KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    told["stats_cb"](UP)
    told["stats_cb"](UP)

    assert [(line["event"], line["broker"], line["client"]) for line in lines] == [
        ("broker is away", "127.0.0.1:9092", "consumer"),
        ("broker is back", "127.0.0.1:9092", "consumer"),
    ]


def test_a_broker_that_turns_the_client_away_is_named_with_its_reason(lines):
    """A wrong password would look like a broker that does not answer."""
    error = KafkaError(
        KafkaError._AUTHENTICATION, "sasl_ssl://kafka:9093/bootstrap: SASL authentication error: no"
    )
    client = ClientLog(structlog.get_logger(), "consumer", properties={"sasl.username": "scrubber"})
    for _ in range(3):
        client.properties()["error_cb"](error)
    wait_until(lambda: bool(lines))

    (line,) = lines
    assert (line["event"], line["broker"]) == ("broker refuses this client", "kafka:9093")
    assert "connecting as user scrubber" in line["why"] and "sasl.*" in line["why"]
    assert str(client.refusal()) == line["why"]


def test_a_client_that_never_comes_back_does_not_speak_for_the_others(lines):
    """Away and back would take turns every few seconds, although nothing changes."""
    brokers = BrokersAway()
    well, stuck = (ClientLog(structlog.get_logger(), name, brokers=brokers) for name in ("a", "b"))
    for _ in range(5):
        for each in (well, stuck):
            say(each, REFUSED.format("1"))
        well.properties()["stats_cb"](UP)
    assert [line["event"] for line in lines] == ["broker is away", "broker is back"] * 5
    say(stuck, REFUSED.format("1"))
    assert lines[-1]["event"] == "broker is back"


def test_a_quiet_client_keeps_what_it_would_say(lines):
    """A command would say the same thing twice, or not at all."""
    client = ClientLog(structlog.get_logger(), "admin", quiet=True)
    say(client, REFUSED.format("1"))
    say(client, "something else", facility="OFFSET", level=logging.WARNING)

    assert lines == []
    assert client.last_line.startswith("127.0.0.1:9092: Connect to") and client.refusal() is None


def test_other_lines_are_passed_on_once_whatever_their_numbers_unless_nothing_has_happened(client, lines):
    """Either a new problem would be swallowed, or an old one repeated for each offset and each idle connection."""
    say(client, "127.0.0.1:9092/1: Disconnected (after 600000ms in state UP)")
    for offset in range(20):
        say(client, f"prospects [3]: offset {offset} reset", facility="OFFSET", level=logging.WARNING)
    say(client, "something else", facility="MAXPOLL", level=logging.WARNING)
    say(client, "chatter", facility="MAXPOLL", level=logging.INFO)

    assert [line.get("kind") for line in lines] == ["OFFSET", "MAXPOLL"]


def test_the_topic_that_a_transaction_may_not_touch_is_kept_for_the_error(client, lines):
    """The error says that some topic is closed, and the user would have to guess which of the two outputs."""
    text = 'TxnCoordinator/1: Failed to add partition "prospects.allowed" [1] to transaction: Broker: Topic authorization failed'
    say(client, text, facility="ADDPARTS", level=logging.WARNING)
    say(client, "Current transaction failed in state InTransaction: no", facility="TXNERR")

    assert lines == []
    assert (client.denied(), client.denied()) == ("prospects.allowed", "")


def test_nothing_is_ever_raised_into_the_client(lines):
    """An exception inside a poll destroys a batch after the position has moved: prospects lost."""

    class Broken:
        def bind(self, **_):
            return self

        def __getattr__(self, name):
            raise OSError("stderr is closed")

    client = ClientLog(Broken(), "consumer")
    told = client.properties()

    say(client, REFUSED.format("1"))
    say(client, "prospects [3]: a new line", facility="MAXPOLL")
    client.handle(logging.LogRecord("x", logging.ERROR, "f", 1, "%d %d", ("x",), None))
    told["error_cb"](KafkaError(KafkaError._AUTHENTICATION, "a:1/1: no"))
    told["stats_cb"]("not JSON")
    told["stats_cb"](UP)


def test_a_real_client_s_outage_is_two_lines(client, lines):
    """What librdkafka really says may differ from what was written down here, and the flood would be back."""
    with FaultyKafka() as broker:
        broker.create_topic("in")
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "g", "reconnect.backoff.max.ms": 200}
            | client.properties()
            | {"statistics.interval.ms": 100}
        )
        consumer.subscribe(["in"])
        consumer.consume(1, 1.0)
        broker.set_down()
        consumer.consume(1, 1.0)
        broker.set_up()
        for _ in range(50):
            consumer.consume(1, 0.1)
            if lines and lines[-1]["event"] == "broker is back":
                break
        consumer.close()

    of_brokers = [line["event"] for line in lines if re.match("broker", line["event"])]
    assert of_brokers == ["broker is away", "broker is back"]
