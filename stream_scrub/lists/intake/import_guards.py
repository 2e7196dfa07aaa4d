"""Between steps 2 and 3 of a delta's life: whether what a list would change may be right. Pure.

A list that was cut off, or is the wrong one, changes much more than a day does. A list that is older than the
register's own brings back what has changed since. And a register that people asked you themselves to be in is not
emptied because some file does not name them.
"""

import math
from datetime import UTC, datetime, time

from stream_scrub.index import Register
from stream_scrub.lists.deltas import Delta
from stream_scrub.lists.intake.list_to_delta import ImportMode
from stream_scrub.lists.parsing.parsed_list import BadList
from stream_scrub.model import INTERNAL, family
from stream_scrub.timestamps import utc_seconds

LETS_THROUGH = "--allow-change"
OLDER = "--allow-older"


def change_of(register: str, change: ImportMode) -> ImportMode:
    """What a file that was handed over as `change` does to that register: a full list of oppositions to you only ever
    adds. They come from many sources, and no file of one of them knows the others'.
    """
    return "adds" if change == "full" and family(register) == INTERNAL else change


def check_change(
    base: Register, delta: Delta, change: ImportMode, largest: float, free: float = math.inf
) -> None:
    """Raises BadList, with the figures, when a full list would change more than the share `largest` of the register, or
    when the first list of a register, or numbers to add, would add more than that and more than `free` numbers: a file
    of a few bytes may stand for millions, and a register that is empty has nothing to be compared with.
    """
    held, adds, removes = len(base.numbers), len(delta.adds), len(delta.removes)
    if math.isinf(largest):
        return
    if change != "full" or not held:
        if adds > max(largest * held, free):
            raise BadList(
                f"it would add {adds:,} numbers, where {base.name} holds {held:,}: more than lists.max_added ({free:,})"
                f" lets pass at once. Look whether it is the right file; {LETS_THROUGH} lets it through"
            )
        return
    if max(adds, removes) <= largest * held:
        return
    changes = [
        f"{does} {count:,} ({count / held:.1%})"
        for does, count in (("add", adds), ("remove", removes))
        if count > largest * held
    ]
    raise BadList(
        f"it would {' and '.join(changes)}, where {base.name} holds {held:,} numbers: more than lists.max_change"
        f" ({largest:.1%}) lets pass. Look whether the file is whole, and the right one; {LETS_THROUGH} lets it through"
    )


def moment_of(
    held: Register | None, said: datetime | None, now: datetime, *, whole: bool, older: bool = False
) -> datetime:
    """The moment that the register speaks of after a list that says `said` of itself, if anything. `whole`: it is a full
    list, else one of changes. `older`: it may be from before the register's own moment. Raises BadList, with both
    moments, when it is and may not.

    Changes say nothing of the numbers that they leave out. They make a register younger only where somebody says up to
    when it is complete with them, and they never make it older. When both lists name the same day and one names no hour,
    neither counts as older. No full list takes anybody out of `internal`.
    """
    if held is None:
        return said or now
    before = held.effective_at
    if not whole:
        return before if said is None else max(before, said)
    moment = (said or now).astimezone(UTC)
    if moment >= before or older:
        return moment
    if family(held.name) == INTERNAL or (moment.date() == before.date() and moment.time() == time.min):
        return before
    raise BadList(
        f"it is of {utc_seconds(moment)}, and {held.name} holds a list of {utc_seconds(before)}: an older one brings"
        f" back what has changed since. Look whether it is the right file; {OLDER} lets it through"
    )
