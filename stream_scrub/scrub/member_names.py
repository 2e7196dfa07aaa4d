"""A question of step 2: could another parser find a member here under a name that we take for a different one?

A name can be spelled with escapes and, for a parser that ignores case, in another case. The quick readers are sound
only if no name that they look for has a second spelling. This module tells whether that is so, for one value or for a
whole batch. It may say "perhaps" without need; it never misses a second spelling.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

Case = Literal["any", "exact"]

# The signs outside ASCII that fold to ASCII. Without escapes, only these can give a name in ASCII a second spelling.
LOOKALIKES: Final = "\u00df\u0130\u0131\u017f\u1e9e\u212a\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
# Bytes. Less than `_SMALL` is searched by the interpreter, more by numpy, in pieces that fit into a processor's
# cache.
_SMALL = 8_192
_PIECE = 1 << 19
_WINDOW = 4  # bytes: an integer, of which numpy compares eight at a time
_CASE_BIT = 0x20  # the bit in which a small letter of ASCII differs from its capital


def fold(name: str) -> str:
    """A name without its case, as the least careful parser compares names: (a) by Unicode's full case folding, which
    turns the long s into s and the sign for Kelvin into k, and (b) with every i alike, with or without its dot, as in
    Java."""
    if name.isascii():
        return name.lower()
    return name.replace("\u0130", "i").replace("\u0131", "i").casefold()


def _as_it_is(name: str) -> str:
    return name


def folder(case: Case) -> Callable[[str], str]:
    """The function by which names are compared: two names are equal if it gives the same text for both."""
    return fold if case == "any" else _as_it_is


def lookalikes(names: Sequence[str], case: Case) -> str:
    """The signs outside ASCII that could stand in another spelling of these names."""
    if case == "exact":
        return ""
    folded = [fold(name) for name in names]
    return "".join(sign for sign in LOOKALIKES if any(fold(sign) in name for name in folded))


def quoted(name: str) -> bytes:
    """A member's name in quotes, as it stands in the bytes of a plain prospect."""
    return b'"' + name.encode() + b'"'


class Spellings:
    """Finds what could spell one of these names in a second way, other than by the case of its own letters."""

    def __init__(self, names: Sequence[str], case: Case) -> None:
        self._lookalikes = lookalikes(names, case)
        # Whether the names hold only signs for which JSON has no short escape.
        self.simple = all(
            name.isascii() and name.isprintable() and not set(name) & set('"\\/') for name in names
        )
        # An escape of a sign of ASCII, or of one that folds to ASCII, may spell a letter of a name. No other escape
        # can.
        ways = "|".join(["00[0-7]", *(f"{ord(sign):04x}" for sign in self._lookalikes)])
        self._escape = re.compile(rb"\\u(?i:%s)" % ways.encode() if self.simple else rb"\\")

    def text(self, value: bytes) -> str | None:
        """The value as a text; None if an escape in it may spell one of the names, or if it is not UTF-8."""
        if b"\\" in value and self._escape.search(value) is not None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None

    def are_plain(self, joined: bytes) -> bool:
        """Whether a whole batch is such a text and holds no lookalike. If this is true of joined values, it is true
        of each value that begins and ends as an object does."""
        if joined.isascii():
            return b"\\" not in joined or self._escape.search(joined) is None
        text = self.text(joined)
        return text is not None and not any(sign in text for sign in self._lookalikes)


class Occurrences:
    """Upper bounds for how often each of some names in ASCII stands in a batch in quotes, for `case` "any" in any
    case.

    numpy compares four bytes of a name at every place of the batch. That gives a bound ten times as fast as counting
    the name.
    """

    def __init__(self, names: Sequence[str], case: Case) -> None:
        self._names = [quoted(name) for name in names]
        self._bit = _CASE_BIT if case == "any" else 0
        # Where the four bytes begin in each name. `bound` moves this to the bytes that were rarest.
        self._at = [0] * len(names)

    def bounds(self, joined: bytes) -> list[int]:
        """A bound for each name."""
        if len(joined) < _SMALL:
            return self._counted(joined, self._names)
        return self._windows(joined, list(enumerate(self._at)))

    def bound(self, joined: bytes, which: int, wanted: int) -> int:
        """A closer bound for one name: the least that any four bytes give if it is at most `wanted`, else the exact
        count."""
        if len(joined) >= _SMALL:
            others = range(len(self._names[which]) - _WINDOW + 1)
            found = self._windows(joined, [(which, at) for at in others])
            least = min(found, default=wanted + 1)
            if least <= wanted:
                self._at[which] = found.index(least)
                return least
        return self._counted(joined, [self._names[which]])[0]

    def _counted(self, joined: bytes, names: Sequence[bytes]) -> list[int]:
        if self._bit:
            lower = joined.lower()
            return [lower.count(name.lower()) for name in names]
        return [joined.count(name) for name in names]

    def _windows(self, joined: bytes, windows: Sequence[tuple[int, int]]) -> list[int]:
        """For each (name, offset): how often the four bytes that begin there stand in the batch; for a name too short
        for that, a number that is surely larger."""
        chosen = [self._names[which][at : at + _WINDOW] for which, at in windows]
        wanted = [int.from_bytes(bytes(sign | self._bit for sign in four), "little") for four in chosen]
        found = [0 if len(four) == _WINDOW else len(joined) for four in chosen]
        data = np.frombuffer(joined, np.uint8)
        words, equal = np.empty(_PIECE // _WINDOW, np.dtype("<u4")), np.empty(_PIECE // _WINDOW, np.bool_)
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE + _WINDOW - 1]
            for shift in range(_WINDOW):
                count = min(_PIECE, len(piece) - shift) // _WINDOW
                if count <= 0:
                    break
                here, same = words[:count], equal[:count]
                signs = piece[shift : shift + count * _WINDOW]
                np.bitwise_or(signs, self._bit, out=here.view(np.uint8))
                for i, four in enumerate(wanted):
                    np.equal(here, four, out=same)
                    found[i] += int(np.count_nonzero(same))
        return found
