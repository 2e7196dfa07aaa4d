"""`check`: the verdicts on a few numbers, by the very code that a worker runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.index import Index
from stream_scrub.numbering import REGIONS
from stream_scrub.rules import RELATIONS, Rulebook
from stream_scrub.scrub.facts import relation_spelt
from stream_scrub.wiring import index_sources, scrubbing


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """The numbers, and what a prospect would say about the call. `at` None means now."""

    numbers: tuple[str, ...]
    purpose: str | None
    contract: bool
    campaign: str | None
    region: str | None
    at: datetime | None
    channel: str | None = None
    who: str | None = None
    relation: str | None = None
    voice_kind: str | None = None
    residence: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedNumber:
    """One number as it was asked for, its stamp as bytes and decoded, and the legal source of the rule that
    decided."""

    asked: str
    stamp: bytes
    fields: dict[str, Any]
    source: str


def moment(on: str, option: str = "--on") -> datetime | None:
    """The moment for `--on`: noon UTC of that day, when it is that day nearly everywhere. None for an empty text.
    Raises ConfigError."""
    if not on:
        return None
    try:
        return datetime.strptime(on, "%Y-%m-%d").replace(hour=12, tzinfo=UTC)
    except ValueError as error:
        raise ConfigError([f"{option}: {on!r} is no day; write it as 2026-08-10"]) from error


def answer(question: CheckQuestion, settings: Settings, index: Index) -> list[CheckedNumber]:
    """One answer for each number, in order. Raises ConfigError for a region without a numbering plan, and
    StaleIndex for an index that holds no register yet."""
    if question.region is not None and question.region.upper() not in REGIONS:
        raise ConfigError(
            [f"--region: {question.region!r} is no region with a numbering plan (ISO 3166-1, as in FR)"]
        )
    index = index_sources.used(index)
    scrubber = scrubbing.scrubber(settings, header=True, hold=False)
    now = question.at or datetime.now(UTC)
    batch = scrubber.scrub([_prospect(number, question, settings) for number in question.numbers], index, now)
    answers = []
    for asked, stamp in zip(question.numbers, batch.stamps, strict=True):
        fields = msgspec.json.decode(stamp or b"{}")
        answers.append(CheckedNumber(asked, stamp or b"{}", fields, _source(fields, scrubber.rulebook)))
    return answers


def _prospect(number: str, question: CheckQuestion, settings: Settings) -> bytes:
    """The prospect with this number that a producer would send."""
    names = settings.prospect
    facts: list[tuple[str, Any]] = [
        (names.numbers[0], number),
        (names.region, question.region),
        (names.purpose, question.purpose),
        (names.contract, question.contract or None),
        (names.campaign, question.campaign),
        (names.channel, question.channel),
        (names.who, question.who),
        (names.relation, _relation(question.relation)),
        (names.voice_kind, question.voice_kind),
        (names.residence, question.residence),
    ]
    made: dict[str, Any] = {}
    for path, member in facts:
        if member is not None:
            _put(made, path.split("."), member)
    return msgspec.json.encode(made)


def _relation(said: str | None) -> dict[str, str] | None:
    """The member for `--relation`, as in "purchase:2026-01-31". Raises ConfigError."""
    if not said:
        return None
    member = relation_spelt(said)
    if member is None:
        known = " or ".join(RELATIONS)
        raise ConfigError(
            [f"--relation: {said!r} is no relation; write {known} and its day, as in purchase:2026-01-31"]
        )
    return member


def _put(into: dict[str, Any], path: Sequence[str], member: Any) -> None:
    for name in path[:-1]:
        into = into.setdefault(name, {})
    into[path[-1]] = member


def _source(fields: dict[str, Any], rulebook: Rulebook) -> str:
    """The source of the rule that the stamp names; empty if it names none."""
    rules = (rule for country in rulebook.countries.values() for rule in country.rules)
    return next((rule.source for rule in rules if rule.digest == fields.get("rules")), "")
