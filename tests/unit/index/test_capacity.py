"""How many numbers there is room for: in a list, in a register, in a follower."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyroaring import BitMap64

from stream_scrub.errors import TooMany
from stream_scrub.imports.formats import BadList
from stream_scrub.index import Filter, Register, as_bitmap
from stream_scrub.index.capacity import Capacity, weight
from stream_scrub.model import RegisterKind
from tests.support.fakes.lists import read

AT = datetime(2026, 11, 24, tzinfo=UTC)
CLOSE = range(33612000000, 33612001000)
# Each is a list of a few bytes that stands for more than ten thousand numbers, or takes their memory.
LARGE = {
    "ranges": ("ranges", "+3361234XXXX\n+3361235XXXX\n"),
    "ranges that overlap": ("ranges", "+3361234XXXX\n+336123412XX\n+3361235XXXX\n"),
    "lines": ("plain", "".join(f"+336{n:08}\n" for n in range(12_000_000, 12_010_001))),
    "scattered lines": ("plain", "".join(f"+49151{n * 70_001:08}\n" for n in range(150, 750))),
    "ends": (
        "expiry-csv",
        "phone,expires\n" + "".join(f"+336{n:08},2027-01-01\n" for n in range(12_000_000, 12_010_001)),
    ),
    "a wash": (
        "wash",
        "number,status\n" + "".join(f"+336{n:08},clean\n" for n in range(12_000_000, 12_010_001)),
    ),
    "changes": (
        "nanp-change",
        "".join(f"{'AD'[n % 2]},416,{n:07},2026-11-20\n" for n in range(5_550_000, 5_560_001)),
    ),
}


def register(numbers, name="list"):
    held = BitMap64(numbers)
    return Register(name, RegisterKind.DENY, held, 1, "0" * 64, AT, 9, "l", Filter.of(held))


@pytest.mark.parametrize("name", LARGE)
def test_a_list_of_more_than_there_is_room_for_is_not_read(name, tmp_path):
    """85 bytes would be 500 million numbers: minutes and gigabytes in every worker, at every start."""
    named, text = LARGE[name]
    with pytest.raises(BadList, match=r"lists.max_numbers|changes: import the full list"):
        read(tmp_path, text.encode(), format=named, max_numbers=10_000)
    assert read(tmp_path, text.encode(), format=named, max_numbers=500_000).bitmap()


def test_what_scattered_numbers_count_as_is_at_least_their_memory():
    """A few numbers, each in a block of its own, would take a pod's memory and count as few."""
    numbers = np.random.default_rng(3).integers(10**13, 10**14, 20_000, dtype=np.uint64)

    assert weight(as_bitmap(np.unique(numbers))) > 20 * 20_000
    assert weight(BitMap64(CLOSE)) <= 1000 + 2 * 20 and weight(BitMap64()) == 0


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 12)), max_size=12),
    st.integers(0, 3000),
)
@example([("a", False, 1), ("a", True, 1)], weight(BitMap64(range(40, 80))))
def test_room_is_refused_exactly_where_there_is_none(changes, most):
    """A worker would hold though all fits, or be killed by what does not."""
    pieces = [
        BitMap64(range(first, first + 40)) for first in (*range(0, 240, 40), *range(0, 7 << 16, 1 << 16))
    ]
    held: dict[str, Register] = {}
    room = Capacity(most)
    for name, removing, at in changes:
        before = held[name].numbers if name in held else BitMap64()
        adds = pieces[at - 1 if removing else at] - before
        removes = pieces[at] & before if removing else BitMap64()
        after = {**held, name: register((before | adds) - removes, name)}
        together = sum(weight(each.numbers) for each in after.values())
        if together > most:
            with pytest.raises(TooMany, match=f"{name} would hold"):
                room.take(held, name, adds, removes)
        else:
            room.take(held, name, adds, removes)
            held = after
