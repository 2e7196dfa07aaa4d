"""Lists that somebody adds to the server's own for the scrub of one file: opt-outs, consents, and national lists.

Opt-outs and consents are added to those of the server, and so are the people of a national list, whose day counts if the
server's is older. Answers of a registry that only washes replace older ones.
Each list is read as `stream-scrub file --list` reads it.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_scrub.config import Settings
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.index_sources import IndexUsed, ListFile, of_lists
from stream_scrub.imports.parsing.list_columns import ListReading
from stream_scrub.index import Filter, Index, Register
from stream_scrub.languages import say
from stream_scrub.model import INTERNAL, RegisterKind, family
from stream_scrub.numbering import e164, normalise, numbers_in
from stream_scrub.scrub import scrubbing

# A phone number in a letter: digits with the signs that people write between them.
_NUMBER = re.compile(r"\+?\(?\d(?:[ ./()+\u00a0\u202f\u2010\u2011-]{0,3}\d){5,60}")
_DIGITS_MIN = 6  # of a number; so many between other signs may be one
_ALL_LINES = 1.0  # may be bad: `with_list` asks about each of them instead


class UnclearList(BadList):
    """A list that is not used as it is: lines have no valid number, or the server's list is newer or hashed. `go_on`: the
    choice that leaves these lines out; empty if there is none."""

    def __init__(self, text: str, figures: Sequence[str] = (), go_on: str = "") -> None:
        super().__init__(text, figures)
        self.go_on = go_on


@dataclass(frozen=True, slots=True)
class OwnList:
    """A list, the form's field that it came in, and its register. `columns` are its columns by role, `all_consented` as in
    `ListFile`. `go_on`: the choice that leaves out lines without a number, of `UnclearList`."""

    field: str
    path: Path
    register: str
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    all_consented: bool = False
    go_on: str = ""


class PickedNumbers(NamedTuple):
    """The numbers in a text, each once, in their order; and the lines whose digits may be a number and are none."""

    numbers: list[str]
    unclear_lines: list[int]


def picked(text: str, region: str) -> PickedNumbers:
    """Pick the numbers out of a text that a person wrote. National ones are those of `region`."""
    numbers: dict[str, None] = {}
    unclear = []
    before = 0  # digits of the line before that are in no number: a number may be broken over two lines
    for line, content in enumerate(text.splitlines(), 1):
        for match in _NUMBER.finditer(content):
            read = normalise(match[0], region)
            found, are_all = numbers_in(match[0], region) if read is None else ((read[0],), True)
            numbers.update(dict.fromkeys(map(e164, found)))
            if not found or not are_all:
                unclear.append(line)
        digits = sum(map(str.isdigit, _NUMBER.sub("", content)))
        is_broken = digits > 0 and before + digits >= _DIGITS_MIN
        # Letters stand for digits in 1-800-FLOWERS.
        has_letters = 0 < digits < _DIGITS_MIN and normalise(content, region) is not None
        if is_broken and digits < _DIGITS_MIN:
            unclear.append(line - 1)
        if is_broken or has_letters:
            unclear.append(line)
        before = digits
    return PickedNumbers([*numbers], sorted({*unclear}))


def with_list(used: IndexUsed, own: OwnList, region: str | None, settings: Settings) -> IndexUsed:
    """The index with one more list. Raises ConfigError, BadList, UnclearList, TooMany."""
    lists = settings.lists.model_copy(update={"max_bad": _ALL_LINES})
    listed = ListFile(own.path, region=region, columns=own.columns, all_consented=own.all_consented)
    read, readings = of_lists({own.register: listed}, settings.model_copy(update={"lists": lists}))
    name, reading = next(iter(readings.items()))
    if reading.refused:
        go_on = _reading_of(own, region)
        if own.go_on != go_on:
            lines = say(
                "%(refused)s of %(total)s lines have no valid number (line %(places)s)",
                refused=reading.refused,
                total=reading.total,
                places=str(reading.places),
            )
            raise UnclearList(f"{own.path.name}: {lines}", [lines], go_on)
    is_opposition = family(name) == INTERNAL
    index = used.index if is_opposition else _without_consents(used.index, reading, settings)
    index = _joined(index, read.registers[name], settings)
    return IndexUsed(index, used.source, {**used.files, name: own.path}, {**used.readings, name: reading})


def _reading_of(own: OwnList, region: str | None) -> str:
    """A digest of all that decides which lines have no number: another list, country or column leaves out other lines."""
    read_by = [region, sorted(own.columns.items()), own.all_consented]
    with own.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(msgspec.json.encode([content, *read_by])).hexdigest()


def _without_consents(index: Index, reading: ListReading, settings: Settings) -> Index:
    """Take people who said no out of every register of consents: whose newer consent it is does not show."""
    if not reading.said_no:
        return index
    families = ConsentLaw(scrubbing.rulebook(settings)).families
    for register in index.present():
        removed = register.numbers & reading.said_no
        if removed and family(register.name) in families:
            index = index.with_register(replace(register, numbers=register.numbers - removed))
    return index


def _joined(index: Index, own: Register, settings: Settings) -> Index:
    """The index with a list's register. Raises UnclearList if it cannot stand for the whole register, and if the server's
    list is newer or hashed."""
    if own.areas is not None:  # a file does not say which areas it covers
        raise UnclearList(
            say(
                "a list that is sold by area counts for the areas that you bought: have your operator import it"
            )
        )
    held = index.registers.get(own.name)
    if held is None or held.is_removed:
        return index.with_register(own)
    if held.hashed is not None:  # its numbers are digests, and hers are numbers
        raise UnclearList(
            say("the server's list does not state its numbers, so yours cannot be added: leave yours out")
        )
    if family(own.name) not in ConsentLaw(scrubbing.rulebook(settings)).own_families:
        if held.effective_at > own.effective_at:
            raise UnclearList(
                say("the server has a newer list, of %(day)s: leave yours out", day=held.effective_at.date())
            )
        if own.kind is RegisterKind.DENY:
            lacking = len(held.numbers) - held.numbers.intersection_cardinality(own.numbers)
            if lacking > settings.lists.change_allowed(own.name) * len(held.numbers):
                lines = say(
                    "numbers of the server's list that yours lacks: %(lacking)s of %(held)s. Upload the whole list",
                    lacking=lacking,
                    held=len(held.numbers),
                )
                raise UnclearList(lines, [lines])
            # A list that lacks people, by mistake or not, must not allow calls that the server's would block.
            numbers = held.numbers | own.numbers
            own = replace(own, numbers=numbers, filter=Filter.of(numbers))
        return index.with_register(own)
    numbers = held.numbers | own.numbers
    ends = [each.next_end for each in (held, own) if each.next_end is not None]
    joined = replace(
        held,
        numbers=numbers,
        filter=Filter.of(numbers),
        effective_at=min(held.effective_at, own.effective_at),
        next_end=min(ends, default=None),
    )
    return index.with_register(joined)
