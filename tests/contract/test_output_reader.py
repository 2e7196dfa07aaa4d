"""A batch that nobody can unpack on a topic of outputs, on the embedded broker."""

from confluent_kafka import Producer

from stream_scrub.errors import Unavailable
from stream_scrub.kafka.client.options import Role
from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.kafka.output_reader import OutputReader
from stream_scrub.kafka.witnesses import Witnesses
from tests.support.fakes.properties import properties_of
from tests.support.waiting import wait_until

COUNT = 2_000


def test_records_around_a_damaged_batch_are_read_once_and_none_is_passed_over():
    """Attempts of one partition would be lost because of a damaged batch in another: people who must rest would be called."""
    with EmbeddedKafka() as broker:
        broker.create_topic("attempts", 2)
        own = {"bootstrap.servers": broker.bootstrap, "log_level": 0}
        producer = Producer({**own, "compression.type": "zstd", "message.max.bytes": 1_000_000_000})
        damaged, whole = ("attempts", 0), ("attempts", 1)
        producer.produce(damaged[0], b"before", partition=0)
        assert producer.flush(60) == 0
        producer.produce(damaged[0], bytes(120 << 20), partition=0)
        assert producer.flush(60) == 0
        producer.produce(damaged[0], b"after", partition=0)
        for number in range(COUNT):
            producer.produce(whole[0], b"%d" % number, partition=1)
        assert producer.flush(60) == 0
        options = properties_of(Role.OUTPUT_READER, broker.bootstrap, {"group.id": "g"})
        reader = OutputReader(options, ["attempts"], Witnesses(options), "log")
        reader.assign({damaged: 0, whole: 0})

        came, failures = [], []

        def read() -> None:
            try:
                came.extend(reader.poll(100, 0.1).values)
            except Unavailable as error:
                failures.append(error)

        wait_until(lambda: failures and reader.read_upto(whole) == COUNT, every=0, step=read)
        assert [value for value in came if value.isdigit()] == [b"%d" % number for number in range(COUNT)]
        assert [value for value in came if not value.isdigit()] == [b"before"]
        assert (reader.read_upto(damaged), reader.stopped) == (1, {damaged})
        reader.close()
