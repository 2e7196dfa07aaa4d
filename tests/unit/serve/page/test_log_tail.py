"""The last deltas on the page, as the log's seals tell them."""

from contextlib import contextmanager, nullcontext

from stream_scrub.errors import Unavailable
from stream_scrub.serve.watch import log_tail
from stream_scrub.serve.watch.log_tail import LogTail
from tests.support.fakes.log import Log, Reader
from tests.support.running.server import publish
from tests.support.waiting import wait_until


def last(log):
    return max((each.offset for each in log.records), default=-1)


@contextmanager
def tailing(log, reading):
    tail = LogTail(lambda: nullcontext(reading(tail)), lambda: last(log))
    tail.start()
    try:
        yield tail
    finally:
        tail.stop()


def test_the_last_deltas_are_told_and_then_each_new_one(monkeypatch):
    """Nobody could see who changed a register, and by how much."""
    monkeypatch.setattr(log_tail, "_CHUNK", 4)
    monkeypatch.setattr(log_tail, "_LOOK_S", 0.01)
    log = Log()
    publish(log, "internal", range(33600000000, 33600000100))
    publish(log, "internal", [33611111111])
    with tailing(log, lambda _: Reader(log)) as tail:
        wait_until(lambda: tail.deltas)
        newest, first = tail.deltas
        assert (newest.register, newest.adds, newest.removes, newest.share) == ("internal", 1, 0, 0.01)
        assert (first.adds, first.share, first.numbers, first.reason) == (100, None, 100, "list")
        publish(log, "tps", [447400123456])
        # No calendar has this moment: one record with a wrong clock must not end what is told.
        log.records[-1] = log.records[-1]._replace(timestamp_ms=10**17)
        wait_until(lambda: len(tail.deltas) == 3)
        assert tail.deltas[0].register == "tps" and tail.deltas[0].position == last(log)


def test_it_reads_back_no_further_than_is_needed(monkeypatch):
    """A log of years would be read whole at each start of a server."""
    monkeypatch.setattr(log_tail, "_CHUNK", 30)
    log = Log()
    for place in range(80):
        publish(log, "internal", [33600000000 + place])
    reader = Reader(log)
    with tailing(log, lambda _: reader) as tail:
        wait_until(lambda: tail.deltas)
        assert len(tail.deltas) == log_tail.DELTAS_MAX
        assert [each.numbers for each in tail.deltas] == [80 - place for place in range(50)]
        assert min(reader.read_offsets) > 50


def test_a_log_that_cannot_be_read_is_said(monkeypatch):
    """The page would show no deltas, as if there were none."""
    monkeypatch.setattr(log_tail, "_AGAIN_S", 0.01)
    log = Log()
    publish(log, "internal", [33611111111])
    reader = Reader(log)
    reader.trouble = [Unavailable("no broker answers")]
    seen = []
    with tailing(log, lambda tail: seen.append(tail.trouble) or reader) as tail:
        wait_until(lambda: tail.deltas)
        assert seen[1] == "no broker answers" and tail.trouble == ""
