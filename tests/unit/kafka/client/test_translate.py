"""The error table read on its own: what no broker can be made to answer, and what the texts say."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scrub.errors import Corrupt, Migrated, Refused, TakenOver, Unavailable, Uncertain
from stream_scrub.kafka.client.translate import TABLE, Attempt, cause_of, fenced, place, translate

E = KafkaError


@pytest.mark.parametrize(
    ("code", "doing", "expected"),
    [
        (E._AUTO_OFFSET_RESET, "following opposition.log", Corrupt),
        (E.OFFSET_OUT_OF_RANGE, "following", Corrupt),
        (E._BAD_MSG, "following", Corrupt),
        (E.INVALID_MSG, "emitting", Uncertain),
        (E._ALL_BROKERS_DOWN, "consuming prospects", Unavailable),
        (E._TRANSPORT, "asking for the committed offsets", Unavailable),
        (E._TIMED_OUT, "opening the transactional session", Unavailable),
        (E._TIMED_OUT, "aborting", Uncertain),
        (E._STATE, "beginning", Uncertain),
        (E._MAX_POLL_EXCEEDED, "consuming", Migrated),
        (E._ASSIGNMENT_LOST, "consuming", Migrated),
        (E.UNRELEASED_INSTANCE_ID, "consuming", Refused),
        (E.FENCED_INSTANCE_ID, "consuming", TakenOver),
        (E.FENCED_INSTANCE_ID, "committing", Migrated),
        (E.UNKNOWN_TOPIC_OR_PART, "consuming prospects", Refused),
        (E._UNKNOWN_PARTITION, "asking for the end of opposition.log", Unavailable),
        (E._AUTHENTICATION, "consuming", Refused),
        (E._SSL, "asking", Refused),
        (E.INCONSISTENT_GROUP_PROTOCOL, "consuming", Refused),
        (E.NOT_COORDINATOR, "some words of its own", Unavailable),
    ],
)
def test_the_moment_decides_what_a_code_asks_for(code, doing, expected):
    """The same broker answer would stop a worker that should go on, or the other way round."""
    assert type(translate(KafkaError(code), doing)) is expected


@pytest.mark.parametrize(
    ("code", "doing", "says"),
    [
        (E.UNKNOWN_TOPIC_OR_PART, "asking for the end of x.log", "x.log: no such topic or partition: run `stream-scrub topics`"),
        (E._UNKNOWN_PARTITION, "asking for the end of x.log", "x.log: no such topic or partition: run `stream-scrub topics`"),
        (E.GROUP_AUTHORIZATION_FAILED, "consuming x", "consuming x: the right to READ the group"),
        (E.GROUP_AUTHORIZATION_FAILED, "consuming x", "grant it (docs/reference/rights.md) (GROUP_AUTHORIZATION_FAILED: denied)"),
    ],
)  # fmt: skip
def test_the_text_says_what_was_done_what_to_change_and_the_client_s_own_words(code, doing, says):
    """The user would be left with a bare code number, or the first command on a new Kafka speak of generations."""
    assert says in str(translate(KafkaException(KafkaError(code, "denied")), doing))


@pytest.mark.parametrize("doing", list(Attempt))
def test_every_code_of_the_client_has_an_outcome_at_every_moment(doing):
    """A code that nobody thought of would surface as a crash of the table instead of an error with a remedy."""
    names = [name for name in dir(KafkaError) if name.lstrip("_")[:1].isupper()]

    assert all(str(translate(KafkaError(getattr(E, name)), doing)) for name in names)


def test_every_code_in_the_table_is_one_of_the_client():
    """A misspelt code would silently never match."""
    assert [name for row in TABLE for name in row.codes if not hasattr(KafkaError, name)] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (E.FENCED_INSTANCE_ID, TakenOver),
        (E.UNRELEASED_INSTANCE_ID, Refused),
        (E.GROUP_AUTHORIZATION_FAILED, Refused),
        (E.GROUP_MAX_SIZE_REACHED, Refused),
        (E.INVALID_REQUEST, Unavailable),
        (E.UNKNOWN, Unavailable),
    ],
)
def test_what_a_consumer_failed_of_for_good_is_read_from_its_message(code, expected):
    """It comes as a code that says nothing, and does not say that it is fatal: a worker would wait for a consumer that
    is dead."""
    sentence = KafkaError(code).str()
    told = KafkaError(E._FATAL, f"Fatal error: {sentence}: Fatal consumer error: {sentence}")

    assert (cause_of(told).code(), cause_of(told).fatal()) == (code, True)
    assert type(translate(told, "consuming prospects")) is expected
    assert cause_of(KafkaError(E._FATAL, "Local: Fatal error")).code() == E._FATAL


def test_a_client_exception_without_a_code_is_translated_too():
    """An odd exception of the binding would hide the one that it wraps."""
    assert type(translate(KafkaException("odd"), "asking")) is Unavailable


def test_fencing_is_recognised_by_each_of_its_codes():
    """A publisher that was taken over would report an unknown outcome instead."""
    assert fenced(KafkaError(E._FENCED))
    assert fenced(KafkaException(KafkaError(E.PRODUCER_FENCED)))
    assert not fenced(KafkaError(E._TIMED_OUT))


def test_places_are_written_one_way():
    """A user could not search logs and errors for the same record."""
    assert place("prospects", 3, 17) == "prospects [3] at offset 17"
    assert place("prospects", 0) == "prospects [0]"
    assert place("prospects", -1, -1001) == "prospects"
    assert place(None) == "no topic"
