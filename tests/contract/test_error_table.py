"""Each row of the error table, provoked for real: the embedded broker answers with the code, a transactional producer
does what a session does, and what it raises is translated."""

import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream_scrub.errors import Migrated, Refused, ScrubError, TooLarge, Unavailable, Uncertain, Unwritable
from stream_scrub.kafka.client.translate import translate
from tests.support.network.faulty_kafka import DISCONNECT, Api, FaultyKafka

E = KafkaError


@pytest.fixture(scope="module")
def broker():
    with FaultyKafka() as embedded:
        embedded.create_topic("in", 1)
        embedded.create_topic("out", 1)
        yield embedded


@pytest.fixture(scope="module")
def metadata(broker):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0})
    yield consumer.consumer_group_metadata()
    consumer.close()


_made = iter(range(1_000_000))


def producer(broker: FaultyKafka, **more) -> Producer:
    options = {
        "bootstrap.servers": broker.bootstrap,
        "transactional.id": f"t{next(_made)}",
        "transaction.timeout.ms": 60_000,
        "socket.timeout.ms": 2000,
        "log_level": 0,
    }
    return Producer(options | more)


def outcome(
    broker, metadata, api: Api, codes: list[int], made: Producer | None = None, *, limit_s: float = 60.0
) -> ScrubError | None:
    """What one transaction under these errors comes to; None when it commits. Each call gives up after `limit_s`."""
    made = made or producer(broker)
    doing = "opening"
    try:
        if api == Api.INIT_PRODUCER_ID:
            broker.push_errors(api, codes)
        made.init_transactions(limit_s)
        if api != Api.INIT_PRODUCER_ID:
            broker.push_errors(api, codes)
        doing = "beginning"
        made.begin_transaction()
        doing = "emitting"
        made.produce("out", b"a prospect")
        doing = "committing"
        made.flush(limit_s)  # as a session: else the offsets race with what the brokers say of the outputs
        made.send_offsets_to_transaction([TopicPartition("in", 0, 1)], metadata, limit_s)
        made.commit_transaction(limit_s)
    except KafkaException as error:
        return translate(error, doing)
    finally:
        broker.clear_errors(api)
    return None


FATAL_ANYWHERE = [
    (Api.TXN_OFFSET_COMMIT, E.INVALID_PRODUCER_EPOCH),
    (Api.ADD_PARTITIONS_TO_TXN, E.INVALID_PRODUCER_EPOCH),
    (Api.ADD_PARTITIONS_TO_TXN, E.PRODUCER_FENCED),
    (Api.ADD_PARTITIONS_TO_TXN, E.INVALID_TXN_STATE),
    (Api.PRODUCE, E.INVALID_PRODUCER_EPOCH),
    (Api.PRODUCE, E.OUT_OF_ORDER_SEQUENCE_NUMBER),
    (Api.END_TXN, E.INVALID_PRODUCER_EPOCH),
    (Api.END_TXN, E.PRODUCER_FENCED),
    (Api.END_TXN, E.INVALID_TXN_STATE),
]


@pytest.mark.slow
@pytest.mark.parametrize(("api", "code"), FATAL_ANYWHERE)
def test_a_producer_that_failed_for_good_is_made_anew(broker, metadata, api, code):
    """A worker that went on with a dead producer would never emit again until somebody restarts it."""
    assert type(outcome(broker, metadata, api, [code])) is Uncertain


ABORTABLE = [
    (Api.TXN_OFFSET_COMMIT, E.ILLEGAL_GENERATION),
    (Api.TXN_OFFSET_COMMIT, E.UNKNOWN_MEMBER_ID),
    (Api.TXN_OFFSET_COMMIT, E.FENCED_INSTANCE_ID),
    (Api.TXN_OFFSET_COMMIT, E.STALE_MEMBER_EPOCH),
    (Api.TXN_OFFSET_COMMIT, E.TRANSACTION_ABORTABLE),
    (Api.TXN_OFFSET_COMMIT, E.PRODUCER_FENCED),
    (Api.ADD_PARTITIONS_TO_TXN, E.TRANSACTION_ABORTABLE),
    (Api.PRODUCE, E.INVALID_TXN_STATE),
    (Api.PRODUCE, E.TRANSACTION_ABORTABLE),
    (Api.PRODUCE, E.UNKNOWN_PRODUCER_ID),
    (Api.PRODUCE, E.PRODUCER_FENCED),
    (Api.PRODUCE, E.INVALID_RECORD),
]


@pytest.mark.parametrize(("api", "code"), ABORTABLE)
def test_a_transaction_that_must_be_aborted_is_migrated_and_the_producer_goes_on(broker, metadata, api, code):
    """A rebalance would cost the user a new producer for every worker, or prospects emitted twice."""
    made = producer(broker)

    error = outcome(broker, metadata, api, [code], made)
    made.abort_transaction(60.0)

    assert type(error) is (Unwritable if code == KafkaError.INVALID_RECORD else Migrated)
    for _ in range(2):  # a refused batch leaves a gap in the sequence, and one more transaction fails for it
        again = once_more(made)
        if again is None:
            break
        assert type(again) is Migrated
        made.abort_transaction(60.0)
    assert again is None


def once_more(made: Producer) -> ScrubError | None:
    try:
        made.begin_transaction()
        made.produce("out", b"a prospect")
        made.commit_transaction(60.0)
    except KafkaException as error:
        return translate(error, "committing")
    return None


@pytest.mark.parametrize("code", [E.REQUEST_TIMED_OUT, E.UNKNOWN, E.INVALID_PRODUCER_ID_MAPPING])
def test_an_abortable_answer_to_the_commit_itself_is_uncertain(broker, metadata, code):
    """Trusting the client's `abortable` here would emit a batch again that an earlier try had committed."""
    assert type(outcome(broker, metadata, Api.END_TXN, [code])) is Uncertain


def test_a_commit_that_times_out_is_uncertain(broker, metadata):
    """A batch would be lost or doubled if a commit without an answer were taken for a yes or a no."""
    made = producer(broker)
    made.init_transactions(60.0)
    made.begin_transaction()
    made.produce("out", b"a prospect")
    made.flush(60.0)
    broker.set_round_trip(3000)
    try:
        with pytest.raises(KafkaException) as raised:
            made.commit_transaction(0.5)
        with pytest.raises(KafkaException) as raised_by_abort:
            made.abort_transaction(0.5)
    finally:
        broker.set_round_trip(0)

    assert raised.value.args[0].retriable()
    assert type(translate(raised.value, "committing")) is Uncertain
    assert type(translate(raised_by_abort.value, "aborting")) is Uncertain
    made.purge()
    time.sleep(0.1)


@pytest.mark.slow
def test_the_coordinator_loading_for_too_long_is_recoverable(broker, metadata):
    """A broker that is slow to start would stop every worker instead of delaying them."""
    loading = [E.COORDINATOR_LOAD_IN_PROGRESS] * 1000

    error = outcome(broker, metadata, Api.TXN_OFFSET_COMMIT, loading, limit_s=2.0)
    assert isinstance(error, (Migrated, Uncertain))


def test_a_record_over_the_limit_is_told_apart(broker, metadata):
    """One prospect of two megabytes would stop its partition for ever: abort, again, abort, again."""
    from_the_broker = outcome(broker, metadata, Api.PRODUCE, [E.MSG_SIZE_TOO_LARGE])

    small = producer(broker, **{"message.max.bytes": 1000})
    small.init_transactions(60.0)
    small.begin_transaction()
    with pytest.raises(KafkaException) as raised:
        small.produce("out", b"x" * 2000)

    assert type(from_the_broker) is TooLarge
    assert type(translate(raised.value, "emitting")) is TooLarge


RIGHTS = [
    (Api.TXN_OFFSET_COMMIT, E.GROUP_AUTHORIZATION_FAILED, "group_id"),
    (Api.TXN_OFFSET_COMMIT, E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional id"),
    (Api.ADD_PARTITIONS_TO_TXN, E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional id"),
    (Api.ADD_PARTITIONS_TO_TXN, E.TOPIC_AUTHORIZATION_FAILED, "topic"),
    (Api.PRODUCE, E.TOPIC_AUTHORIZATION_FAILED, "topic"),
    (Api.END_TXN, E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional id"),
    (Api.INIT_PRODUCER_ID, E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional id"),
    (Api.INIT_PRODUCER_ID, E.CLUSTER_AUTHORIZATION_FAILED, "IDEMPOTENT_WRITE"),
    (Api.INIT_PRODUCER_ID, E.INVALID_TRANSACTION_TIMEOUT, "transaction.max.timeout.ms"),
]


@pytest.mark.parametrize(("api", "code", "named"), RIGHTS)
def test_a_missing_right_is_refused_and_named(broker, metadata, api, code, named):
    """A worker without a right would retry for ever, and the user would have to guess which one is missing."""
    error = outcome(broker, metadata, api, [code])

    assert type(error) is Refused
    assert named in str(error)


INSIDE = [
    (Api.END_TXN, E.NOT_COORDINATOR),
    (Api.END_TXN, E.CONCURRENT_TRANSACTIONS),
    (Api.END_TXN, E.COORDINATOR_LOAD_IN_PROGRESS),
    (Api.END_TXN, DISCONNECT),
    (Api.ADD_PARTITIONS_TO_TXN, E.CONCURRENT_TRANSACTIONS),
    (Api.TXN_OFFSET_COMMIT, DISCONNECT),
    (Api.PRODUCE, E.NOT_ENOUGH_REPLICAS),
    (Api.PRODUCE, DISCONNECT),
]


@pytest.mark.parametrize(("api", "code"), INSIDE)
def test_what_the_client_retries_by_itself_never_reaches_us(broker, metadata, api, code):
    """A moment's trouble in the cluster would show as aborted batches and a latency that nobody can explain."""
    assert outcome(broker, metadata, api, [code]) is None


def test_a_predecessor_being_aborted_at_the_start_is_waited_for(broker, metadata):
    """A worker restarted after a crash would end instead of taking over from its own last life."""
    error = outcome(broker, metadata, Api.INIT_PRODUCER_ID, [E.CONCURRENT_TRANSACTIONS] * 1000, limit_s=2.0)

    assert type(error) is Unavailable


def test_producing_into_a_failed_transaction_is_uncertain(broker, metadata):
    """The unflagged `_STATE` of a failed transaction would escape as a crash, or worse, be retried for ever."""
    made = producer(broker)
    assert outcome(broker, metadata, Api.ADD_PARTITIONS_TO_TXN, [E.INVALID_TXN_STATE], made) is not None

    with pytest.raises(KafkaException) as raised:
        made.produce("out", b"a prospect")

    assert type(translate(raised.value, "emitting")) is Uncertain


def test_no_broker_at_the_start_is_unavailable(broker):
    """A worker started before its broker would end instead of waiting."""
    lonely = Producer({"bootstrap.servers": "127.0.0.1:1", "transactional.id": "t", "log_level": 0})

    with pytest.raises(KafkaException) as raised:
        lonely.init_transactions(0.3)

    assert type(translate(raised.value, "opening")) is Unavailable
