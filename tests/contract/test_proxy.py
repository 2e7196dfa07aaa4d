"""The proxy of the tests: what it says it does to a request has to happen to it, or the tests with it prove nothing."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from tests.support.network.proxy import Api, Proxy, matching
from tests.support.running.outcome import read_all

pytestmark = pytest.mark.slow

INVALID_TXN_STATE, INVALID_PRODUCER_EPOCH = 48, 47


@pytest.fixture
def out(topic, proxy) -> str:
    made: str = topic("out")
    return made


@pytest.fixture
def producer(proxy, out) -> Iterator[Producer]:
    """A transactional one whose connections go through the proxy."""
    made = Producer({"bootstrap.servers": proxy.bootstrap, "transactional.id": out, "log_level": 0})
    made.init_transactions(20)
    yield made
    made.purge()


def emit(producer: Producer, out: str, value: bytes) -> None:
    producer.begin_transaction()
    producer.produce(out, value)
    assert producer.flush(20) == 0


def values(proxy: Proxy, out: str) -> list[bytes]:
    return [message.value() for message in read_all(proxy.behind, out)]


def test_every_request_is_seen_and_known(proxy, producer, out):
    """A test would wait for a request that it does not recognise."""
    ends = proxy.hold(matching(Api.END_TXN, of=out, commits=True))
    parts = proxy.hold(matching(Api.ADD_PARTITIONS_TO_TXN, of=out))
    producer.begin_transaction()
    producer.produce(out, b"a")
    producer.poll(0)
    parts.release()
    producer.flush(20)
    with pytest.raises(Exception, match="_TIMED_OUT"):
        producer.commit_transaction(0.5)
    assert values(proxy, out) == [], "what ends the transaction is still held"
    ends.release()
    producer.commit_transaction(20)
    assert ends.error == 0 and values(proxy, out) == [b"a"]
    abort = proxy.hold(matching(Api.END_TXN, commits=False))
    emit(producer, out, b"b")
    with pytest.raises(Exception, match="_TIMED_OUT"):
        producer.abort_transaction(0.5)
    assert abort.arrived and not abort.request.commits
    abort.release()
    producer.abort_transaction(20)
    assert values(proxy, out) == [b"a"]
    assert proxy.seen[Api.END_TXN] == 2 and proxy.seen[Api.ADD_PARTITIONS_TO_TXN] >= 2


def test_what_is_cut_and_held_comes_late(proxy, producer, out):
    """The fault that all of this is for: a copy of a request that its client has sent again since, and forgotten."""
    late = proxy.hold(matching(Api.END_TXN, of=out), cut=True)
    emit(producer, out, b"first")
    producer.commit_transaction(20)
    assert late.arrived and values(proxy, out) == [b"first"], "a second copy got through"
    emit(producer, out, b"second")
    assert values(proxy, out) == [b"first"]
    late.release()
    assert late.error == 0 and values(proxy, out) == [b"first", b"second"], (
        "it committed the next transaction"
    )


@pytest.mark.parametrize("after", [False, True])
def test_a_cut_before_is_not_applied_and_one_after_is(proxy, producer, out, after):
    """A test of an answer that was lost would be one of a request that was lost."""
    proxy.cut(matching(Api.END_TXN), after=after, times=None)
    emit(producer, out, b"a")
    with pytest.raises(Exception, match="_TIMED_OUT"):
        producer.commit_transaction(1)
    assert values(proxy, out) == ([b"a"] if after else [])
    proxy.heal()
    producer.commit_transaction(20)
    assert values(proxy, out) == [b"a"]
