"""A list that was read against the register that it is for: what it would change, or why it is refused. Pure."""

import io
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from stream_scrub.errors import ConfigError, TooMany
from stream_scrub.index import Register
from stream_scrub.lists.capacity import Capacity
from stream_scrub.lists.deltas import Delta
from stream_scrub.lists.formats import FORMATS, BadList, ListOptions, ParsedList, open_list
from stream_scrub.lists.intake.consents import ConsentDays
from stream_scrub.lists.intake.import_guards import change_of, check_change, moment_of
from stream_scrub.lists.intake.list_areas import AreaShape, declared
from stream_scrub.lists.intake.list_areas import check as check_areas
from stream_scrub.lists.intake.list_day import day_of
from stream_scrub.lists.intake.list_to_delta import ImportMode, check, delta_of, kind_of
from stream_scrub.lists.log.replay import RegisterView, Replay
from stream_scrub.lists.parsing.detect_format import AUTO, read_list
from stream_scrub.model import RegisterKind, RegisterName, family
from stream_scrub.numbering import REGIONS
from stream_scrub.rules.purposes import Vocabulary, purpose_of

FUTURE_MAX = timedelta(days=1)
TO_COME = "the list would speak of a day to come, and so look fresh for too long"


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What to import, as whom. `kind` None: as the register is, at its first import as the list means it, else `deny`.
    `effective_at` None: what the list says, else now. `format` and `columns` are as `ListOptions` and `read_list` take them.
    `max_change` is the largest share of its register that a full list may change, `max_added` what a first list and
    numbers to add may add besides, `max_numbers` what all registers may hold together; with `allow_older` it may be from
    before the register's own moment. Where it is `aging`, the register may grow too old by the rules, and a full list must
    say of which day it is (`list_day.py`); `sha256` is the list's. `written` is when the file was, the moment of a full list that says none.
    `areas` are those that were said to be bought, and `shape` how the register's areas are named, if it is handed out so;
    `consent_days` says how long consents of it last by law.
    `sample` is how many prospects a dry run judges.
    """

    file: Path
    register: str
    change: ImportMode
    kind: RegisterKind | None
    effective_at: datetime | None
    region: str
    column: str
    max_bad: float
    dry_run: bool
    format: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    max_change: float = math.inf
    max_added: float = math.inf
    max_numbers: float = math.inf
    allow_older: bool = False
    aging: bool = False
    sha256: str = ""
    areas: tuple[str, ...] = ()
    shape: AreaShape | None = None
    consent_days: ConsentDays = ()
    written: datetime | None = None
    sample: int = 10_000


class ImportPlan(NamedTuple):
    """What an import would do to the register as it stands, and what its publisher must know."""

    base: Register
    delta: Delta
    known: RegisterView
    effective_at: datetime
    ending: int
    kept: int
    outside: int = 0


def named(text: str, known: Vocabulary = MappingProxyType({})) -> str:
    """The name of the register that `--register` means, however its campaign is spelt, and in whatever known word its
    purpose. Raises ConfigError."""
    register = RegisterName.read(text)
    if register is not None and register.purpose:
        campaign = register.scope.removesuffix(register.purpose)
        register = register._replace(scope=f"{campaign}{purpose_of(register.purpose, known)}")
    if register is None:
        raise ConfigError(
            [
                f"--register: {text!r} is no register's name: small letters, digits and hyphens, as in us-dnc or internal@acme"
            ]
        )
    if register.looks_like_number:
        raise ConfigError(
            [
                "--register: the name looks like a phone number: choose another, since names are shown everywhere"
            ]
        )
    return str(register)


def options_of(order: ImportOrder, now: datetime) -> ListOptions:
    """What a format needs to know. Raises ConfigError when the order is wrong whatever the list is."""
    named(order.register)
    if order.region not in REGIONS:
        raise ConfigError(
            [f"--region: {order.region!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
        )
    return ListOptions(order.region, now, order.column, order.columns, order.max_numbers, order.effective_at)


def read(
    order: ImportOrder, now: datetime, stage: Callable[[str, int, int], None], opened: io.FileIO
) -> ParsedList:
    """Step 1: the list's numbers, from the file that is open. Raises ConfigError, BadList."""
    options = options_of(order, now)
    size = os.fstat(opened.fileno()).st_size
    with open_list(order.file, lambda done: stage("reading the list", done, size), opened) as packed:
        return read_list(FORMATS, packed, options, order.format)


def check_lines(order: ImportOrder, reading: ParsedList) -> None:
    """A list that is largely not one is the wrong file, or the wrong column, or the wrong region."""
    if not reading.lines:
        raise BadList(f"{order.file.name}: no line holds anything; nothing was published")
    if reading.refused_share > order.max_bad:
        raise BadList(
            f"{order.file.name}, read as {reading.described}: {reading.refused} of {reading.lines} lines"
            f" ({reading.refused_share:.1%}) hold no valid number of region {order.region}, more than --max-bad"
            f" {order.max_bad:.1%}; nothing was published. Lines: {reading.refused_places()}"
        )


def plan_of(
    order: ImportOrder, reading: ParsedList, replay: Replay, now: datetime, kinds: Mapping[str, RegisterKind]
) -> ImportPlan:
    """The register as it stands and what the list changes in it. `kinds` as `kinds_of`. Raises ConfigError, BadList."""
    held = replay.index.registers.get(order.register)
    kind = _kind(order, reading, held, kinds.get(family(order.register)))
    if kind is RegisterKind.DENY and (name := RegisterName.split(order.register)).purpose:
        raise ConfigError(
            [
                f"--register: only consents are for a purpose, and who opposes does so for all: {name.base}@{name.campaign}"
            ]
        )
    said = order.effective_at or reading.effective_at
    if said is not None and said - now > FUTURE_MAX:
        raise BadList(f"{order.file.name}: {TO_COME}; say another with --effective-at")
    known = replay.known(order.register)
    change = change_of(order.register, order.change)
    whole = order.change == "full" and reading.change == "full"
    try:
        if order.aging and (whole or held is None or reading.day_by != "list"):
            said = day_of(
                reading, order.file.name, order.sha256, known.listed, said=order.effective_at, now=now
            )
        effective_at = moment_of(held, said, order.written or now, whole=whole, older=order.allow_older)
        base = held or Register.empty(order.register, kind, effective_at)
        check(reading, order.change, base, order.kind)
        delta = delta_of(
            reading, change, base, known.ends, now, given=effective_at, consent_days=order.consent_days
        )
        check_change(base, delta, order.change, order.max_change, order.max_added)
        Capacity(order.max_numbers).take(replay.index.registers, base.name, delta.adds, delta.removes)
        delta, outside = _covering(order, base, delta, whole=whole or held is None)
    except (BadList, TooMany) as error:
        raise BadList(
            f"{order.file.name}, read as {reading.described}: {error}; nothing was published"
        ) from error
    kept = len(base.numbers) - delta.unchanged if change != order.change else 0
    ending = int((reading.ends().ends > int(now.timestamp())).sum())
    return ImportPlan(base, delta, known, effective_at, ending, kept, outside)


def _covering(order: ImportOrder, base: Register, delta: Delta, *, whole: bool) -> tuple[Delta, int]:
    """The delta with the areas that the register covers after it, and how many of its numbers lie in none of them.
    Numbers that are added may come with areas of their own. Raises ConfigError, BadList."""
    areas = declared(order.areas, order.shape, base.name)
    if order.shape is None or (areas is None and not whole):
        return delta, 0
    if areas is not None and not whole:
        areas = tuple(sorted({*(base.areas or ()), *areas}))
    said = base.areas if areas is None else areas
    return replace(delta, areas=areas), check_areas(said, (base.numbers | delta.adds) - delta.removes)


def _kind(
    order: ImportOrder, reading: ParsedList, held: Register | None, ruled: RegisterKind | None
) -> RegisterKind:
    """The register's kind, which a list of another kind does not change. Raises ConfigError."""
    kind = kind_of(reading, order.kind, held, ruled)
    if order.kind is not None and kind is not order.kind:
        raise ConfigError([f"--kind: register {order.register} is of kind {kind} since its first import"])
    if held is None and ruled is not None and kind is not ruled:
        why = f"the rules need {order.register} as a register of kind {ruled}, and take one of kind {kind} for missing"
        raise ConfigError([f"--kind: {why}: name another register, or leave --kind out"])
    return kind
