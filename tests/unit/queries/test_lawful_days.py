"""Whether a call was lawful on each day: by the verdicts that held, until when, and what ended them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_scrub.queries.lawful_days import (
    JudgedCall,
    PlainJudgement,
    answers,
    of_attempt,
    without_overtaken,
)
from stream_scrub.recall_notice import RecallNotice
from stream_scrub.stamp import CallHours

PARIS = ZoneInfo("Europe/Paris")
DAYS = [date(2026, 11, 10) + timedelta(days=each) for each in range(5)]
PLAIN = {day: PlainJudgement(False, "opposed", "opposed; in internal") for day in DAYS}


def moment(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=PARIS).astimezone(UTC)


def call(at: datetime, *, allowed=True, until=None, campaigns=("acme",), position=10, **more) -> JudgedCall:
    said = {
        "reason": "the person consented" if allowed else "opposed",
        "why": "why",
        "proven": True,
        "hours": None,
    }
    day = at.astimezone(PARIS).date()
    return JudgedCall(
        at=at, day=day, campaigns=campaigns, allowed=allowed, until=until, position=position,
        registers=frozenset({"list"}), **(said | more),
    )  # fmt: skip


def notice(at: datetime, kind="recalled", *, index=20, register="internal") -> RecallNotice:
    return RecallNotice(kind=kind, reason="opposed", register=register, index=index, at=at.isoformat())


def lawful(calls, notices=(), plain=PLAIN) -> list[str]:
    return [
        f"{each.lawful}{'' if each.released else '-'}" for each in answers(DAYS, PARIS, calls, notices, plain)
    ]


@pytest.mark.parametrize(
    ("calls", "notices", "expected"),
    [
        ([], [], ["no-"] * 5),
        ([call(moment(10, 9), until=date(2026, 11, 12))], [], ["yes", "yes", "yes", "no-", "no-"]),
        ([call(moment(10, 9))], [], ["yes"] * 5),
        ([call(moment(9, 9), until=date(2026, 11, 10))], [], ["yes", "no-", "no-", "no-", "no-"]),
        ([call(moment(11, 9), allowed=False)], [], ["no-"] * 5),
        ([call(moment(10, 9)), call(moment(12, 9), allowed=False)], [], ["yes", "yes", "part", "no-", "no-"]),
        ([call(moment(10, 9))], [notice(moment(12, 10))], ["yes", "yes", "part", "no-", "no-"]),
        # A recall of an older index, soon before the verdict, takes nothing back; nor does any of days before it. The log may
        # have been renewed since, and its positions begin again: of days after the verdict every recall does.
        ([call(moment(10, 9), position=30)], [notice(moment(10, 8, 59))], ["yes"] * 5),
        ([call(moment(12, 9), position=7)], [notice(moment(10, 8))], ["no-", "no-", "yes", "yes", "yes"]),
        ([call(moment(10, 9), position=5000)], [notice(moment(12, 10))], ["yes", "yes", "part", "no-", "no-"]),
        # By the clock of recall its notice was before the verdict, whose index did not know why.
        ([call(moment(10, 9))], [notice(moment(10, 8, 59))], ["no-"] * 5),
        ([call(moment(10, 9), position=20)], [notice(moment(10, 8))], ["yes"] * 5),
        ([call(moment(10, 9), position=20)], [notice(moment(10, 9, 1))], ["part", "no-", "no-", "no-", "no-"]),
        # Midnight is that of the country: 23:30 UTC of the 10th is the 11th in France.
        ([call(datetime(2026, 11, 10, 23, 30, tzinfo=UTC), until=date(2026, 11, 11))], [], ["no-", "yes", "no-", "no-", "no-"]),
        ([call(moment(10, 9)), call(moment(10, 9), allowed=False, campaigns=("zeta",))], [], ["part", "yes", "yes", "yes", "yes"]),
        ([call(moment(10, 9), proven=False, until=date(2026, 11, 10))], [], ["unproven", "no-", "no-", "no-", "no-"]),
    ],
)  # fmt: skip
def test_each_day_has_the_answer_of_the_verdicts_that_held(calls, notices, expected):
    """A regulator would be told that a call was lawful on a day on which nothing covered it."""
    assert lawful(calls, notices) == expected


def test_a_verdict_by_an_older_index_is_not_the_last_word():
    """A worker whose clock is ahead, or whose index was seconds behind, would make a call lawful after the opt-out."""
    old, new = call(moment(10, 9, 5)), call(moment(10, 9), allowed=False, position=20)
    assert without_overtaken([new, old]) == [new]
    renewed = call(moment(12, 9), position=2)
    assert without_overtaken([new, old._replace(campaigns=("zeta",)), renewed])[-1] is renewed
    assert len(without_overtaken([new, old._replace(campaigns=("zeta",)), renewed])) == 3


def test_a_suspended_register_stops_calls_until_it_is_usable_again():
    """Calls that rested on a list too old to be used would count as covered."""
    calls = [call(moment(10, 9))]
    stops = [
        notice(moment(11, 10), "suspended", register="list"),
        notice(moment(13, 10), "resumed", register="list"),
    ]

    assert lawful(calls, stops) == ["yes", "part", "no-", "no-", "yes"]
    other = [notice(moment(11, 10), "suspended", register="other")]
    assert lawful(calls, other) == ["yes"] * 5


def test_a_day_that_has_not_come_is_not_answered():
    """A call of next week would be called lawful by today's lists."""
    for calls in ([], [call(moment(10, 9))]):
        (*_, last) = answers(DAYS, PARIS, calls, [], {})
        assert last.lawful == "unproven" and "not come" in last.reason and not last.released


HOURS = CallHours(["Europe/Paris"], ["2026-11-10T09:00:00Z/2026-11-10T12:00:00Z"], "Mon-Fri 10:00-13:00")


@pytest.mark.parametrize(
    ("at", "campaigns", "covered", "word"),
    [
        (moment(10, 8), ["acme"], False, "no verdict before it"),
        (moment(10, 10), ["acme"], True, "within its hours"),
        (moment(10, 13), ["acme"], False, "not at this hour"),
        (moment(10, 10), ["zeta"], False, "no verdict before it"),
        (moment(10, 10), [], True, "allowed it"),
        (moment(12, 10), ["acme"], False, "counted until 11 November 2026 only"),
        (moment(11, 11), ["acme"], False, "no longer counted"),
        # A dialler that calls within the second of the verdict reports that second.
        (moment(10, 9, 59), ["spring"], False, "no verdict before it"),
        (moment(10, 10), ["spring"], True, "within its hours"),
    ],
)
def test_a_reported_call_is_covered_or_says_why_not(at, campaigns, covered, word):
    """A call after the recall, outside the hours or under another campaign would pass as lawful, or a lawful one not."""
    at_once = call(moment(10, 10) + timedelta(milliseconds=123), campaigns=("spring",), hours=HOURS)
    calls = [call(moment(10, 9), until=date(2026, 11, 11), hours=HOURS), at_once]
    found = of_attempt(at, campaigns, PARIS, calls, [notice(moment(11, 10))])
    assert found.covered is covered and word in found.says


# Friday to Sunday, and the Monday after the last day of the windows.
WEEKEND = [date(2026, 11, 13), date(2026, 11, 14), date(2026, 11, 15), date(2026, 11, 20)]
WEEK = CallHours(
    ["Europe/Paris"],
    ["2026-11-13T09:00:00Z/2026-11-13T12:00:00Z", "2026-11-16T09:00:00Z/2026-11-16T12:00:00Z"],
    "Mon-Fri 10:00-13:00",
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [(moment(13, 9), ["yes", "no", "no", "unproven"]), (moment(13, 14), ["no", "no", "no", "unproven"])],
)
def test_a_day_without_hours_allows_no_call(at, expected):
    """A call on a Sunday would be called lawful, because the verdict of Friday still counted."""
    calls = [call(at, until=date(2026, 11, 30), hours=WEEK)]
    found = answers(WEEKEND, PARIS, calls, [], dict.fromkeys(WEEKEND[:-1], PLAIN[DAYS[0]]))
    assert [each.lawful for each in found] == expected
    assert "Mon-Fri 10:00-13:00" in found[1].reason and not found[1].released


def test_a_reason_names_its_campaign_where_campaigns_differ():
    """A reader would take the reason of one client's call for that of another's."""
    calls = [call(moment(10, 9)), call(moment(10, 9), allowed=False, campaigns=("zeta",))]
    day = answers(DAYS[:1], PARIS, calls, [], PLAIN)[0]
    assert day.reason == "for zeta: opposed" and day.says.startswith("for acme: from 09:00: ")
