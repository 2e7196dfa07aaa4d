"""`lists import`: steps 1 to 3 of a delta's life for one file, with the figures that a person wants at the end."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.index import Index, Register
from stream_scrub.lists import diff
from stream_scrub.lists.diff import Delta
from stream_scrub.lists.formats import BadList, Reading, open_list, read_plain
from stream_scrub.lists.formats.unpack import digest
from stream_scrub.lists.publish import Published, publish
from stream_scrub.lists.wire import Source, utc_seconds
from stream_scrub.model import RegisterKind
from stream_scrub.numbering import REGIONS
from stream_scrub.run import wiring

Change = Literal["full", "adds", "removes"]
_REGISTER = r"[a-z0-9][a-z0-9-]*(@[a-z0-9][a-z0-9._-]*)?"
_CHANGES = {"full": diff.full, "adds": diff.adding, "removes": diff.removing}
_FUTURE_MAX = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Order:
    """What to import, as whom. `kind` None: as the register is, `deny` at its first import."""

    file: Path
    register: str
    change: Change
    kind: RegisterKind | None
    effective_at: datetime
    region: str
    column: str
    max_bad: float
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What an import did, or with `dry_run` would do. `position` is None when nothing was published."""

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

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def effective(text: str, now: datetime) -> datetime:
    """`--effective-at`: a day or a moment, UTC where it names no zone; now by default. Raises ConfigError."""
    if not text:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            [f"--effective-at: {text!r} is neither a day (2026-11-24) nor a moment (2026-11-24T06:00Z)"]
        ) from error
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if moment - now > _FUTURE_MAX:
        raise ConfigError(
            ["--effective-at: the list would speak of a day to come, and so look fresh for too long"]
        )
    return moment


def run(
    order: Order, settings: Settings, log: FilteringBoundLogger, stage: Callable[[str, int, int], None]
) -> Effect:
    """Read, guard, diff, publish. `stage(what, done, of)` is told how far it is.

    Raises BadList, ConfigError, Corrupt, Unavailable, Migrated, Uncertain, Refused; then nothing was published.
    """
    started = time.monotonic()
    reading = _read(order, stage)
    _guard(order, reading)
    source = Source(order.file.name, digest(order.file))
    if order.dry_run:
        change = _change(order, reading, wiring.read_index(settings, log))
        return _effect(order, reading, change, None, started)
    stage("opening the log", 0, 0)
    writer = wiring.log_writer(
        settings, order.register, log
    )  # from here on there is no other publisher of it
    try:
        stage("reading the log", 0, 0)
        change = _change(order, reading, wiring.read_index(settings, log))
        stage("publishing", 0, 0)
        published = publish(writer, *change, order.effective_at, source)
    finally:
        writer.close()
    return _effect(order, reading, change, published, started)


def _read(order: Order, stage: Callable[[str, int, int], None]) -> Reading:
    if re.fullmatch(_REGISTER, order.register) is None:
        raise ConfigError(
            [
                f"--register: {order.register!r} is no register's name: small letters, digits and hyphens, as in us-dnc or internal@acme"
            ]
        )
    if order.region not in REGIONS:
        raise ConfigError(
            [f"--region: {order.region!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
        )
    size = order.file.stat().st_size if order.file.is_file() else 0
    with open_list(order.file, lambda done: stage("reading the list", done, size)) as (text, packing):
        reading = read_plain(text, order.region, order.column)
    reading.described = f"{packing}, {reading.described}"
    return reading


def _guard(order: Order, reading: Reading) -> None:
    """A list that is largely not one is the wrong file, or the wrong column, or the wrong region."""
    if not reading.lines:
        raise BadList(f"{order.file.name}: no line holds anything; nothing was published")
    if reading.refused_share > order.max_bad:
        lines = ", ".join(map(str, reading.first_refused)) + (
            " ..." if reading.refused > len(reading.first_refused) else ""
        )
        raise BadList(
            f"{order.file.name}, read as {reading.described}: {reading.refused} of {reading.lines} lines"
            f" ({reading.refused_share:.1%}) hold no valid number of region {order.region}, more than --max-bad"
            f" {order.max_bad:.1%}; nothing was published. Lines: {lines}"
        )


def _change(order: Order, reading: Reading, index: Index) -> tuple[Register, Delta]:
    """The register as it stands and what the list changes in it."""
    held = index.registers.get(order.register)
    kind = order.kind or (held.kind if held is not None else RegisterKind.DENY)
    if held is not None and held.kind is not kind:
        raise ConfigError(
            [f"--kind: register {order.register} is of kind {held.kind} since its first import"]
        )
    base = held or Register.empty(order.register, kind, order.effective_at)
    return base, _CHANGES[order.change](base.numbers, reading.bitmap())


def _effect(
    order: Order,
    reading: Reading,
    change: tuple[Register, Delta],
    published: Published | None,
    started: float,
) -> Effect:
    base, delta = change
    distinct = (
        len(delta.adds) + delta.unchanged
        if order.change != "removes"
        else len(delta.removes) + delta.unchanged
    )
    return Effect(
        register=order.register,
        kind=base.kind,
        added=len(delta.adds),
        removed=len(delta.removes),
        unchanged=delta.unchanged,
        refused=reading.refused,
        refused_lines=reading.first_refused,
        duplicates=len(reading.numbers) - distinct,
        count=len(base.numbers) + len(delta.adds) - len(delta.removes),
        effective_at=utc_seconds(order.effective_at),
        position=None if published is None else published.position,
        read_as=reading.described,
        took_s=round(time.monotonic() - started, 3),
    )
