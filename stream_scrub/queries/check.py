"""`check`: verdicts on a few numbers, by the code that a worker runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stream_scrub.call import FACTS, Call
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.files.report.notes import on_purposes
from stream_scrub.index import Index
from stream_scrub.numbering import region_of_user
from stream_scrub.ops import read_log
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import Stamp, decode


@dataclass(frozen=True, slots=True)
class CheckedNumber:
    """One number as typed, its stamp, the source of the rule that decided, and what else it asks of a prospect."""

    typed: str
    stamp: Stamp
    source: str
    notes: Sequence[str] = ()


def noon(day: str, option: str) -> datetime:
    """Return noon UTC of the day, when it is that day nearly everywhere. Raises ConfigError."""
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(hour=12, tzinfo=UTC)
    except ValueError as error:
        raise ConfigError([f"{option}: {day!r} is not a date; write it as 2026-08-10"]) from error


def moment(on: str, option: str = "--on") -> datetime | None:
    """As `noon`; None for an empty text."""
    return noon(on, option) if on else None


def answer(
    numbers: Sequence[str],
    call: Call,
    region: str | None,
    at: datetime | None,
    settings: Settings,
    index: Index,
) -> list[CheckedNumber]:
    """Return one answer per number, in order. `at` None: now. Raises ConfigError (the region), StaleIndex."""
    if region is not None:
        region = region_of_user(region)
    index = read_log.used(index)
    scrubber = scrubbing.scrubber(settings, header=True, hold=False)
    now = at or datetime.now(UTC)
    prospects = [prospect_of(number, call, region, settings) for number in numbers]
    batch = scrubber.scrub(prospects, index, now, context=scrubber.context(index, now, asks_now=True))
    stamps = [decode(stamp or b"") for stamp in batch.stamps]
    facts, members = scrubber.facts_of, call.members()
    purposes = facts(*map(members.get, FACTS)).purposes
    answers = []
    for typed, stamp in zip(numbers, stamps, strict=True):
        rules = [rule for rule in scrubber.rulebook.rules if rule.digest in (stamp.rules, stamp.residence)]
        source = next((rule.source for rule in rules if rule.digest == stamp.rules), "")
        notes = [note.said() for note in on_purposes(purposes, rules)]
        answers.append(CheckedNumber(typed, stamp, source, notes))
    return answers


def prospect_of(number: str, call: Call, region: str | None, settings: Settings) -> bytes:
    """Encode the prospect as a producer would send it."""
    names = settings.prospect
    members = {names.numbers[0]: number, names.region: region}
    members |= {names.facts[fact]: member for fact, member in call.members().items()}
    prospect: dict[str, Any] = {}
    for path, member in members.items():
        if member is not None:
            _put(prospect, path.split("."), member)
    return msgspec.json.encode(prospect)


def _put(into: dict[str, Any], path: Sequence[str], member: Any) -> None:
    for name in path[:-1]:
        into = into.setdefault(name, {})
    into[path[-1]] = member
