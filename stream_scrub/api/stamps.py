"""What a program gets: the verdict on one number with its evidence, and the verdicts on a column as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.model import Reason, Verdict
from stream_scrub.rules import VOICE
from stream_scrub.scrub.columns import JudgedColumn


@dataclass(frozen=True, slots=True)
class Stamp:
    """The verdict on one number with its evidence, as `schemas/stamp.schema.json` describes it.

    `number` is as diallers write it (`+33612345678`), None if it is not valid. `registers` are those that the verdict
    rests on. `index` is the log's position at which it was given, `rules` the digest of the rule ("" for none), `at`
    the moment (UTC). `until` is the last day on which this verdict lets an allowed number be called, None if nothing
    limits it. `channel` is how the person may be reached, as in "voice" or "sms". `residence` is the
    digest of the rule of another country, where the person lives ("" for none). `json` holds exactly the bytes that
    a worker would write. The `repr` shows no number.
    """

    verdict: Verdict
    reason: Reason
    number: str | None = field(repr=False)
    registers: tuple[str, ...]
    index: int
    rules: str
    at: datetime
    until: date | None
    channel: str
    residence: str
    json: bytes = field(repr=False)

    @property
    def allowed(self) -> bool:
        """Whether the number may be called."""
        return self.verdict is Verdict.ALLOWED


class _Fields(msgspec.Struct):
    """A stamp's members, as they are read back."""

    verdict: Verdict
    reason: Reason
    index: int
    at: datetime
    number: str | None = None
    registers: tuple[str, ...] = ()
    rules: str = ""
    until: date | None = None
    channel: str = VOICE
    residence: str = ""


_FIELDS = msgspec.json.Decoder(_Fields)


def stamp_of(made: bytes) -> Stamp:
    """The stamp that these bytes hold."""
    read = _FIELDS.decode(made)
    return Stamp(
        read.verdict,
        read.reason,
        read.number,
        read.registers,
        read.index,
        read.rules,
        read.at,
        read.until,
        read.channel,
        read.residence,
        made,
    )


class Stamps(Sequence[Stamp]):
    """The verdicts on a column, by place: as arrays of the same length, or one `Stamp` at a time. All are given by
    one index at one moment.
    """

    __slots__ = ("_judged",)

    def __init__(self, judged: JudgedColumn) -> None:
        self._judged = judged

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Whether each number may be called."""
        return self._each([outcome.allowed for outcome in self._judged.outcomes], np.bool_)

    @property
    def reasons(self) -> NDArray[np.object_]:
        """The `Reason` of each verdict; a `Reason` is a `str`."""
        return self._each([outcome.reason for outcome in self._judged.outcomes], np.object_)

    @property
    def until(self) -> NDArray[np.datetime64]:
        """The last day on which each may be called by this verdict (`datetime64[D]`); NaT if nothing limits it."""
        return self._each([outcome.until for outcome in self._judged.outcomes], "datetime64[D]")

    @property
    def numbers(self) -> NDArray[np.uint64]:
        """Each number as the integer of its E.164 digits; 0 if it is not valid."""
        return self._judged.numbers

    def counts(self) -> dict[Reason, int]:
        """For each reason that occurs: how many verdicts have it."""
        found: dict[Reason, int] = {}
        counted = np.bincount(self._judged.ids, minlength=len(self._judged.outcomes)).tolist()
        for outcome, count in zip(self._judged.outcomes, counted, strict=True):
            if count:
                found[outcome.reason] = found.get(outcome.reason, 0) + count
        return found

    def _each(self, of_outcome: Sequence[Any], dtype: Any) -> NDArray[Any]:
        table: NDArray[Any] = np.empty(len(of_outcome), dtype)
        table[:] = of_outcome
        return table[self._judged.ids]

    def __len__(self) -> int:
        return len(self._judged.ids)

    @overload
    def __getitem__(self, place: int) -> Stamp: ...
    @overload
    def __getitem__(self, place: slice) -> "Stamps": ...
    def __getitem__(self, place: int | slice) -> "Stamp | Stamps":
        numbers, ids, outcomes = self._judged
        if isinstance(place, slice):
            return Stamps(JudgedColumn(numbers[place], ids[place], outcomes))
        number = int(numbers[place])
        return stamp_of(outcomes[int(ids[place])].bare % (number or ()))

    def __repr__(self) -> str:
        return f"<Stamps of {len(self)} numbers>"
