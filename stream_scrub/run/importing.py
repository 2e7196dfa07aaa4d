"""`lists import`: steps 1 to 3 of a delta's life for one file, with the figures that a person wants at the end."""

import io
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, Migrated, TooMany
from stream_scrub.index import Register
from stream_scrub.lists.diff import Delta
from stream_scrub.lists.formats import FORMATS, BadList, Options, Reading, open_list
from stream_scrub.lists.formats.choose import AUTO, read_list
from stream_scrub.lists.formats.unpack import digest_of
from stream_scrub.lists.guard import change_of, check_change, moment_of
from stream_scrub.lists.listed import Change, check, delta_of, kind_of
from stream_scrub.lists.orders import family
from stream_scrub.lists.publish import NeedsTime, Published, publish
from stream_scrub.lists.replay import Known, Replay
from stream_scrub.lists.requests import OWN
from stream_scrub.lists.room import Room
from stream_scrub.lists.wire import Source, utc_seconds
from stream_scrub.model import RegisterKind
from stream_scrub.numbering import REGIONS
from stream_scrub.redaction import names_a_number
from stream_scrub.run import archiving, mending, ownership, preflight, wiring
from stream_scrub.run.folder import speakable
from stream_scrub.run.foresee import SAMPLE, Foreseen, foresee

_REGISTER = r"[a-z0-9][a-z0-9-]*(@[a-z0-9][a-z0-9._-]*)?"
_FUTURE_MAX = timedelta(days=1)
_TO_COME = "the list would speak of a day to come, and so look fresh for too long"


@dataclass(frozen=True, slots=True)
class Order:
    """What to import, as whom. `kind` None: as the register is, at its first import as the list means it, else `deny`.
    `effective_at` None: what the list says, else now. `format` and `columns` are as `Options` and `read_list` take them.
    `max_change` is the largest share of its register that a full list may change, `max_added` what a first list and
    numbers to add may add besides, `max_numbers` what all registers may hold together; with `allow_older` it may be from
    before the register's own moment. `written` is when the file was, the moment of a full list that says none.
    `sample` is how many prospects a dry run judges.
    """

    file: Path
    register: str
    change: Change
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
    written: datetime | None = None
    sample: int = SAMPLE


@dataclass(frozen=True, slots=True)
class Effect:
    """What an import did, or with `dry_run` would do. `position` is None when nothing was published; `refused_in` names
    the file of each refused line in a zip of several, and `ending` counts the listed numbers that will end. `kept` are numbers that a full list of `internal` lacks, and
    that stay. A dry run says why the list `would_be_refused`, and what is `foreseen`.
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
    would_be_refused: str = ""
    foreseen: Foreseen | None = None

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


class Plan(NamedTuple):
    """What an import would do to the register as it stands, and what its publisher must know."""

    base: Register
    delta: Delta
    known: Known
    effective_at: datetime
    ending: int
    kept: int


def guarded(order: Order, settings: Settings, *, any_change: bool) -> Order:
    """The order with the configured bounds on what it may change; `any_change`: all that there is room for."""
    lists = settings.lists
    return replace(
        order,
        max_change=math.inf if any_change else lists.change_allowed(order.register),
        max_added=lists.max_added,
        max_numbers=lists.max_numbers,
    )


def effective(text: str, now: datetime) -> datetime | None:
    """`--effective-at`: a day or a moment, UTC where it names no zone; None when it was not said. Raises ConfigError."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            [f"--effective-at: {text!r} is neither a day (2026-11-24) nor a moment (2026-11-24T06:00Z)"]
        ) from error
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment - now > _FUTURE_MAX:
        raise ConfigError([f"--effective-at: {_TO_COME}"])
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
    """See that the rights and the log are there. Raises Refused, Unavailable."""
    with wiring.topics(settings, log) as there:
        preflight.need(there, settings, "import")
        preflight.need_log(there, settings)


def run(
    order: Order,
    settings: Settings,
    log: FilteringBoundLogger,
    stage: Callable[[str, int, int], None],
    first: Callable[[Settings, FilteringBoundLogger], None] = look,
) -> Effect:
    """Read, guard, diff, publish. `stage(what, done, of)` is told how far it is; `first` looks at the brokers before they
    are relied upon.

    Raises BadList, ConfigError, Corrupt, Unavailable, Migrated, Uncertain, Refused; then nothing was published.
    """
    started = time.monotonic()
    now = datetime.now(UTC)
    reading, source = _read_once(order, now, stage)
    check_lines(order, reading)
    if order.dry_run:
        return _dry_run(order, settings, log, reading, started)
    stage("opening the log", 0, 0)
    first(settings, log)
    ownership.leave_to_daemon(settings, order.register, log)
    kinds, replay, nbytes = kinds_of(settings), Replay(keep_ends=True), 0
    while True:
        # From here on there is no other publisher of it; and of what came in before, nothing is hidden.
        writer = wiring.log_writer(settings, order.register, log, nbytes=nbytes)
        try:
            stage("reading the log", 0, 0)
            replay = wiring.replayed(settings, log, keep_ends=True, before=replay)
            plan = plan_of(order, reading, replay, now, kinds)
            mending.tell_set_aside(log, order.register, plan.known.unsealed)
            stage("publishing", 0, 0)
            with suppress(Migrated):  # somebody else puts them there just now
                archiving.keep_rules(settings, log, replay)
            published = publish(
                writer,
                plan.base,
                plan.delta,
                plan.effective_at,
                source,
                known=plan.known,
                full_every=settings.lists.full_every,
            )
        except NeedsTime as error:  # how large the delta is, only a register that was read can say
            nbytes = error.nbytes
            del plan  # as large as the list, and made anew
        else:
            return effect_of(reading, plan, published, started)
        finally:
            writer.close()


def _dry_run(
    order: Order, settings: Settings, log: FilteringBoundLogger, reading: Reading, started: float
) -> Effect:
    replay = wiring.replayed(settings, log, keep_ends=True)
    now = datetime.now(UTC)
    kinds = kinds_of(settings)
    plan = plan_of(
        replace(order, max_change=math.inf, max_numbers=math.inf, allow_older=True),
        reading,
        replay,
        now,
        kinds,
    )
    why = ""
    try:
        plan_of(order, reading, replay, now, kinds)
    except BadList as error:
        why = str(error)
    foreseen = foresee(settings, log, replay.index, plan.base, plan.delta, order.sample)
    effect = effect_of(reading, plan, None, started)
    return replace(effect, would_be_refused=why, foreseen=foreseen)


def options_of(order: Order, now: datetime) -> Options:
    """What a format is told. Raises ConfigError when the order cannot be of any list."""
    if re.fullmatch(_REGISTER, order.register) is None:
        raise ConfigError(
            [
                f"--register: {order.register!r} is no register's name: small letters, digits and hyphens, as in us-dnc or internal@acme"
            ]
        )
    if names_a_number(order.register):
        raise ConfigError(
            [
                "--register: the name looks like a phone number: choose another, since names are shown everywhere"
            ]
        )
    if order.region not in REGIONS:
        raise ConfigError(
            [f"--region: {order.region!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
        )
    return Options(order.region, now, order.column, order.columns, order.max_numbers)


def read(order: Order, now: datetime, stage: Callable[[str, int, int], None], opened: io.FileIO) -> Reading:
    """Step 1: the list's numbers, from the file that is open. Raises ConfigError, BadList."""
    options = options_of(order, now)
    size = os.fstat(opened.fileno()).st_size
    with open_list(order.file, lambda done: stage("reading the list", done, size), opened) as packed:
        return read_list(FORMATS, packed, options, order.format)


def _opened(file: Path) -> io.FileIO:
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise BadList(f"{file}: {error.strerror or error}") from error


def _read_once(order: Order, now: datetime, stage: Callable[[str, int, int], None]) -> tuple[Reading, Source]:
    """The list, and where it came from: one file, opened once. Raises as `read`, and BadList when somebody wrote into
    it meanwhile: what is sealed would not be what was published.
    """
    with _opened(order.file) as file:
        before = os.fstat(file.fileno())
        reading = read(order, now, stage, io.FileIO(os.dup(file.fileno())))
        file.seek(0)
        source = Source(speakable(order.file.name), digest_of(file))
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadList(f"{order.file.name}: it was written to while it was read; nothing was published")
    return reading, source


def check_lines(order: Order, reading: Reading) -> None:
    """A list that is largely not one is the wrong file, or the wrong column, or the wrong region."""
    if not reading.lines:
        raise BadList(f"{order.file.name}: no line holds anything; nothing was published")
    if reading.refused_share > order.max_bad:
        raise BadList(
            f"{order.file.name}, read as {reading.described}: {reading.refused} of {reading.lines} lines"
            f" ({reading.refused_share:.1%}) hold no valid number of region {order.region}, more than --max-bad"
            f" {order.max_bad:.1%}; nothing was published. Lines: {reading.refused_places()}"
        )


def kinds_of(settings: Settings) -> Mapping[str, RegisterKind]:
    """Of what kind each register must be, by its name without scope, as far as the rules say."""
    return {**wiring.rulebook(settings).kinds, **OWN}


def plan_of(
    order: Order, reading: Reading, replay: Replay, now: datetime, kinds: Mapping[str, RegisterKind]
) -> Plan:
    """The register as it stands and what the list changes in it. `kinds` as `kinds_of`. Raises ConfigError, BadList."""
    held = replay.index.registers.get(order.register)
    kind = _kind(order, reading, held, kinds.get(family(order.register)))
    said = order.effective_at or reading.effective_at
    if said is not None and said - now > _FUTURE_MAX:
        raise BadList(f"{order.file.name}: {_TO_COME}; say another with --effective-at")
    known = replay.known(order.register)
    change = change_of(order.register, order.change)
    whole = order.change == "full" and reading.change == "full"
    try:
        effective_at = moment_of(held, said, order.written or now, whole=whole, older=order.allow_older)
        base = held or Register.empty(order.register, kind, effective_at)
        check(reading, order.change, base, order.kind)
        delta = delta_of(reading, change, base, known.ends, now)
        check_change(base, delta, order.change, order.max_change, order.max_added)
        Room(order.max_numbers).take(replay.index.registers, base.name, delta.adds, delta.removes)
    except (BadList, TooMany) as error:
        raise BadList(
            f"{order.file.name}, read as {reading.described}: {error}; nothing was published"
        ) from error
    kept = len(base.numbers) - delta.unchanged if change != order.change else 0
    ending = int((reading.ends().ends > int(now.timestamp())).sum())
    return Plan(base, delta, known, effective_at, ending, kept)


def _kind(order: Order, reading: Reading, held: Register | None, ruled: RegisterKind | None) -> RegisterKind:
    """The register's kind, which a list of another kind does not change. Raises ConfigError."""
    kind = kind_of(reading, order.kind, held, ruled)
    if order.kind is not None and kind is not order.kind:
        raise ConfigError([f"--kind: register {order.register} is of kind {kind} since its first import"])
    if held is None and ruled is not None and kind is not ruled:
        why = f"the rules need {order.register} as a register of kind {ruled}, and take one of kind {kind} for missing"
        raise ConfigError([f"--kind: {why}: name another register, or leave --kind out"])
    return kind


def effect_of(reading: Reading, plan: Plan, published: Published | None, started: float) -> Effect:
    """What a plan did or, where nothing is `published`, would do."""
    base, delta = plan.base, plan.delta
    return Effect(
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
    )
