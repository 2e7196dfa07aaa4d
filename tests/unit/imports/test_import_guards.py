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
        (0, 899, r"remove 101 \(10.1%\)"),
        (0, 1101, r"add 101 \(10.1%\)"),
        (5_000, 1000, r"add 1,000 \(100.0%\) and remove 1,000 \(100.0%\)"),
    ],
)
def test_a_list_that_changes_too_much_is_refused_with_the_figures(first, count, told):
    """A file that was cut off over night would empty a register, and everybody in it be called in the morning."""
    base = register(1000)
    delta = deltas.full(base.numbers, listed(first, count))
    with pytest.raises(BadList, match=f"{told}.*1,000 numbers.*{guards.LETS_THROUGH}"):
        guards.check_change(base, delta, "full", 0.1)
    guards.check_change(base, delta, "full", 2.0)


@pytest.mark.parametrize("count", [900, 1100])
def test_a_days_change_passes(count):
    """Operators would get used to letting every list through."""
    base = register(1000)
    guards.check_change(base, deltas.full(base.numbers, listed(0, count)), "full", 0.1)


def test_a_first_import_has_nothing_to_be_compared_with():
    """No register could ever be begun, or one of half a country by a file of a line."""
    base = Register.empty("bloctel", RegisterKind.DENY, NOW)
    delta = deltas.full(base.numbers, listed(0, 1000))
    guards.check_change(base, delta, "full", 0.1, 1000)
    guards.check_change(base, delta, "full", 0.1, 10, lines=1000)
    with pytest.raises(BadList, match=r"add 1,000 numbers, where bloctel holds 0: more than lists.max_added"):
        guards.check_change(base, delta, "full", 0.1, 999)
    guards.check_change(base, delta, "full", math.inf, 999)


@pytest.mark.parametrize(("most", "free"), [(100, 0), (500, 500)])
def test_numbers_to_add_are_a_share_of_the_register_or_few(most, free):
    """A few bytes of prefixes, handed over as numbers to add, would block a country."""
    base = register(1000)
    guards.check_change(base, deltas.adding(base.numbers, listed(5_000, most)), "adds", 0.1, free)
    over = deltas.adding(base.numbers, listed(5_000, most + 1))
    with pytest.raises(BadList, match=r"lists.max_added"):
        guards.check_change(base, over, "adds", 0.1, free)
    guards.check_change(base, over, "adds", math.inf, free)
    removing = deltas.removing(base.numbers, listed(0, 900))
    guards.check_change(base, removing, "removes", 0.1)  # they are named


DAY = timedelta(days=1)


def test_a_full_list_says_how_old_a_register_is():
    """A register would seem as old as its first list for ever, or the second import of a day be refused."""
    held = replace(register(10), effective_at=NOW + timedelta(hours=9))
    assert list_day.moment_of(held, NOW, NOW, whole=True) == held.effective_at, "it names only the day"
    with pytest.raises(BadList):
        list_day.moment_of(held, NOW + timedelta(hours=8), NOW, whole=True)
    assert list_day.moment_of(held, NOW + DAY, NOW, whole=True) == NOW + DAY
    assert list_day.moment_of(held, None, NOW + DAY, whole=True) == NOW + DAY
    assert list_day.moment_of(None, NOW - DAY, NOW, whole=True) == NOW - DAY
    assert list_day.moment_of(None, None, NOW, whole=False) == NOW


def test_an_older_list_of_oppositions_to_the_company_adds_and_moves_no_date():
    """A list of opt-outs that was found late could not be imported without a flag, though it takes nobody out."""
    held = register(10, "internal@acme")
    assert list_day.moment_of(held, NOW - DAY, NOW, whole=True) == NOW
