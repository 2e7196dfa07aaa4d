"""Steps 2 and 3, decode and normalise, for plain prospects, a batch at a time; and their splicing in step 5.

A plain prospect has one number and nothing that two parsers could read differently. The others are left to `batch`.
`ReferenceReader` reads one prospect at a time with the strict reader: it is written to be read. The optional extension
`stream_scrub_native` (`native/` in the repository) is the fast path: it walks bytes and looks digits up in the rows of
`numbering`. The same tests hold both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    Members,
    Unreadable,
    folder,
    lookalikes,
    read_strictly,
    value_of,
)
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of
from stream_scrub.stamp import STAMP

_REGIONS_MAX = 1024
_REGION_TEXT_MAX = 16  # characters of a text to remember: a longer one is a region with blanks around it
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


class ReferenceReader:
    """The reference. With settings of several numbers no prospect is plain."""

    def __init__(self, members: Members, default_region: str, facts: FactsOf = facts_of) -> None:
        self._members, self._facts_of = members, facts
        self._regions = Regions(default_region)

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """As `Reader.read`."""
        numbers = np.zeros(len(values), np.uint64)
        kinds = np.full(len(values), -1, np.int32)
        pairs: dict[Kind, int] = {}
        if len(self._members.numbers) > 1:
            return Plain(numbers, kinds, ())
        for index, value in enumerate(values):
            plain = None if value is None else self._one(value)
            if plain is not None:
                numbers[index], kind = plain
                kinds[index] = pairs.setdefault(kind, len(pairs))
        return Plain(numbers, kinds, list(pairs))

    def _one(self, value: bytes) -> tuple[int, Kind] | None:
        """The number of a plain prospect, and its kind; None for any other one."""
        try:
            prospect = read_strictly(value, self._members)
        except Unreadable:
            return None
        (text,) = prospect.numbers
        if not isinstance(text, str) or len(text) > _TEXT_MAX:
            return None
        if prospect.tail != b"}" or len(prospect.head) + 1 != len(
            value
        ):  # a space behind it, or an earlier stamp
            return None
        region = self._regions.of(prospect.region)
        valid = normalise(text, region) if region else None
        if valid is None:
            return None
        number, line = valid
        return number, (line, self._facts_of(*prospect.facts))


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


_PLACE = b'"+%d"'  # of the number in a template


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to read plain prospects. All ways give the same answers."""

    name: str
    reader: Callable[[Members, str, FactsOf], Reader]


PYTHON = Backend("python", ReferenceReader)


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
        return ReferenceReader(members, default_region, facts)

    return Backend("native", reader)


def native() -> Backend | None:
    """The extension, if it is installed and of this version."""
    return None if (module := extension()) is None else _native(module)


BEST = native() or PYTHON
