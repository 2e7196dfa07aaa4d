"""The numbers of drills."""

import pytest

from stream_scrub.drill.main import DRAMA, drama_number
from stream_scrub.numbering import normalise
from stream_scrub.rules import Rulebook


@pytest.mark.parametrize("region", DRAMA)
def test_a_drill_is_judged_by_the_rule_of_the_region_that_was_named(region):
    """A drill of `--region US` would fail for want of a consent that a single state asks for."""
    first, count = DRAMA[region]
    for number in (first, first + count - 1, drama_number(region, "workers")):
        digits, line = normalise(f"+{number}", "FR")
        assert digits == number and Rulebook.load().region_of(number, line.region) == region
