"""Headers as the binding really gives them, on the embedded broker."""

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.kafka.headers import read_headers
from tests.support.network import raw_headers

GOOD, ODD = [(b"trace", b"1"), (b"none", b"")], [(b"trace", b"1"), (b"\xff", b"2"), (b"a\xe9", b"3")]


@pytest.mark.parametrize("places", [[39], [0, 1, 2, 20, 38, 39], list(range(40))])
def test_headers_that_are_no_text_are_lost_alone(places):
    """One record with a header whose name is no UTF-8 would kill the process, or take another record's headers along."""
    given = [(b"", [] if at % 7 == 3 else ODD if at in places else GOOD) for at in range(40)]
    lost = [at for at in places if at % 7 != 3]
    with EmbeddedKafka() as broker:
        broker.create_topic("t", 1)
        raw_headers.produce_all(broker.bootstrap, "t", given)
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g"})
        consumer.assign([TopicPartition("t", 0, 0)])
        messages = consumer.consume(len(given), 20)
        consumer.close()
    for _ in range(20):  # what runs often runs differently
        read_headers([])

    found = read_headers(messages)

    good = [("trace", b"1"), ("none", b"")]
    assert found.lost == lost
    assert found.each == [None if at in lost or at % 7 == 3 else good for at in range(40)]
