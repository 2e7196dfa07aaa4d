"""A log that was renewed, and the one that it became: who may judge by which, and what the new one knows."""

from datetime import timedelta

import numpy as np
import pytest

from stream_scrub.errors import Refused, StaleIndex
from stream_scrub.index import deltas
from stream_scrub.log.audit import LogAudit
from stream_scrub.log.encode import differing, marked, records_of, restated, rules_records
from stream_scrub.log.follower import Follower
from stream_scrub.log.wire import MOVED, RENEWED, RENEWING, RULES, TAKEN_BACK, DeltaSource
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, Publisher, bitmap, followed

OLD, NEW = (
    DeltaSource("opposition.log up to position 9", "cd" * 32),
    DeltaSource("opposition.log.2", "cd" * 32),
)


def put(log, *, mark, source=NEW):
    """Put a mark on a log."""
    replay = followed(log, keep_ends=True)
    Writer(log).publish(marked(replay.rules, mark, source, AT, replay.known(RULES)))


def listed(day):
    """A publisher on a log with a list of oppositions, and consents that end."""
    publisher = Publisher(Log())
    publisher.import_list("tps", {447400123456: 0})
    publisher.put("tps", deltas.nothing(publisher.base("tps").numbers, "list"), hours=24 * day)
    publisher.import_list("consent", {33612345678: 1_900_000_000, 33612345679: 0}, RegisterKind.ALLOW)
    return publisher


def renewed(old, without=None):
    """The log that a renewal makes of the registers of another, without its mark."""
    log = Log()
    put(log, mark=RENEWING, source=OLD)
    for name, held in old.replay.index.registers.items():
        there = followed(log, keep_ends=True)
        made = restated(held, old.replay.known(name), (without or {}).get(name), there.known(name), OLD)
        Writer(log).publish(made.records)
    return log


def cause(log):
    """Why a follower holds that has read the log; `usable` where it does not."""
    follower = Follower(lambda: Reader(log))
    follower.start()
    try:
        until = Deadline.after(60)
        while follower.lag_s is None:
            assert not until.passed, "the log is read"
        follower.usable(5.0)
    except StaleIndex as error:
        return error.cause, str(error)
    finally:
        follower.stop()
    return "usable", ""


def test_whoever_is_left_on_a_renewed_log_holds_and_is_told_which_one_to_take():
    """A worker with the old name would allow whoever opposed on the new log since."""
    old = listed(1)
    assert cause(old.log)[0] == "usable"
    put(old.log, mark=MOVED)
    said = cause(old.log)
    assert said[0] == "log-moved" and "set topics.log to opposition.log.2" in said[1]
    assert followed(old.log).state is None, "a snapshot behind the mark would not know it"
    put(old.log, mark="rules")
    assert cause(old.log)[0] == "log-moved", "whoever put rules there had not seen the mark"
    put(old.log, mark=TAKEN_BACK)
    assert cause(old.log)[0] == "usable", "a renewal that failed takes its mark back"


def test_nothing_is_published_to_a_renewed_log():
    """An opt-out would go where nobody looks any more."""
    old = listed(1)
    put(old.log, mark=MOVED)
    old.catch_up()
    with pytest.raises(Refused, match=r"renewed as opposition\.log\.2"):
        old.import_list("tps", {447400123457: 0})
    with pytest.raises(Refused, match=r"renewed as opposition\.log\.2"):
        rules_records(old.replay.rules, {"fr@1": b"x"}, AT, OLD, known=old.replay.known(RULES))


def test_nobody_uses_a_log_that_is_not_put_together_yet():
    """A worker on half of the new log would allow whose opposition is not on it yet, or a publisher number its deltas
    twice."""
    log = renewed(listed(1))
    said = cause(log)
    assert said[0] == "log-unfinished" and "docs/privacy.md" in said[1]
    replay = followed(log, keep_ends=True)
    with pytest.raises(Refused, match="not put this log together"):
        records_of(
            replay.index.registers["tps"],
            deltas.nothing(bitmap([]), "list"),
            AT,
            OLD,
            known=replay.known("tps"),
        )

    def problems():
        audit = LogAudit(lambda _: "")
        for record in log.records:
            audit.take(record)
        audit.finish()
        return [each.what for each in audit.problems]

    assert len(problems()) == 1 and "not put this log together" in problems()[0]
    put(log, mark=RENEWED, source=OLD)
    assert not problems() and cause(log)[0] == "usable"


def test_a_renewed_log_holds_every_register_as_it_was_and_knows_its_lists():
    """A list that has grown stale would be taken once more under a later day, and its register pass for fresh."""
    old = listed(3)
    digests = old.replay.known("tps").lists
    assert digests, "the old log knows the list"
    new = followed(renewed(old), keep_ends=True)
    assert not list(differing(old.replay, {}, new))
    assert digests.items() <= new.known("tps").lists.items()
    assert new.index.registers["tps"].effective_at == AT + timedelta(days=3)


def test_a_register_that_differs_on_the_new_log_is_named():
    """The renewal would say that all went well while somebody else wrote to the new log."""
    old = listed(1)
    left = {"consent": np.array([33612345679], np.uint64)}
    new = followed(renewed(old, left), keep_ends=True)
    assert not list(differing(old.replay, left, new))
    assert list(differing(old.replay, {}, new)) == ["consent"]
