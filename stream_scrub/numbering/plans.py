"""The numbering plan of one calling code as tables, for `generate` only.

Source: phonenumbers' metadata, combined in phonenumbers' own order. 1. `region_code_for_number`: the region whose
leading digits match, else the first region that knows the number's type. 2. `number_type`: premium rate before toll
free and so on. A type counts only if its possible lengths and the region's general description agree.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

from stream_scrub.numbering.automata import (
    MIXED,
    NEVER,
    Automaton,
    Outcomes,
    StateNumbers,
    automaton,
    cells,
    product,
)

LENGTHS: Final = range(2, 18)  # digits of a national significant number that phonenumbers can parse
DEPTH_MAX: Final = 6  # a table has at most 10**6 cells
MIXED_SHARE_MAX: Final = (
    1e-4  # when so few of the non-empty cells are undecided, a deeper table is not worth its memory
)
ORDER: Final = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)


@dataclass(frozen=True, slots=True)
class DerivedPlan:
    """What each national significant number of a calling code is.

    `lines` are (region, type) in the order of their cell values, from 2. `tables[length]` has 10**k cells for the
    first k digits. A cell is 0 (no valid number), 1 (ask phonenumbers), or the value of the line that every
    completion has.
    """

    lines: tuple[tuple[str, str], ...]
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
        """The same as phonenumbers' `_number_type_helper`, on a joint state."""
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
    """The plan of an assigned calling code."""
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
    return DerivedPlan(tuple(lines), tables)


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
    """The table with the smallest depth at which (nearly) nothing is undecided."""
    table = cells(step, final, 0, length, 0)
    for depth in range(1, min(length, DEPTH_MAX) + 1):
        undecided = int((table == MIXED).sum())
        if undecided <= MIXED_SHARE_MAX * int((table != NEVER).sum()):
            break
        table = cells(step, final, 0, length, depth)
    return table
