"""Step 2 of a delta's life: what must change so that a register becomes what a list says.

The delta is exact and in its normal form: nothing is added that is already held, nothing removed that is not. It only
fits the register that it was made against, so the publisher makes it against the register at the log's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from stream_scrub.index import Numbers

Moments = NDArray[np.int64]  # seconds since 1970-01-01T00:00Z


class StatedEnds(NamedTuple):
    """When each of these numbers ends; 0 for one that does not end, or not any more. No number stands twice."""

    numbers: Numbers
    ends: Moments

    @classmethod
    def none(cls) -> "StatedEnds":
        """Nothing said about any number."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Delta:
    """The exact numbers to add (none of them is in the register) and to remove (all of them are).

    `ends` names numbers that are in the register afterwards. A number that it does not name keeps its end; one that is
    added without being named does not end. `reason` is one word: "list", "requests" or "ended". `requests` are the lines
    (`wire.request_line`) of the requests that asked for the delta. `areas` are those that the register covers from then
    on, as `Register.areas`; None leaves them as they are.
    """

    adds: BitMap64
    removes: BitMap64
    unchanged: int
    ends: StatedEnds = field(default_factory=StatedEnds.none)
    reason: str = "list"
    requests: Sequence[bytes] = ()
    areas: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the register stays as it is; publishing it all the same renews the register's date."""
        return not self.adds and not self.removes and not len(self.ends.numbers)


def nothing(register: BitMap64, reason: str) -> Delta:
    """No change, for a seal that says something else."""
    return Delta(BitMap64(), BitMap64(), len(register), reason=reason)


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
