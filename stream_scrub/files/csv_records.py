r"""Cuts blocks of bytes into records and cells, and copies nothing.

A record ends at `\n`, `\r\n` or `\r` outside quotes. A quote opens a cell only at the cell's beginning. It closes it
where a delimiter or a line end follows. Whole blocks are cut by array operations. A block in which some quote does not
follow these rules is cut sign by sign, so that one stray quote costs its own record and no other. Other readers cut
such a record otherwise: it is `odd`.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_scrub.errors import BadFile
from stream_scrub.imports.parsing.parsed_list import NO_TABLE
from stream_scrub.languages import say

QUOTED_BYTES_MAX = 4 << 20  # of one quoted cell; a quote that is not closed by then is a sign like any other
RECORD_BYTES_MAX = 16 << 20
_QUOTE, _LF, _CR = b'"\n\r'
_BLANK = frozenset(b'" \t\0')
_BREAK = re.compile(rb"[\r\n]")
QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')  # a cell that every reader reads alike (RFC 4180)
_LATE_QUOTE = re.compile(rb'[ \t]++"')
_NEVER, _OFF_THE_END = -1, -2  # instead of the place of a closing quote

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Records(NamedTuple):
    """The records of a block, by place: its bytes are `block[starts:ends]`, and its line end, with blank lines that follow
    it, is `block[ends:nexts]`.

    `lead` are blank lines before the first record: they follow the last record of the block before. `delimiters` are
    the places of those outside quotes. `breaks` are the places of every line end, also of those in quotes. `odd` are the
    records that other readers may cut otherwise: a quote is never closed, or a sign stands behind a closing quote, or
    blanks before an opening one.
    """

    block: bytes
    lead: bytes
    starts: Places
    ends: Places
    nexts: Places
    delimiters: Places
    breaks: Places
    odd: Places

    def cells(self) -> "Cells":
        """Where the cells of each record are."""
        first = np.searchsorted(self.delimiters, self.starts)
        return Cells(self, first, np.searchsorted(self.delimiters, self.ends) - first)

    def line(self, place: int) -> int:
        """How many line ends stand before a record in its block."""
        return int(np.searchsorted(self.breaks, self.starts[place]))

    def end_alike(self, ending: bytes) -> bool:
        """Whether every record is followed by these bytes, and no others, up to the next one."""
        if not ending or not (self.nexts - self.ends == len(ending)).all():
            return False
        raw = np.frombuffer(self.block, np.uint8)
        return all(bool((raw[self.ends + place] == sign).all()) for place, sign in enumerate(ending))

    def first(self, count: int) -> "Records":
        """The first records only, with the bytes up to where the next one begins."""
        cut = slice(count)
        odd = self.odd[self.odd < count]
        return self._replace(starts=self.starts[cut], ends=self.ends[cut], nexts=self.nexts[cut], odd=odd)

    def after(self, count: int) -> "Records":
        """The records behind the first ones."""
        cut = slice(count, None)
        odd = self.odd[self.odd >= count] - count
        return self._replace(
            lead=b"", starts=self.starts[cut], ends=self.ends[cut], nexts=self.nexts[cut], odd=odd
        )


class Cells(NamedTuple):
    """The cells of some records. `counts` has the number of delimiters in each."""

    records: Records
    first: Places
    counts: Places

    def column(self, place: int) -> tuple[Places, Places]:
        """Where the cell of that column begins and ends in each record; the same place twice where a record is
        shorter."""
        records, marks = self.records, self.records.delimiters
        begins, ends = records.starts, records.ends
        if len(marks):
            at = self.first + place
            last = len(marks) - 1
            if place:
                begins = np.where(self.counts >= place, marks[np.clip(at - 1, 0, last)] + 1, records.ends)
            ends = np.where(self.counts > place, marks[np.clip(at, 0, last)], records.ends)
        elif place:
            begins = records.ends
        return begins, ends

    def texts(self, place: int) -> list[bytes]:
        """The bytes of each cell of one record, with their quotes."""
        records = self.records
        marks = records.delimiters[self.first[place] : self.first[place] + self.counts[place]].tolist()
        bounds = [int(records.starts[place]) - 1, *marks, int(records.ends[place])]
        return [records.block[begin + 1 : end] for begin, end in pairwise(bounds)]


class Cutter:
    """Cuts a file that comes in blocks. Each block given to `cut` goes on where the one before ended."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter[0]
        self._stops = re.compile(b"[" + re.escape(delimiter) + b"\r\n]")
        self._blank = delimiter + bytes(_BLANK) + b"\r\n"
        self._rest = b""

    def cut(self, block: bytes, *, final: bool = False) -> Records:
        """The records that are whole by now. `final`: nothing follows. Raises BadFile for a record without an end."""
        block = self._rest + block if self._rest else block
        raw = np.frombuffer(block, np.uint8)
        breaks = _breaks(block, raw, final=final)
        found = self._by_arrays(block, raw, breaks, final=final)
        if found is None:
            found = self._by_signs(block, final=final)
        upto = int(found.nexts[-1]) if len(found.nexts) else 0
        if len(block) - upto > RECORD_BYTES_MAX:
            raise BadFile(say(NO_TABLE, most=RECORD_BYTES_MAX >> 20))
        self._rest = block[upto:]
        return self._without_blanks(raw, found._replace(breaks=breaks[breaks < upto]))

    def _by_arrays(
        self, block: bytes, raw: NDArray[np.uint8], breaks: Places, *, final: bool
    ) -> Records | None:
        """The records by array operations, blank lines too; None if some quote is not where a quote may be."""
        marks = raw == self._delimiter
        if _QUOTE not in block:
            stops, delimiters = breaks, np.flatnonzero(marks)
        else:
            quoted = raw == _QUOTE
            inside = np.cumsum(quoted, dtype=np.uint8) & 1
            if not _is_sound(raw, np.flatnonzero(quoted), marks):
                return None
            if inside[-1] and (final or len(block) - block.rfind(b'"') > QUOTED_BYTES_MAX):
                return None  # the last cell, which is open, will not be closed
            stops = breaks[inside[breaks] == 0]
            delimiters = np.flatnonzero(marks & (inside == 0))
        upto = int(stops[-1]) + 1 if len(stops) else 0
        is_open = final and upto < len(block)  # the last record has no line end
        if is_open:
            stops, upto = np.append(stops, len(block) - 1), len(block)
        nexts = stops + 1
        starts = np.concatenate((np.zeros(min(1, len(nexts)), np.int64), nexts[:-1]))
        lf = raw[stops] == _LF
        before = raw[np.maximum(stops - 1, 0)] == _CR
        ends = stops - (lf & before & (stops > starts))
        if is_open:
            ends[-1] = len(block)
        return Records(block, b"", starts, ends, nexts, delimiters[delimiters < upto], breaks, _NONE)

    def _by_signs(self, block: bytes, *, final: bool) -> Records:
        cut: list[tuple[int, int, int, bool]] = []
        marks: list[int] = []
        start, size = 0, len(block)
        closers = self._closers(block, final=final)
        while start < size and (found := self._record(block, start, size, closers, final=final)):
            end, following, own, odd = found
            cut.append((start, end, following, odd))
            marks.extend(own)
            start = following
        starts, ends, nexts, odds = np.array(cut, np.int64).reshape(-1, 4).T.copy()
        delimiters = np.array(marks, np.int64)
        return Records(block, b"", starts, ends, nexts, delimiters, _NONE, np.flatnonzero(odds))

    def _record(
        self, block: bytes, start: int, size: int, closers: "_Closers", *, final: bool
    ) -> tuple[int, int, list[int], bool] | None:
        """One record: its end, where the next begins, its delimiters, and whether it is odd; None if it is not whole
        yet."""
        at, odd = start, False
        marks: list[int] = []
        while True:
            if at < size and block[at] == _QUOTE:
                closed = closers.of(at, size, final=final)
                if closed is None:
                    return None
                odd = odd or not (closed > 0 and QUOTED.fullmatch(block, at, closed))
                at = max(at, closed)
            elif _LATE_QUOTE.match(block, at):
                odd = True
            stop = self._stops.search(block, at, size)
            if stop is None:
                return (size, size, marks, odd) if final else None
            at = stop.start()
            if block[at] != self._delimiter:
                following = at + 1
                if block[at] == _CR:
                    if following == size and not final:
                        return None
                    following += block[following : following + 1] == b"\n"
                return at, following, marks, odd
            marks.append(at)
            at += 1

    def _closers(self, block: bytes, *, final: bool) -> "_Closers":
        """Where each quote of a block closes a cell that is open there. All are found in one pass from the end, so a
        file full of stray quotes takes no longer than another one."""
        quotes = array("q", (found.start() for found in re.finditer(b'"', block)))
        closers = array("q", [_OFF_THE_END]) * (len(quotes) + 2)
        stops, size = (self._delimiter, *b"\r\n"), len(block)
        for place in range(len(quotes) - 1, 0, -1):
            quote = quotes[place]
            if quote + 1 == size:
                closers[place] = quote + 1 if final else _OFF_THE_END
            elif block[quote + 1] == _QUOTE:
                closers[place] = closers[place + 2]
            elif block[quote + 1] in stops:
                closers[place] = quote + 1
            elif _BREAK.search(block, quotes[place - 1] + 1, quote):
                closers[place] = _NEVER  # this one opens another cell: the first was never closed
            else:
                closers[place] = closers[place + 1]
        return _Closers(quotes, closers)

    def _without_blanks(self, raw: NDArray[np.uint8], found: Records) -> Records:
        """Lines that hold nothing join the record before them."""
        block, starts, ends, odd = found.block, found.starts, found.ends, found.odd
        blank = starts == ends
        full = np.flatnonzero(~blank)
        begins = raw[starts[full]]
        for place in full[_MAY_BE_BLANK[begins] | (begins == self._delimiter)].tolist():
            blank[place] = not block[starts[place] : ends[place]].strip(self._blank)
        if not blank.any():
            return found
        kept, upto = np.flatnonzero(~blank), int(found.nexts[-1])
        lead = block[: int(starts[kept[0]])] if len(kept) else block[:upto]
        following = np.append(starts[kept][1:], upto) if len(kept) else _NONE
        odd = np.searchsorted(kept, odd[~blank[odd]])
        return found._replace(lead=lead, starts=starts[kept], ends=ends[kept], nexts=following, odd=odd)


class _Closers(NamedTuple):
    """The places of a block's quotes. For each: the place behind the quote that closes a cell in which it is the first
    one to come."""

    quotes: "array[int]"
    ends: "array[int]"

    def of(self, opening: int, size: int, *, final: bool) -> int | None:
        """The place behind the quote that closes a cell; `_NEVER` if none does; None if that is not known yet."""
        end = self.ends[bisect_left(self.quotes, opening) + 1]
        if end == _OFF_THE_END:
            return _NEVER if final or size - opening >= QUOTED_BYTES_MAX else None
        return end if end - opening <= QUOTED_BYTES_MAX else _NEVER


_NONE: Places = np.empty(0, np.int64)
_MAY_BE_BLANK = np.zeros(256, np.bool_)
_MAY_BE_BLANK[list(_BLANK)] = True


def _breaks(block: bytes, raw: NDArray[np.uint8], *, final: bool) -> Places:
    r"""The last sign of every line end: each `\n`, and each `\r` that no `\n` follows. A `\r` at the end may get one."""
    if b"\r" not in block:
        return np.flatnonzero(raw == _LF)
    alone = raw == _CR
    alone[:-1] &= raw[1:] != _LF
    if not final:
        alone[-1] = False
    return np.flatnonzero(alone | (raw == _LF))


def _is_sound(raw: NDArray[np.uint8], quotes: Places, marks: Mask) -> bool:
    """Whether each opening quote begins a cell and each closing one ends it. Two in a row inside of a cell close it and
    open it again."""
    edge = marks | (raw == _LF) | (raw == _CR) | (raw == _QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    begun, ended = opening[opening > 0] - 1, closing[closing < len(raw) - 1] + 1
    return bool(edge[begun].all()) and bool(edge[ended].all())


def records_of(blocks: Iterator[bytes], delimiter: bytes) -> Iterator[Records]:
    """The records of a whole file, a block's at a time."""
    cutter = Cutter(delimiter)
    for block in blocks:
        yield cutter.cut(block)
    yield cutter.cut(b"", final=True)
