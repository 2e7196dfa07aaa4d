"""Step 5 of a prospect's life: the verdict and its evidence as bytes, the same for every surface.

Everything in a stamp but the number is the same for one batch, plan and finding, so it is encoded once, as a template
with one `%d`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from stream_scrub.call import VOICE
from stream_scrub.clock import utc_minutes
from stream_scrub.model import Reason, Verdict, Why
from stream_scrub.numbering import e164
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decode import Members, Unreadable, read_strictly
from stream_scrub.scrub.hours import Clocks, joined
from stream_scrub.stamp import CallHours, NumberStamp, Stamp, encode


@dataclass(frozen=True, slots=True)
class Evidence:
    """What every stamp of one batch shares."""

    index: int
    at: str


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A finding with its stamp as templates."""

    reason: Reason
    allowed: bool
    splice: bytes  # replaces the closing brace of a value
    bare: bytes  # for a header
    finding: Finding
    until: date | None
    rules: str  # the digest of the rule that decided; empty for none
    residence: str = ""  # that of the rule of the country where the person lives, if it is another
    clocks: Clocks = ()  # of the hours that hold for the call

    @property
    def why(self) -> Why | None:
        """Why its number is an `invalid-number`."""
        return None if self.finding.fault is None else self.finding.fault.why


class Opened(NamedTuple):
    """What a stamp says about hours: nothing without any; `is_open` and `opens` in the answer to a check alone."""

    call: CallHours | None = None
    is_open: bool | None = None
    opens: str = ""


def single(
    finding: Finding,
    number: bool,
    rules: str,
    until: date | None,
    channel: str,
    evidence: Evidence,
    opened: Opened,
    residence: str = "",
) -> bytes:
    """The stamp of a prospect with one number, as a template for `% number` (or for `% ()` without one)."""
    stamp = Stamp(
        verdict=finding.reason.verdict,
        reason=finding.reason,
        why=None if finding.fault is None else finding.fault.why,
        member="" if finding.fault is None else finding.fault.member,
        schema="" if finding.fault is None else finding.fault.schema,
        channel=_default_if_equal(channel),
        number="\0" if number else None,
        registers=finding.registers,
        index=evidence.index,
        rules=rules,
        residence=residence,
        at_text=evidence.at,
        until=until,
        rests_until_text=_rests_until(finding),
        call=opened.call,
        callable_now=opened.is_open,
        next_text=opened.opens,
    )
    return encode(stamp).replace(b"%", b"%%").replace(b'"\\u0000"', b'"+%d"')


def unreadable(why: Mapping[str, Any], evidence: Evidence) -> bytes:
    """The stamp of a record that is unreadable whatever its value says. `why` are the members that explain it."""
    reason = Reason.UNREADABLE
    return encode(
        Stamp(
            verdict=reason.verdict,
            reason=reason,
            cause=why["cause"],
            origin=why.get("from", ""),
            timestamp=why.get("timestamp"),
            index=evidence.index,
            at_text=evidence.at,
        )
    )


def conclude(outcomes: Sequence[Outcome], strip: bool) -> tuple[Reason, date | None]:
    """The reason of a prospect with these numbers, and the last day of its verdict.

    Without `strip` every number must be allowed; with it one allowed number is enough.
    """
    allowed = [outcome for outcome in outcomes if outcome.allowed]
    blocked = [outcome.reason for outcome in outcomes if not outcome.allowed]
    if not allowed or (blocked and not strip):
        return (Reason.OPPOSED if Reason.OPPOSED in blocked else blocked[0]), None
    return allowed[0].reason, min((o.until for o in allowed if o.until is not None), default=None)


def several(
    judged: Sequence[tuple[int | None, Outcome]],
    strip: bool,
    channel: str,
    evidence: Evidence,
    opened: Callable[[Clocks, date | None], Opened],
) -> tuple[Reason, bytes]:
    """The reason and the stamp of a prospect with several numbers (None: not valid), in the prospect's order. With
    `strip`, `callable` names the allowed ones. A call may begin when each of the allowed ones may be called."""
    reason, until = conclude([outcome for _, outcome in judged], strip)
    is_allowed = reason.verdict is Verdict.ALLOWED
    hours = opened(joined(outcome.clocks for _, outcome in judged) if is_allowed else (), until)
    numbers = [
        NumberStamp(
            verdict=outcome.reason.verdict,
            reason=outcome.reason,
            why=None if outcome.finding.fault is None else outcome.finding.fault.why,
            number=None if number is None else e164(number),
            registers=outcome.finding.registers,
            rules=outcome.rules,
            residence=outcome.residence,
            until=outcome.until,
            rests_until_text=_rests_until(outcome.finding),
        )
        for number, outcome in judged
    ]
    is_stripped = strip and is_allowed
    stamp = Stamp(
        verdict=reason.verdict,
        reason=reason,
        channel=_default_if_equal(channel),
        numbers=numbers,
        callable=[each.number for each in numbers if each.allowed and each.number] if is_stripped else (),
        index=evidence.index,
        at_text=evidence.at,
        until=until,
        call=hours.call,
        callable_now=hours.is_open,
        next_text=hours.opens,
    )
    return reason, encode(stamp)


def _rests_until(finding: Finding) -> str:
    end = finding.rests_until
    return utc_minutes(datetime.fromtimestamp(end, UTC)) if end else ""


def _default_if_equal(channel: str) -> str:
    # Msgspec leaves a member out if it is the very object of its default.
    return VOICE if channel == VOICE else channel


def without_stamp(value: bytes | None, members: Members, header: bytes | None = None) -> bytes | None:
    """A producer's own bytes: the value of an emitted prospect without any stamp. What cannot be read has none, nor has a
    value whose stamp is in the `header`."""
    if value is None or header is not None:
        return value
    try:
        read = read_strictly(value, members)
    except Unreadable:
        return value
    return read.head + read.tail
