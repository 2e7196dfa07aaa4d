"""`lists mend`: sets parts that were never sealed aside, by an empty delta of their register that says what they
were.

Nothing is taken off the log. A follower sets such parts aside by itself when the next delta of their register comes;
this command is for a register whose next delta would come too late, since every worker holds until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import Refused
from stream_scrub.index import Register
from stream_scrub.lists import deltas
from stream_scrub.lists.audit import rules_on_log
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.encode import DeltaRecords, records_of, rules_records
from stream_scrub.lists.log.parts import Part
from stream_scrub.lists.log.replay import Replay
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import OWN, family
from stream_scrub.publisher import ownership
from stream_scrub.wiring import clients, preflight

REASON = "mended"


@dataclass(frozen=True, slots=True)
class Mended:
    """The parts of one register that were set aside: how many, from which offset to which, and the position of the delta
    that says so."""

    register: str
    parts: int
    first: int
    last: int
    position: int


@dataclass(frozen=True, slots=True)
class LogMended:
    """Everything that was set aside, register by register."""

    mended: list[Mended]


def run(settings: Settings, log: FilteringBoundLogger) -> list[Mended]:
    """Set aside every part at the log's end that was never sealed; returns what was set aside, register by register.

    Raises Corrupt, Unavailable, Migrated, Uncertain, Refused: also (a) when a register was never sealed at all, for
    then only its list can say what it holds, and (b) when a live publisher has it.
    """
    with clients.topics(settings, log) as there:
        preflight.need(there, settings, "import")
    waiting = dict(clients.replayed(settings, log, keep_ends=True).waiting)
    for name in sorted(waiting):
        ownership.leave_to_daemon(settings, name, log)
    return [made for name in sorted(waiting) if (made := _mend(settings, log, name)) is not None]


def _mend(settings: Settings, log: FilteringBoundLogger, name: str) -> Mended | None:
    writer = clients.log_writer(settings, name, log)  # from here on nobody else publishes it
    try:
        replay = clients.replayed(settings, log, keep_ends=True)
        parts = replay.waiting.get(name)
        if not parts:
            return None
        position = writer.publish(_records(settings, log, replay, name, source_of(parts)))
    finally:
        writer.close()
    return Mended(name, len(parts), parts[0].offset, parts[-1].offset, position)


def source_of(parts: Sequence[Part]) -> DeltaSource:
    """What was set aside, as the seal's source: the offsets of the parts, and the SHA-256 of their digests."""
    digests = "".join(wire.digests([part.value for part in parts]))
    place = f"{len(parts)} unsealed parts, log offsets {parts[0].offset} to {parts[-1].offset}"
    return DeltaSource(place, sha256(digests.encode()).hexdigest())


def _records(
    settings: Settings, log: FilteringBoundLogger, replay: Replay, name: str, source: DeltaSource
) -> DeltaRecords:
    """The records of an empty delta. The register's list keeps its date. Raises Refused."""
    known, every = replay.known(name), settings.lists.full_every
    if name == wire.RULES:
        with clients.reading(settings, log) as reader:
            rules = rules_on_log.read(reader, known, clients.deadline())
        return rules_records(rules, {}, datetime.now(UTC), source, known=known, full_every=every)[0]
    base = replay.index.registers.get(name)
    if base is None and family(name) in OWN:  # may be absent, and is empty then: it may as well be there
        base = Register.empty(name, OWN[family(name)], datetime.now(UTC))
    if base is None:
        raise Refused(
            f"register {name} was never sealed, and without its list nobody knows what it holds: import its list, which"
            " sets the parts aside"
        )
    delta = deltas.nothing(base.numbers, REASON)
    return records_of(base, delta, base.effective_at, source, known=known, full_every=every)[0]


def tell_set_aside(log: FilteringBoundLogger, register: str, offset: int | None) -> None:
    """Log that a delta takes the place of parts that were never sealed; does nothing where there are none."""
    if offset is not None:
        log.error("parts without their seal are set aside", register=register, offset=offset)
