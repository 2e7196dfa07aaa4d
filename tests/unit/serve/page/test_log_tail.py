"""The last deltas on the page, as the log's seals tell them."""

import threading
from contextlib import nullcontext

from stream_scrub.errors import Unavailable
from stream_scrub.serve.watch import log_tail
from stream_scrub.serve.watch.log_tail import LogTail
from tests.support.fakes.log import Log, Reader
from tests.support.running.server import publish


def until(condition):
    for _ in range(48_000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen in time")


def last(log):
    return max((each.offset for each in log.records), default=-1)


def test_the_last_deltas_are_told_and_then_each_new_one(monkeypatch):
    """Nobody could see who changed a register, and by how much."""
    monkeypatch.setattr(log_tail, "_CHUNK", 4)
    monkeypatch.setattr(log_tail, "_LOOK_S", 0.01)
    log = Log()
    publish(log, "internal", range(33600000000, 33600000100))
    publish(log, "internal", [33611111111])
    tail = LogTail(lambda: nullcontext(Reader(log)), lambda: last(log))
    tail.start()
    try:
        until(lambda: tail.deltas)
        newest, first = tail.deltas
        assert (newest.register, newest.adds, newest.removes, newest.share) == ("internal", 1, 0, 0.01)
        assert (first.adds, first.share, first.numbers, first.reason) == (100, None, 100, "list")
        publish(log, "tps", [447400123456])
        until(lambda: len(tail.deltas) == 3)
        assert tail.deltas[0].register == "tps" and tail.deltas[0].position == last(log)
    finally:
        tail.stop()


def test_a_moment_that_no_calendar_has_ends_nothing(monkeypatch):
    """One record with a wrong clock would end what the page tells of all deltas to come."""
    monkeypatch.setattr(log_tail, "_LOOK_S", 0.01)
    log = Log()
    publish(log, "internal", [33611111111])
    log.records[:] = [each._replace(timestamp_ms=10**17) for each in log.records]
    publish(log, "tps", [447400123456])
    tail = LogTail(lambda: nullcontext(Reader(log)), lambda: last(log))
    tail.start()
    try:
        until(lambda: len(tail.deltas) == 2)
        assert [each.register for each in tail.deltas] == ["tps", "internal"]
    finally:
        tail.stop()


def test_it_reads_back_no_further_than_is_needed(monkeypatch):
    """A log of years would be read whole at each start of a server."""
    monkeypatch.setattr(log_tail, "_CHUNK", 30)
    log = Log()
    for place in range(80):
        publish(log, "internal", [33600000000 + place])
    reader = Reader(log)
    tail = LogTail(lambda: nullcontext(reader), lambda: last(log))
    tail.start()
    try:
        until(lambda: tail.deltas)
        assert len(tail.deltas) == log_tail.DELTAS_MAX
        assert [each.numbers for each in tail.deltas] == [80 - place for place in range(50)]
        assert min(reader.read_offsets) > 50
    finally:
        tail.stop()


def test_a_log_that_cannot_be_read_is_said(monkeypatch):
    """The page would show no deltas, as if there were none."""
    monkeypatch.setattr(log_tail, "_AGAIN_S", 0.01)
    log = Log()
    publish(log, "internal", [33611111111])
    reader = Reader(log)
    reader.trouble = [Unavailable("no broker answers")]
    seen = []
    tail = LogTail(lambda: seen.append(tail.trouble) or nullcontext(reader), lambda: last(log))
    tail.start()
    try:
        until(lambda: tail.deltas)
        assert seen[1] == "no broker answers" and tail.trouble == ""
    finally:
        tail.stop()
