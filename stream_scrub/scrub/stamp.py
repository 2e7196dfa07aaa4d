"""Step 5 of a prospect's life: the verdict and its evidence as bytes, the same for every surface.

A stamp is one JSON object (schemas/stamp.schema.json). Everything in it but the number is the same for one batch,
plan and finding, so it is made once, as a template with one `%d`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec

from stream_scrub.model import Reason, Verdict
from stream_scrub.numbering import e164
from stream_scrub.rules import VOICE
from stream_scrub.scrub.decide import Finding
from stream_scrub.scrub.decode import Members, Unreadable, read_strictly

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Evidence:
    """What every stamp of one batch shares."""

    index: int
    at: str


def single(
    finding: Finding,
    number: bool,
    rules: str,
    until: date | None,
    channel: str,
    evidence: Evidence,
    residence: str = "",
) -> bytes:
    """The stamp of a prospect with one number, as a template for `% number` (or for `% ()` without one)."""
    stamp: dict[str, Any] = {
        "verdict": finding.reason.verdict,
        "reason": finding.reason,
        **_by(channel),
    }
    if number:
        stamp["number"] = "\0"
    if finding.registers:
        stamp["registers"] = finding.registers
    stamp["index"] = evidence.index
    if rules:
        stamp["rules"] = rules
    if residence:
        stamp["residence"] = residence
    stamp["at"] = evidence.at
    if until is not None:
        stamp["until"] = until.isoformat()
    return _encode(stamp).replace(b"%", b"%%").replace(b'"\\u0000"', b'"+%d"')


def unreadable(told: Mapping[str, Any], evidence: Evidence) -> bytes:
    """The stamp of a record that is unreadable whatever its value says. `told` holds the members that say why."""
    reason = Reason.UNREADABLE
    stamp = {"verdict": reason.verdict, "reason": reason, **told}
    return _encode({**stamp, "index": evidence.index, "at": evidence.at})


@dataclass(frozen=True, slots=True)
class Entry:
    """One of several numbers of a prospect: its finding, the number (None if it is not valid), its rule's digest,
    the last day that its verdict may be used, and the digest of the rule where the person lives, if that is another."""

    finding: Finding
    number: int | None
    rules: str
    until: date | None
    residence: str = ""


def several(entries: Sequence[Entry], strip: bool, channel: str, evidence: Evidence) -> tuple[Reason, bytes]:
    """The reason and the stamp of a prospect with several numbers, one entry each, in the prospect's order.

    Without `strip`, every number must be allowed. With it, one allowed number is enough, and `callable` names all
    allowed ones.
    """
    allowed = [entry for entry in entries if entry.finding.reason.verdict is Verdict.ALLOWED]
    blocked = [entry for entry in entries if entry.finding.reason.verdict is Verdict.BLOCKED]
    if allowed and (strip or not blocked):
        reason = allowed[0].finding.reason
    else:
        reason = next((e for e in blocked if e.finding.reason is Reason.OPPOSED), blocked[0]).finding.reason
    stamp: dict[str, Any] = {
        "verdict": reason.verdict,
        "reason": reason,
        **_by(channel),
        "numbers": [_entry(e) for e in entries],
    }
    if reason.verdict is Verdict.ALLOWED and strip:
        stamp["callable"] = [e164(entry.number) for entry in allowed if entry.number is not None]
    stamp["index"] = evidence.index
    stamp["at"] = evidence.at
    ends = [entry.until for entry in allowed if entry.until is not None]
    if reason.verdict is Verdict.ALLOWED and ends:
        stamp["until"] = min(ends).isoformat()
    return reason, _encode(stamp)


def _by(channel: str) -> dict[str, str]:
    """The member that says how the person may be reached, unless by voice."""
    return {} if channel == VOICE else {"channel": channel}


def _entry(entry: Entry) -> dict[str, Any]:
    reason = entry.finding.reason
    described: dict[str, Any] = {"verdict": reason.verdict, "reason": reason}
    if entry.number is not None:
        described["number"] = e164(entry.number)
    if entry.finding.registers:
        described["registers"] = entry.finding.registers
    if entry.rules:
        described["rules"] = entry.rules
    if entry.residence:
        described["residence"] = entry.residence
    if entry.until is not None:
        described["until"] = entry.until.isoformat()
    return described


def without_stamp(value: bytes | None, members: Members) -> bytes | None:
    """A producer's own bytes: the value of an emitted prospect without any stamp. What cannot be read has none."""
    try:
        read = read_strictly(value or b"", members)
    except Unreadable:
        return value
    return read.head + read.tail
