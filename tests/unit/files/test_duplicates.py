"""How many numbers stand in a file more than once, however many parts they are counted in."""

import io

import numpy as np
import pytest

from stream_scrub.files import rows


@pytest.mark.parametrize("together", [1 << 21, 100, 3])
def test_each_number_is_counted_once_less_than_it_occurs(monkeypatch, together):
    """The page would say that a broker sold fewer people twice than he did."""
    monkeypatch.setattr(rows, "_TOGETHER", together)
    numbers = np.random.default_rng(3).integers(0, 300, 900).astype(np.uint64)
    counted = rows.Duplicates(io.BytesIO())
    for some in np.array_split(numbers, 50):
        counted.add(some)
    valid = numbers[numbers > 0].tolist()
    assert counted.count() == len(valid) - len(set(valid))


def test_a_file_without_numbers_has_no_duplicates():
    """A file in which nothing is readable would end in a fault."""
    counted = rows.Duplicates(io.BytesIO())
    assert counted.count() == 0
    counted.add(np.zeros(3, np.uint64))
    assert counted.count() == 0
