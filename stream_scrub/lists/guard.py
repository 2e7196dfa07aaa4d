"""Between steps 2 and 3 of a delta's life: whether what a list would change may be right. Pure.

A list that was cut off, or is another one, changes much more than a day does. And a register that people spoke to you
themselves to get into is not emptied because some file does not name them.
"""

from stream_scrub.index import Register
from stream_scrub.lists.diff import Delta
from stream_scrub.lists.formats.reading import BadList
from stream_scrub.lists.listed import Change
from stream_scrub.lists.orders import family
from stream_scrub.lists.requests import INTERNAL

LETS_THROUGH = "--allow-change"


def change_of(register: str, change: Change) -> Change:
    """What a file that was handed over as `change` does to that register: a full list of oppositions to you only ever
    adds. They come from many sources, and no file of one of them knows the others'.
    """
    return "adds" if change == "full" and family(register) == INTERNAL else change


def check_change(base: Register, delta: Delta, change: Change, largest: float) -> None:
    """Raises BadList, with the figures, when a full list would change more than the share `largest` of the register.

    Not at a register's first import, nor while it is empty: there is nothing to compare with.
    """
    held, adds, removes = len(base.numbers), len(delta.adds), len(delta.removes)
    if change != "full" or not held or max(adds, removes) <= largest * held:
        return
    told = [
        f"{does} {count:,} ({count / held:.1%})"
        for does, count in (("add", adds), ("remove", removes))
        if count > largest * held
    ]
    raise BadList(
        f"it would {' and '.join(told)}, where {base.name} holds {held:,} numbers: more than lists.max_change"
        f" ({largest:.1%}) lets pass. Look whether the file is whole, and the right one; {LETS_THROUGH} lets it through"
    )
