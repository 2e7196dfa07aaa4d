"""Steps 2 and 3 for plain prospects, a batch at a time: one number, nothing that two parsers could read differently.

This is the reference, in Python. The optional extension (`stream_scrub_native`, see `backend`) does the same in a
fifth of the time; the same tests hold both. A prospect that is not plain is left to `batch`, which reads it strictly.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scrub.index import Numbers
from stream_scrub.numbering import REGIONS, Line, normalise
from stream_scrub.scrub.decode import (
    ABSENT,
    MAX_DEPTH,
    QUICK_ERRORS,
    STAMP,
    Members,
    QuickReader,
    is_shallow,
    spellings_of,
)
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of
from stream_scrub.scrub.member_names import Occurrences

_REGIONS_MAX = 1024
_REGION_TEXT_MAX = (
    16  # characters of a text that is remembered: a longer one can only be a region with blanks around it
)
_BRACE = ord("}")
# Characters: longer than anybody types a number. phonenumbers may need some milliseconds for such a text, and nobody
# looks at the clock while a batch is read. So a prospect with such a text is judged one by one. The extension has the
# same bound.
_TEXT_MAX = 40

Kinds = NDArray[np.int32]
Kind = tuple[
    Line, Facts
]  # what the verdict depends on besides the number: its line, and what the prospect says


class Plain(NamedTuple):
    """What a reader found, by place: the number, and the place of its kind in `pairs`; 0 and -1 if not plain."""

    numbers: Numbers
    kinds: Kinds
    pairs: Sequence[Kind]

    def first(self, count: int) -> "Plain":
        """The same for the first `count` values only."""
        return Plain(self.numbers[:count], self.kinds[:count], self.pairs)


class Reader(Protocol):
    """Reads the plain prospects of a batch."""

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """Never raises, whatever a value holds. Never takes a value for plain that `read_strictly` reads
        differently."""
        ...


class PlainReader:
    """The reference reader, for settings that name one number at the top level; with others it finds nothing
    plain."""

    def __init__(self, members: Members, default_region: str, facts: FactsOf = facts_of) -> None:
        self._told = facts
        self._nothing = facts()
        self._quick = QuickReader(members)
        self._default_region = default_region
        self._spellings = spellings_of(members)
        self._flat = is_flat(members) and self._spellings.simple
        names = [path[0] for path in members.all]
        attributes = [f"f{i}" for i in range(len(members.facts))]
        self._facts_in, self._silent = attrgetter(*attributes), (ABSENT,) * len(attributes)
        # In the order of the names: the number, the region, the facts, and the stamp, which no plain prospect has.
        self._members = (_NUMBER, _REGION, *map(attrgetter, attributes), None)
        self._occurrences = Occurrences([*names, STAMP] if self._flat else [], members.case)

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """As `Reader.read`."""
        if not self._flat:
            return Plain(np.zeros(len(values), np.uint64), np.full(len(values), -1, np.int32), ())
        numbers: list[int] = []
        kinds: list[int] = []
        known: dict[Line, int] = {}
        pairs: dict[Kind, int] = {}
        quicks = _decoded(self._quick.decode, values)
        bare = self._leave_the_doubtful(values, quicks)
        nothing, silent = self._nothing, self._silent
        facts_in = self._facts_in
        region_of = Regions(self._default_region).of
        named, place, region = map(_NUMBER, quicks), ABSENT, region_of(ABSENT)
        for value, text, where, quick in zip(values, named, map(_REGION, quicks), quicks, strict=True):
            number, kind = 0, -1
            if (
                type(text) is str
                and len(text) <= _TEXT_MAX
                and value[-1] == _BRACE  # type: ignore[index]  # what was decoded is not None
                and (len(value) <= MAX_DEPTH or is_shallow(value))  # type: ignore[arg-type]
            ):
                if where != place:
                    place, region = where, region_of(where)
                found = normalise(text, region)
                if found is not None:
                    number, line = found
                    if bare or (facts := facts_in(quick)) == silent:
                        kind = known.get(line, -1)
                        if kind < 0:
                            kind = known[line] = pairs.setdefault((line, nothing), len(pairs))
                    elif dict not in map(type, facts):  # only the strict reader sees a name twice in it
                        kind = pairs.setdefault((line, self._told(*facts)), len(pairs))
                    else:
                        number = 0
            numbers.append(number)
            kinds.append(kind)
        return Plain(np.array(numbers, np.uint64), np.array(kinds, np.int32), list(pairs))

    def _leave_the_doubtful(self, values: Sequence[bytes | None], quicks: list[Any]) -> bool:
        """Put an empty struct for each value that leaves room for another reading. Returns whether none of the others
        has facts.

        The decoder found a name in some values, so the batch holds it at least that often. If the batch does not hold
        it more often, in any case of its letters, then no value holds it in a second spelling. If one value is in
        doubt, each value is looked at by itself.
        """
        joined = b"".join([value for value in values if value is not None])
        sure, bare = self._spellings.are_plain(joined), True
        bounds = self._occurrences.bounds(joined) if sure else ()
        for which, (member, bound) in enumerate(zip(self._members, bounds, strict=False)):
            if bound:
                times = 0 if member is None else len(quicks) - list(map(member, quicks)).count(ABSENT)
                sure = bound <= times or self._occurrences.bound(joined, which, times) <= times
                if not sure:
                    break
                bare = bare and (not times or which < _JUDGED)
        if sure:
            return bare
        empty = self._quick.decode(b"{}")
        for place, (value, quick) in enumerate(zip(values, quicks, strict=True)):
            if value is None or self._quick.found(value, quick) is None:
                quicks[place] = empty
        return False


_NUMBER, _REGION = attrgetter("n0"), attrgetter("region")
_JUDGED = 2  # of these, the number and the region, are not facts


def is_flat(members: Members) -> bool:
    """Whether one member holds the number, and every member is a name in ASCII at a prospect's top level."""
    return len(members.numbers) == 1 and all(len(path) == 1 and path[0].isascii() for path in members.all)


class Regions:
    """Turns a prospect's region member, of any type, into a region with a numbering plan. Remembers its answers."""

    __slots__ = ("_default", "_known")

    def __init__(self, default: str) -> None:
        self._default = default
        self._known: dict[Any, str] = {ABSENT: default}

    def of(self, member: Any) -> str:
        """The region in capitals, or the default if the member names none."""
        try:
            return self._known[member]
        except KeyError:
            region = member.strip().upper() if isinstance(member, str) else ""
            region = region if region in REGIONS else self._default
            if len(self._known) < _REGIONS_MAX and (
                not isinstance(member, str) or len(member) <= _REGION_TEXT_MAX
            ):
                self._known[member] = region
            return region
        except TypeError:  # a list or an object
            return self._default


def splice(
    values: Sequence[bytes | None], numbers: Numbers, ids: Kinds, templates: Sequence[bytes]
) -> list[bytes | None]:
    """Each value with its stamp, `templates[id] % number`, before its closing brace. A value whose id is -1 stays as
    it is."""
    chosen = [*templates, None]  # the last one is found by -1
    return [
        value[:-1] + template % number if (template := chosen[at]) is not None else value  # type: ignore[index]
        for value, at, number in zip(values, ids.tolist(), numbers.tolist(), strict=True)
    ]


def fill(numbers: Numbers, ids: Kinds, templates: Sequence[bytes]) -> list[bytes | None]:
    """Each stamp by itself, for a header: `templates[id] % number`; None if the id is -1."""
    chosen = [*templates, None]
    return [
        template % number if (template := chosen[at]) is not None else None
        for at, number in zip(ids.tolist(), numbers.tolist(), strict=True)
    ]


def _decoded(decode: Callable[[bytes], Any], values: Sequence[bytes | None]) -> list[Any]:
    """The quick reader's structs, with an empty one for each value that it cannot read. Most batches hold no such
    value."""
    try:
        return list(map(decode, values))  # type: ignore[arg-type]  # None raises TypeError
    except QUICK_ERRORS:
        empty = decode(b"{}")
        return [_try(decode, value, empty) for value in values]


def _try(decode: Callable[[bytes], Any], value: bytes | None, empty: Any) -> Any:
    try:
        return decode(value)  # type: ignore[arg-type]
    except QUICK_ERRORS:
        return empty
