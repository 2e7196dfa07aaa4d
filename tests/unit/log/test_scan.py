"""The one way to read the log from one offset to another."""

import pytest

from stream_scrub import clock
from stream_scrub.errors import Corrupt, Unavailable
from stream_scrub.index.deltas import Delta, adding
from stream_scrub.log.encode import marked, records_of
from stream_scrub.log.scan import begin, check_known, last_seal, mark_seals, read_into, replay_to_end, scan
from stream_scrub.log.wire import MOVED, RENEWED, RENEWING, RULES, TAKEN_BACK, DeltaSource
from stream_scrub.model import Deadline
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, SOURCE, Publisher, bitmap, followed


def log_of(count: int) -> Log:
    """A log of so many records, each followed by an offset that no reader sees."""
    log = Log()
    for at in range(count):
        log.append(b"key", b"%d" % at)
        log.skip()
    return log


@pytest.mark.parametrize(("upto", "last"), [(3, 2), (4, 4), (5, 4), (None, 8)])
def test_it_goes_up_to_an_offset_and_no_further(upto, last):
    """Evidence of one position would hold what came after it, or lack the seal that it is about."""
    found = list(scan(Reader(log_of(5), at_once=2), Deadline.after(60), since=2, upto=upto))

    offsets = [record.offset for records, _ in found for record in records]
    assert offsets == list(range(2, last + 1, 2)) and found[-1][1] is (upto is None)


def test_only_silence_is_too_long(monkeypatch):
    """A publisher with a long log, or one large delta to apply, could never start again."""
    now = 0.0
    monkeypatch.setattr(clock, "elapsed", lambda: now)
    seen = 0
    for records, _ in scan(Reader(log_of(5), at_once=1), Deadline.after(2), since=0):
        now += 5.0  # what is done with the records
        seen += len(records)
    assert seen == 5

    reader = Reader(log_of(5), at_once=1)
    batches = scan(reader, Deadline.after(2), since=0)
    next(batches)
    reader.silent = True
    assert next(batches) == ([], False)
    now += 5.0
    with pytest.raises(Unavailable, match="in time"):
        list(batches)


def test_a_log_that_comes_slowly_is_begun_and_checked(monkeypatch):
    """A worker behind a slow link would give up before it has found the log's last seal, begin again, and never start."""
    now = 0.0

    class Slow(Reader):
        def read(self, timeout_s: float):
            nonlocal now
            now += 10.0
            return super().read(timeout_s)

    log = Log()
    in_one_transaction(log, [f"internal@tenant{at}" for at in range(20)])
    published = followed(log)
    for at in range(20):
        log.append(b"list", b"%d" % at, [("part", b"add")])  # of a delta that is not sealed yet
    monkeypatch.setattr(clock, "elapsed", lambda: now)

    assert last_seal(Slow(log, at_once=1), 15).offset == published.index.position
    begin(Slow(log, at_once=1), Deadline.after(15))
    check_known(Slow(log, at_once=1), published, Deadline.after(15))


def test_a_replay_to_the_end_reads_all_or_says_that_it_could_not():
    """An import would make its delta against half a register."""
    log, seen = Log(), []
    published = Publisher(log).put("list", Delta(bitmap([1, 2]), bitmap([]), 0))
    index = replay_to_end(Reader(log, at_once=1), Deadline.after(60), seen.append)
    assert index.position == published.position and seen == [0, 1]

    silent = Reader(log)
    silent.silent = True
    with pytest.raises(Unavailable, match="end"):
        replay_to_end(silent, Deadline.after(0.01))
    log.append(b"x", b"y")
    with pytest.raises(Corrupt, match="offset"):
        replay_to_end(Reader(log), Deadline.after(60))


@pytest.mark.parametrize("reasons", [[MOVED], [RENEWING], [MOVED, TAKEN_BACK], [RENEWING, RENEWED], []])
def test_marks_are_found_only_before_what_was_published(reasons):
    """A list behind the mark by which a log ends would be called published, and nobody would ever read it; or one before
    it be refused.
    """
    log = Log()
    publisher = Publisher(log)
    before = publisher.put("list", Delta(bitmap([1, 2]), bitmap([]), 0)).position
    for reason in reasons:
        replay = followed(log, keep_ends=True)
        source = DeltaSource("opposition.log.2", "cd" * 32)
        Writer(log).publish(marked(replay.rules, reason, source, AT, replay.known(RULES)))
        log.skip()
    log.append(b"first", b"[]", [("part", b"seal")])
    last = log.records[-1].offset

    found = mark_seals(Reader(log, at_once=1), before, last, 1.0)
    assert [seal.reason for seal in found] == reasons
    assert mark_seals(Reader(log), last - 1, last, 1.0) == []
    with pytest.raises(Unavailable, match=f"offset {last + 1}"):
        mark_seals(Reader(log), before, last + 1, 0.01)


def in_one_transaction(log: Log, names) -> None:
    """Publish a number in each of these registers, as the daemon does when many scopes have news."""
    publisher, records = Publisher(log), []
    for name in names:
        made, _ = records_of(
            publisher.base(name),
            adding(bitmap([]), bitmap([1])),
            AT,
            SOURCE,
            known=publisher.replay.known(name),
            full_every=1000,
        )
        records += made
    publisher.writer.publish(records)


@pytest.mark.parametrize("more", [False, True], ids=["last", "behind another"])
def test_after_an_outage_many_scopes_of_one_transaction_are_checked_at_once(more):
    """Every worker would hold for two minutes after a broker's restart: so long take seeks to each of 2,000 tenants."""

    class Counting(Reader):
        seeks = 0

        def seek(self, offset: int) -> None:
            self.seeks += 1
            super().seek(offset)

    log = Log()
    in_one_transaction(log, [f"internal@tenant{at}" for at in range(300)])
    if more:
        Publisher(log).put("list", adding(bitmap([]), bitmap([2])))
    replay, reader = followed(log), Counting(log)
    check_known(reader, replay, Deadline.after(60))
    assert reader.seeks <= 4
    log.records[100:102] = []
    if not more:
        with pytest.raises(ValueError, match="seals"):
            check_known(reader, replay, Deadline.after(60))


def test_what_the_taker_raises_is_no_damage():
    """A corrupt log would pass for one whose copy on the broker is damaged, and be skipped."""

    def refuse(record):
        raise Corrupt("it is not what was sealed", record.offset)

    with pytest.raises(Corrupt, match="log offset 0"):
        read_into(Reader(log_of(2)), refuse, Deadline.after(60), on_damage=lambda _: None)
