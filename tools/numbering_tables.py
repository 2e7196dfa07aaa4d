"""Writes `stream_scrub/numbering/tables`: run `make tables` for each new phonenumbers, and commit the result.

There is one file for each calling code, and `index.json` with the version of phonenumbers and the sha256 of each file's
content. The same metadata gives the same content. `Shape` says which strings need no parsing.

A pattern of the metadata becomes a complete automaton over the ten digits, through interegular. `cells` then answers,
for every prefix of `depth` digits, what the automaton says of *all* its completions to a given length: the tables are
exact, not sampled. `plan_of` combines the automata in phonenumbers' own order.
"""

import hashlib
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import interegular
import numpy as np
import numpy.typing as npt
import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

from stream_scrub.homes import BEGINNINGS, chosen, homes_of
from stream_scrub.numbering.library import split
from stream_scrub.numbering.tables import FOLDER, FORMAT, PREFIX_DIGITS_MAX

Outcomes: TypeAlias = npt.NDArray[np.uint8]  # one outcome a state, or one a cell
StateNumbers: TypeAlias = npt.NDArray[np.int32]

NEVER: Final = 0  # no completion is in the language; in a plan: no completion is a valid number
MIXED: Final = 1  # completions differ
ALWAYS: Final = 2  # every completion is in the language
DIGITS: Final = "0123456789"

LENGTHS: Final = range(2, 18)  # digits of a national significant number that phonenumbers can parse
DEPTH_MAX: Final = 6  # a table has at most 10**6 cells
MIXED_SHARE_MAX: Final = (
    1e-4  # of the non-empty cells: with fewer undecided, a deeper table is not worth its memory
)
ORDER: Final = (
    *("premium_rate", "toll_free", "shared_cost", "voip"),
    *("personal_number", "pager", "uan", "voicemail"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Automaton:
    """Complete and deterministic. `step[state, digit]` is the next state; state 0 is the initial one."""

    step: StateNumbers  # shape (states, 10)
    accept: npt.NDArray[np.bool_]  # shape (states,)

    def after(self, digits: str) -> int:
        """The state reached from the initial one by these digits."""
        state = 0
        for digit in digits:
            state = int(self.step[state, int(digit)])
        return state

    def says(self, after: str, length: int, depth: int) -> Outcomes:
        """NEVER, MIXED or ALWAYS for each of the 10**depth prefixes of the `length` digits that follow `after`."""
        final = np.where(self.accept, ALWAYS, NEVER).astype(np.uint8)
        return cells(self.step, final, self.after(after), length, depth)


def cells(step: StateNumbers, final: Outcomes, start: int, length: int, depth: int) -> Outcomes:
    """The outcome that all completions of each prefix share, else MIXED; shape (10**depth,), in prefix order.

    `final` is the outcome of each state when all `length` digits are read; `depth` is at most `length`.
    """
    outcome = final
    for _ in range(length - depth):
        following = outcome[step]
        same = (following == following[:, :1]).all(axis=1)
        outcome = np.where(same, following[:, 0], MIXED).astype(np.uint8)
    states = np.array([start], dtype=np.int32)
    for _ in range(depth):
        states = step[states].ravel()
    return outcome[states]


@cache
def automaton(pattern: str) -> Automaton:
    """The automaton of the strings that match the whole of `pattern` (no anchors, look-around or back-references)."""
    machine = interegular.parse_pattern(pattern).to_fsm()
    dead = object()
    names: dict[Any, int] = {machine.initial: 0}
    queue: list[Any] = [machine.initial]
    rows: list[list[int]] = []
    for state in queue:
        row = []
        for digit in DIGITS:
            following = machine.map.get(state, {}).get(machine.alphabet[digit], dead)
            if following not in names:
                names[following] = len(names)
                queue.append(following)
            row.append(names[following])
        rows.append(row)
    accept = [state in machine.finals for state in queue]
    return Automaton(np.array(rows, dtype=np.int32), np.array(accept, dtype=np.bool_))


def product(parts: list[Automaton]) -> tuple[StateNumbers, StateNumbers]:
    """All automata walked side by side: the joint `step`, and for each joint state the state of every part.

    Shapes (joint, 10) and (joint, parts). They hold only joint states that some digits reach.
    """
    tables = [part.step.tolist() for part in parts]
    first = (0,) * len(parts)
    names = {first: 0}
    queue = [first]
    rows: list[list[int]] = []
    for joint in queue:
        here = [table[state] for table, state in zip(tables, joint, strict=True)]
        row = []
        for digit in range(10):
            following = tuple([steps[digit] for steps in here])
            name = names.setdefault(following, len(names))
            if name == len(queue):
                queue.append(following)
            row.append(name)
        rows.append(row)
    return np.array(rows, dtype=np.int32), np.array(queue, dtype=np.int32)


MovedLine: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class DerivedPlan:
    """What each national significant number of a calling code is.

    `lines` are (region, type, move) in the order of their cell values, from 2; `move` is added to a number of another
    home. `tables[length]` has 10**k cells for the first k digits. A cell is 0 (no valid number), 1 (ask phonenumbers),
    or the value of the line that every completion has.
    """

    lines: tuple[MovedLine, ...]
    tables: dict[int, Outcomes]


class _Region:
    """One region's part of a plan: its automata walked together."""

    def __init__(self, calling_code: int, region: str, *, alone: bool) -> None:
        metadata = metadata_of(calling_code, region)
        self.region = region
        self.same = bool(metadata.same_mobile_and_fixed_line_pattern)
        self.parts: dict[str, int] = {}
        self.lengths: dict[str, tuple[int, ...]] = {}
        automata: list[Automaton] = []
        if metadata.leading_digits is not None and not alone:
            self.parts["leading"] = 0
            automata.append(automaton(rf"(?:{metadata.leading_digits})\d*"))
        for kind in ("general_desc", "fixed_line", "mobile", *ORDER):
            description: PhoneNumberDesc | None = getattr(metadata, kind)
            if description is not None and description.national_number_pattern:
                self.parts[kind] = len(automata)
                self.lengths[kind] = tuple(description.possible_length)
                automata.append(automaton(description.national_number_pattern))
        self.step, self.joint = product(automata)
        self.accepts = [part.accept for part in automata]

    def matches(self, kind: str, state: int, length: int) -> bool:
        """Whether a number of this length in this joint state matches the description `kind`."""
        part = self.parts.get(kind)
        if part is None or (self.lengths[kind] and length not in self.lengths[kind]):
            return False
        return bool(self.accepts[part][self.joint[state, part]])

    def type_of(self, state: int, length: int) -> str | None:
        """As phonenumbers' `_number_type_helper`, on a joint state."""
        if not self.matches("general_desc", state, length):
            return None
        for kind in ORDER:
            if self.matches(kind, state, length):
                return kind
        mobile = self.matches("mobile", state, length)
        if self.matches("fixed_line", state, length):
            return "fixed_line_or_mobile" if self.same or mobile else "fixed_line"
        return "mobile" if mobile and not self.same else None

    def leads(self, state: int) -> bool | None:
        """Whether the region's leading digits match; None for a region that has none."""
        part = self.parts.get("leading")
        return None if part is None else bool(self.accepts[part][self.joint[state, part]])


def metadata_of(calling_code: int, region: str) -> PhoneMetadata:
    """The metadata of a region, or of a calling code that no region owns ("001")."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(calling_code, region)
    assert metadata is not None
    return metadata


def plan_of(calling_code: int) -> DerivedPlan:
    """The plan of an assigned calling code: by phonenumbers, and with each number in the form of its home (`homes`)."""
    plan = _plan_by_metadata(calling_code)
    lines = list(plan.lines)
    tables = {}
    for length, known in plan.tables.items():
        table = tables[length] = known.copy()
        depth = _depth_of(table)
        for beginning in BEGINNINGS.get(str(calling_code), ()) if table.any() else ():
            rest = depth - len(beginning)
            for cell in range(int(beginning) * 10**rest, (int(beginning) + 1) * 10**rest):
                significant = f"{cell:0{depth}}".ljust(length, "0")
                homes = homes_of(str(calling_code), significant)
                if homes:
                    table[cell] = _value_at(homes, length - depth, int(f"{calling_code}{significant}"), lines)
    return DerivedPlan(tuple(lines), tables)


def _value_at(homes: tuple[str, ...], open_digits: int, number: int, lines: list[MovedLine]) -> int:
    """The cell value of a number with these homes, whatever its last `open_digits` are. Adds its line to `lines`."""
    valid = []
    for home in homes:
        code, significant = split(int(home))
        plan = _plan_by_metadata(code)
        table = plan.tables.get(len(significant))
        if table is None:
            continue
        depth, known = _depth_of(table), len(significant) - open_digits
        first = int("0" + significant[:depth])
        values = set(table[first : first + 10 ** max(depth - known, 0)].tolist())
        if len(values) > 1 or MIXED in values:
            return MIXED
        (value,) = values
        if value != NEVER:
            region, kind, _ = plan.lines[value - 2]
            valid.append((region, kind, int(home) - number))
    line = chosen(valid)
    if line is None:
        return NEVER
    if line not in lines:
        lines.append(line)
    return lines.index(line) + 2


def _depth_of(table: Outcomes) -> int:
    return len(str(len(table))) - 1


@cache
def _plan_by_metadata(calling_code: int) -> DerivedPlan:
    """The plan by phonenumbers' own order.

    1. `region_code_for_number`: the region whose leading digits match, else the first region that knows the number's
    type. 2. `number_type`: premium rate before toll free and so on. A type counts only if its possible lengths and
    the region's general description agree.
    """
    names = COUNTRY_CODE_TO_REGION_CODE[calling_code]
    regions = [_Region(calling_code, name, alone=len(names) == 1) for name in names]
    step, joint = product(
        [Automaton(region.step, np.zeros(len(region.step), np.bool_)) for region in regions]
    )
    outcomes = {length: _outcomes(regions, joint, length) for length in LENGTHS}
    lines = sorted({line for row in outcomes.values() for line in row if line is not None})
    assert len(lines) < 254
    value: dict[tuple[str, str] | None, int] = {None: NEVER, **{line: i + 2 for i, line in enumerate(lines)}}
    tables = {
        length: _shallowest(step, np.array([value[line] for line in row], dtype=np.uint8), length)
        for length, row in outcomes.items()
    }
    return DerivedPlan(tuple((region, kind, 0) for region, kind in lines), tables)


def _outcomes(regions: list[_Region], joint: StateNumbers, length: int) -> list[tuple[str, str] | None]:
    known: list[dict[int, tuple[str | None, bool | None]]] = [{} for _ in regions]
    rows: list[tuple[str, str] | None] = []
    for states in joint.tolist():
        outcome = None
        for region, state, seen in zip(regions, states, known, strict=True):
            if state not in seen:
                seen[state] = region.type_of(state, length), region.leads(state)
            kind, leads = seen[state]
            if leads or (leads is None and kind is not None):
                outcome = None if kind is None else (region.region, kind)
                break
        rows.append(outcome)
    return rows


def _shallowest(step: StateNumbers, final: Outcomes, length: int) -> Outcomes:
    """The table with the smallest depth at which almost nothing is undecided."""
    table = cells(step, final, 0, length, 0)
    for depth in range(1, min(length, DEPTH_MAX) + 1):
        undecided = int((table == MIXED).sum())
        if undecided <= MIXED_SHARE_MAX * int((table != NEVER).sum()):
            break
        table = cells(step, final, 0, length, depth)
    return table


Flags: TypeAlias = npt.NDArray[np.bool_]

TYPED: Final = range(
    4, 21
)  # digits in all; phonenumbers, which reads even two digits, answers for shorter ones
DEPTH: Final = 4  # how many digits after the prefix choose a cell


@dataclass(frozen=True, slots=True)
class Shape:
    """Digit strings for which the metadata proves what phonenumbers does.

    They have `length` digits in all, begin with exactly `prefix`, and the rest is the national significant number:
    phonenumbers strips no international prefix, calling code, national prefix or carrier code but `prefix`. `masked`
    are half-open runs of cells of the rest for which this is not proven: phonenumbers answers for them. Every test is
    over all completions of a cell, so a shape is never a guess.
    """

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
    ways = (simpler for way in _split(pattern) for simpler in _spell_out(way))
    return tuple(dict.fromkeys(ways))


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


def content_of(calling_code: int) -> bytes:
    """The uncompressed content of one file: a line of JSON, then the cells of the tables in the order of its
    `tables`.

    `lines`: (region, type, move) of the cell values from 2 on. `tables`: (digits of the significant number, count of
    cells); the count is a power of ten. `international` and `national`: shapes as (digits, prefix, depth, runs of
    masked cells).
    """
    plan = plan_of(calling_code)
    tables = {length: table.tobytes() for length, table in plan.tables.items() if table.any()}
    regions = [region for region in COUNTRY_CODE_TO_REGION_CODE[calling_code] if region != "001"]
    head = {
        "lines": plan.lines,
        "tables": [(length, len(table)) for length, table in tables.items()],
        "international": [_row(shape) for shape in international(calling_code)],
        "national": {region: [_row(shape) for shape in national(region)] for region in regions},
    }
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + b"".join(tables.values())


def _row(shape: Shape) -> tuple[int, str, int, tuple[tuple[int, int], ...]]:
    return shape.length, shape.prefix, shape.depth, shape.masked


def main() -> None:
    """Generate every calling code's file and the index."""
    began = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    digests = {}
    for calling_code in sorted(COUNTRY_CODE_TO_REGION_CODE):
        content = content_of(calling_code)
        digests[str(calling_code)] = hashlib.sha256(content).hexdigest()
        (FOLDER / f"{calling_code}.z").write_bytes(zlib.compress(content, 9))
    for stale in {path.stem for path in FOLDER.glob("*.z")} - digests.keys():
        (FOLDER / f"{stale}.z").unlink()
    index = {"format": FORMAT, "phonenumbers": phonenumbers.__version__, "sha256": digests}
    (FOLDER / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    sys.stdout.write(f"{len(digests)} calling codes, {size} bytes, {time.monotonic() - began:.1f} s\n")


if __name__ == "__main__":
    main()
