"""The index as values: what a register answers, and that nothing given out is ever changed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyroaring import BitMap64

from stream_scrub.index import Filter, Index, Register, as_bitmap, as_numbers
from stream_scrub.model import RegisterKind
from tests.fakes import law

AT = datetime(2026, 11, 1, tzinfo=UTC)


def test_an_empty_index_knows_nothing():
    """A worker would take a log without lists for a log that opposes nobody."""
    empty = Index.empty()

    assert (dict(empty.registers), empty.position) == ({}, -1)


def test_a_new_index_leaves_the_old_one_as_it_was():
    """A batch would be judged by two positions of the log at once."""
    first = Index.empty().with_register(law.register("list", [1], position=3))
    second = first.with_register(law.register("internal", [2], position=9))

    assert (set(first.registers), first.position) == ({"list"}, 3)
    assert (set(second.registers), second.position) == ({"list", "internal"}, 9)
    with pytest.raises(TypeError):
        second.registers["list"] = law.register("list")  # type: ignore[index]


def test_a_delta_leaves_the_register_before_it_as_it_was():
    """An older index, still in use for a batch, would let its numbers change under it."""
    before = law.register("list", [1, 2, 3])

    numbers, filter_ = before.changed(BitMap64([4]), BitMap64([1]))

    assert set(before.numbers) == {1, 2, 3}
    assert set(numbers) == {2, 3, 4}
    assert filter_.perhaps(np.array([1, 2, 3, 4], dtype=np.uint64)).all()


@pytest.mark.parametrize(
    ("age", "old"),
    [(timedelta(days=30), False), (timedelta(days=30, seconds=1), True), (-timedelta(1), False)],
)
def test_a_list_is_too_old_only_after_its_last_day(age, old):
    """A worker would hold while the list may still be used, or call by one that may not."""
    register = Register.empty("list", RegisterKind.DENY, AT)

    assert register.older_than(30, AT + age) is old


def test_a_scoped_register_says_whose_it_is():
    """One client's opt-out would count for all clients, or for none."""
    assert law.register("internal@acme").scope == "acme"
    assert law.register("internal").scope == ""


def test_named_gives_the_register_and_the_scopes_that_the_log_has_held():
    """A campaign's own opposition would be forgotten, or another campaign's obeyed."""
    index = law.index(*map(law.register, ("internal", "internal@acme", "internal@other")))

    assert [r.name for r in index.named("internal", ["acme", "lost"])] == ["internal", "internal@acme"]
    assert [r.name for r in index.named("internal")] == ["internal"]
    assert index.named("lost", ["acme"]) == []


def test_numbers_and_bitmap_are_the_same_set():
    """A list would lose numbers between file and log."""
    assert as_numbers(BitMap64()).tolist() == []
    assert as_numbers(as_bitmap(np.array([5, 2**40, 2**64 - 1], dtype=np.uint64))).tolist() == [
        *(5, 2**40, 2**64 - 1)
    ]
    assert set(as_bitmap(np.array([9, 3, 9], dtype=np.uint64))) == {3, 9}


def test_the_filter_lets_few_others_through():
    """Every prospect would cost an exact look-up: the filter would be there for nothing."""
    members = np.arange(33_600_000_000, 33_600_040_000, 2, dtype=np.uint64)

    hits = Filter(members).perhaps(members + np.uint64(1))

    assert hits.mean() < 0.03


def test_a_filter_that_fills_up_is_made_anew():
    """After a year of deltas every number would hit, and the worker would be slower from day to day."""
    register = law.register("list", range(1000))
    filter_ = register.filter

    _, same = register.changed(BitMap64([5000]), BitMap64())
    _, other = register.changed(BitMap64(range(10_000, 12_000)), BitMap64([1]))

    assert same is filter_
    assert other is not filter_ and other.nbytes > filter_.nbytes
    assert other.perhaps(np.arange(10_000, 12_000, dtype=np.uint64)).all()
