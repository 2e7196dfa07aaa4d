"""A register as one log holds it, stated whole on another one. Pure."""

from typing import NamedTuple

from pyroaring import BitMap64

from stream_scrub.index import Numbers, Register, as_bitmap
from stream_scrub.lists.deltas import Delta, StatedEnds
from stream_scrub.lists.ends import Ends
from stream_scrub.lists.log.encode import DeltaRecords, records_of
from stream_scrub.lists.log.replay import RegisterView
from stream_scrub.lists.log.wire import RENEWED, DeltaSource


class Restated(NamedTuple):
    """The register's records, and how many numbers it keeps, how many of those end, and how many were left
    out."""

    records: DeltaRecords
    kept: int
    ending: int
    left_out: int


def restated(
    held: Register, ends: Ends, without: Numbers | None, there: RegisterView, source: DeltaSource
) -> Restated:
    """The first delta of `held` on another log, of which `there` knows what a replay does. `ends` are those of its numbers,
    `without` numbers that are left out if it has them. It keeps its kind, its list's day and its areas.
    """
    gone = BitMap64() if without is None else as_bitmap(without) & held.numbers
    kept, ends = held.numbers - gone, ends.changed(gone, StatedEnds.none())
    base = Register.empty(held.name, held.kind, held.effective_at)
    delta = Delta(kept, BitMap64(), 0, ends=ends.stated(), reason=RENEWED, areas=held.areas)
    records, _ = records_of(base, delta, held.effective_at, source, known=there, may_state=False)
    return Restated(records, len(kept), len(ends.numbers()), len(gone))
