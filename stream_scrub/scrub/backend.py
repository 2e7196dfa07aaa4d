"""Who reads and splices the plain prospects: the extension `stream_scrub_native` if it is installed, else Python.

The extension (`native/` in the repository) is optional: without a compiler or a wheel everything works, slower. It
decides nothing: it walks bytes, looks digits up in the rows of `numbering`, and puts templates into bytes. `plain` is
the reference, and the same tests hold both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from stream_scrub.index import Numbers
from stream_scrub.numbering import normalise, rows
from stream_scrub.scrub import plain
from stream_scrub.scrub.decode import ABSENT, STAMP, Members, value_of
from stream_scrub.scrub.facts import Facts, FactsOf, facts_of
from stream_scrub.scrub.member_names import folder, lookalikes
from stream_scrub.scrub.plain import Kinds, Plain, PlainReader, Reader, Regions, is_flat

_NUMBER = b'"+%d"'  # where a template has it
VERSION = 3  # of the calls below: an extension with another version is not used


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to read and splice plain prospects. All ways give the same bytes."""

    name: str
    reader: Callable[[Members, str, FactsOf], Reader]
    splice: Callable[[Sequence[bytes | None], Numbers, Kinds, Sequence[bytes]], list[bytes | None]]
    fill: Callable[[Numbers, Kinds, Sequence[bytes]], list[bytes | None]]


PYTHON = Backend("python", PlainReader, plain.splice, plain.fill)


class SwiftReader:
    """The extension's reader, for prospects whose members it can tell apart (`can_read`)."""

    def __init__(self, native: ModuleType, members: Members, default_region: str, facts: FactsOf) -> None:
        names = [path[0] for path in members.all]
        self._regions = Regions(default_region)
        self._told = facts
        self._nothing = facts()
        self._reader = native.Reader(
            [name.encode() for name in names],
            default_region,
            self._region,
            self._facts,
            normalise,
            rows,
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
        return self._told(*(_value(token) if token else ABSENT for token in tokens))

    def read(self, values: Sequence[bytes | None]) -> Plain:
        """As `Reader.read`."""
        numbers, kinds = np.empty(len(values), np.uint64), np.empty(len(values), np.int32)
        pairs = self._reader.read(list(values), numbers, kinds, self._nothing)
        return Plain(numbers, kinds, pairs)


def _value(token: bytes) -> Any:
    """A member's value, as the reference reads it."""
    if token[:1] == b"{":
        return value_of(token)  # it remembers which names stand twice
    try:
        return msgspec.json.decode(token)
    except msgspec.DecodeError:  # a number beyond every float
        return value_of(token)


def _ends(templates: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """What each template puts before its number and behind it."""
    parted = [template.partition(_NUMBER) for template in templates]
    heads = [head.replace(b"%%", b"%") + b'"+' for head, _, _ in parted]
    return heads, [b'"' + tail.replace(b"%%", b"%") for _, _, tail in parted]


def _native(module: ModuleType) -> Backend:
    def reader(members: Members, default_region: str, facts: FactsOf = facts_of) -> Reader:
        if SwiftReader.can_read(members):
            return SwiftReader(module, members, default_region, facts)
        return PlainReader(members, default_region, facts)

    def splice(
        values: Sequence[bytes | None], numbers: Numbers, ids: Kinds, templates: Sequence[bytes]
    ) -> list[bytes | None]:
        made: list[bytes | None] = module.splice(list(values), numbers, ids, *_ends(templates))
        return made

    def fill(numbers: Numbers, ids: Kinds, templates: Sequence[bytes]) -> list[bytes | None]:
        made: list[bytes | None] = module.fill(numbers, ids, *_ends(templates))
        return made

    return Backend("native", reader, splice, fill)


def native() -> Backend | None:
    """The extension, if it is installed and of this version."""
    try:
        module = import_module("stream_scrub_native")
    except ImportError:
        return None
    return _native(module) if getattr(module, "VERSION", None) == VERSION else None


BEST = native() or PYTHON
