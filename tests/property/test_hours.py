"""The windows on a stamp are the hours of the law: a call may begin at a minute exactly when the clock of every zone shows
an hour that is open."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.clock import parse_zoned, zone
from stream_scrub.numbering.zones import areas_of, zones_of
from stream_scrub.rules import Rulebook
from stream_scrub.scrub.hours import Clock, call_hours, opening

BOOK = Rulebook.load()
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
YEAR = 366 * 24 * 60  # minutes
FIRST = datetime(2028, 1, 1, tzinfo=UTC)  # a leap year
REGIONS = {region for country in BOOK.countries.values() for region in country.regions}
PLACES = [
    *(
        (region, zones_of(region))
        for region in sorted(REGIONS)
        if (rule := BOOK.rule(region, NOON)) is not None and rule.hours is not None
    ),
    *(
        (country, zones)
        for country in ("US", "CA")
        for zones in sorted({*areas_of(country).values()})
        if len(zones) > 1 and {*zones} <= {*zones_of(country)}
    ),
]


def clock_in(region: str, zones: tuple[str, ...]) -> Clock:
    return Clock(BOOK.rule(region, NOON).hours, region, zones)


def is_open(clock: Clock, moment: datetime) -> bool:
    """What the clocks on the walls show, read minute by minute."""
    for name in clock.zones:
        there = moment.astimezone(zone(name))
        spans = [] if clock.hours.closed(there.date(), clock.region) else clock.hours.week[there.weekday()]
        if not any(first <= there.hour * 60 + there.minute < last for first, last in spans):
            return False
    return True


def moments(clock: Clock) -> list[datetime]:
    """Every minute around an edge of the hours, in each zone, on each day of a year; so also when clocks change."""
    edges = {minute for spans in clock.hours.week for span in spans for minute in span}
    return [
        (datetime.combine(day, datetime.min.time(), zone(name)) + timedelta(minutes=edge + near)).astimezone(
            UTC
        )
        for name in clock.zones
        for day in (
            FIRST.date() + timedelta(days=at) for at in range(0, 366, 1 if len(clock.zones) < 5 else 3)
        )
        for edge in edges
        for near in (-1, 0)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]}-{len(place[1])}-{place[1][0]}")
def test_each_edge_of_a_year(place):
    """Somebody would be called a minute too early or too late, on the day after a clock changed or before a holiday."""
    clock = clock_in(*place)
    for moment in moments(clock):
        expected = is_open(clock, moment)
        assert (opening((clock,), moment) == moment) is expected, moment
        assert call_hours((clock,), moment, None).at(moment) is expected, moment


@given(
    st.sampled_from(PLACES),
    st.lists(st.sampled_from(PLACES), max_size=2),
    st.integers(0, YEAR - 1),
    st.integers(0, 59),
)
def test_any_minute_of_a_year(place, others, minute, second):
    """`callable_now`, the next opening and the windows on the stamp would say three different things."""
    clocks = tuple(dict.fromkeys(clock_in(*each) for each in (place, *others)))
    now = FIRST + timedelta(minutes=minute, seconds=second)
    expected = all(is_open(clock, now) for clock in clocks)
    first = opening(clocks, now)
    assert (first == now) is expected
    call = call_hours(clocks, now, None)
    assert call.at(now) is expected
    if first is not None and first != now:
        assert first.second == 0 and all(is_open(clock, first) for clock in clocks)
        before = first - timedelta(minutes=1)
        assert not all(is_open(clock, before) for clock in clocks)


@given(st.sampled_from(PLACES), st.integers(0, YEAR - 1), st.integers(0, 40))
def test_no_window_outlives_the_verdict(place, minute, days):
    """A dialler would call by a window whose verdict has ended."""
    now = FIRST + timedelta(minutes=minute)
    until = now.date() + timedelta(days=days)
    for window in call_hours((clock_in(*place),), now, until).windows:
        last = parse_zoned(window.split("/")[1]) - timedelta(seconds=1)
        assert all(last.astimezone(zone(name)).date() <= until for name in place[1])
