"""A month of verdicts by law, with the age of each list at each verdict."""

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from stream_scrub.index import deltas
from stream_scrub.model import Deadline
from stream_scrub.queries.month_report import ListDates, MonthCounts
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.rules import digest_of
from stream_scrub.stamp import decode
from tests.support.fakes import law
from tests.support.fakes.log import Log
from tests.support.fakes.publisher import AT, Publisher, bitmap
from tests.support.golden.evidence import keep_rules, reader

RULES = digest_of(next(iter(law.rulebook(law.OPT_OUT).texts.values())))
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)


def quiet(_what, _done, _of):
    pass


@pytest.fixture(scope="module")
def dates() -> tuple[ListDates, int, int]:
    """A log with a list of the 24th and one of the 26th, and the positions of both."""
    log = Log()
    publisher = Publisher(log)
    keep_rules(publisher, law.OPT_OUT)
    publisher.import_list("list", {33611111111: 0})
    first = log.records[-1].offset
    publisher.put("list", publisher_delta(publisher), hours=48)
    return ListDates.read(reader(log.records), quiet, Deadline.after(60)), first, log.records[-1].offset


def publisher_delta(publisher):
    return deltas.full(publisher.base("list").numbers, bitmap([33611111111, 33622222222]))


def stamp(
    at: datetime,
    index: int,
    *,
    verdict="allowed",
    reason="clear",
    registers="",
    number="+33612345678",
    rules="rules",
):
    named = f'"registers":["{registers}"],' if registers else ""
    return decode(
        f'{{"verdict":"{verdict}","reason":"{reason}","number":"{number}",{named}"index":{index},'
        f'"{rules}":"{RULES}","at":"{at.isoformat()}"}}'.encode()
    )


def counted(dates: ListDates, *stamps):
    counts = MonthCounts(law.rulebook(law.OPT_OUT), dates, FIRST, LAST)
    for each in stamps:
        counts.take(each)
    return counts


def test_the_age_of_a_list_is_that_at_the_verdict(dates):
    """A report would show how old the lists are today, and not how old they were when people were called."""
    log, first, second = dates
    noon = AT + timedelta(hours=12)
    made = counted(
        log,
        *[stamp(noon, first)] * 98,
        stamp(noon + timedelta(days=2), second),  # by a list of two days later: half a day old again
        stamp(noon + timedelta(days=1), first, verdict="blocked", reason="opposed", registers="internal"),
    ).report()

    (age,) = made.lists
    assert (age.register, age.country, age.max_age_days, age.verdicts) == ("list", "FR", 30, 100)
    assert (age.middle_days, age.most_days, age.oldest_days) == (0.5, 0.5, 1.5)
    assert age.allowed_at_most_days == 0.5
    assert (made.prospects_allowed, made.prospects_blocked) == (99, 1)
    assert [(each.verdict, each.reason, each.registers, each.verdicts) for each in made.verdicts] == [
        ("allowed", "clear", [], 99),
        ("blocked", "opposed", ["internal"], 1),
    ]


def test_a_list_of_the_persons_residence_counts_too(dates):
    """The report would show no age of the list by which a person abroad may be called."""
    log, first, _ = dates
    moved = stamp(AT + timedelta(hours=12), first, number="+447400123456", rules="residence")
    made = counted(log, moved).report()
    assert [(each.register, each.country, each.verdicts) for each in made.lists] == [("list", "FR", 1)]
    assert [each.country for each in made.verdicts] == ["GB"]


def test_a_report_has_no_number_that_a_foreign_stamp_or_recall_names(dates):
    """A report that is filed for years would hold the number of somebody."""
    log, first, _ = dates
    foreign = stamp(
        AT + timedelta(hours=12), first, verdict="blocked", reason="opposed", registers="+33699998888"
    )
    counts = counted(log, foreign)
    counts.take_notice(
        RecallNotice(
            kind="recalled",
            number="+33699998888",
            reason="+33699998888",
            register="a@33699998888",
            index=1,
            at="2026-11-24T12:00:00Z",
        )
    )
    made = counts.report()
    assert len(made.verdicts) == len(made.recalls) == 1 and "99998888" not in str(msgspec.json.encode(made))


@pytest.mark.parametrize("index", [999_999, 2])
def test_the_verdicts_of_a_log_before_its_renewal_have_no_age(dates, index):
    """Positions begin again on a renewed log: verdicts of before would get the age of another list, or one below zero."""
    log, first, second = dates
    assert index not in (first, second)
    made = counted(log, stamp(AT + timedelta(hours=1), index)).report()
    assert made.prospects_allowed == 1 and made.lists == []
    assert any("1 verdicts by a position that is not on this log" in each for each in made.notes)


def test_a_month_ends_with_the_day_of_the_numbers_country(dates):
    """A verdict of midnight would be in two months, or in none."""
    log, first, _ = dates
    last = datetime(2026, 11, 30, 22, 59, tzinfo=UTC)
    counts = counted(log, stamp(last, first), stamp(last + timedelta(minutes=1), first))
    for at in (
        "2026-10-31T22:59:00Z",
        "2026-10-31T23:00:00Z",
        "2026-11-30T22:59:00Z",
        "2026-11-30T23:00:00Z",
    ):
        counts.take_notice(RecallNotice(kind="recalled", number="+33612345678", index=1, at=at))
    made = counts.report()
    assert made.prospects_allowed == 1 and made.recalls[0].count == 2


def test_recalls_are_counted_by_reason(dates):
    """Nobody could say how many leads were taken back, and why."""
    counts = counted(dates[0])
    for day in (12, 12, 13):
        notice = RecallNotice(
            kind="recalled", reason="opposed", register="internal", index=1, at=f"2026-11-{day}T09:00:00Z"
        )
        counts.take_notice(notice)
    counts.take_notice(RecallNotice(kind="suspended", register="list", index=1, at="2026-12-01T09:00:00Z"))
    (recall,) = counts.report().recalls
    assert (recall.kind, recall.reason, recall.register, recall.count) == (
        "recalled",
        "opposed",
        "internal",
        3,
    )
