"""Whether a copy of a request may still be on its way: counted with the extension, timed without, on the embedded broker.
What happens when one is, and nobody asks, is shown on the real Kafka: tests/chaos/test_late_requests.py."""

import gc
import os
import sys

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from stream_scrub.kafka import bulk
from stream_scrub.kafka.client import repeated_requests
from stream_scrub.kafka.client.repeated_requests import RepeatedRequests, watched
from tests.support.network.faulty_kafka import DISCONNECT, Api, FaultyKafka
from tests.support.waiting import wait_until

WITHOUT = repeated_requests.plugin() is None
needs_extension = pytest.mark.skipif(
    WITHOUT and os.environ.get("STREAM_SCRUB_REQUIRE_KAFKA") != "1", reason="the extension is not installed"
)


@pytest.fixture(scope="module")
def broker():
    with FaultyKafka() as embedded:
        embedded.create_topic("in", 1)
        embedded.create_topic("out", 1)
        yield embedded


@pytest.fixture(params=[pytest.param("exact", marks=needs_extension), "timed"])
def made(request, broker, monkeypatch):
    """A producer and its repeats, either way."""
    if request.param == "timed":
        monkeypatch.setattr(repeated_requests, "plugin", lambda: None)
    options = {"bootstrap.servers": broker.bootstrap, "transactional.id": request.node.name, "log_level": 0}
    producer, found = watched(options)
    assert (found.watch is not None) is (request.param == "exact")
    producer.init_transactions(60)
    yield producer, found
    producer.purge()


def committed(made, *, offsets=None):
    """One transaction; whether a copy of a request of it may still be on its way."""
    producer, found = made
    producer.begin_transaction()
    producer.produce("out", b"a prospect")
    producer.flush(60)
    if offsets is not None:
        with found.asking():
            producer.send_offsets_to_transaction([TopicPartition("in", 0, 1)], offsets, 60)
    with found.asking():
        producer.commit_transaction(60)
    return found.possible


# Timed, a machine that is busy may be slow enough to be in doubt.
@needs_extension
@pytest.mark.parametrize("made", ["exact"], indirect=True)
def test_an_ordinary_transaction_leaves_nothing_behind(made):
    """Every batch would cost a new producer."""
    assert [committed(made) for _ in range(20)] == [False] * 20


@pytest.mark.parametrize("api", [Api.END_TXN, Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT])
def test_a_request_whose_connection_broke_is_in_doubt_for_good(broker, made, api):
    """Its first copy would end a later transaction, or set its offsets back."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0})
    metadata = consumer.consumer_group_metadata()
    consumer.close()
    assert not (committed(made, offsets=metadata) and made[1].watch)
    broker.push_errors(api, [DISCONNECT])
    assert committed(made, offsets=metadata) is True
    assert committed(made, offsets=metadata) is True
    assert watched({"bootstrap.servers": broker.bootstrap})[1].possible is False, "another producer's life"


def test_a_call_that_failed_is_looked_at_as_well(broker, made):
    """What timed out may be carried out yet."""
    producer, found = made
    producer.begin_transaction()
    producer.produce("out", b"a prospect")
    producer.flush(60)
    broker.set_round_trip(1000)
    with pytest.raises(Exception, match="_TIMED_OUT"), found.asking():
        producer.commit_transaction(0.3)
    assert found.possible
    broker.set_round_trip(0)
    producer.commit_transaction(60)


@needs_extension
def test_a_request_that_was_answered_and_sent_again_is_in_no_doubt(broker, made):
    """A coordinator that is busy would cost a new producer at each batch: that is what the extension spares."""
    _, found = made
    broker.push_errors(Api.END_TXN, [KafkaError.CONCURRENT_TRANSACTIONS] * 2)
    assert committed(made) is (found.watch is None)


@needs_extension
def test_a_producer_that_is_gone_leaves_no_watch(broker):
    """A worker on a bad network would fill its memory with them."""
    there = repeated_requests.plugin()
    options = {"bootstrap.servers": broker.bootstrap, "transactional.id": "gone", "log_level": 0}
    producer, found = watched(options)
    producer.init_transactions(60)
    token = found.watch.token
    assert there.attached(token)
    del found
    gc.collect()
    assert there.attached(token), "its client still lives, and sends"
    del producer
    wait_until(lambda: gc.collect() >= 0 and not there.attached(token))


@needs_extension
def test_a_client_without_a_token_or_with_a_false_one_is_not_watched():
    """A left-behind producer would be mistaken for the new one."""
    there = repeated_requests.plugin()
    watch = there.watch()
    for token in ("", "0", str(10**9)):
        with pytest.raises(Exception, match="nobody watches"):
            repeated_requests.Producer({**watch.properties, "stream.scrub.watch": token})
    assert not watch.attached
    repeated_requests.Producer({"plugin.library.paths": there.path})
    repeated_requests.Producer(watch.properties)
    assert watch.attached
    with pytest.raises(Exception, match="nobody watches"):
        repeated_requests.Producer({**there.watch().properties, "stream.scrub.watch": "none"})


@pytest.mark.parametrize("what", ["no library", "no plugin"])
def test_what_cannot_be_the_plugin_is_gone_without(broker, monkeypatch, tmp_path, what):
    """A wheel of another version, or a client of another make, would keep the worker from starting."""
    path = tmp_path / "stream_scrub_native.py"
    path.write_text("")
    at = str(path) if what == "no library" else sys.modules["confluent_kafka.cimpl"].__file__
    monkeypatch.setattr(repeated_requests, "find_spec", lambda _: type("Spec", (), {"origin": at}))
    repeated_requests.plugin.cache_clear()
    try:
        assert repeated_requests.plugin() is None
        assert watched({"bootstrap.servers": broker.bootstrap})[1].watch is None
    finally:
        monkeypatch.undo()
        repeated_requests.plugin.cache_clear()


@needs_extension
def test_a_plugin_that_the_client_refuses_is_gone_without(broker, monkeypatch):
    """As above, where only the client itself finds out."""
    there = repeated_requests.plugin()
    monkeypatch.setattr(there, "path", "/nowhere/else.so")
    producer, found = watched({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    assert producer and found.watch is None
    options = {"bootstrap.servers": broker.bootstrap, "group.id": "g", "log_level": 0}
    consumer, taking = bulk.intake(options, several=False, bulk=True)
    consumer.close()
    assert isinstance(taking, bulk.MessageIntake)


def test_time_counts_from_the_first_retry_that_may_come():
    """At librdkafka's earliest retry, 80 ms of its 100, a second copy may be out."""
    for backoff_ms, slow in ((0.0, True), (60_000.0, False)):
        found = RepeatedRequests(None, backoff_ms)
        with found.asking():
            pass
        assert found.possible is slow
