"""The index as values: what a register answers, and that nothing given out is ever changed."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pyroaring import BitMap64

from stream_scrub.call import VOICE
from stream_scrub.index import Filter, Register, as_numbers, index
from stream_scrub.model import RegisterKind
from tests.support.fakes import law

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("adds", "removes"),
    [([2], []), ([9, 3 * 2**24], []), ([], [4]), ([5], [5]), ([], [2**40]), ([1], [1])],
    ids=["held", "held far off", "not held", "both", "beyond", "held, both"],
)
def test_a_delta_that_does_not_fit_is_refused_and_changes_nothing(adds, removes):
    """A register would drift from its list without anybody noticing, or a half-applied delta be served."""
    before = law.register("list", [1, 2, 3, 3 * 2**24])
    words = before.filter.words.copy()

    with pytest.raises(ValueError, match="adds numbers that the register holds"):
        before.changed(BitMap64(adds), BitMap64(removes))
    assert set(before.numbers) == {1, 2, 3, 3 * 2**24}
    assert (before.filter.words == words).all()


@pytest.mark.parametrize(
    "numbers",
    [
        range(0, 2**26, 4099),
        [n << 33 for n in range(300)],
        [n << 44 for n in range(2**13)],
        [0, 2**24 - 1, 2**24, 2**64 - 2**24, 2**64 - 1],
    ],
    ids=["near", "far apart", "in too many ranges", "at the edges"],
)
def test_a_delta_is_the_same_however_far_apart_the_numbers_are(numbers):
    """A number between two pieces of a large register would be lost, or a sparse register take minutes to change."""
    members = list(numbers)
    before = law.register("list", members[::2])

    numbers, filter_ = before.changed(BitMap64(members[1::2]), BitMap64(members[::4]))

    gone = set(members[::4])
    left = np.array([number for number in members if number not in gone], dtype=np.uint64)
    assert as_numbers(numbers).tolist() == left.tolist()
    assert filter_.perhaps(left).all()


def test_a_large_change_lets_others_run_in_between():
    """Prospects would stand still while a large list changes."""
    before = law.register("list", range(0, 2**27, 64))
    pauses = []

    held = len(before.numbers)
    adds, removes = BitMap64(range(1, 2**27, 4096)), BitMap64(range(0, 2**27, 4096))
    numbers, _ = before.changed(adds, removes, lambda: pauses.append(1))

    assert len(pauses) >= 8
    assert len(before.numbers) == held == len(numbers), "the older index is as it was"
    assert adds <= numbers and not removes & numbers


@pytest.mark.parametrize(
    ("age", "old"),
    [(timedelta(days=30), False), (timedelta(days=30, seconds=1), True), (-timedelta(1), False)],
)
def test_a_list_is_too_old_only_after_its_last_day(age, old):
    """A worker would hold while the list may still be used, or call by one that may not."""
    register = Register.empty("list", RegisterKind.DENY, AT)

    assert register.older_than(30, AT + age) is old


@pytest.mark.parametrize(
    ("kind", "since", "overdue"),
    [
        *((RegisterKind.DENY, seconds, False) for seconds in (-1, 0, 3600)),
        *((RegisterKind.ALLOW, seconds, seconds >= 0) for seconds in (-1, 0, 60)),
    ],
)
def test_no_end_of_a_consent_is_passed_over(kind, since, overdue):
    """A consent would count for a minute after its end, or each end of an opposition make the worker hold."""
    register = replace(law.register("some", kind=kind), next_end=AT)

    assert register.ends_overdue(AT + timedelta(seconds=since)) is overdue
    assert register.ends_by(AT) == AT + timedelta(seconds=60 * (kind is RegisterKind.ALLOW))
    assert not law.register("list", kind=kind).ends_overdue(AT)


def test_the_registers_for_parts_of_a_campaign_are_found_by_it():
    """A withdrawal for a campaign would leave the consents for one of its purposes in force."""
    index = law.index(*map(law.register, ("internal", "internal@acme", "internal@+sms")))
    assert index.parts() == {"internal@": ("internal@+sms",)}
    for name in ("internal@acme+sms", "consent@acme+insurance", "internal@+email"):
        index = index.with_register(law.register(name))

    assert index.parts() == {
        "internal@": ("internal@+sms", "internal@+email"),
        "internal@acme": ("internal@acme+sms",),
        "consent@acme": ("consent@acme+insurance",),
    }


@pytest.mark.parametrize("seed", range(20))
def test_who_is_opposed_to_anybody_is_in_one_of_the_scoped_registers(seed):
    """Whoever opposed to one campaign would be called by a prospect that names none, or be kept from it for ever."""
    dice = random.Random(seed)
    index = law.index(law.register("internal", [1]), law.allow("consent@a", [2]))
    assert index.opposed_to_anybody(VOICE) is None
    for _ in range(60):
        name = f"internal@{dice.choice('abcd')}"
        numbers = dice.sample(range(10, 30), dice.randrange(6))
        ends = dice.choice([None, None, date(2026, 12, dice.randrange(1, 9))])
        kind = RegisterKind.ALLOW if dice.random() < 0.05 else RegisterKind.DENY
        index = index.with_register(
            law.register(name, numbers, kind=kind, days_old=dice.randrange(3), ends=ends)
        )
        if dice.random() < 0.3:
            index.opposed_to_anybody(VOICE)
    scoped = [index.registers[name] for name in index.registers if name.startswith("internal@")]

    found = index.opposed_to_anybody(VOICE)

    assert set(found.numbers) == {number for each in scoped for number in each.numbers}
    assert found.filter.perhaps(as_numbers(found.numbers)).all()
    assert found.effective_at == min(each.effective_at for each in scoped)
    assert found.next_end == min((each.next_end for each in scoped if each.next_end), default=None)
    assert (found.kind is RegisterKind.DENY) is all(each.kind is RegisterKind.DENY for each in scoped)


def test_the_filter_lets_few_others_through():
    """Every prospect would cost an exact look-up: the filter would be there for nothing."""
    members = np.arange(33_600_000_000, 33_600_040_000, 2, dtype=np.uint64)

    hits = Filter(members).perhaps(members + np.uint64(1))

    assert hits.mean() < 0.03


def test_the_filter_of_very_many_is_smaller_and_misses_none(monkeypatch):
    """A worker with 250 million numbers would need as much memory again as its list and more, or let an opposed number
    through."""
    members = np.arange(33_600_000_000, 33_600_100_000, 2, dtype=np.uint64)
    ordinary = Filter(members)
    monkeypatch.setattr(index, "_MANY", len(members))

    made = Filter(members)
    assert made.words.nbytes < 0.8 * ordinary.words.nbytes and made.words.nbytes <= len(members) * 1.6
    assert made.perhaps(members).all()
    assert made.perhaps(members + np.uint64(1)).mean() < 0.03
    made.add(np.arange(33_700_000_000, 33_700_000_000 + made.left, dtype=np.uint64))
    assert made.perhaps(members + np.uint64(1)).mean() < 0.05, "full"
    again = Filter.restored(made.words.copy(), made.left)
    assert again.perhaps(members).all() and again.room == made.room


def test_many_numbers_of_one_word_are_all_in_the_filter():
    """Of two opposed numbers whose bits stand in one word one could be called."""
    few_words = Filter(np.empty(0, dtype=np.uint64))
    members = np.arange(33_600_000_000, 33_600_020_000, dtype=np.uint64)
    assert few_words.words.nbytes < len(members), "a hundred of them share each word"

    few_words.add(members)
    assert few_words.perhaps(members).all()


def test_a_filter_that_fills_up_is_made_anew():
    """After a year of deltas every number would hit, and the worker would be slower from day to day."""
    register = law.register("list", range(1000))
    filter_ = register.filter

    _, same = register.changed(BitMap64(range(5000, 6000)), BitMap64())
    numbers, other = register.changed(BitMap64(range(10_000, 12_000)), BitMap64([1]))

    assert same is filter_
    assert other is not filter_ and len(other.words) > len(filter_.words)
    assert other.perhaps(as_numbers(numbers)).all()
    assert (other.words == Filter(as_numbers(numbers)).words).all()
