"""What the page shows: plain values from the follower, the rules and the counters. Pure, but for the clock's moment that
it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from stream_scrub.errors import StaleIndex
from stream_scrub.index import Index
from stream_scrub.lists.log.follower import Follower
from stream_scrub.model import Reason, family
from stream_scrub.observability import health
from stream_scrub.observability.collect import strictest_ages
from stream_scrub.observability.logs import mask
from stream_scrub.observability.process_status import Cause
from stream_scrub.rules import Rulebook
from stream_scrub.server.questions import Questions
from stream_scrub.server.watch.log_tail import SealedDelta
from stream_scrub.timestamps import utc_minutes, utc_seconds

_DAY_S = 86_400.0
# Who a delta is by, where its seal's reason is not that of a list.
_BY = {"requests": "requests on", "ended": "numbers that ended:", "restated": "stated anew, nothing changed:"}
_SOON = 0.8  # of its age: time to fetch a new list


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """One register. `used` is the share of the age that its list may have, None where none is set."""

    name: str
    kind: str
    count: int
    day: str
    age_days: float
    used: float | None
    next_end: str
    source: str
    state: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One country's rule of today."""

    country: str
    rules: str
    start: str
    source: str
    says: Sequence[str]
    uncertain: Sequence[str]
    following: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page."""

    safe: bool
    since: str
    cause: Cause | None
    position: int
    lag_s: float | None
    registers: Sequence[RegisterRow]
    unusable: Sequence[Mapping[str, Any]]
    checks: Sequence[tuple[str, str, int]]
    total: int
    at: str


class DeltaRow(NamedTuple):
    """One delta, in words."""

    when: str
    register: str
    adds: str
    removes: str
    share: str
    numbers: str
    by: str
    position: int


class Safety:
    """Whether it is safe to dial, and since when as far as this server knows."""

    def __init__(self, follower: Follower, lag_max_s: float) -> None:
        self._follower = follower
        self._lag_max_s = lag_max_s
        self._cause: str | None = ""
        self._since = datetime.now(UTC)

    def look(self, now: datetime) -> tuple[StaleIndex | None, datetime]:
        """Why it is not safe now (None: it is), and since when."""
        found = None
        try:
            self._follower.usable(self._lag_max_s)
        except StaleIndex as stale:
            found = stale
        cause = None if found is None else found.cause
        if cause != self._cause:
            self._cause, self._since = cause, now
        return found, self._since


def overview(
    safety: Safety,
    follower: Follower,
    rulebook: Rulebook,
    questions: Questions,
    checks: Mapping[Reason, int],
    now: datetime,
) -> Overview:
    """The page's values at one moment."""
    stale, since = safety.look(now)
    index = follower.index
    told = msgspec.to_builtins(questions.registers(index, rulebook, now))
    return Overview(
        safe=stale is None,
        since=utc_minutes(since),
        cause=None if stale is None else health.cause(stale.cause, str(stale)),
        position=index.position,
        lag_s=follower.lag_s,
        registers=_registers(index, rulebook, told["unusable"], now),
        unusable=told["unusable"],
        checks=[(str(r.verdict), str(r), checks[r]) for r in Reason if checks.get(r)],
        total=sum(checks.values()),
        at=utc_seconds(now),
    )


def rule_rows(rulebook: Rulebook, questions: Questions, now: datetime) -> list[RuleRow]:
    """Every country's rule of today. It changes once a day."""
    rows = []
    for code, country in sorted(rulebook.countries.items()):
        day = rulebook.day(country.regions[0], now) or now.date()
        told = msgspec.to_builtins(questions.rule(country, day))
        rule, following = told["rule"], told["next"]
        rows.append(
            RuleRow(
                country=code,
                rules="" if rule is None else rule["rules"],
                start="" if rule is None else rule["from"],
                source="" if rule is None else rule["source"],
                says=["Nobody is called."] if rule is None else rule["says"],
                uncertain=[] if rule is None else rule["uncertain"],
                following="" if following is None else f"from {following['from']}: {following['source']}",
            )
        )
    return rows


def delta_row(delta: SealedDelta) -> DeltaRow:
    """A delta for people."""
    return DeltaRow(
        when="" if delta.at is None else utc_minutes(delta.at),
        register=delta.register,
        adds=f"{delta.adds:,}",
        removes=f"{delta.removes:,}",
        share="first" if delta.share is None else f"{delta.share:.1%}",
        numbers=f"{delta.numbers:,}",
        by=f"{_BY.get(delta.reason, delta.reason)} {mask(delta.source)}",
        position=delta.position,
    )


def _registers(
    index: Index, rulebook: Rulebook, unusable: Sequence[Mapping[str, Any]], now: datetime
) -> list[RegisterRow]:
    ages = strictest_ages(rulebook, now)
    bad = {each["register"] for each in unusable}
    rows = []
    for name, each in sorted(index.registers.items()):
        age = (now - each.effective_at) / timedelta(seconds=1)
        most = ages.get(family(name))
        used = None if most is None else age / most
        state = "unusable" if family(name) in bad else "soon" if used is not None and used > _SOON else "well"
        rows.append(
            RegisterRow(
                name=name,
                kind=each.kind,
                count=len(each.numbers),
                day=utc_minutes(each.effective_at),
                age_days=round(age / _DAY_S, 1),
                used=used,
                next_end="" if each.next_end is None else utc_minutes(each.next_end),
                source=mask(each.source),
                state=state,
            )
        )
    return rows
