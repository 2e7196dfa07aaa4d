"""Oppositions that end: never a moment too early."""

from datetime import UTC, datetime

import pytest

from stream_scrub.imports.formats import BadList
from tests.support.fakes.lists import NOW, read


def ends_of(reading):
    numbers, ends = reading.ends()
    return dict(zip(numbers.tolist(), ends.tolist(), strict=True))


@pytest.mark.parametrize("text", ["soon", "31/02/2027", "2027-01-01T25:00Z", "1800000000", "x" * 500])
def test_an_end_that_cannot_be_read_is_none(text, tmp_path):
    """A misspelt date would lift an opposition, or make a consent eternal."""
    reading = read(tmp_path, f"phone,expires\n0612345678,{text}\n".encode())

    assert (list(reading.bitmap()), ends_of(reading), reading.kind) == ([33612345678], {}, "deny")
    assert "unreadable ends taken as none: 1 (lines 2)" in reading.described
    assert reading.endless == 1


@pytest.mark.parametrize("days", ["-1", "0", "1.5", "٣", "1e3"])
def test_days_that_cannot_be_are_no_end(days, tmp_path):
    """A slip in a number of days would lift an opposition at once."""
    assert ends_of(read(tmp_path, f"phone,days to expiry\n0612345678,{days}\n".encode())) == {}


def test_of_an_end_and_days_the_later_holds(tmp_path):
    """One of two columns would lift what the other holds."""
    content = (
        b"phone,expires,days to expiry\n0612345678,2026-11-25T00:00Z,30\n0611111111,2027-11-25T00:00Z,30\n"
    )
    reading = read(tmp_path, content)

    assert ends_of(reading) == {
        33612345678: int(NOW.timestamp()) + 30 * 86400,
        33611111111: int(datetime(2027, 11, 25, tzinfo=UTC).timestamp()),
    }


def test_without_a_header_the_places_are_said(tmp_path):
    """LiveVox' uploads without a header could not be read, or their groups would be taken for days."""
    content = b"0612345678,4512,30\n0611111111,,\n"
    with pytest.raises(BadList, match="name them"):
        read(tmp_path, content, format="expiry-csv")
    reading = read(tmp_path, content, format="expiry-csv", columns={"number": "1", "days": "3"})

    assert ends_of(reading) == {33612345678: int(NOW.timestamp()) + 30 * 86400}
    assert reading.taken == 2
    assert ends_of(read(tmp_path, content, column="1")) == {}, "nothing is guessed by content"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "name them"),
        ({"number": "9"}, "column 9"),
        ({"number": "zz"}, "no column"),
        ({"what": "1"}, "knows days, expires, number"),
    ],
)
def test_what_cannot_be_told_is_said(columns, says, tmp_path):
    """An operator would not know what to change."""
    with pytest.raises(BadList, match=says):
        read(tmp_path, b"who,nr\nRose,0612345678\n", format="expiry-csv", columns=columns)
