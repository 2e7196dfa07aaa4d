"""A list that was read against the register that it is for: what it would change, or why it is refused. Pure.

A list may say more than its numbers: when they end, which campaign it is for, what kind of register it belongs in, on
which sequence it applies. What does not fit is refused, as the numbers would be right and mean something else.

Refused is also what is odd: a list that shrinks or grows its register too much, stands for more numbers than it has lines,
holds another country's numbers, covers undeclared areas, has no day or an older one than its register, or is
for a register that no rule knows. The first list of a register has nothing to be compared with: any length passes.
"""

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, TooMany
from stream_scrub.imports import hashed_list
from stream_scrub.imports.areas import check_areas, declared
from stream_scrub.imports.consents import ConsentDays, limited, with_days
from stream_scrub.imports.formats import FORMATS, BadList, ListOptions, ParsedList, open_list
from stream_scrub.imports.formats.named_columns import UNDATED
from stream_scrub.imports.guards import (
    UnstatedConsents,
    check_answers,
    check_change,
    check_consents,
    check_country,
    check_every_row,
    check_fits,
    check_joins,
    check_name,
    check_region,
    collected,
    noted,
    within,
)
from stream_scrub.imports.hashed_list import HashedOrder
from stream_scrub.imports.list_day import FUTURE_MAX, TO_COME, day_named, day_of, moment_of
from stream_scrub.imports.parsing.cells import earliest
from stream_scrub.imports.parsing.format import AUTO, read_list
from stream_scrub.imports.parsing.list_columns import DATE_THEM, ListReading
from stream_scrub.imports.parsing.parsed_list import NO_ROOM
from stream_scrub.imports.parsing.unpack import PackedList
from stream_scrub.imports.register_law import NO_LAW, RegisterLaw
from stream_scrub.index import NO_KEYS, HashKeys, Register, as_bitmap, as_numbers, deltas
from stream_scrub.index.capacity import Capacity
from stream_scrub.index.deltas import Delta, Ends, StatedEnds, with_ends
from stream_scrub.languages import by_door, say
from stream_scrub.log.replay import RegisterView, Replay
from stream_scrub.model import INTERNAL, RegisterKind, RegisterName, family
from stream_scrub.numbering import region_of_user
from stream_scrub.rules import Rulebook
from stream_scrub.rules.purposes import Vocabulary, purpose_of
from stream_scrub.scrub import scrubbing
from stream_scrub.texts import masked

ImportMode = Literal["full", "adds", "removes"]
Guarded = Callable[[], AbstractContextManager[None]]  # `guards.collected`


def change_of(register: str, change: ImportMode) -> ImportMode:
    """What a file that was handed over as `change` does to that register: a full list of oppositions to you only ever
    adds. They come from many sources, and no file of one of them knows the others'.
    """
    return "adds" if change == "full" and family(register) == INTERNAL else change


def _oldest_area(reading: ParsedList, held: Register | None, said: datetime | None) -> datetime | None:
    """The moment up to which changes that say `said` complete the register: the last day of its oldest area. None if they
    lack an area that was bought, or its day."""
    if said is None or reading.good_s or held is None or not held.areas:
        return said
    days = reading.area_days
    if not days:  # the list has one day for all
        changed = reading.bitmap() | reading.removals()
        return said if all(within(area, changed) for area in held.areas) else None
    lasts = [[day for area, day in days.items() if area.startswith(bought)] for bought in held.areas]
    # No area is younger than the list: whoever read it may lie, and only `said` was held against the clock.
    return min(said, *map(min, lasts)) if all(lasts) else None


def kind_of(
    reading: ParsedList, wanted: RegisterKind | None, held: Register | None, ruled: RegisterKind | None
) -> RegisterKind:
    """The kind of the register. The first that is known counts: (1) as it is, (2) as the operator says, (3) as the rules
    need it, (4) as the list means it, (5) `deny`."""
    return (held.kind if held is not None else None) or wanted or ruled or reading.kind or RegisterKind.DENY


def delta_of(
    reading: ParsedList,
    change: ImportMode,
    base: Register,
    ends: Ends,
    now: datetime,
    *,
    given: datetime | None = None,
    consent_days: ConsentDays = (),
    dated: ConsentDays = (),
    older: bool = False,
    ending: bool = True,
) -> Delta:
    """What the list changes in `base`, whose ends are `ends`. A number whose end has passed is not in the list. By
    `consent_days` the law ends consents of the list, which were `given` by its day; by `dated`, those that count only with
    their own day. `older`: the answers of a wash hold
    though the register has newer ones. Without `ending` nothing ends."""
    listed, stated = _in_force(reading, now) if ending else (reading.bitmap(), StatedEnds.none())
    removals = reading.removals()
    if reading.good_s and base.seq and not older:
        listed, stated, removals = _newest(reading, listed, stated, base, ends)
    if consent_days and base.kind is RegisterKind.ALLOW:
        listed, stated = limited(listed, stated, ends, consent_days, given or now, now)
    if dated and base.kind is RegisterKind.ALLOW:
        listed, stated = with_days(listed, stated, ends, dated, now, are_dated=reading.dated)
    if change == "removes":
        # The end of a number to remove does not matter.
        return deltas.removing(base.numbers, reading.bitmap())
    if reading.change == "delta":
        held = base.numbers.intersection_cardinality(listed)
        removes = removals & base.numbers
        delta = Delta(listed - base.numbers, removes, held + len(removals) - len(removes))
    elif change == "adds":
        delta = deltas.adding(base.numbers, listed)
        # Whoever says no in a list of consents withdraws an earlier one.
        delta = replace(delta, removes=delta.removes | (removals & base.numbers))
    else:
        delta = deltas.full(base.numbers, listed)
    return with_ends(replace(delta, hashed=reading.hashed), ends, listed, stated)


def _in_force(reading: ParsedList, now: datetime) -> tuple[BitMap64, StatedEnds]:
    """The listed numbers that have not ended, and the ends of those that will."""
    listed, ending = reading.bitmap(), reading.ends()
    if not len(ending.numbers):
        return listed, StatedEnds.none()
    over = ending.ends <= int(now.timestamp())
    stated = StatedEnds(ending.numbers[~over], ending.ends[~over])
    return listed - as_bitmap(ending.numbers[over]), stated


def _newest(
    reading: ParsedList, listed: BitMap64, stated: StatedEnds, base: Register, ends: Ends
) -> tuple[BitMap64, StatedEnds, BitMap64]:
    """A wash's clean numbers, their ends and its other numbers, without the answers that a newer one of the register
    replaces.

    A number that the register holds has its newest answer's end. One that it does not hold may have been opposed by any
    answer until its own day: an older one does not bring it in."""
    last = earliest(base.effective_at.date())
    held = ends.of_each(stated.numbers)
    inside = np.isin(stated.numbers, as_numbers(base.numbers & as_bitmap(np.sort(stated.numbers))))
    kept = inside | (stated.ends >= last + reading.good_s)
    dropped = as_bitmap(np.sort(stated.numbers[~kept]))
    stated = StatedEnds(stated.numbers[kept], np.maximum(stated.ends, held)[kept])
    others = reading.removals()
    day = reading.effective_at
    if day is not None and (end := earliest(day.date()) + reading.good_s) < last + reading.good_s:
        inside_others = as_numbers(others & base.numbers)
        others = others - as_bitmap(inside_others[ends.of_each(inside_others) > end])
    return listed - dropped, stated, others


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """One list to import: what the operator says of it, and what settings and rules ask of its register."""

    file: Path
    register: str
    max_bad: float
    region: str = ""  # of national numbers; empty: `lawful` chooses it
    is_region_named: bool = False  # the operator named it
    change: ImportMode = "full"
    kind: RegisterKind | None = None  # None: as it is; at its first import as the rules or the list mean it
    effective_at: datetime | None = None  # None: what the list says, else now
    column: str = ""
    dry_run: bool = False
    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    all_consented: bool = False  # every person in it consented, whatever its columns say
    no_into: str = ""  # the register of oppositions that the people who said no go into
    hashed: HashedOrder | None = None  # it is a list of hashes
    keys: HashKeys = NO_KEYS
    max_change: float = math.inf  # share of its register that a full list may change
    max_added: float = math.inf  # further numbers that may be added, or by a first list with ranges
    max_numbers: float = math.inf  # that all registers may hold together
    allow_change: bool = False  # it may be odd: what it would be refused for is noted
    register_unknown: bool = False  # no rule may name its register
    allow_older: bool = False  # it may be from before the register's own moment
    allow_ends: bool = False  # its ends count in `internal` as well
    sha256: str = ""
    areas: tuple[str, ...] = ()  # that were bought
    law: RegisterLaw = NO_LAW  # what the rules ask of the register (`lawful`)
    known: frozenset[str] = frozenset()  # registers that rules and settings use; empty: any
    written: datetime | None = None  # when the file was written, the moment of a full list that says none

    @property
    def wanted(self) -> RegisterKind | None:
        """The kind of register that the operator says the numbers are for."""
        return RegisterKind.ALLOW if self.all_consented else self.kind


class ImportPlan(NamedTuple):
    """What an import would do to the register as it stands, and what its publisher must know."""

    base: Register
    delta: Delta
    known: RegisterView
    effective_at: datetime
    ending: int
    kept: int
    outside: int = 0
    older: int = 0
    endless: int = 0  # listed numbers whose ends do not count
    let_through: tuple[str, ...] = ()  # what allow_change let through
    undated: int = 0  # consents without the day that the law asks for
    objections: tuple[BadList, ...] = ()  # of a dry run: what the import would be refused for

    @property
    def numbers(self) -> BitMap64:
        """The register's numbers afterwards."""
        return (self.base.numbers | self.delta.adds) - self.delta.removes


def reading_of(parsed: ParsedList, plan: ImportPlan) -> ListReading:
    """How a list was read, for people."""
    outcomes = dict(parsed.outcomes)
    if plan.undated:
        counted = next(iter(outcomes))
        outcomes |= {counted: max(0, outcomes[counted] - plan.undated), UNDATED: plan.undated}
    counts = (plan.endless, parsed.refused, parsed.refused_places(), parsed.lines)
    return ListReading(parsed.columns, outcomes, *counts, parsed.removals())


def named(text: str, known: Vocabulary = MappingProxyType({})) -> str:
    """The name of the register that `--register` means, however its campaign is spelt, and in whatever known word its
    purpose. Raises ConfigError."""
    register = RegisterName.read(text)
    if register is not None and register.purpose:
        window = register.window
        campaign = register.scope.removesuffix(register.purpose)
        if window is None:
            register = register._replace(scope=f"{campaign}{purpose_of(register.purpose, known)}")
        elif window.purpose:
            window = window._replace(purpose=purpose_of(window.purpose, known))
            register = RegisterName.split(window.register(register.whole))
    if register is None:
        why = f"--register: {masked(text)!r} is not a register's name: lower-case letters, digits and hyphens, as in us-dnc or internal@acme"
        raise ConfigError([why])
    if register.looks_like_number:
        why = "--register: the name looks like a phone number: choose another, because names are shown everywhere"
        raise ConfigError([why])
    return str(register)


def lawful(options: ImportOptions, book: Rulebook, settings: Settings, now: datetime) -> ImportOptions:
    """The order with what the rules ask of its register, and with the registers that it may name."""
    law = RegisterLaw.of(book, options.register, now)
    known = scrubbing.known_registers(book, settings)
    named, region = options.is_region_named, options.region
    if not region:
        configured = settings.lists.region_of(options.register)
        named, region = bool(configured), configured or law.country or settings.prospect.default_region
    return replace(options, law=law, known=known, region=region, is_region_named=named)


def list_options_of(options: ImportOptions, now: datetime) -> ListOptions:
    """What a format needs to know. Raises ConfigError when the order is wrong whatever the list is."""
    named(options.register)
    window = None if options.change == "removes" else RegisterName.split(options.register).window
    if window is not None and not options.columns.keys() >= {"given", "from", "until"}:
        why = (
            f"{options.register} takes consents to windows of {window.minutes} minutes: name the columns that state them,"
            " as in --columns phone=Mobile,given=Date,from=Begin,until=End"
        )
        raise ConfigError([why])
    if window is None and "from" in options.columns:
        why = "--columns: from= is for a register of windows, named by their length, as in --register consent-hours@acme+60m"
        raise ConfigError([why])
    return ListOptions(
        region_of_user(options.region),
        now,
        options.column,
        options.columns,
        options.max_numbers,
        options.effective_at,
        options.all_consented,
        (*options.law.good_days, *options.law.dated_consents),
        options.law.channels,
        0 if window is None else window.minutes,
    )


def read(
    options: ImportOptions, now: datetime, stage: Callable[[str, int, int], None], opened: io.FileIO
) -> ParsedList:
    """Step 1: the list's numbers, from the file that is open. Raises ConfigError, BadList."""
    list_options = list_options_of(options, now)
    size = os.fstat(opened.fileno()).st_size
    with open_list(options.file, lambda done: stage("reading the list", done, size), opened) as packed:
        if options.hashed is not None:
            return _read_hashes(options, options.hashed, packed)
        return read_list(FORMATS, packed, list_options, options.format)


def _read_hashes(options: ImportOptions, order: HashedOrder, packed: PackedList) -> ParsedList:
    if options.column or options.columns or options.format != AUTO:
        raise ConfigError(
            ["--hashed: a line has one hash, wherever it is: leave --format, --column and --columns out"]
        )
    try:
        return hashed_list.read(packed, order, options.keys, options.max_numbers)
    except (BadList, TooMany) as error:
        raise BadList(
            f"{masked(options.file.name)}, read as hashes: {error}; nothing was published"
        ) from error


def check_lines(options: ImportOptions, reading: ParsedList) -> None:
    """A list that is largely not one is the wrong file, or the wrong column, or the wrong region."""
    if not reading.lines and reading.passed:
        outcomes = ", ".join(f"{name} {count:,}" for name, count in reading.outcomes.items())
        why = f"{masked(options.file.name)}: no row counts ({outcomes}); nothing was published"
        page = say("no row of the list counts: check what you chose for each column, and the days in it")
        raise BadList(by_door(why, page), [outcomes])
    if not reading.lines:
        why = f"{masked(options.file.name)}: the list is empty; nothing was published"
        raise BadList(by_door(why, say("the list is empty")))
    if reading.refused_share > options.max_bad:
        refused = f"{reading.refused} of {reading.lines} lines ({reading.refused_share:.1%})"
        raise BadList(
            f"{masked(options.file.name)}, read as {reading.described}: {refused} hold no valid number of region {options.region}, more than lists.max_bad"
            f" ({options.max_bad:.1%}; --max-bad of `lists import`, --list-max-bad of `file`); nothing was published."
            f" Lines: {reading.refused_places()}",
            [reading.described, refused, reading.refused_places()],
        )
    if not options.is_region_named:
        check_region(reading, options.file.name)


def plans_of(
    parts: Iterable[tuple[ImportOptions, ParsedList]], replay: Replay, now: datetime
) -> list[ImportPlan]:
    """Plan all parts of one list before one is published: there must be room for them together. Raises ConfigError,
    BadList."""
    plans, registers = list[ImportPlan](), replay.index.registers
    for options, reading in parts:
        plan = plan_of(options, reading, replay, now, registers=registers)
        registers = registers.put(plan.base.name, replace(plan.base, numbers=plan.numbers))
        plans.append(plan)
    return plans


def plan_of(
    options: ImportOptions,
    reading: ParsedList,
    replay: Replay,
    now: datetime,
    *,
    registers: Mapping[str, Register] | None = None,
    outcome: str = "nothing was published",
) -> ImportPlan:
    """The register as it stands and what the list changes in it. In a dry run the plan has the `objections`. `registers`:
    all of them as they will be then; default: as now. `outcome`: what a refusal says of them. Raises ConfigError, BadList."""
    objections: list[BadList | TooMany] = []
    guarded = partial(collected, objections, dry_run=options.dry_run)
    try:
        plan = _planned(options, reading, replay, now, guarded)
        registers = registers or replay.index.registers
        with guarded():
            Capacity(options.max_numbers).take(registers, plan.base.name, plan.delta.adds, plan.delta.removes)
    except UnstatedConsents:
        raise
    except (BadList, TooMany) as error:
        raise _refusal(options, reading, error, outcome) from error
    refusals = tuple(_refusal(options, reading, error, outcome) for error in objections)
    return plan._replace(objections=refusals)


def _planned(
    options: ImportOptions, reading: ParsedList, replay: Replay, now: datetime, guarded: Guarded
) -> ImportPlan:
    """The plan, whose guards are checked within `guarded`."""
    held = replay.index.registers.get(options.register)
    kind = _kind(options, reading, held)
    _check_scope(options.register, kind)
    fresh = held is None or held.is_removed
    whole = options.change == "full" and reading.change == "full"
    said = _said_day(options, reading, now, whole=whole)
    known = replay.known(options.register)
    change = change_of(options.register, options.change)
    let_through: list[str] = []
    opens, outside = False, 0
    if fresh and not options.register_unknown:
        with guarded():
            check_name(options.register, options.known)
    _check_register(options, reading, kind)
    with guarded():
        opens = _opens(options, reading, held, whole=whole or fresh)
    aging = options.law.must_be_dated and (whole or fresh or opens or reading.day_by != "list")
    if aging or _consents_age(options, reading, change):
        with guarded():
            name, digest = options.file.name, options.sha256
            said = day_of(reading, name, digest, known.lists, said=options.effective_at, now=now)
    if options.law.must_be_dated and reading.change == "delta":
        with guarded(), noted(let_through, allow=options.allow_change):
            check_joins(reading, options.register, held)
        said = options.effective_at or _oldest_area(reading, held, said)
    moment = partial(moment_of, held, said, options.written or now, whole=whole, opens=opens)
    older = True  # where a dry run goes on behind the objection
    with guarded():
        moment(older=options.allow_older)
        older = options.allow_older
    effective_at = moment(older=older)
    base = held or Register.empty(options.register, kind, effective_at)
    check_fits(reading, options.change, base, options.wanted)
    undated = _undated(options, reading, base, known.ends, now)
    hashed_list.check_register(reading, base, whole=whole, by_area=options.law.areas is not None)
    # A person who opposed to you did so for good; many diallers write an end next to every number that they export.
    ends = options.allow_ends or family(options.register) != INTERNAL
    delta = delta_of(
        reading,
        change,
        base,
        known.ends,
        now,
        given=effective_at if said is None else min(effective_at, said),
        # Rows of windows were judged by their own days: an earlier end would open another hour.
        consent_days=() if RegisterName.split(options.register).window else options.law.good_days,
        dated=options.law.dated_consents,
        older=older,
        ending=ends,
    )
    _check_delta(options, base, delta, reading.lines, let_through, guarded)
    with guarded():
        delta, outside = _covering(options, base, delta, whole=whole or fresh)
    kept = len(base.numbers) - delta.unchanged if change != options.change else 0
    stated = reading.ends().ends
    after = (base.numbers | delta.adds) - delta.removes
    replaced = len(_in_force(reading, now)[0] - after) if reading.good_s else 0
    ending = int((stated > int(now.timestamp())).sum()) if ends else 0
    endless = 0 if ends else len(stated)
    counts = ending, kept, outside, replaced, endless
    return ImportPlan(base, delta, known, effective_at, *counts, tuple(let_through), undated)


def _refusal(options: ImportOptions, reading: ParsedList, error: BadList | TooMany, outcome: str) -> BadList:
    """The error with the list that it is about, and what was published."""
    ours = error.figures if isinstance(error, BadList) else (str(error),)
    why = f"{masked(options.file.name)}, read as {reading.described}: {error}; {outcome}"
    page = say(NO_ROOM) if isinstance(error, TooMany) else str(error)
    return BadList(by_door(why, page), [*ours, reading.described])


def _undated(options: ImportOptions, reading: ParsedList, base: Register, ends: Ends, now: datetime) -> int:
    """How many consents of the list lack the day that the law asks for. Raises BadList if all do."""
    if not options.law.dated_consents or base.kind is not RegisterKind.ALLOW or options.change == "removes":
        return 0
    listed, stated = _in_force(reading, now)
    kept, _ = with_days(listed, stated, ends, options.law.dated_consents, now, are_dated=reading.dated)
    if listed and not kept:
        page = say(
            "no consent in the list has a day, and the law asks for it: choose the column with the day of the consent"
        )
        raise BadList(by_door(f"none of its {len(listed):,} consents has a day. {DATE_THEM}", page))
    return len(listed) - len(kept)


def _said_day(options: ImportOptions, reading: ParsedList, now: datetime, *, whole: bool) -> datetime | None:
    """The moment that the list speaks of, as far as operator, list or file name say. Raises BadList if it is to come."""
    said = options.effective_at or reading.effective_at
    if said is None and whole and reading.day_by != "import":
        said = day_named(options.file.name, now)
    if said is not None and said - now > FUTURE_MAX:
        page = say("the list has a date in the future: correct it in the list, or in the file's name")
        raise BadList(by_door(f"{TO_COME}; say another with --effective-at", page))
    return said


def _check_register(options: ImportOptions, reading: ParsedList, kind: RegisterKind) -> None:
    """Raises BadList for a list that its register cannot be meant for."""
    if options.law.holds_answers:
        check_answers(reading, options.register)
    if kind is RegisterKind.DENY or options.change == "removes":
        check_every_row(reading, options.register)
    else:
        if reading.good_s > 0 and not options.law.holds_answers and not options.all_consented:
            reading.unstated = True  # clean of a registry's oppositions is no consent
        check_consents(reading, options.register)


def _check_scope(register: str, kind: RegisterKind) -> None:
    if kind is RegisterKind.DENY and (name := RegisterName.split(register)).purpose:
        why = f"--register: only consents are for a purpose; an opposition is for all purposes: {name.base}@{name.campaign}"
        raise ConfigError([why])


def _check_delta(
    options: ImportOptions, base: Register, delta: Delta, lines: int, let_through: list[str], guarded: Guarded
) -> None:
    """Raises BadList for an odd change, unless the options let it through; then it is noted."""
    with guarded(), noted(let_through, allow=options.allow_change):
        check_change(base, delta, options.change, options.max_change, options.max_added, lines)
    codes = () if delta.hashed or base.hashed else options.law.codes
    with guarded(), noted(let_through, allow=options.allow_change):
        check_country(base, delta, options.max_change, codes)


def _opens(options: ImportOptions, reading: ParsedList, held: Register | None, *, whole: bool) -> bool:
    """Whether numbers to add bring areas into a register that ages. Raises ConfigError, and BadList for changes of an area
    without a list."""
    if whole or held is None or not options.law.must_be_dated:
        return False
    areas, before = declared(options.areas, options.law.areas, held.name) or (), held.areas or ()
    opened = [area for area in areas if not any(area.startswith(each) for each in before)]
    if opened and reading.change == "delta":
        raise BadList(
            f"it holds changes only, and area {opened[0]} of {held.name} has no list yet: import that first"
        )
    return bool(opened)


def _consents_age(options: ImportOptions, reading: ParsedList, change: ImportMode) -> bool:
    """Whether the law ends some of the list's consents so many days after they were given: the list must say its day,
    or a copy of its file would make them younger."""
    if change == "removes" or not options.law.good_days or (reading.dated and reading.answered):
        return False
    numbers = reading.bitmap()
    return any(within(digits, numbers) for digits, _ in options.law.good_days)


def _covering(options: ImportOptions, base: Register, delta: Delta, *, whole: bool) -> tuple[Delta, int]:
    """The delta with the areas that the register covers after it, and how many of its numbers lie in none of them.
    Numbers that are added may come with areas of their own. Raises ConfigError, BadList."""
    areas = declared(options.areas, options.law.areas, base.name)
    if options.law.areas is None or (areas is None and not whole):
        return delta, 0
    if areas is not None and not whole:
        areas = tuple(sorted({*(base.areas or ()), *areas}))
    said = base.areas if areas is None else areas
    return replace(delta, areas=areas), check_areas(said, (base.numbers | delta.adds) - delta.removes)


def _kind(options: ImportOptions, reading: ParsedList, held: Register | None) -> RegisterKind:
    """The register's kind, which a list of another kind does not change. Raises ConfigError."""
    ruled = options.law.kind
    kind = kind_of(reading, options.wanted, held, ruled)
    if options.all_consented and kind is not RegisterKind.ALLOW:
        raise ConfigError([f"--all-consented: {options.register} is a register of oppositions"])
    if options.kind is not None and kind is not options.kind:
        raise ConfigError([f"--kind: register {options.register} is of kind {kind} since its first import"])
    if held is None and ruled is not None and kind is not ruled:
        why = f"the rules need {options.register} as a register of kind {ruled}, and count one of kind {kind} as missing"
        raise ConfigError([f"--kind: {why}: name another register, or leave --kind out"])
    return kind
