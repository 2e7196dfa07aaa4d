"""Days and moments as lists write them."""

from datetime import UTC, date, datetime

import pytest

from stream_scrub.imports.parsing.cells import days, earliest, latest


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-24", ["2026-11-24"]),
        ("20261124", ["2026-11-24"]),
        ("2026/11/24", ["2026-11-24"]),
        (" 24.11.2026 ", ["2026-11-24"]),
        ("03.04.2026", ["2026-04-03"]),
        ("03/04/2026", ["2026-04-03", "2026-03-04"]),
        ("04/04/2026", ["2026-04-04"]),
        ("11/24/2026", ["2026-11-24"]),
        *((text, []) for text in ("31/02/2026", "2026-13-01", "2026-11/24", "24/11/26", "0612345678", "")),
        *((text, []) for text in ("٢٠٢٦-11-24", "9" * 500)),
    ],
)
def test_a_day_may_mean_one_or_two(text, meant):
    """A day would be taken for another one, and an opposition lifted a month early."""
    assert days(text) == [date.fromisoformat(each) for each in meant]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-05-20T01:44:59Z", "2026-05-20T01:44:59"),
        ("2026-05-20T01:44:59.123+02:00", "2026-05-19T23:44:59"),
        ("2026-05-20T01:44+0200", "2026-05-19T23:44:00"),
        ("2026-05-20 01:44 UTC", "2026-05-20T01:44:00"),
        ("2026-05-20 01:44", "2026-05-20T13:44:00"),
        ("05/20/2026 1:44 PM", "2026-05-21T01:44:00"),
        ("05/20/2026 12:05 am", "2026-05-20T12:05:00"),
        ("2026-05-20", "2026-05-21T12:00:00"),
        ("03/04/2026 00:00Z", "2026-04-03T00:00:00"),
        ("31/12/2026", "2027-01-01T12:00:00"),
    ],
)
def test_the_latest_moment_that_a_text_may_mean(text, moment):
    """An opposition would be lifted while it still holds somewhere."""
    assert latest(text) == at(moment)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        *((text, 0) for text in ("2300-01-01", "9999-12-31T23:59:59Z", "31/12/9999")),
        *((text, None) for text in ("", "soon", "2026-05-20T", "2026-05-20T25:00Z", "2026-05-20T01:44X")),
        *((text, None) for text in ("30", "2026-05-20T13:00 pm", "T01:44Z")),
    ],
)
def test_a_day_in_centuries_means_never_and_what_is_no_moment_is_none(text, moment):
    """A date that stands for "never" would be an end, or a misspelt end be read as some other one."""
    assert latest(text) == moment


def test_a_day_begins_first_in_the_east():
    """A wash would be relied on for hours after it has run out in Asia."""
    assert earliest(date(2026, 11, 20)) == at("2026-11-19T10:00:00")
