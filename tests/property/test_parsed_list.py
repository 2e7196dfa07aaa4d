"""A Reading against plain dicts: what a file says last about a number holds, however it was cut into chunks."""

import math
from dataclasses import fields
from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_scrub.imports import isolated_reader
from stream_scrub.imports.formats import ParsedList
from stream_scrub.imports.parsing import parsed_list

NUMBER = st.integers(1, 9)
END = st.one_of(st.just(0), st.integers(1, 4))
STEP = st.one_of(
    st.tuples(st.just("take"), st.lists(st.tuples(NUMBER, END), max_size=6)),
    st.tuples(st.just("remove"), st.lists(st.tuples(NUMBER, END), max_size=6)),
    st.tuples(st.just("change"), st.lists(st.tuples(NUMBER, END, st.booleans()), max_size=8)),
    st.tuples(st.just("span"), st.tuples(NUMBER, st.integers(0, 3))),
    st.just(("look", None)),
)


def array(numbers):
    return np.array(numbers, np.uint64)


class Model:
    """Each number's end (0: none) and the numbers removed."""

    def __init__(self):
        self.held, self.removed, self.taken, self.occurrences = {}, set(), 0, 0

    def take(self, number, end):
        self.removed.discard(number)
        before = self.held.get(number)
        self.held[number] = end if before is None else 0 if 0 in (before, end) else max(before, end)

    def remove(self, number):
        self.held.pop(number, None)
        self.removed.add(number)


def play(reading, model, step, of):
    if step == "span":
        reading.span(of[0], of[0] + of[1])
        for number in range(of[0], of[0] + of[1] + 1):
            model.take(number, 0)
        model.taken += 1
        model.occurrences += of[1] + 1
        return
    numbers = array([each[0] for each in of or ()])
    ends = np.array([each[1] for each in of or ()], np.int64)
    model.taken += len(numbers)
    model.occurrences += len(numbers)
    if step == "take":
        reading.take(numbers, ends)
    elif step == "remove":
        reading.take(numbers, removed=True)
    elif step == "change":
        reading.take(numbers, ends, np.array([each[2] for each in of], bool))
    for each in of or ():
        if step == "remove" or (step == "change" and each[2]):
            model.remove(each[0])
        else:
            model.take(each[0], each[1])


@given(st.lists(STEP, max_size=12), st.sampled_from([1, 3, 1 << 22]))
def test_a_reading_is_what_its_lines_say(steps, fold):
    """A removed opposition would stay or an added one be lost, or a consent outlive its end."""
    before, parsed_list._FOLD = parsed_list._FOLD, fold
    try:
        reading, model = ParsedList(), Model()
        for step, of in steps:
            play(reading, model, step, of)
            if step == "look":
                reading.bitmap()
        numbers, ends = reading.ends()
    finally:
        parsed_list._FOLD = before

    assert set(reading.bitmap()) == set(model.held)
    assert set(reading.removals()) == model.removed
    assert numbers.tolist() == sorted(number for number, end in model.held.items() if end)
    assert ends.tolist() == [model.held[number] for number in numbers.tolist()]
    assert reading.lines == model.taken
    assert reading.duplicates == model.occurrences - len(model.held) - len(model.removed)

    carrier = BytesIO()
    isolated_reader.write(reading, carrier)
    carrier.seek(0)
    again = isolated_reader.read(carrier, len(carrier.getvalue()), math.inf)
    assert (again.bitmap(), again.removals()) == (reading.bitmap(), reading.removals())
    assert [each.tolist() for each in again.ends()] == [numbers.tolist(), ends.tolist()]
    told = [each.name for each in fields(ParsedList) if each.init]
    assert {name: getattr(again, name) for name in told} == {name: getattr(reading, name) for name in told}
