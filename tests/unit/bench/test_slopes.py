"""The bench of slopes still fits the product."""

import pytest

from bench.offline import slopes


@pytest.mark.slow
def test_the_memory_of_opposed_and_outstanding_numbers_can_be_measured():
    """What docs/sizing.md says of a billion opposed numbers could not be measured again."""
    held = slopes.outstanding([900, 1800])
    opposed = slopes.opposed(1000, 2)

    assert [row["numbers"] for row in opposed] == [1000, 2000]
    assert 1700 < held[1]["numbers"] <= 1800 and "judged_cpu_s" in held[1]
