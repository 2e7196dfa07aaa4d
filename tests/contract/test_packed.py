"""What a real Kafka does with records that pack a thousandfold: no client bounds what they are unpacked to."""

import pytest
from confluent_kafka import Producer


@pytest.mark.parametrize(("kept", "takes"), [("uncompressed", ["MSG_SIZE_TOO_LARGE"]), ("producer", ["ok"])])
def test_a_topic_that_is_kept_uncompressed_takes_none_that_is_too_large_when_unpacked(
    kafka, topic, kept, takes
):
    """The threat model would advise what does not help: some KB of such records are gigabytes in whoever reads them."""
    name = topic("packed", config={"compression.type": kept})
    told = []
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "message.max.bytes": 1_000_000_000,
            "compression.type": "zstd",
            "log_level": 0,
        }
    )
    producer.produce(
        name,
        bytes(20 << 20),
        partition=0,
        on_delivery=lambda error, _: told.append(error.name() if error else "ok"),
    )
    assert producer.flush(60) == 0
    assert told == takes
