"""Prefixes, patterns and ranges: which numbers a line stands for."""

import pytest

from stream_scrub.imports.formats import BadList, ranges
from tests.support.fakes.lists import read


@pytest.mark.parametrize(
    ("line", "region", "first", "last"),
    [
        ("+33162", "GB", 33162000000, 33162999999),
        ("+33162*", "GB", 33162000000, 33162999999),
        ("0033162", "GB", 33162000000, 33162999999),
        ("+33 1 62 XX XX XX", "GB", 33162000000, 33162999999),
        ("0162", "FR", 33162000000, 33162999999),
        ("01.62.??.??.??", "FR", 33162000000, 33162999999),
        ("0162******", "FR", 33162000000, 33162999999),
        ("(416) XXX-XXXX", "CA", 14160000000, 14169999999),
        ("1416XXXXXXX", "US", 14160000000, 14169999999),
        ("416", "US", 14160000000, 14169999999),
        ("0262", "RE", 262262000000, 262262999999),
        ("07400 12345X", "GB", 447400123450, 447400123459),
        ("0162000000-0162009999", "FR", 33162000000, 33162009999),
        ("01 62 00 00 00 - 01 62 00 99 99", "FR", 33162000000, 33162009999),
        ("0162000000..0162009999", "FR", 33162000000, 33162009999),
        ("0162000000 to 0162009999", "FR", 33162000000, 33162009999),
        ("0162000000;0162009999", "FR", 33162000000, 33162009999),
        ("416-555-0100 - 416-555-0199", "US", 14165550100, 14165550199),
        ("+33162000000-+33162009999", "GB", 33162000000, 33162009999),
        ("0612345678", "FR", 33612345678, 33612345678),
        ("061234567", "FR", 33612345670, 33612345679),
    ],
)
def test_what_a_line_stands_for(line, region, first, last, tmp_path):
    """Other numbers than those that the operator blocked would be blocked, or not all of them."""
    reading = read(tmp_path, (line + "\n").encode(), region=region, format="ranges")

    found = reading.bitmap()
    assert (found.min(), found.max(), len(found)) == (first, last, last - first + 1)
    assert (reading.taken, reading.refused) == (1, 0)


def test_a_prefix_stands_for_every_length_that_its_country_has(tmp_path):
    """Where numbers have several lengths, half of those under a prefix would still be called."""
    found = read(tmp_path, b"+436641234*\n", format="ranges").bitmap()

    assert {43664123456, 436641234567, 4366412345678} <= set(found)


@pytest.mark.parametrize(
    "line",
    [
        *("+1", "+33*", "+3", "0", "+0162", "XXXX", "*", "+", "0162XX", "06X234567", "0162009999-0162000000"),
        *(
            "+99912345*",
            "0162000000-016200999",
            "+33162000000-0162009999",
            "word",
            "1" * 200,
        ),
        *("+33162" + "X" * 15, "0162000000-0162009999-1"),
    ],
)
def test_what_cannot_be_one_is_refused(line, tmp_path):
    """A slip would block a country, or vanish without a word."""
    reading = read(tmp_path, f"+33162*\n{line}\n".encode(), format="ranges")

    assert (reading.taken, reading.first_refused) == (1, [2])
    assert len(reading.bitmap()) == 1_000_000
    assert ("refused as wider than 100,000,000 numbers: 1" in reading.described) == (
        line in ("+1", "+33*", "+3")
    )


def test_too_many_ranges_are_a_list_of_something_else(tmp_path, monkeypatch):
    """A file of millions of broken numbers would be read for hours as prefixes."""
    monkeypatch.setattr(ranges, "_SPANS_MAX", 2)
    with pytest.raises(BadList, match="something else"):
        read(tmp_path, b"+33162*\n+33163*\n+33270*\n", format="ranges")
