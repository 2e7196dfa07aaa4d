"""Step 2 of a delta's life: what a list changes in a register as it stands at the log's end."""

from dataclasses import dataclass

from pyroaring import BitMap64


@dataclass(frozen=True, slots=True)
class Delta:
    """The exact numbers to add (none of them is in the register) and to remove (all of them are)."""

    adds: BitMap64
    removes: BitMap64
    unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether the register stays as it is; publishing it all the same renews the register's date."""
        return not self.adds and not self.removes


def full(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register holds exactly what is listed."""
    return Delta(listed - register, register - listed, listed.intersection_cardinality(register))


def adding(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register also holds what is listed."""
    return Delta(listed - register, BitMap64(), listed.intersection_cardinality(register))


def removing(register: BitMap64, listed: BitMap64) -> Delta:
    """The delta after which the register holds nothing of what is listed."""
    removes = listed & register
    return Delta(BitMap64(), removes, len(listed) - len(removes))
