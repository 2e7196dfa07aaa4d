"""What a Reading counts, and what it refuses to hold."""

import numpy as np
import pytest

from stream_scrub.imports.formats import BadList, ParsedList
from stream_scrub.imports.parsing.parsed_list import SPAN_MAX


def test_only_the_first_refused_lines_are_kept_of_many_chunks():
    """A million bad lines would fill the memory and the terminal."""
    reading = ParsedList()
    for chunk in range(3):
        reading.refuse_many(np.arange(chunk * 15 + 1, chunk * 15 + 16))

    assert reading.refused == 45
    assert reading.first_refused == list(range(1, 21))
    assert reading.refused_places() == ", ".join(map(str, range(1, 21))) + " ..."


def test_refused_lines_of_several_files_name_the_file():
    """An operator would look for line 3 in the wrong one of four hundred files."""
    reading = ParsedList(member="416.csv")
    reading.refuse(3)
    reading.member = "905.csv"
    reading.refuse_many(np.array([1, 2]))

    assert reading.refused_places() == "416.csv: 3, 905.csv: 1, 905.csv: 2"
    assert reading.refused_in == ["416.csv", "905.csv", "905.csv"]


def test_a_prefix_may_not_stand_for_the_world():
    """A slip of the pen would oppose a country, and fill the memory of every worker."""
    reading = ParsedList()
    reading.span(10**10, 10**10 + SPAN_MAX - 1)
    assert len(reading.bitmap()) == SPAN_MAX

    with pytest.raises(BadList, match="not_callable"):
        reading.span(10**10, 10**10 + SPAN_MAX)
