"""`Deliveries`: what was not delivered is said, whenever it is reported. The writer here reports when the test says so."""

import threading

import pytest

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.requests_writer import Deliveries, RequestPlace, RequestsWriter
from tests.support.fakes.properties import properties_of

PLACE = RequestPlace(0, 0)
GONE = Unavailable("no broker answers now")


class SlowWriter:
    """Takes records; `reports` has what each delivery report calls."""

    def __init__(self):
        self.reports, self.is_closed = [], False

    def send(self, _key, _value, on_delivery):
        self.reports.append(on_delivery)

    def close(self):
        self.is_closed = True


@pytest.fixture
def writer():
    return SlowWriter()


def sent(writer, count=3):
    deliveries = Deliveries(writer, "prospect")
    for line in range(1, count + 1):
        deliveries.send(line, None, b"{}")
    return deliveries


def reported_soon(writer, *outcomes):
    """Report the outcomes a little later, from another thread, by the places of the records."""
    thread = threading.Timer(0.1, lambda: [writer.reports[place](outcome) for place, outcome in outcomes])
    thread.start()
    return thread


def test_the_first_record_that_was_not_taken_is_named_whichever_was_reported_first(writer):
    """Whoever sends again from the record that is named would lose an earlier one, which went to another broker."""
    deliveries = sent(writer)
    writer.reports[2](GONE)
    reported_soon(writer, (1, PLACE), (0, GONE))
    with pytest.raises(Unavailable, match="prospect 1 was not taken"):
        deliveries.wait()


def test_what_was_sent_before_a_fault_of_the_callers_is_waited_for(writer):
    """A program that goes on behind its fault would lose what was sent before it."""
    deliveries = sent(writer)
    reported_soon(writer, (0, PLACE), (1, GONE), (2, PLACE))
    with pytest.raises(Unavailable, match="prospect 2 was not taken"), deliveries:
        raise ValueError
    assert writer.is_closed


def test_nothing_is_taken_after_the_end(writer):
    """Nobody would learn whether it was delivered."""
    deliveries = sent(writer, 0)
    with deliveries:
        pass
    with pytest.raises(ValueError, match="closed"):
        deliveries.send(1, None, b"{}")


def test_a_long_file_waits_for_brokers_that_are_slow():
    """A call log would fail in its middle because the client's queue is full."""
    broker = {"test.mock.num.brokers": 1, "test.mock.broker.rtt": 50, "allow.auto.create.topics": True}
    options = properties_of(Role.REQUESTS_WRITER, "mock:1") | broker
    with Deliveries(RequestsWriter(options, "t"), "line") as deliveries:
        for line in range(1, 10_500):
            deliveries.send(line, None, b"{}")
