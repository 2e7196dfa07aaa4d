"""Which digit strings need no parsing, for `generate` only.

phonenumbers may rewrite what people type, or strip from it an international prefix, a calling code typed without its
plus, a national prefix or a carrier code. A *shape* is a family of digit strings for which the metadata proves what
phonenumbers does: they have so many digits in all, begin with exactly `prefix`, and the rest is the national
significant number. `masked` are the cells of the rest for which this is not proven: phonenumbers answers for them.
Every test below is over all completions of a cell, so a shape is never a guess.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

from stream_scrub.numbering.automata import ALWAYS, NEVER, Automaton, automaton
from stream_scrub.numbering.plans import LENGTHS, metadata_of

Flags: TypeAlias = npt.NDArray[np.bool_]

TYPED: Final = range(
    4, 21
)  # digits in all; phonenumbers answers for shorter strings (it reads even two digits as a number)
PREFIX_DIGITS_MAX: Final = 3
DEPTH: Final = 4  # how many digits after the prefix choose a cell


@dataclass(frozen=True, slots=True)
class Shape:
    """Strings of `length` digits that begin with `prefix`; see the module. `masked` are half-open runs of cells."""

    length: int
    prefix: str
    depth: int
    masked: tuple[tuple[int, int], ...]


@cache
def alternatives(pattern: str | None) -> tuple[str, ...]:
    """A `national_prefix_for_parsing` as its alternatives, in the order in which matching tries them.

    An optional part at either end becomes two alternatives, first with it and then without, as a greedy match tries
    them. "" strips nothing.
    """
    if not pattern:
        return ()
    found: list[str] = []
    for way in _split(pattern):
        for simpler in _spell_out(way):
            if simpler not in found:
                found.append(simpler)
    return tuple(found)


def international(calling_code: int) -> list[Shape]:
    """The shapes of what follows a plus and this calling code. Their `prefix` is "" or a national prefix."""
    metadata = metadata_of(calling_code, COUNTRY_CODE_TO_REGION_CODE[calling_code][0])
    digits = len(str(calling_code))
    shapes: list[Shape] = []
    for length in (total - digits for total in TYPED):
        for prefix in _prefixes(metadata):
            depth = _depth(length, prefix)
            if depth >= 0:
                shapes += _shape(length, prefix, depth, _national(metadata, length, prefix, depth))
    return shapes


def national(region: str) -> list[Shape]:
    """The shapes of digits typed in a region without a plus."""
    metadata = metadata_of(0, region)
    code = str(metadata.country_code)
    shapes: list[Shape] = []
    for length in TYPED:
        for prefix in _prefixes(metadata):
            depth = _depth(length, prefix)
            if depth >= 0:
                sure = _national(metadata, length, prefix, depth)
                sure &= _dialled_here(metadata, length, prefix, depth)
                sure &= _no_calling_code(metadata, length, prefix, depth)
                shapes += _shape(length, prefix, depth, sure)
        depth = _depth(length, code)
        if depth >= 0:
            sure = _dialled_here(metadata, length, code, depth) & _calling_code(metadata, length, depth)
            shapes += _shape(length, code, depth, sure)
    return shapes


def _national(metadata: PhoneMetadata, length: int, prefix: str, depth: int) -> Flags:
    """The cells for which stripping a national prefix leaves exactly what follows `prefix`."""
    if prefix:
        return _stripped(metadata, length, prefix, depth)
    general = _general(metadata).says("", length, depth)
    untouched = np.ones(10**depth, np.bool_)  # no alternative so far matches
    sure = np.zeros(10**depth, np.bool_)
    for way in alternatives(metadata.national_prefix_for_parsing):
        if way == "":
            return sure | untouched
        if way.isdigit():
            rest = _general(metadata, way)
            kept = (general == ALWAYS) & (rest.says("", length, depth) == NEVER)
            if not _keepable(metadata, length - len(way)):
                kept = np.ones_like(kept)
            sure |= untouched & kept & (_begins(way).says("", length, depth) == ALWAYS)
        untouched &= _begins(way).says("", length, depth) == NEVER
    return sure | untouched


def _stripped(metadata: PhoneMetadata, length: int, prefix: str, depth: int) -> Flags:
    rest = length - len(prefix)
    if not _keepable(metadata, rest):
        return np.zeros(10**depth, np.bool_)
    whole = _general(metadata).says(prefix, rest, depth)
    sure: Flags = (whole == NEVER) | (_general(metadata).says("", rest, depth) == ALWAYS)
    for way in alternatives(metadata.national_prefix_for_parsing):
        if way == prefix:
            break
        sure &= _begins(way).says(prefix, rest, depth) == NEVER
    return sure


def _dialled_here(metadata: PhoneMetadata, length: int, prefix: str, depth: int) -> Flags:
    """The cells whose digits do not begin with the region's international prefix."""
    if metadata.international_prefix is None:
        return np.ones(10**depth, np.bool_)
    says = _begins(metadata.international_prefix).says(prefix, length - len(prefix), depth)
    return np.asarray(says == NEVER)


def _no_calling_code(metadata: PhoneMetadata, length: int, prefix: str, depth: int) -> Flags:
    """The cells for which phonenumbers does not take the first digits for the region's own calling code."""
    code, rest = str(metadata.country_code), length - len(prefix)
    absent: Flags = _begins(code).says(prefix, rest, depth) == NEVER
    if _too_long(metadata, length):
        return absent
    behind = _general(metadata, code)
    unhelpful: Flags = behind.says(prefix, rest, depth) == NEVER
    for way in alternatives(metadata.national_prefix_for_parsing):
        unhelpful &= _begins(code + way).says(prefix, rest, depth) == NEVER
    own: Flags = _general(metadata).says(prefix, rest, depth) == ALWAYS
    return absent | own | unhelpful


def _calling_code(metadata: PhoneMetadata, length: int, depth: int) -> Flags:
    """The cells for which phonenumbers takes the first digits for the region's own calling code, and strips nothing
    more."""
    assert metadata.country_code is not None
    code = str(metadata.country_code)
    rest = length - len(code)
    main = metadata_of(metadata.country_code, COUNTRY_CODE_TO_REGION_CODE[metadata.country_code][0])
    sure = _national(main, rest, "", depth)
    for way in alternatives(metadata.national_prefix_for_parsing):
        sure &= _begins(way).says("", rest, depth) == NEVER
    if _too_long(metadata, length):
        return sure
    whole: Flags = _general(metadata).says(code, rest, depth) == NEVER
    part: Flags = _general(metadata).says("", rest, depth) == ALWAYS
    return sure & whole & part


def _description(metadata: PhoneMetadata) -> PhoneNumberDesc:
    assert metadata.general_desc is not None
    return metadata.general_desc


def _general(metadata: PhoneMetadata, after: str = "") -> Automaton:
    """The region's general description, `after` some literal digits."""
    return automaton(f"{after}(?:{_description(metadata).national_number_pattern})")


def _begins(pattern: str) -> Automaton:
    """The strings that begin with a match of `pattern`. With a final `$`: the strings that match as a whole."""
    return automaton(pattern[:-1] if pattern.endswith("$") else rf"(?:{pattern})\d*")


def _keepable(metadata: PhoneMetadata, length: int) -> bool:
    """Whether phonenumbers keeps what stripping left. It keeps a possible length or one that is too long, not one
    that is too short or local."""
    description = _description(metadata)
    return length not in description.possible_length_local_only and (
        length in description.possible_length or _too_long(metadata, length)
    )


def _too_long(metadata: PhoneMetadata, length: int) -> bool:
    description = _description(metadata)
    return length not in description.possible_length_local_only and length > description.possible_length[-1]


def _prefixes(metadata: PhoneMetadata) -> list[str]:
    ways = alternatives(metadata.national_prefix_for_parsing)
    return ["", *(way for way in ways if way.isdigit() and len(way) <= PREFIX_DIGITS_MAX)]


def _depth(length: int, prefix: str) -> int:
    rest = length - len(prefix)
    return min(DEPTH, rest) if rest in LENGTHS else -1


def _shape(length: int, prefix: str, depth: int, sure: Flags) -> list[Shape]:
    """The shape, with the least depth that tells its cells apart; no shape when nothing is proven."""
    if not sure.any():
        return []
    while depth and (sure.reshape(-1, 10) == sure.reshape(-1, 10)[:, :1]).all():
        sure = sure[::10]
        depth -= 1
    edges = np.flatnonzero(np.diff(np.concatenate(([1], sure.astype(np.int8), [1]))))
    runs = tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
    return [Shape(length, prefix, depth, runs)]


def _split(pattern: str) -> Iterator[str]:
    """The alternatives of a pattern, cut at the bars outside groups."""
    level = start = 0
    for i, character in enumerate(pattern):
        level += (character == "(") - (character == ")")
        if character == "|" and level == 0:
            yield pattern[start:i]
            start = i + 1
    yield pattern[start:]


def _spell_out(way: str) -> Iterator[str]:
    if re.fullmatch(r"\[\d+\]", way):
        yield from way[1:-1]
    elif re.search(r"\d\?$", way) and not way.endswith("\\d?"):
        for head in _spell_out(way[:-2]):
            yield from (head + way[-2], head)
    elif way.endswith(")?"):
        opening = _opening(way[:-1])
        for head in _spell_out(way[:opening]):
            yield from (head + way[opening:-1], head)
    elif way.startswith("(?:") and _opening(way) == 0:
        for inner in _split(way[3:-1]):
            yield from _spell_out(inner)
    else:
        yield way


def _opening(way: str) -> int:
    """The index at which the group begins that the last character closes; -1 when it closes none."""
    level = 0
    for i in range(len(way) - 1, -1, -1):
        level += (way[i] == ")") - (way[i] == "(")
        if level == 0:
            return i if way[-1] == ")" else -1
    return -1
