"""Steps 3 and 4 for typed numbers that are not part of a prospect: one number, or a whole column at once.

The plans, the look-ups and the stamps are those of every batch (`batch_context`, `decide_batch`).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stream_scrub.index import Numbers
from stream_scrub.model import Reason
from stream_scrub.numbering import normalise, read_column
from stream_scrub.scrub import decide
from stream_scrub.scrub.batch_context import BatchContext, Outcome
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decide_batch import judge
from stream_scrub.scrub.facts import Facts
from stream_scrub.scrub.plain import Kinds, Plain

_PIECE = 32_768  # cells at a time: their arrays fit into a processor's cache


class JudgedColumn(NamedTuple):
    """By place: the number (0 if it is not valid), and the place of its outcome in `outcomes`."""

    numbers: Numbers
    ids: Kinds
    outcomes: Sequence[Outcome]


def judge_text(text: str, region: str, told: Facts, context: BatchContext) -> tuple[int | None, Outcome]:
    """The number in a text as typed in `region` (None if it is not valid), and its outcome."""
    found = normalise(text, region)
    if found is None:
        return None, _no_number(told, context)
    number, line = found
    barred = decide.is_barred(number, context.rule(line.region, told.channel))
    return number, context.find(context.case(line, told, barred=barred), number)


def judge_column(
    cells: Sequence[str] | Numbers, region: str, told: Facts, context: BatchContext
) -> JudgedColumn:
    """The outcome of each cell, all with the same facts. Cells are texts as typed in `region`, or integers taken as
    digits."""
    known: dict[Outcome, int] = {_no_number(told, context): 0}
    pieces = list(_pieces(cells, region, told, context, known))
    if not pieces:
        return JudgedColumn(np.empty(0, np.uint64), np.empty(0, np.int32), list(known))
    numbers, ids = zip(*pieces, strict=True)
    return JudgedColumn(np.concatenate(numbers), np.concatenate(ids), list(known))


def _pieces(
    cells: Sequence[str] | Numbers, region: str, told: Facts, context: BatchContext, known: dict[Outcome, int]
) -> Iterator[tuple[Numbers, Kinds]]:
    """The numbers and outcomes of `_PIECE` cells at a time, each outcome as its place in `known`."""
    for start in range(0, len(cells), _PIECE):
        column = read_column(cells[start : start + _PIECE], region)
        plain = Plain(column.numbers, column.places, [(line, told) for line in column.lines])
        judged = judge(plain, context)
        places = [known.setdefault(outcome, len(known)) for outcome in judged.outcomes]
        yield column.numbers, np.array([*places, 0], np.int32)[judged.ids]  # the last one is found by -1


def _no_number(told: Facts, context: BatchContext) -> Outcome:
    return context.outcome(Finding(Reason.INVALID_NUMBER), told.channel)
