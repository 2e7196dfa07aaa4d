"""Whether a column's own international numbers speak against the region that its national numbers are read as."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_scrub.homes import FRENCH_TERRITORIES
from stream_scrub.languages import say
from stream_scrub.numbering.arrays import Numbers, digits_of
from stream_scrub.numbering.library import CALLING_CODE_DIGITS_MAX, calling_code, split

FOREIGN_MAX = 0.02  # of a column's international numbers may belong to other countries
_TOLD = 5  # other countries
_END, _PLUS, _ZERO = ord("\n"), ord("+"), ord("0")
_FRENCH = "33"


@dataclass(slots=True)
class AssumedRegion:
    """The region that national numbers without a country are read as, and the counts of what was read so."""

    region: str
    national: int = 0
    international: int = 0
    by_code: dict[str, int] = field(default_factory=dict)  # international numbers by calling code

    def count(self, lines: bytes, numbers: Numbers, chosen: NDArray[np.bool_]) -> None:
        r"""Count the valid numbers that were read from `lines` (each ends in `\n`) at the `chosen` places."""
        is_international = _has_code(lines) & chosen
        self.national += int(chosen.sum() - is_international.sum())
        international = numbers[is_international]
        self.international += len(international)
        lengths = digits_of(international)
        leading = international // 10 ** np.maximum(lengths - CALLING_CODE_DIGITS_MAX, 0).astype(np.uint64)
        for digits, count in zip(*np.unique(leading, return_counts=True), strict=True):
            code = str(split(int(digits))[0])
            self.by_code[code] = self.by_code.get(code, 0) + int(count)

    @property
    def spoken(self) -> str:
        """How national numbers were read, for people."""
        return f"national numbers are read as {self.region}"

    @property
    def doubt(self) -> str:
        """What speaks against the region, for people; empty for nothing."""
        own = calling_code(self.region)
        others = Counter({code: count for code, count in self.by_code.items() if not _is_of(code, own)})
        if not self.national or others.total() <= FOREIGN_MAX * self.international:
            return ""
        codes = ", ".join(f"+{code}: {count:,}" for code, count in others.most_common(_TOLD))
        return say(
            "%(others)s of its %(international)s international numbers belong to other countries than %(region)s (%(codes)s),"
            " and its %(national)s national numbers do not say whose they are",
            others=others.total(),
            international=self.international,
            region=self.region,
            codes=codes,
            national=self.national,
        )

    def doubt_by(self, column: str) -> str:
        """What a column that may name each row's country, and was not read, speaks against the region; empty for nothing."""
        if not self.national:
            return ""
        return say(
            "%(column)s may name each row's country, and %(national)s national numbers are read as %(region)s",
            column=column,
            national=self.national,
            region=self.region,
        )


def _is_of(code: str, own: str) -> bool:
    """Whether numbers with this calling code share the national plan of `own`: France's overseas territories do."""
    return code == own or (own == _FRENCH and code in FRENCH_TERRITORIES)


def _has_code(lines: bytes) -> NDArray[np.bool_]:
    """Whether each line is an international number: it has a plus, or begins with 00."""
    raw = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(raw == _END)
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = (raw >= _ZERO) & (raw <= _ZERO + 9)
    padded = np.append(digits, True)
    for _ in range(2):  # a quote, a parenthesis or a blank before the first digit
        starts = starts + (~padded[starts] & (starts < ends))
    after = np.minimum(starts + 1, len(raw) - 1)
    international: NDArray[np.bool_] = (raw[np.minimum(starts, len(raw) - 1)] == _ZERO) & (
        raw[after] == _ZERO
    )
    international[np.searchsorted(ends, np.flatnonzero(raw == _PLUS))] = True
    return international
