"""What a real Kafka does with records that pack a thousandfold: no client bounds what they are unpacked to."""

from confluent_kafka import Producer

from stream_scrub.config import Topics as Names
from stream_scrub.kafka.admin.topics import TopicAdmin, plan
from stream_scrub.model import Deadline
from tests.support.names import unique_name


def answer(bootstrap, name):
    """What the broker says to 20 MB of nothing in some KB."""
    told = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
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
    return told


def test_the_input_topics_take_nothing_that_is_too_large_when_unpacked(kafka):
    """Any producer or dialler could have workers or the publisher killed for their memory, one after another."""
    names = {role: f"{name}-{unique_name()}" for role, name in Names().model_dump(exclude={"drill"}).items()}
    made = [
        state
        for state in plan(names, Names(**names).inputs.among(()), {}, 1)
        if state.role in {"prospects", "requests", "lifts"}
    ]
    TopicAdmin({"bootstrap.servers": kafka.bootstrap}).create(made, None, Deadline.after(120))
    for each in made:
        assert answer(kafka.bootstrap, each.name) == ["MSG_SIZE_TOO_LARGE"]
