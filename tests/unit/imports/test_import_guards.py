"""What a list may change before somebody is asked to look at it."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyroaring import BitMap64

from stream_scrub.imports import guards, list_day
from stream_scrub.imports.formats import BadList
from stream_scrub.index import Filter, Register, as_numbers, deltas
from stream_scrub.model import RegisterKind

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def register(count, name="bloctel"):
    numbers = BitMap64(range(33612000000, 33612000000 + count))
    return Register(name, RegisterKind.DENY, numbers, 3, "0" * 64, NOW, 9, "l", Filter(as_numbers(numbers)))


def listed(first, count):
    return BitMap64(range(33612000000 + first, 33612000000 + first + count))


@pytest.mark.parametrize(
    ("first", "count", "told"),
    [
        (0, 899, "remove 101 (10.1%)"),
        (0, 1101, "add 101 (10.1%)"),
        (5_000, 1000, "add 1,000 (100.0%) and remove 1,000 (100.0%)"),
        (0, 0, "remove 1,000 (100.0%)"),
    ],
)
def test_a_list_that_changes_too_much_is_refused_with_the_figures(first, count, told):
    """A file that was cut off over night would empty a register, and everybody in it be called in the morning."""
    base = register(1000)
    delta = deltas.full(base.numbers, listed(first, count))
    with pytest.raises(BadList) as caught:
        guards.check_change(base, delta, "full", 0.1)
    assert told in str(caught.value) and "1,000 numbers" in str(caught.value)
    assert guards.LETS_THROUGH in str(caught.value) and "10.0%" in str(caught.value)
    guards.check_change(base, delta, "full", 2.0)


@pytest.mark.parametrize(("first", "count"), [(0, 1000), (0, 900), (0, 1100), (100, 1000)])
def test_a_days_change_passes(first, count):
    """Operators would get used to letting every list through."""
    base = register(1000)
    guards.check_change(base, deltas.full(base.numbers, listed(first, count)), "full", 0.1)


def test_a_first_import_has_nothing_to_be_compared_with():
    """No register could ever be begun, or one of half a country by a file of a line."""
    base = Register.empty("bloctel", RegisterKind.DENY, NOW)
    delta = deltas.full(base.numbers, listed(0, 1000))
    guards.check_change(base, delta, "full", 0.1, 1000)
    guards.check_change(base, delta, "full", 0.1, 10, lines=1000)
    with pytest.raises(BadList, match=r"add 1,000 numbers, where bloctel holds 0: more than lists.max_added"):
        guards.check_change(base, delta, "full", 0.1, 999)
    guards.check_change(base, delta, "full", math.inf, 999)


def test_numbers_to_add_are_a_share_of_the_register_or_few():
    """A few bytes of prefixes, handed over as numbers to add, would block a country."""
    base = register(1000)
    for count, free in ((100, 0), (500, 500)):
        guards.check_change(base, deltas.adding(base.numbers, listed(5_000, count)), "adds", 0.1, free)
    for count, free in ((101, 0), (501, 500)):
        with pytest.raises(BadList, match=r"lists.max_added"):
            guards.check_change(base, deltas.adding(base.numbers, listed(5_000, count)), "adds", 0.1, free)
    guards.check_change(base, deltas.adding(base.numbers, listed(5_000, 5_000)), "adds", math.inf, 500)


def test_a_delta_says_itself_what_it_changes():
    """Whoever removes by name what he wants removed would be asked whether he wants it."""
    base = register(1000)
    guards.check_change(base, deltas.removing(base.numbers, listed(0, 900)), "removes", 0.1)


DAY = timedelta(days=1)


def test_a_list_that_names_only_the_day_is_not_older_than_one_of_that_day():
    """The second import of a day would be refused wherever lists say their day and no hour."""
    held = replace(register(10), effective_at=NOW + timedelta(hours=9))
    assert list_day.moment_of(held, NOW, NOW, whole=True) == held.effective_at
    with pytest.raises(BadList):
        list_day.moment_of(held, NOW + timedelta(hours=8), NOW, whole=True)


def test_a_full_list_says_how_old_a_register_is():
    """A register would seem as old as its first list for ever, or younger than its last one."""
    held = register(10)
    assert list_day.moment_of(held, NOW + DAY, NOW, whole=True) == NOW + DAY
    assert list_day.moment_of(held, None, NOW + DAY, whole=True) == NOW + DAY
    assert list_day.moment_of(None, NOW - DAY, NOW, whole=True) == NOW - DAY
    assert list_day.moment_of(None, None, NOW, whole=False) == NOW


def test_an_older_list_of_oppositions_to_the_company_adds_and_moves_no_date():
    """A list of opt-outs that was found late could not be imported without a flag, though it takes nobody out."""
    held = register(10, "internal@acme")
    assert list_day.moment_of(held, NOW - DAY, NOW, whole=True) == NOW
