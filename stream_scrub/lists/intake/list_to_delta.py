"""Between steps 1 and 2 of a delta's life: what a list that was read says about one register, and whether it may.

A list may say more than its numbers: when they end, which campaign it is for, what kind of register it belongs in, on
which sequence it applies. What does not fit is refused, as the numbers would be right and mean something else.
"""

from datetime import datetime
from typing import Literal

from pyroaring import BitMap64

from stream_scrub.index import Register, as_bitmap
from stream_scrub.lists import deltas
from stream_scrub.lists.deltas import Delta, StatedEnds
from stream_scrub.lists.ends import Ends, with_ends
from stream_scrub.lists.intake.consents import ConsentDays, limited
from stream_scrub.lists.parsing.parsed_list import BadList, ParsedList
from stream_scrub.model import RegisterKind, RegisterName, family, scoped_name

ImportMode = Literal["full", "adds", "removes"]


def kind_of(
    reading: ParsedList, wanted: RegisterKind | None, held: Register | None, ruled: RegisterKind | None
) -> RegisterKind:
    """The kind of the register. The first that is known counts: (1) as it is, (2) as the operator says, (3) as the rules
    need it, (4) as the list means it, (5) `deny`."""
    return (held.kind if held is not None else None) or wanted or ruled or reading.kind or RegisterKind.DENY


def check(
    reading: ParsedList, change: ImportMode, base: Register, wanted: RegisterKind | None = None
) -> None:
    """Raises BadList when the list is not one for this register, or not one for this kind of change. `wanted` is the
    kind that the operator named: whoever says what the numbers are knows it better than their format does.
    """
    if reading.kind is not None and reading.kind is not base.kind and wanted is not base.kind:
        raise BadList(
            f"a list like this is for a register of kind {reading.kind}, and {base.name} is of kind {base.kind}:"
            f" name another register, or say --kind {base.kind} if its numbers are meant so"
        )
    if reading.endless and base.kind is RegisterKind.ALLOW and change != "removes":
        raise BadList(
            f"the ends of {reading.endless} lines cannot be read, and without them these consents would never end:"
            f" {reading.described}. Write them as in 2027-11-24"
        )
    if reading.scope and _compared(base.name, reading.scope) != _compared(base.name, base.scope):
        raise BadList(
            f"the list is for the campaign {reading.scope}, and the register {base.name} is not: import it with"
            f" --register {scoped_name(family(base.name), reading.scope)}"
        )
    if reading.change == "delta" and change != "full":
        raise BadList(
            "the list holds additions and removals and says which is which: leave --adds and --removes out"
        )
    if reading.base is not None and reading.base != base.seq:
        raise BadList(
            f"the delta applies on sequence {reading.base} of {base.name}, which is at {base.seq}: import the deltas"
            " in between first, or a full list"
        )


def _compared(register: str, scope: str) -> RegisterName:
    return RegisterName(family(register), scope).plainly


def delta_of(
    reading: ParsedList,
    change: ImportMode,
    base: Register,
    ends: Ends,
    now: datetime,
    *,
    given: datetime | None = None,
    consent_days: ConsentDays = (),
) -> Delta:
    """What the list changes in `base`, whose ends are `ends`. A number whose end has passed is not in the list. By
    `consent_days` the law ends consents of the list, which were `given` by its day."""
    listed, stated = _in_force(reading, now)
    if consent_days and base.kind is RegisterKind.ALLOW:
        listed, stated = limited(listed, stated, ends, consent_days, given or now, now)
    if change == "removes":
        return deltas.removing(
            base.numbers, reading.bitmap()
        )  # the end of a number to remove does not matter
    if reading.change == "delta":
        held = base.numbers.intersection_cardinality(listed)
        removed = reading.removals()
        removes = removed & base.numbers
        delta = Delta(listed - base.numbers, removes, held + len(removed) - len(removes))
    else:
        delta = (deltas.adding if change == "adds" else deltas.full)(base.numbers, listed)
    return with_ends(delta, ends, listed, stated)


def _in_force(reading: ParsedList, now: datetime) -> tuple[BitMap64, StatedEnds]:
    """The listed numbers that have not ended, and the ends of those that will."""
    listed, ending = reading.bitmap(), reading.ends()
    if not len(ending.numbers):
        return listed, StatedEnds.none()
    over = ending.ends <= int(now.timestamp())
    stated = StatedEnds(ending.numbers[~over], ending.ends[~over])
    return listed - as_bitmap(ending.numbers[over]), stated
