"""The emitted prospects of a number on a day: found wherever they are, without reading the whole topic."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from stream_scrub.clock import utc_millis
from stream_scrub.queries import find_emitted
from tests.support.fakes.log import Log, Reader

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAY = date(2026, 11, 12)


def quiet(_what, _done, _of):
    pass


def emitted(moments, *, gaps=False) -> Log:
    """A partition of an output with a prospect judged at each moment; some offsets may be nobody's."""
    log = Log(start=1000)
    chance = random.Random(7)
    for at in moments:
        if gaps and chance.random() < 0.3:
            log.skip(chance.randrange(1, 40))
        if gaps and chance.random() < 0.1:
            log.append(None, b"a record of somebody else")
        stamp = f'{{"verdict":"blocked","reason":"opposed","number":"+33612345678","index":7,"at":"{utc_millis(at)}"}}'
        log.append(b"k", f'{{"phone":"0612345678","scrub":{stamp}}}'.encode())
    log.skip()
    return log


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("step_min", [20, 60, 60 * 30])
def test_every_prospect_of_the_day_is_found(monkeypatch, gaps, step_min):
    """An officer would be told that nobody was called on the day of the complaint."""
    monkeypatch.setattr(find_emitted, "_FEW", 50)
    moments = [FIRST + timedelta(minutes=step_min * at) for at in range(60 * 24 * 60 // step_min)]
    log = emitted(moments, gaps=gaps)
    found = {stamp.at for _, stamp in find_emitted.judged_between(Reader(log), DAY, DAY, "blocked", quiet)}
    low = datetime(2026, 11, 11, 10, tzinfo=UTC)
    assert found >= {at for at in moments if low <= at < low + timedelta(hours=50)}
    assert len(found) < len(moments) or len(moments) < 60, "it read the whole topic"


@pytest.mark.parametrize("moments", [[], [FIRST], [datetime(2026, 12, 1, tzinfo=UTC)] * 3])
def test_a_topic_without_that_day_has_none(moments):
    """A verdict of another day would be filed as the proof."""
    found = find_emitted.judged_between(Reader(emitted(moments)), DAY, DAY, "blocked", quiet)
    assert all(stamp.at < datetime(2026, 11, 11, tzinfo=UTC) for _, stamp in found)


def test_only_records_that_may_name_the_number_are_decoded():
    """A search of a year would take hours, or miss a verdict."""
    log = Log()
    for at in range(3000):
        number = "+33612345678" if at % 100 == 7 else "+33611111111"
        moment = utc_millis(FIRST + timedelta(minutes=at))
        stamp = f'{{"verdict":"blocked","reason":"opposed","number":"{number}","index":7,"at":"{moment}"}}'
        log.append(b"k", f'{{"scrub":{stamp}}}'.encode())
    days = FIRST.date(), FIRST.date() + timedelta(days=3)

    found = list(find_emitted.judged_between(Reader(log), *days, "blocked", quiet, b"+33612345678"))

    assert sum(stamp.number == "+33612345678" for _, stamp in found) == 30 and len(found) < 40


@pytest.mark.parametrize(
    "forged",
    [
        '"at":"9999-12-31T23:59:59.999Z"',
        '"at":"2026-11-12T09:00:00Z","call":{"zones":[],"windows":["never"],"local":""}',
        '"at":"2026-11-12T09:00:00Z","call":{"zones":[],"windows":["2026-11-12T09:00/2026-11-12T10:00"],"local":""}',
        '"at":"2026-11-12T09:00:00Z","call":{"zones":[],"windows":["a/b/c"],"local":""}',
    ],
)
def test_a_foreign_stamp_whose_moments_are_none_is_no_verdict(forged):
    """One record of somebody else would keep every dossier of a number from being made."""
    log = emitted([datetime(2026, 11, 12, 9, tzinfo=UTC)])
    stamp = f'{{"verdict":"allowed","reason":"clear","number":"+33612345678","index":7,{forged}}}'
    log.append(b"k", f'{{"scrub":{stamp}}}'.encode())
    found = list(find_emitted.judged_between(Reader(log), DAY, DAY, "blocked", quiet))
    assert [stamp.allowed for _, stamp in found] == [False]


@pytest.mark.parametrize("ahead", [0, 148, 333, 599])
def test_a_worker_whose_clock_was_ahead_hides_nothing(monkeypatch, ahead):
    """A few verdicts by a clock of next year would end every later search, and a call would look as if nothing had blocked it."""
    monkeypatch.setattr(find_emitted, "_FEW", 50)
    moments = [FIRST + timedelta(hours=2 * at) for at in range(600)]
    wanted = {at for at in moments if at.date() == DAY}
    moments[ahead:ahead] = [FIRST + timedelta(days=400)] * 20
    log = emitted(moments)
    found = {stamp.at for _, stamp in find_emitted.judged_between(Reader(log), DAY, DAY, "blocked", quiet)}
    assert found >= wanted and max(found) < FIRST + timedelta(days=60)
