"""`lists import`: steps 1 to 3 of a delta's life for one file, and the counts that a person wants at the end."""

import io
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Migrated
from stream_scrub.index import Numbers, as_numbers
from stream_scrub.lists.formats import BadList, ListOptions, ParsedList
from stream_scrub.lists.intake import plan_import
from stream_scrub.lists.intake.consents import ConsentLaw
from stream_scrub.lists.intake.list_to_delta import ImportMode
from stream_scrub.lists.intake.plan_import import (
    FUTURE_MAX,
    TO_COME,
    ImportOrder,
    ImportPlan,
    check_lines,
    plan_of,
    read,
)
from stream_scrub.lists.log.encode import NeedsTime, PublishedDelta, publish
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.lists.parsing.unpack import digest_of
from stream_scrub.model import OWN, RegisterKind, family
from stream_scrub.publisher import mend_log, ownership, publish_rules
from stream_scrub.publisher.drop_folder import speakable
from stream_scrub.publisher.import_preview import ImportPreview, preview
from stream_scrub.publisher.isolated_reader import IsolatedReader
from stream_scrub.timestamps import utc_seconds
from stream_scrub.wiring import clients, preflight, scrubbing


@dataclass(frozen=True, slots=True)
class ImportEffect:
    """What an import did, or with `dry_run` would do. `position` is None when nothing was published; `refused_in` names
    the file of each refused line in a zip of several, and `ending` counts the listed numbers that will end. `kept` are numbers that a full list of `internal` lacks, and
    that stay; `outside` lie in no area that was declared. A dry run says why the list `would_be_refused`, and what is `foreseen`.
    """

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
    position: int | None
    read_as: str
    took_s: float
    refused_in: list[str] = field(default_factory=list)
    ending: int = 0
    kept: int = 0
    outside: int = 0
    would_be_refused: str = ""
    foreseen: ImportPreview | None = None

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def numbers_in(order: ImportOrder) -> Numbers:
    """The numbers of a list, ascending; nothing is published. Raises ConfigError, BadList."""
    with _opened(order.file) as file:
        reading = read(order, datetime.now(UTC), lambda *_: None, file)
    check_lines(order, reading)
    return as_numbers(reading.bitmap())


def guarded(order: ImportOrder, settings: Settings, *, any_change: bool) -> ImportOrder:
    """The order with the configured bounds on what it may change. With `any_change` only lists.max_added and
    lists.max_numbers bound it."""
    lists = settings.lists
    return replace(
        order,
        max_change=math.inf if any_change else lists.change_allowed(order.register),
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


def look(settings: Settings, log: FilteringBoundLogger) -> None:
    """Check that the rights and the log exist. Raises Refused, Unavailable."""
    with clients.topics(settings, log) as there:
        preflight.need(there, settings, "import")
        preflight.need_log(there, settings)


def run(
    order: ImportOrder,
    settings: Settings,
    log: FilteringBoundLogger,
    stage: Callable[[str, int, int], None],
    first: Callable[[Settings, FilteringBoundLogger], None] = look,
    reader: Callable[[io.FileIO, Path, ListOptions], ParsedList] | None = None,
) -> ImportEffect:
    """Read, guard, diff, publish. `stage` is called with the progress; `first` checks the brokers before anything is
    published. `reader` reads the list elsewhere than in this process.

    Raises BadList, ConfigError, Corrupt, Unavailable, Migrated, Uncertain, Refused; then nothing was published that counts.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    reading, source = _read_once(order, now, stage, reader)
    check_lines(order, reading)
    order = lawful(replace(order, sha256=source.sha256), settings)
    if order.dry_run:
        return _dry_run(order, settings, log, reading, started)
    stage("opening the log", 0, 0)
    first(settings, log)
    ownership.leave_to_daemon(settings, order.register, log)
    kinds, replay, nbytes = kinds_of(settings), Replay(keep_ends=True), 0
    while True:
        # From here on nobody else publishes this register, and everything published before can be read.
        writer = clients.log_writer(settings, order.register, log, nbytes=nbytes)
        try:
            stage("reading the log", 0, 0)
            replay = clients.replayed(settings, log, keep_ends=True, before=replay)
            plan = plan_of(order, reading, replay, now, kinds)
            mend_log.tell_set_aside(log, order.register, plan.known.unsealed)
            stage("publishing", 0, 0)
            with suppress(Migrated):  # somebody else puts them there just now
                publish_rules.keep_rules(settings, log, replay)
            published = publish(
                writer,
                plan.base,
                plan.delta,
                plan.effective_at,
                source,
                known=plan.known,
                full_every=settings.lists.full_every,
            )
        except NeedsTime as error:  # only against the register as it was read can the delta's size be known
            nbytes = error.nbytes
            del plan  # it is as large as the list, and the loop makes it anew
        else:
            if plan.known.span is None:
                ownership.need_counted(settings, log, plan.known.upto, published.position)
            return effect_of(reading, plan, published, started)
        finally:
            writer.close()


def asked(
    settings: Settings, log: FilteringBoundLogger, file: str, said: Mapping[str, str], dry_run: bool
) -> dict[str, object]:
    """An import as a form asks for it, with every guard of `lists import`, of a list that is read in a process of its own.
    What was said are `register`, `change`, `kind`, `effective_at` and `region`; all but the first may be missing.

    Returns the effect as `lists import --json`. Raises as `run`.
    """
    change, kind = said.get("change", "full"), said.get("kind", "")
    if change not in get_args(ImportMode) or kind not in {"", *RegisterKind}:
        raise ConfigError(["the form asks for what there is not: load the page anew"])
    order = ImportOrder(
        file=Path(file),
        register=named(said.get("register", ""), settings),
        change=cast("ImportMode", change),
        kind=RegisterKind(kind) if kind else None,
        effective_at=effective(said.get("effective_at", ""), datetime.now(UTC)),
        region=said.get("region", settings.prospect.default_region).upper(),
        column="",
        max_bad=settings.lists.max_bad,
        dry_run=dry_run,
    )
    reader = IsolatedReader(settings.lists.read_max_mb, settings.lists.read_max_s)
    order = guarded(order, settings, any_change=False)
    return run(order, settings, log, lambda *_: None, reader=reader.read).as_json()


def _dry_run(
    order: ImportOrder, settings: Settings, log: FilteringBoundLogger, reading: ParsedList, started: float
) -> ImportEffect:
    replay = clients.replayed(settings, log, keep_ends=True)
    now = datetime.now(UTC)
    kinds = kinds_of(settings)
    plan = plan_of(
        replace(
            order,
            max_change=math.inf,
            max_numbers=math.inf,
            allow_older=True,
            aging=False,
            areas=(),
            shape=None,
        ),
        reading,
        replay,
        now,
        kinds,
    )
    mark = plan.known.log.mark
    why = "" if mark is None else mark.why
    try:
        plan_of(order, reading, replay, now, kinds)
    except BadList as error:
        why = str(error)
    foreseen = preview(settings, log, replay.index, plan.base, plan.delta, order.sample)
    effect = effect_of(reading, plan, None, started)
    return replace(effect, would_be_refused=why, foreseen=foreseen)


def _opened(file: Path) -> io.FileIO:
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise BadList(f"{file}: {error.strerror or error}") from error


def _read_once(
    order: ImportOrder,
    now: datetime,
    stage: Callable[[str, int, int], None],
    reader: Callable[[io.FileIO, Path, ListOptions], ParsedList] | None,
) -> tuple[ParsedList, DeltaSource]:
    """The list and its source, from one file that is opened once. Raises as `read`, and BadList when the file was
    written to meanwhile: its digest would then not be that of the published list.
    """
    with _opened(order.file) as file:
        before = os.fstat(file.fileno())
        opened = io.FileIO(os.dup(file.fileno()))
        if reader is None:
            reading = read(order, now, stage, opened)
        else:
            reading = reader(opened, order.file, plan_import.options_of(order, now))
        file.seek(0)
        source = DeltaSource(speakable(order.file.name), digest_of(file))
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadList(f"{order.file.name}: it was written to while it was read; nothing was published")
    return reading, source


def kinds_of(settings: Settings) -> Mapping[str, RegisterKind]:
    """The kind that each register must have, by its name without scope, as far as the rules determine it."""
    return {**scrubbing.rulebook(settings).kinds, **OWN}


def named(text: str, settings: Settings) -> str:
    """The register that `--register` means, in the words of the rules in use. Raises ConfigError."""
    return plan_import.named(text, ConsentLaw(scrubbing.rulebook(settings)).known)


def lawful(order: ImportOrder, settings: Settings) -> ImportOrder:
    """The order with what the rules ask of its register: (a) that a full list says its day, since the register may grow
    too old, (b) that it says which areas it covers, since it is handed out by area, (c) that its consents end."""
    book, name = scrubbing.rulebook(settings), family(order.register)
    return replace(
        order,
        aging=name in book.aging,
        shape=scrubbing.area_shape(book, name),
        consent_days=scrubbing.consent_days(book, name),
    )


def effect_of(
    reading: ParsedList, plan: ImportPlan, published: PublishedDelta | None, started: float
) -> ImportEffect:
    """What a plan did or, where nothing is `published`, would do."""
    base, delta = plan.base, plan.delta
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
        read_as=reading.described,
        took_s=round(time.monotonic() - started, 3),
        refused_in=reading.refused_in,
        ending=plan.ending,
        kept=plan.kept,
        outside=plan.outside,
    )
