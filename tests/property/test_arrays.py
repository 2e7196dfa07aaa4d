"""Holds what is read by whole arrays equal to what is read one by one, which test_numbering_differential holds equal to
phonenumbers.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.imports.parsing.cells import number_of, numbers_of
from stream_scrub.numbering import line_of, lines_many, normalise, read_column, valid_many
from stream_scrub.numbering.arrays import Many, Typed
from stream_scrub.numbering.tables import ASK, FIRST_LINE, Tables
from tests.support.machine.effort import examples
from tests.support.oracles.mistreated_numbers import OFTEN, Mistreatment

INPUTS = int(os.environ.get("STREAM_SCRUB_DIFFERENTIAL", examples(60_000))) // 3
REGIONS = st.one_of(st.sampled_from(OFTEN), st.sampled_from(["ZZ", "", "fr"]))
CELLS = st.one_of(
    st.text("0123456789", max_size=20),
    st.text('0123456789+ -.()/"', max_size=20),
    st.text("0123456789", min_size=6, max_size=11).map(lambda digits: "0" + digits),
    st.text("0123456789", min_size=6, max_size=11).map(lambda digits: f'"+33 {digits}"'),
    st.text("0123456789", min_size=6, max_size=11).map(lambda digits: f"0033-{digits}"),
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.integers(0, 300).map(lambda spaces: " " * spaces + "0612345678"),
)


def one_by_one(cells, region):
    return [number_of(cell, region) for cell in cells]


def all_at_once(cells, region):
    numbers, valid = numbers_of(cells, region)
    return [number if there else None for number, there in zip(numbers.tolist(), valid.tolist(), strict=True)]


@given(st.lists(CELLS, max_size=30), REGIONS)
def test_cells_are_read_as_each_of_them_is(cells, region):
    """A list would oppose other people than its lines name, wherever the quick way differs from the exact one."""
    assert all_at_once(cells, region) == one_by_one(cells, region)


def column(cells, region):
    """Each cell's number and line as a column gives them."""
    numbers, places, lines = read_column(cells, region)
    return [
        None if place < 0 else (number, lines[place])
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True)
    ]


@given(st.lists(CELLS, max_size=30), REGIONS)
def test_a_column_is_read_as_each_of_its_cells_is(cells, region):
    """A table's rows would be judged by the rule of another country than a prospect with the same number."""
    assert column(cells, region) == [normalise(cell, region) for cell in cells]


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(10**8, 10**11)), max_size=30), REGIONS)
def test_a_column_of_integers_is_read_as_their_digits_are(values, region):
    """Numbers that a table holds as integers would be other ones than the same digits as text."""
    cells = [str(value) for value in values]

    assert column(np.array(values, np.uint64), region) == [normalise(cell, region) for cell in cells]


def test_threads_may_read_columns_together():
    """A service would now and then read a number as another country's, or as none."""
    source = Mistreatment(5)
    cells = [source.one()[0] for _ in range(1000)]
    expected = column(cells, "FR")
    for _ in range(3):
        fresh = Many(Tables.shipped())
        read = Typed(fresh, normalise).read_column
        with ThreadPoolExecutor(4) as threads:
            for numbers, places, lines in threads.map(lambda _: read(cells, "FR"), range(4)):
                found = zip(numbers.tolist(), places.tolist(), strict=True)
                assert [None if place < 0 else (number, lines[place]) for number, place in found] == expected


def test_mistreated_cells_are_read_as_each_of_them_is():
    """The same, for millions of lines of what people type, in every region's way."""
    source = Mistreatment(3)
    by_region = {}
    for _ in range(INPUTS):
        text, region = source.one()
        by_region.setdefault(region, []).append(text)

    for region, cells in by_region.items():
        assert all_at_once(cells, region) == one_by_one(cells, region), region
        assert column(cells, region) == [normalise(cell, region) for cell in cells], region


def test_most_lines_need_no_second_question():
    """An import of ten million lines would take an hour."""
    lines = ["06 12 34 56 78", "+33612345678", '"06.12.34.56.78"', "0033 6 12 34 56 78", "33612345678"]
    numbers, codes = lines_many("".join(line + "\n" for line in lines).encode(), "FR")

    assert codes.min() >= FIRST_LINE
    assert set(numbers.tolist()) == {33612345678}


NUMBERS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 10**16),
    st.integers(0, 10**9 - 1).map(lambda n: 33 * 10**9 + n),
    st.integers(0, 10**10 - 1).map(lambda n: 10**10 + n),
    st.integers(0, 10**9 - 1).map(lambda n: 4420 * 10**8 + n),
)


@given(st.lists(NUMBERS, max_size=50))
def test_numbers_are_valid_as_each_of_them_is(numbers):
    """A list would lose valid numbers, or put into a register what no prospect can have."""
    valid = valid_many(np.array(numbers, np.uint64))

    assert valid.tolist() == [line_of(number) is not None for number in numbers]


@given(st.lists(CELLS, max_size=10), REGIONS)
def test_tables_of_another_version_settle_nothing(cells, region):
    """After an upgrade of phonenumbers lists would be read by the rules of the old one."""
    cells = [cell for cell in cells if "\n" not in cell and cell.isascii()]
    old = Many(Tables("0", {}))

    _, codes = Typed(old, normalise).lines("".join(cell + "\n" for cell in cells).encode(), region)

    assert set(codes.tolist()) <= {ASK}
    assert set(old.significant(np.array([33612345678], np.uint64)).tolist()) == {ASK}
