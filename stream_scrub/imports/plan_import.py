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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from pyroaring import BitMap64

from stream_scrub.clock import utc_seconds
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
    check_joins,
    check_name,
    check_region,
    noted,
    within,
)
from stream_scrub.imports.hashed_list import HashedOrder
from stream_scrub.imports.parsing.cells import day_in, earliest
from stream_scrub.imports.parsing.format import AUTO, read_list
from stream_scrub.imports.parsing.list_columns import DATE_THEM, ListReading
from stream_scrub.imports.parsing.unpack import PackedList
from stream_scrub.imports.register_law import NO_LAW, RegisterLaw
from stream_scrub.index import NO_KEYS, HashKeys, Register, as_bitmap, as_numbers, deltas
from stream_scrub.index.capacity import Capacity
from stream_scrub.index.deltas import Delta, Ends, StatedEnds, with_ends
from stream_scrub.log.replay import RegisterView, Replay
from stream_scrub.model import INTERNAL, RegisterKind, RegisterName, family, scoped_name
from stream_scrub.numbering import region_of_user
from stream_scrub.rules import Rulebook
from stream_scrub.rules.purposes import Vocabulary, purpose_of
from stream_scrub.scrub import scrubbing
from stream_scrub.texts import masked

ImportMode = Literal["full", "adds", "removes"]
OLDER = "--allow-older"
FUTURE_MAX = timedelta(days=1)
TO_COME = "the list's date is in the future, so it would count as current for too long"


def day_of(
    reading: ParsedList,
    name: str,
    digest: str,
    listed: Mapping[str, datetime],
    *,
    said: datetime | None,
    now: datetime,
) -> datetime:
    """The moment that a list speaks of: `said` by the operator, else what the list says, else the day in its file's name.
    `listed` has the moments of the lists that its register has had, by their SHA-256, of which `digest` is this one's.

    Raises BadList where none of these says a day, and where only a name says that a list that is known is younger.
    """
    if said is not None:
        return said
    by_name = reading.day_by == "name"
    moment = reading.effective_at
    if moment is None and reading.day_by != "import":
        moment = day_named(name, now)
        by_name = by_name or moment is not None
    if moment is None:
        stem, dot, rest = PurePath(name).name.partition(".")
        raise BadList(
            f"the list has no date, and this register expires. Put the date in the file's name, as in"
            f" {stem}-2026-11-24{dot}{rest}, or with --effective-at of `lists import` (ListFile.effective_at in Python)"
        )
    known = listed.get(digest)
    if by_name and known is not None and moment > known:
        raise BadList(
            f"it is byte for byte the list of {utc_seconds(known)}, and another name makes it no younger. If it was"
            " published again without a change, pass its day with --effective-at"
        )
    return moment


def day_named(name: str, now: datetime) -> datetime | None:
    """The first day in a file's name that has come; None without one."""
    day = day_in(name, now.date())
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def change_of(register: str, change: ImportMode) -> ImportMode:
    """What a file that was handed over as `change` does to that register: a full list of oppositions to you only ever
    adds. They come from many sources, and no file of one of them knows the others'.
    """
    return "adds" if change == "full" and family(register) == INTERNAL else change


def moment_of(
    held: Register | None,
    said: datetime | None,
    now: datetime,
    *,
    whole: bool,
    older: bool = False,
    opens: bool = False,
) -> datetime:
    """The moment that the register speaks of after a list that says `said` of itself, if anything. `whole`: it is a full
    list, else one of changes. `older`: it may be from before the register's own moment. Raises BadList, with both
    moments, when it is and may not.

    With `opens` the list brings new areas: all have the day of the oldest.

    Changes say nothing of the numbers that they leave out. They make a register younger only where somebody says up to
    when it is complete with them, and they never make it older. When both lists name the same day and one names no hour,
    neither counts as older. No full list takes anybody out of `internal`.
    """
    if held is None or held.is_removed:
        return said or now
    before = held.effective_at
    if opens and said is not None:
        return min(before, said)
    if not whole:
        return before if said is None else max(before, said)
    moment = (said or now).astimezone(UTC)
    if moment >= before or older:
        return moment
    if family(held.name) == INTERNAL or (moment.date() == before.date() and moment.time() == time.min):
        return before
    raise BadList(
        f"it is of {utc_seconds(moment)}, and {held.name} holds a list of {utc_seconds(before)}: an older list would"
        f" undo later changes. Check that it is the right file; {OLDER} lets it through"
    )


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


def check_fits(
    reading: ParsedList, change: ImportMode, base: Register, wanted: RegisterKind | None = None
) -> None:
    """Raises BadList when the list is not one for this register, or not one for this kind of change. `wanted` is the
    kind that the operator named: the operator knows better than the format what the numbers are.
    """
    if reading.kind is not None and reading.kind is not base.kind and wanted is not base.kind:
        raise BadList(
            f"a list like this is for a register of kind {reading.kind}, and {base.name} is of kind {base.kind}:"
            f" name another register, or choose the kind {base.kind} (--kind on the command line) if that is what"
            " its numbers mean"
        )
    if reading.endless and base.kind is RegisterKind.ALLOW and change != "removes":
        raise BadList(
            f"the ends of {reading.endless} lines cannot be read, and without them these consents would never end:"
            f" {reading.described}. Write them as in 2027-11-24"
        )
    if reading.scope and _compared(base.name, reading.scope) != _compared(base.name, base.scope):
        raise BadList(
            f"the list is for the campaign {masked(reading.scope)}, and the register {base.name} is not: import it with"
            f" --register {scoped_name(family(base.name), reading.scope)}"
        )
    if reading.change == "delta" and change != "full":
        raise BadList("the list states additions and removals itself: leave --adds and --removes out")
    if reading.base is not None and reading.base != base.seq:
        raise BadList(
            f"the delta applies on sequence {reading.base} of {base.name}, which is at {base.seq}: import the deltas"
            " in between first, or a full list"
        )


def _compared(register: str, scope: str) -> RegisterName:
    return RegisterName(family(register), scope).plainly


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
        campaign = register.scope.removesuffix(register.purpose)
        register = register._replace(scope=f"{campaign}{purpose_of(register.purpose, known)}")
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
        raise BadList(
            f"{masked(options.file.name)}: no row counts ({outcomes}); nothing was published", [outcomes]
        )
    if not reading.lines:
        raise BadList(f"{masked(options.file.name)}: the list is empty; nothing was published")
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


def plan_of(options: ImportOptions, reading: ParsedList, replay: Replay, now: datetime) -> ImportPlan:
    """The register as it stands and what the list changes in it. Raises ConfigError, BadList."""
    held = replay.index.registers.get(options.register)
    kind = _kind(options, reading, held)
    _check_scope(options.register, kind)
    fresh = held is None or held.is_removed
    whole = options.change == "full" and reading.change == "full"
    said = _said_day(options, reading, now, whole=whole)
    known = replay.known(options.register)
    change = change_of(options.register, options.change)
    let_through: list[str] = []
    try:
        _check_register(options, reading, kind, fresh=fresh)
        opens = _opens(options, reading, held, whole=whole or fresh)
        aging = options.law.must_be_dated and (whole or fresh or opens or reading.day_by != "list")
        if aging or _consents_age(options, reading, change):
            said = day_of(
                reading, options.file.name, options.sha256, known.listed, said=options.effective_at, now=now
            )
        if options.law.must_be_dated and reading.change == "delta":
            with noted(let_through, allow=options.allow_change):
                check_joins(reading, options.register, held)
            said = options.effective_at or _oldest_area(reading, held, said)
        effective_at = moment_of(
            held, said, options.written or now, whole=whole, older=options.allow_older, opens=opens
        )
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
            consent_days=options.law.good_days,
            dated=options.law.dated_consents,
            older=options.allow_older,
            ending=ends,
        )
        _check_delta(options, base, delta, reading.lines, let_through)
        Capacity(options.max_numbers).take(replay.index.registers, base.name, delta.adds, delta.removes)
        delta, outside = _covering(options, base, delta, whole=whole or fresh)
    except UnstatedConsents:
        raise
    except (BadList, TooMany) as error:
        ours = error.figures if isinstance(error, BadList) else (str(error),)
        why = f"{masked(options.file.name)}, read as {reading.described}: {error}; nothing was published"
        raise BadList(why, [*ours, reading.described]) from error
    kept = len(base.numbers) - delta.unchanged if change != options.change else 0
    stated = reading.ends().ends
    after = (base.numbers | delta.adds) - delta.removes
    ending = int((stated > int(now.timestamp())).sum()) if ends else 0
    older = len(_in_force(reading, now)[0] - after) if reading.good_s else 0
    counts = (ending, kept, outside, older, 0 if ends else len(stated))
    return ImportPlan(base, delta, known, effective_at, *counts, tuple(let_through), undated)


def _undated(options: ImportOptions, reading: ParsedList, base: Register, ends: Ends, now: datetime) -> int:
    """How many consents of the list lack the day that the law asks for. Raises BadList if all do."""
    if not options.law.dated_consents or base.kind is not RegisterKind.ALLOW or options.change == "removes":
        return 0
    listed, stated = _in_force(reading, now)
    kept, _ = with_days(listed, stated, ends, options.law.dated_consents, now, are_dated=reading.dated)
    if listed and not kept:
        raise BadList(f"none of its {len(listed):,} consents has a day. {DATE_THEM}")
    return len(listed) - len(kept)


def _said_day(options: ImportOptions, reading: ParsedList, now: datetime, *, whole: bool) -> datetime | None:
    """The moment that the list speaks of, as far as operator, list or file name say. Raises BadList if it is to come."""
    said = options.effective_at or reading.effective_at
    if said is None and whole and reading.day_by != "import":
        said = day_named(options.file.name, now)
    if said is not None and said - now > FUTURE_MAX:
        raise BadList(f"{masked(options.file.name)}: {TO_COME}; say another with --effective-at")
    return said


def _check_register(options: ImportOptions, reading: ParsedList, kind: RegisterKind, *, fresh: bool) -> None:
    """Raises BadList for a list that its register cannot be meant for."""
    if fresh and not options.register_unknown:
        check_name(options.register, options.known)
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
    options: ImportOptions, base: Register, delta: Delta, lines: int, let_through: list[str]
) -> None:
    """Raises BadList for an odd change, unless the options let it through; then it is noted."""
    with noted(let_through, allow=options.allow_change):
        check_change(base, delta, options.change, options.max_change, options.max_added, lines)
    with noted(let_through, allow=options.allow_change):
        check_country(
            base, delta, options.max_change, () if delta.hashed or base.hashed else options.law.codes
        )


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
