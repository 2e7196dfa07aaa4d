"""`lists import`: steps 1 to 3 of a delta's life for one file, and the counts that a person wants at the end."""

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast, get_args

from stream_scrub.clock import utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Migrated, Refused
from stream_scrub.imports import plan_import
from stream_scrub.imports.consents import ConsentLaw
from stream_scrub.imports.drop_folder import speakable
from stream_scrub.imports.formats import BadList, ListOptions, ParsedList
from stream_scrub.imports.guards import LETS_THROUGH
from stream_scrub.imports.hashed_list import HashedAs, HashedOrder
from stream_scrub.imports.isolated_reader import IsolatedReader
from stream_scrub.imports.list_day import FUTURE_MAX, TO_COME
from stream_scrub.imports.parsing.parsed_list import ListColumn
from stream_scrub.imports.parsing.unpack import digest_of
from stream_scrub.imports.plan_import import (
    ImportMode,
    ImportOptions,
    ImportPlan,
    check_lines,
    plan_of,
    plans_of,
    read,
    reading_of,
)
from stream_scrub.imports.register_law import RegisterLaw
from stream_scrub.index import Index, Numbers, Register, as_numbers
from stream_scrub.index.deltas import Delta
from stream_scrub.kafka import clients
from stream_scrub.log.encode import NeedsTime, PublishedDelta, publish
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import INTERNAL, Logger, RegisterKind, family
from stream_scrub.numbering import line_of, region_of_user
from stream_scrub.ops import preflight, read_log
from stream_scrub.publisher import ownership, publish_rules
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.stamp import decode
from stream_scrub.texts import masked

_SAMPLE = 10_000  # prospects that a preview judges
_BATCH = 2_000  # of them at a time
# Looking up the regions of this many numbers takes some seconds. Of a longer list, this many evenly spread numbers
# stand for all.
_LOOKED_UP = 1_000_000


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """What an import would do: added and removed numbers by region, how many prospects were judged, and how many of their
    verdicts would change, by the reason before and the reason after."""

    added_in: dict[str, int]
    removed_in: dict[str, int]
    judged: int
    changed: dict[str, int]


@dataclass(frozen=True, slots=True)
class ImportEffect:
    """What an import did, or with `dry_run` would do."""

    register: str
    kind: str
    added: int
    removed: int
    unchanged: int
    refused: int
    refused_lines: list[int]
    duplicates: int
    count: int
    effective_at: str
    position: int | None  # None if nothing was published
    read_as: str
    took_s: float
    refused_in: list[str] = field(default_factory=list)  # the file of each refused line in a zip of several
    ending: int = 0  # listed numbers that will end
    kept: int = 0  # numbers of `internal` that a full list lacks, and that stay
    outside: int = 0  # numbers in no declared area
    older: int = 0  # clean answers of a wash that a newer answer replaces
    endless: int = 0  # numbers of `internal` whose ends in the list do not count
    notes: list[str] = field(default_factory=list)  # what an option let through; why it changes no verdict
    columns: list[ListColumn] = field(default_factory=list)  # of a CSV, with their roles
    outcomes: dict[str, int] = field(default_factory=dict)  # rows by what became of them
    reading: list[str] = field(default_factory=list)  # how the list was read, in lines for people
    opt_outs: "ImportEffect | None" = None  # what the people who said no did in the register of --no-into
    would_be_refused: str = ""  # of a dry run: why
    foreseen: ImportPreview | None = None  # of a dry run


def numbers_in(options: ImportOptions) -> Numbers:
    """The numbers of a list, ascending; nothing is published. Raises ConfigError, BadList."""
    with _opened(options.file) as file:
        reading = read(options, datetime.now(UTC), lambda *_: None, file)
    check_lines(options, reading)
    return as_numbers(reading.bitmap())


def guarded(options: ImportOptions, settings: Settings, *, any_change: bool) -> ImportOptions:
    """The order with the configured bounds on what it may change. With `any_change` only lists.max_numbers bounds it,
    and what is above the others is noted."""
    lists = settings.lists
    return replace(
        options,
        allow_change=any_change,
        max_change=lists.change_allowed(options.register),
        max_added=lists.max_added,
        max_numbers=lists.max_numbers,
    )


def effective(text: str, now: datetime) -> datetime | None:
    """`--effective-at`: a day or a moment, UTC where it names no zone; None when the text is empty. Raises
    ConfigError."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            [f"--effective-at: {text!r} is neither a day (2026-11-24) nor a moment (2026-11-24T06:00Z)"]
        ) from error
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment - now > FUTURE_MAX:
        raise ConfigError([f"--effective-at: {TO_COME}"])
    return moment


def columns(text: str) -> dict[str, str]:
    """`--columns area=1,number=2`: the place of each named content. Raises ConfigError."""
    named: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, place = (side.strip() for side in part.partition("="))
        if not (equals and name and place) or name in named:
            raise ConfigError(
                [f"--columns: {part!r}: write NAME=COLUMN once for each, as in area=1,number=2"]
            )
        named[name] = place
    return named


def hashed_order(hashed: str, known: str, region: str) -> HashedOrder | None:
    """`--hashed` and `--known`; None for a list of numbers. Raises ConfigError."""
    if not hashed:
        if known:
            raise ConfigError(["--known: it is only for a list of hashes: pass --hashed too"])
        return None
    if hashed not in get_args(HashedAs):
        raise ConfigError([f"--hashed: should be one of {', '.join(get_args(HashedAs))}"])
    return HashedOrder.of(cast("HashedAs", hashed), known, region_of_user(region))


def look(settings: Settings, log: Logger) -> None:
    """Check that the rights and the log exist. Raises Refused, Unavailable."""
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as there:
        preflight.need(there, brokers, "import")
        preflight.need_log(there, settings)


def run(
    options: ImportOptions,
    settings: Settings,
    log: Logger,
    stage: Callable[[str, int, int], None],
    first: Callable[[Settings, Logger], None] = look,
    reader: Callable[[io.FileIO, Path, ListOptions], ParsedList] | None = None,
    token: str = "",
) -> ImportEffect:
    """Read, guard, diff, publish. `stage` is called with the progress; `first` checks the brokers before anything is
    published. `reader` reads the list elsewhere than in this process. `token`: the name of the server's token whose owner
    imports the list.

    Raises BadList, ConfigError, Corrupt, Unavailable, Migrated, Uncertain, Refused; then nothing was published that counts.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    options = lawful(options, settings)
    reading, source = _read_once(options, now, stage, reader)
    check_lines(options, reading)
    source = DeltaSource(source.name, source.sha256, clients.made_by(settings, token))
    options = replace(options, sha256=source.sha256)
    parts = parts_of(options, reading, settings)
    if options.dry_run:
        replay = read_log.replayed(settings, log, keep_ends=True)
        plans = plans_of(parts, replay, now)
        effects = [
            _dry_run(reading, plan, replay, settings, log, started)
            for (_, reading), plan in zip(parts, plans, strict=True)
        ]
        return together(effects)
    stage("opening the log", 0, 0)
    first(settings, log)
    for each, _ in parts:
        ownership.leave_to_daemon(settings, each.register, log)
    if len(parts) > 1:  # nothing is published of a list one half of which is refused
        plans_of(parts, read_log.replayed(settings, log, keep_ends=True), now)
    effects, outcome = [], "nothing was published"
    for each, part in parts:
        planned = partial(plan_of, each, part, now=now, outcome=outcome)
        plan, published = publish_plan(each.register, planned, source, settings, log, stage)
        effects.append(effect_of(part, plan, published, started, settings))
        outcome = only_published(plan)
    return together(effects)


def only_published(opt_outs: ImportPlan) -> str:
    """The outcome of an import whose opt-outs were published, and whose list was refused then, as somebody else changed
    the registers in between."""
    return f"only its opt-outs were published, to {opt_outs.base.name}"


def parts_of(
    options: ImportOptions, reading: ParsedList, settings: Settings
) -> list[tuple[ImportOptions, ParsedList]]:
    """The lists that are published: first the people who said no, as opt-outs, if the order has a register for them,
    then the list itself. Raises ConfigError."""
    if not options.no_into:
        return [(options, reading)]
    if family(options.no_into) != INTERNAL:
        raise ConfigError([f"--no-into: opt-outs go into {INTERNAL}, or {INTERNAL}@CAMPAIGN"])
    if not reading.answered:
        raise ConfigError(
            ["--no-into: name the column that says yes or no, as in --columns phone=1,consent=2"]
        )
    opt_outs = ImportOptions(
        file=options.file,
        register=options.no_into,
        region=options.region,
        is_region_named=options.is_region_named,
        max_bad=options.max_bad,
        change="adds",
        dry_run=options.dry_run,
        max_change=options.max_change,
        max_added=options.max_added,
        max_numbers=options.max_numbers,
        allow_change=options.allow_change,
        sha256=options.sha256,
    )
    return [(lawful(opt_outs, settings), reading.refusals()), (options, reading)]


def together(effects: Sequence[ImportEffect]) -> ImportEffect:
    """The effect of an import that may have two parts, the opt-outs first."""
    if len(effects) == 1:
        return effects[0]
    opt_outs, own = effects
    return replace(own, opt_outs=opt_outs, would_be_refused=own.would_be_refused or opt_outs.would_be_refused)


def publish_plan(
    register: str,
    plan_from: Callable[[Replay], ImportPlan],
    source: DeltaSource,
    settings: Settings,
    log: Logger,
    stage: Callable[[str, int, int], None],
) -> tuple[ImportPlan, PublishedDelta]:
    """Fence every other publisher of a register, plan its delta against the log's end, and publish it. Raises as `run`."""
    replay, nbytes = Replay(keep_ends=True), 0
    while True:
        # From here on no one else publishes this register, and everything published before can be read.
        writer = clients.Brokers(settings, log).log_writer(register, nbytes=nbytes)
        try:
            stage("reading the log", 0, 0)
            replay = read_log.replayed(settings, log, keep_ends=True, before=replay)
            plan = plan_from(replay)
            stage("publishing", 0, 0)
            with suppress(Migrated):  # somebody else puts them there just now
                publish_rules.keep_rules(settings, log, replay)
            every = settings.lists.full_every
            published = publish(
                writer, plan.base, plan.delta, plan.effective_at, source, known=plan.known, full_every=every
            )
        except NeedsTime as error:  # only against the register as it was read can the delta's size be known
            nbytes = error.nbytes
            del plan  # it is as large as the list, and the loop makes it again
        else:
            if plan.known.span is None:
                ownership.need_counted(settings, log, plan.known.upto, published.position)
            return plan, published
        finally:
            writer.close()


def asked(
    settings: Settings, log: Logger, file: str, said: Mapping[str, str], dry_run: bool
) -> dict[str, object]:
    """An import as a form asks for it, with every guard of `lists import`, of a list that is read in a process of its own.
    What was said are `register`, `change`, `kind`, `effective_at`, `region`, `columns` (as `--columns`), `all_consented` and
    `no_into`; all but the first may be missing.

    Returns the effect as `lists import --json`. Raises as `run`.
    """
    change, kind = said.get("change", "full"), said.get("kind", "")
    if change not in get_args(ImportMode) or kind not in {"", *RegisterKind}:
        raise ConfigError(["the form names an unknown change or kind: reload the page"])
    options = ImportOptions(
        file=Path(file),
        register=named(said.get("register", ""), settings),
        change=cast("ImportMode", change),
        kind=RegisterKind(kind) if kind else None,
        effective_at=effective(said.get("effective_at", ""), datetime.now(UTC)),
        region=said.get("region", ""),
        columns=columns(said.get("columns", "")),
        all_consented=bool(said.get("all_consented")),
        no_into=named(said["no_into"], settings) if said.get("no_into") else "",
        is_region_named="region" in said,
        max_bad=settings.lists.max_bad,
        dry_run=dry_run,
    )
    reader = IsolatedReader(settings.lists.read_max_mb, settings.lists.read_max_s)
    options = guarded(options, settings, any_change=False)
    return asdict(
        run(options, settings, log, lambda *_: None, reader=reader.read, token=said.get("token", ""))
    )


def _dry_run(
    reading: ParsedList, plan: ImportPlan, replay: Replay, settings: Settings, log: Logger, started: float
) -> ImportEffect:
    why = "\n".join(each.shown for each in plan.objections)
    if not why and (mark := plan.known.log.mark) is not None:
        why = mark.why
    foreseen = preview(settings, log, replay.index, plan.base, plan.delta)
    effect = effect_of(reading, plan, None, started, settings)
    return replace(effect, would_be_refused=why, foreseen=foreseen)


def _opened(file: Path) -> io.FileIO:
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise BadList(f"{masked(str(file))}: {error.strerror or error}") from error


def _read_once(
    options: ImportOptions,
    now: datetime,
    stage: Callable[[str, int, int], None],
    reader: Callable[[io.FileIO, Path, ListOptions], ParsedList] | None,
) -> tuple[ParsedList, DeltaSource]:
    """The list and its source, from one file that is opened once. Raises as `read`, and BadList when the file was
    written to meanwhile: its digest would then not be that of the published list.
    """
    with _opened(options.file) as file:
        before = os.fstat(file.fileno())
        opened = io.FileIO(os.dup(file.fileno()))
        if reader is None:
            reading = read(options, now, stage, opened)
        else:
            reading = reader(opened, options.file, plan_import.list_options_of(options, now))
        file.seek(0)
        source = DeltaSource(speakable(options.file.name), digest_of(file))
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadList(
            f"{masked(options.file.name)}: it was written to while it was read; nothing was published"
        )
    return reading, source


def named(text: str, settings: Settings) -> str:
    """The register that `--register` means, in the words of the rules in use. Raises ConfigError."""
    return plan_import.named(text, ConsentLaw(scrubbing.law(settings)).known)


def lawful(options: ImportOptions, settings: Settings) -> ImportOptions:
    """As `plan_import.lawful`, by the rules in use now."""
    return plan_import.lawful(options, scrubbing.law(settings), settings, datetime.now(UTC))


def region_of(register: str, settings: Settings) -> str:
    """The region of national numbers in lists of the register, if nobody names another."""
    return lawful(ImportOptions(file=Path(), register=register, max_bad=1.0), settings).region


def effect_of(
    reading: ParsedList,
    plan: ImportPlan,
    published: PublishedDelta | None,
    started: float,
    settings: Settings,
) -> ImportEffect:
    """What a plan did or, where nothing is `published`, would do."""
    base, delta = plan.base, plan.delta
    book, now = scrubbing.law(settings), datetime.now(UTC)
    unasked = scrubbing.unasked(book, base.name, now)
    told = reading_of(reading, plan)
    notes = [f"{LETS_THROUGH} let through: {fact}" for fact in plan.let_through]
    country = RegisterLaw.of(book, base.name, now).country
    is_read_for_it = reading.assumed is not None and reading.assumed.region == country
    if is_read_for_it and country not in (
        settings.prospect.default_region,
        settings.lists.region_of(base.name),
    ):
        notes.append(f"national numbers are those of {country}: only its rules use {base.name}")
    return ImportEffect(
        register=base.name,
        kind=base.kind,
        added=len(delta.adds),
        removed=len(delta.removes),
        unchanged=delta.unchanged,
        refused=reading.refused,
        refused_lines=reading.first_refused,
        duplicates=reading.duplicates,
        count=len(base.numbers) + len(delta.adds) - len(delta.removes),
        effective_at=utc_seconds(plan.effective_at),
        position=None if published is None else published.position,
        read_as=reading.spoken,
        took_s=round(time.monotonic() - started, 3),
        refused_in=reading.refused_in,
        ending=plan.ending,
        kept=plan.kept,
        outside=plan.outside,
        older=plan.older,
        endless=plan.endless,
        notes=[*notes, unasked] if unasked else notes,
        columns=reading.columns,
        outcomes=told.outcomes,
        reading=told.lines,
    )


def preview(settings: Settings, log: Logger, index: Index, base: Register, delta: Delta) -> ImportPreview:
    """What `delta` on `base`, which is `index`'s or a new register, would do. The last prospects on their topic are judged
    by the Scrubber of a worker, by the index as it is and as it would be; nothing is written. Raises Unavailable."""
    numbers, filter_ = base.changed(delta.adds, delta.removes)
    now = datetime.now(UTC)
    changed_register = replace(
        base,
        numbers=numbers,
        seq=base.seq + 1,
        effective_at=max(base.effective_at, now),
        position=index.position + 1,
        filter=filter_,
        next_end=None,
        areas=base.areas if delta.areas is None else delta.areas,
        hashed=delta.hashed or base.hashed,
    )
    after = index.with_register(changed_register)
    values: list[bytes | None] = []
    with suppress(Refused):  # the topic may not be read
        values = clients.Brokers(settings, log).last_prospects(_SAMPLE)
    scrubber = scrubbing.scrubber(settings, header=True, hold=False)
    changed: Counter[str] = Counter()
    for at in range(0, len(values), _BATCH):
        changed += changes(scrubber, values[at : at + _BATCH], index, after, now)
    regions = hashes_of if delta.hashed or base.hashed else regions_of
    return ImportPreview(
        regions(as_numbers(delta.adds)),
        regions(as_numbers(delta.removes)),
        len(values),
        dict(changed.most_common()),
    )


def changes(
    scrubber: Scrubber, values: Sequence[bytes | None], before: Index, after: Index, now: datetime
) -> Counter[str]:
    """How many of these prospects' reasons differ between two indexes: "clear -> opposed" and so on."""
    # Of a prospect with several numbers the reasons of all, joined by +.
    pair = [
        ["+".join(each.reason for each in decode(stamp or b"").each) for stamp in stamps]
        for stamps in (scrubber.scrub(values, index, now).stamps for index in (before, after))
    ]
    return Counter(f"{was} -> {becomes}" for was, becomes in zip(*pair, strict=True) if was != becomes)


def hashes_of(numbers: Numbers) -> dict[str, int]:
    """As `regions_of` for hashes, of which nobody knows a region."""
    return {"hashed": len(numbers)} if len(numbers) else {}


def regions_of(numbers: Numbers) -> dict[str, int]:
    """How many of the numbers belong to each region, the largest first. For more than `_LOOKED_UP` numbers this is an
    estimate from a part of them."""
    step = max(1, -(-len(numbers) // _LOOKED_UP))
    looked_up = numbers[::step]
    lines = (line_of(number) for number in looked_up.tolist())
    counts = Counter("none" if line is None else line.region for line in lines)
    scale = len(numbers) / max(1, len(looked_up))
    return {region: round(count * scale) for region, count in counts.most_common()}
