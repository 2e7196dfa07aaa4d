"""What the queries answer, typed: `--json` writes these members in this order, and the console says them in words.

A moment is RFC 3339 in UTC; None means that the log does not tell it. Offsets and positions are offsets of the log.
"""

from datetime import date
from typing import Any

import msgspec

from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.observability.unusable_registers import UnusableRegister


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request as it stood on its topic: its place there, its moment, and its own bytes. `others_left_out` counts the
    other people's numbers that were taken out of it; the member is absent when it is 0."""

    partition: int
    offset: int
    time: str | None
    request: msgspec.Raw
    others_left_out: int = 0


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """The event by which a register holds a number, or holds it no more. `position` is the offset of its seal."""

    position: int
    time: str | None
    change: str
    reason: str
    source: DeltaSource
    effective_at: str
    requests: list[RequestRecord]


class LoggedChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one delta did to a number in one register, with the head of the register's hash chain after it."""

    position: int
    time: str | None
    register: str
    kind: str
    change: str
    reason: str
    source: DeltaSource
    effective_at: str
    end: str | None
    seq: int
    chain: str
    requests: list[RequestRecord]


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """How a register stands to a number: whether it holds it, since which event (None: it never held it), and when
    that ends."""

    register: str
    kind: str
    held: bool
    since: Since | None
    end: str | None


class PastMembership(Membership, frozen=True, kw_only=True):
    """The same at a past position, with what the register was then: its size, its list, and the list's age in days."""

    count: int
    effective_at: str
    age_days: float | None
    source: str
    seq: int
    position: int
    chain: str


class JudgingMembership(Membership, frozen=True, kw_only=True):
    """The same for a verdict that is given again: with the register's list, its age in days, the age that the rule
    allows, and whether numbers that should have ended were still in it."""

    source: str
    effective_at: str
    age_days: float | None
    max_age_days: int | None
    ends_overdue: bool


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every coming and going of a number, oldest first, and how every register stands to it now."""

    number: str
    position: int
    events: list[LoggedChange]
    registers: list[Membership]


class MembershipsAt(msgspec.Struct, frozen=True, kw_only=True):
    """How every register stood to a number after the last seal at or before the offset `asked`."""

    number: str
    asked: int
    position: int
    time: str | None
    log_end: int
    registers: list[PastMembership]


class RegisterProof(msgspec.Struct, frozen=True, kw_only=True):
    """What was proven of one register. `restated` counts full sets that equal the deltas before them; `unproven` are
    spans of offsets whose numbers could not be followed (None: to the end); `set_aside` are spans of parts that were
    never sealed, each with the seal of the delta that took their place."""

    register: str
    kind: str | None
    seq: int
    count: int | None
    deltas: int
    restated: int
    chain: str
    problems: int
    unproven: list[tuple[int, int | None]]
    set_aside: list[tuple[int, int, int]]


class ProblemAt(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong at one offset. `register` is empty where the record belongs to none."""

    offset: int
    register: str
    what: str


class SnapshotProof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a snapshot holds what the log gives; `position` is None when its files are damaged."""

    folder: str
    position: int | None
    problems: list[str]


class LogProof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the log is what publishers wrote. `snapshot` is there when one was to be proven as well."""

    sound: bool
    first: int
    end: int
    records: int
    seals: int
    registers: list[RegisterProof]
    problems: list[ProblemAt]
    problems_left_out: int
    snapshot: SnapshotProof | msgspec.UnsetType = msgspec.UNSET
    took_s: float


class ExportedRegister(msgspec.Struct, frozen=True, kw_only=True):
    """One register as a file: how many numbers it holds, and how many of them end."""

    register: str
    kind: str
    file: str
    count: int
    ending: int
    effective_at: str
    seq: int
    position: int
    chain: str


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """The files that were written, as of `position`; `fault` is what was wrong behind it, where the log was salvaged."""

    position: int
    fault: str | None
    registers: list[ExportedRegister]


class RegisterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One register at the log's end, and the age of its list in days."""

    register: str
    kind: str
    count: int
    effective_at: str
    age_days: float
    seq: int
    position: int
    source: str
    chain: str


class LogStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every register at the log's end, by name, and those that rules of today need and that cannot be used. `mark` says
    what keeps everybody from the log: that it was renewed, or is not put together yet; it is absent where nothing does.
    """

    position: int
    registers: list[RegisterStatus]
    unusable: list[UnusableRegister]
    mark: str | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One member of a stamp that comes out otherwise, by its path."""

    field: str
    stamp: Any
    replayed: Any


class IndexThen(msgspec.Struct, frozen=True, kw_only=True):
    """The index that a verdict was given by, and the moment of its last seal."""

    position: int
    time: str | None


class ProspectRelation(msgspec.Struct, frozen=True):
    """What a prospect has to do with the caller, and the day of the purchase, the contract's end or the inquiry."""

    kind: str
    since: date


class ProspectFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a prospect says about the call. What most prospects do not say is told only of those that do. `house` is the
    operator's own campaign, if it is one that calls."""

    purposes: tuple[str, ...]
    contract: bool | date
    campaigns: tuple[str, ...]
    channel: str = "voice"
    company: bool = False
    relation: ProspectRelation | None = None
    artificial: bool = False
    residence: str = ""
    house: str = ""


class RuleThen(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that decided, and where its text was found: on the log, installed here, or on the log later."""

    rules: str
    country: str
    in_force: str
    source: str
    says: list[str]
    uncertain: list[str]
    text_from: str
    text: str


class NumberVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One number's verdict with its grounds. `residence` is the rule of another country, where the person lives. `missing` are registers that the rule needs and the log had never held."""

    number: str | None
    verdict: str
    reason: str
    says: str
    rule: RuleThen | None
    registers: list[JudgingMembership]
    missing: list[str]
    residence: RuleThen | None = None


class ReadWith(msgspec.Struct, frozen=True, kw_only=True):
    """The releases that read the prospect again, and the settings of its members."""

    stream_scrub: str = msgspec.field(name="stream-scrub")
    phonenumbers: str
    prospect: dict[str, Any]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict that was given again, and whether it is the same."""

    same: bool
    differences: list[Difference]
    stamp: dict[str, Any]
    replayed: dict[str, Any] | None
    index: IndexThen
    facts: ProspectFacts
    numbers: list[NumberVerdict]
    read_with: ReadWith
    notes: list[str]
