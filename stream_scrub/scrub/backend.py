"""Steps 2 and 3, decode and normalise, for plain prospects, a batch at a time; and their splicing in step 5.

A plain prospect has one number and nothing that two parsers could read differently. The others are left to `batch`,
which reads them strictly. `PlainReader` is the reference, in Python. The extension `stream_scrub_native` (`native/` in
the repository) does the same in a fifth of the time; the same tests hold both. It is optional and decides nothing: it
walks bytes, looks digits up in the rows of `numbering`, and puts templates into bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_scrub.extension import extension
from stream_scrub.index import Numbers
from stream_scrub.numbering import Line, is_blank, normalise, pair_digits, region_named, rows
from stream_scrub.scrub.decode import (
    ABSENT,
    MAX_DEPTH,
    QUICK_ERRORS,
    Members,
    Occurrences,
    QuickReader,
    folder,
    is_shallow,
    lookalikes,
    spellings_of,
    value_of,
)
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of
from stream_scrub.stamp import STAMP

_REGIONS_MAX = 1024
_REGION_TEXT_MAX = 16  # characters of a text to remember: a longer one is a region with blanks around it
_BRACE = ord("}")
# Characters: no typed number is longer. phonenumbers may need milliseconds for a longer text, and the clock is not
# checked while a batch is read. So a prospect with a longer text is judged one by one, as in the extension.
_TEXT_MAX = 40

Kinds = NDArray[np.int32]
Kind = tuple[Line, Facts]  # what the verdict depends on apart from the number


class Plain(NamedTuple):
    """A batch as read, by place: the number, and the place of its kind in `pairs`; 0 and -1 if not plain."""

    numbers: Numbers
    kinds: Kinds
    pairs: Sequence[Kind]

    def first(self, count: int) -> "Plain":
        """The same for the first `count` values only."""
        return Plain(self.numbers[:count], self.kinds[:count], self.pairs)


class Reader(Protocol):
    """Reads the plain prospects of a batch."""

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """Never raises, whatever a value holds, and never takes a value for plain that `read_strictly` reads
        differently."""
        ...


class PlainReader:
    """The reference reader, for settings with one number at the top level; with others no prospect is plain."""

    def __init__(self, members: Members, default_region: str, facts: FactsOf = facts_of) -> None:
        self._facts_of = facts
        self._no_facts = facts()
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
        no_facts, silent = self._no_facts, self._silent
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
                valid = normalise(text, region) if region else None
                if valid is not None:
                    number, line = valid
                    if bare or (facts := facts_in(quick)) == silent:
                        kind = known.get(line, -1)
                        if kind < 0:
                            kind = known[line] = pairs.setdefault((line, no_facts), len(pairs))
                    elif dict not in map(type, facts):  # only the strict reader sees a name twice in it
                        kind = pairs.setdefault((line, self._facts_of(*facts)), len(pairs))
                    else:
                        number = 0
            numbers.append(number)
            kinds.append(kind)
        return Plain(np.array(numbers, np.uint64), np.array(kinds, np.int32), list(pairs))

    def _leave_the_doubtful(self, values: Sequence[bytes | None], quicks: list[Any]) -> bool:
        """Put an empty struct for each value that leaves room for another reading. Returns whether no other value has
        facts.

        The batch holds a name at least as often as the decoder met it. If it does not hold it more often, in any case
        of its letters, then no value has a second spelling. Otherwise each value is checked by itself.
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
            if value is None or self._quick.members(value, quick) is None:
                quicks[place] = empty
        return False


_NUMBER, _REGION = attrgetter("n0"), attrgetter("region")
_JUDGED = 2  # of these, the number and the region, are not facts


def is_flat(members: Members) -> bool:
    """Whether one member holds the number, and every member is a name in ASCII at a prospect's top level."""
    return len(members.numbers) == 1 and all(len(path) == 1 and path[0].isascii() for path in members.all)


class Regions:
    """Turns a prospect's region member, of any type, into a region with a numbering plan. Remembers answers."""

    __slots__ = ("_default", "_known")

    def __init__(self, default: str) -> None:
        self._default = default
        self._known: dict[Any, str] = {ABSENT: default}

    def of(self, member: Any) -> str:
        """The region that the member names, or the default for a blank member. Empty if it names an unknown country."""
        try:
            return self._known[member]
        except KeyError:
            region = self._default if is_blank(member) else region_named(member)
            if len(self._known) < _REGIONS_MAX and (
                not isinstance(member, str) or len(member) <= _REGION_TEXT_MAX
            ):
                self._known[member] = region
            return region
        except TypeError:  # a list or an object
            return ""


def splice(
    values: Sequence[bytes | None], numbers: Numbers, ids: Kinds, templates: Sequence[bytes]
) -> list[bytes | None]:
    """Step 5, stamp: each value with `templates[id] % number` before its closing brace; unchanged if the id is -1."""
    chosen = [*templates, None]  # the last one is found by -1
    return [
        value[:-1] + template % number if (template := chosen[at]) is not None else value  # type: ignore[index]
        for value, at, number in zip(values, ids.tolist(), numbers.tolist(), strict=True)
    ]


def fill(numbers: Numbers, ids: Kinds, templates: Sequence[bytes]) -> list[bytes | None]:
    """Step 5, stamp: `templates[id] % number` for a header; None if the id is -1."""
    chosen = [*templates, None]
    return [
        template % number if (template := chosen[at]) is not None else None
        for at, number in zip(ids.tolist(), numbers.tolist(), strict=True)
    ]


def _decoded(decode: Callable[[bytes], Any], values: Sequence[bytes | None]) -> list[Any]:
    """The quick reader's structs, with an empty one for each value that it cannot read: few batches have one."""
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


_PLACE = b'"+%d"'  # of the number in a template


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to read and splice plain prospects. All ways give the same bytes."""

    name: str
    reader: Callable[[Members, str, FactsOf], Reader]
    splice: Callable[[Sequence[bytes | None], Numbers, Kinds, Sequence[bytes]], list[bytes | None]]
    fill: Callable[[Numbers, Kinds, Sequence[bytes]], list[bytes | None]]


PYTHON = Backend("python", PlainReader, splice, fill)


class SwiftReader:
    """The extension's reader, for members that it can tell apart (`can_read`)."""

    def __init__(self, native: ModuleType, members: Members, default_region: str, facts: FactsOf) -> None:
        names = [path[0] for path in members.all]
        self._regions = Regions(default_region)
        self._facts_of = facts
        self._no_facts = facts()
        self._reader = native.Reader(
            [name.encode() for name in names],
            default_region,
            self._region,
            self._facts,
            normalise,
            rows,
            pair_digits,
            members.case == "any",
            [sign.encode() for sign in lookalikes([*names, STAMP], members.case)],
        )

    @staticmethod
    def can_read(members: Members) -> bool:
        """Whether every member is one name at the top level, all names differ, and JSON spells each in one way
        only."""
        if not is_flat(members):
            return False
        names = [path[0] for path in members.all]
        return len({*map(folder(members.case), names), STAMP}) == len(names) + 1 and not any(
            sign in name for name in names for sign in '"\\'
        )

    def _region(self, token: bytes) -> str:
        return self._regions.of(_value(token))

    def _facts(self, tokens: tuple[bytes, ...]) -> Facts:
        return self._facts_of(*(_value(token) if token else ABSENT for token in tokens))

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """As `Reader.read`."""
        numbers, kinds = np.empty(len(values), np.uint64), np.empty(len(values), np.int32)
        pairs = self._reader.read(list(values), numbers, kinds, self._no_facts)
        return Plain(numbers, kinds, pairs)

    def read_records(self, records: Any) -> Plain:
        """The same for the values of the extension's own records."""
        numbers, kinds = np.empty(len(records), np.uint64), np.empty(len(records), np.int32)
        return Plain(numbers, kinds, self._reader.read_records(records, numbers, kinds, self._no_facts))


def _value(token: bytes) -> Any:
    """A member's value, as the reference reads it."""
    if token[:1] == b"{":
        return value_of(token)  # remembers which names occur twice
    try:
        return msgspec.json.decode(token)
    except msgspec.DecodeError:  # a number beyond every float
        return value_of(token)


def ends_of(templates: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """What each template puts before its number and after it."""
    parts = [template.partition(_PLACE) for template in templates]
    heads = [head.replace(b"%%", b"%") + b'"+' for head, _, _ in parts]
    return heads, [b'"' + tail.replace(b"%%", b"%") for _, _, tail in parts]


def _native(module: ModuleType) -> Backend:
    def reader(members: Members, default_region: str, facts: FactsOf = facts_of) -> Reader:
        if SwiftReader.can_read(members):
            return SwiftReader(module, members, default_region, facts)
        return PlainReader(members, default_region, facts)

    def splice(
        values: Sequence[bytes | None], numbers: Numbers, ids: Kinds, templates: Sequence[bytes]
    ) -> list[bytes | None]:
        spliced: list[bytes | None] = module.splice(list(values), numbers, ids, *ends_of(templates))
        return spliced

    def fill(numbers: Numbers, ids: Kinds, templates: Sequence[bytes]) -> list[bytes | None]:
        filled: list[bytes | None] = module.fill(numbers, ids, *ends_of(templates))
        return filled

    return Backend("native", reader, splice, fill)


def native() -> Backend | None:
    """The extension, if it is installed and of this version."""
    return None if (module := extension()) is None else _native(module)


BEST = native() or PYTHON
