"""Lines of typed numbers, in whole chunks of bytes at once.

Only what needs no parsing is settled here: digits among separators that phonenumbers skips, with or without a plus
before them and double quotes around them. Every other line is marked ASK and goes to `normalise` as text.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scrub.numbering.arrays import DIGITS_MAX, Answers, Many, Numbers
from stream_scrub.numbering.library import TEXT_MAX
from stream_scrub.numbering.row_cache import SEPARATORS
from stream_scrub.numbering.tables import ASK

_END: Final = ord("\n")
_PLUS: Final = ord("+")
_QUOTE: Final = ord('"')
_SEPARATOR, _KEPT, _ODD = range(3)
_PADDING: Final = b"\n" * 8  # so that a word can be read from the last digit on
_WORD_DIGITS: Final = 8

Place = NDArray[np.int64]


def _kinds() -> NDArray[np.uint8]:
    kinds = np.full(256, _ODD, np.uint8)
    kinds[[ord(sign) for sign in (" ", *SEPARATORS) if sign.isascii()]] = _SEPARATOR
    kinds[[*b"0123456789", _PLUS, _END]] = _KEPT
    return kinds


_KINDS: Final = _kinds()


def lines_reader(many: Many) -> Callable[[bytes, str], Answers]:
    r"""The function that reads chunks of lines, each ending in `\n`, as typed in a region."""

    def lines_many(chunk: bytes, region: str) -> Answers:
        r"""For each line of `chunk` (each ends in `\n`), the answer of `normalise`: NONE, or VALID with its number,
        or ASK for a line that `normalise` must get as text. Blank lines are ASK. Never raises.
        """
        if not chunk:
            return Answers(np.empty(0, np.uint64), np.empty(0, np.uint8))
        raw = np.frombuffer(chunk, np.uint8)
        kinds = _KINDS[raw]
        ends = np.flatnonzero(raw == _END)
        compact = np.frombuffer(raw[kinds == _KEPT].tobytes() + _PADDING, np.uint8)
        stops = np.flatnonzero(compact[: -len(_PADDING)] == _END)
        starts = np.concatenate(([0], stops[:-1] + 1))
        plus = compact[starts] == _PLUS
        lengths = stops - starts - plus
        lengths[np.diff(ends, prepend=-1) > TEXT_MAX + 1] = 0
        lengths[_odd_lines(raw, ends, np.flatnonzero(kinds == _ODD))] = 0
        pluses = np.flatnonzero(compact == _PLUS)
        if len(pluses) != int(plus.sum()):  # some plus does not begin its line
            inner = pluses[~np.isin(pluses, starts)]
            lengths[np.searchsorted(stops, inner)] = 0
        return _settle(many, compact, starts + plus, np.where(plus, -lengths, lengths), region)

    return lines_many


def _odd_lines(raw: NDArray[np.uint8], ends: Place, odd: Place) -> Place:
    """The lines with a sign that cannot be settled here. One pair of quotes around a whole line is no such sign."""
    if not len(odd):
        return odd
    lines = np.searchsorted(ends, odd)
    counts = np.bincount(lines, minlength=len(ends))
    begins = np.concatenate(([0], ends[:-1] + 1))
    pair = (counts == 2) & (raw[begins] == _QUOTE) & (raw[ends - 1] == _QUOTE)
    return np.flatnonzero((counts > 0) & ~pair)


def _settle(many: Many, compact: NDArray[np.uint8], starts: Place, lengths: Place, region: str) -> Answers:
    """The answers. `lengths` are in digits: negative after a plus, 0 for a line that is not settled here."""
    numbers = np.zeros(len(starts), np.uint64)
    states = np.full(len(starts), ASK, np.uint8)
    offset = DIGITS_MAX
    counted = np.bincount(np.clip(lengths, -offset - 1, offset + 1) + offset + 1)
    for length in (np.flatnonzero(counted) - offset - 1).tolist():
        if not 0 < abs(length) <= offset:
            continue
        whole = counted[length + offset + 1] == len(starts)
        chosen = slice(None) if whole else np.flatnonzero(lengths == length)
        values = _values(compact, starts[chosen], abs(length))
        if length < 0:
            numbers[chosen], states[chosen] = many.after_plus(values, -length)
        else:
            numbers[chosen], states[chosen] = many.typed(values, length, region)
    return Answers(numbers, states)


def _values(compact: NDArray[np.uint8], starts: Place, length: int) -> Numbers:
    """The integer of the `length` digits at each place."""
    words: Numbers = np.ndarray(
        len(compact) - 7, "<u8", compact, strides=(1,)
    )  # a word of eight signs at every place
    values = np.zeros(len(starts), np.uint64)
    for done in range(0, length, _WORD_DIGITS):
        digits = min(_WORD_DIGITS, length - done)
        word = words[starts + done] << np.uint64(8 * (_WORD_DIGITS - digits))
        values = values * np.uint64(10**digits) + eight_digits(word)
    return values


def eight_digits(words: Numbers) -> Numbers:
    """The integers of eight decimal digits each. The first digit is in the lowest byte; a byte of 0 is a leading
    zero.

    Three multiplications join neighbours to pairs, pairs to fours, fours to eight (D. Lemire, "Quickly parsing eight
    digits", 2018).
    """
    words = words & np.uint64(0x0F0F0F0F0F0F0F0F)
    words = (words * np.uint64(10 * 2**8 + 1) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
    words = (words * np.uint64(100 * 2**16 + 1) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
    return words * np.uint64(10000 * 2**32 + 1) >> np.uint64(32)
