"""`lists status`: every register at the log's end, with size and age. `lists history` and `lists at`: when a number was in
which register, and by which list or request.

`--json` writes the members of these types in this order. Times are RFC 3339 in UTC, None if the log has none; positions
are offsets of the log. The answers contain no other person's number.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from stream_scrub.clock import from_millis, from_seconds, utc_millis, utc_seconds
from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError, StaleIndex, Unavailable
from stream_scrub.index import NO_KEYS, HashKeys, Index, Register
from stream_scrub.kafka import clients
from stream_scrub.languages import say
from stream_scrub.log import wire
from stream_scrub.log.apply import LogRules
from stream_scrub.log.delta import SealedDelta
from stream_scrub.log.ledger import LogMark
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import read_into
from stream_scrub.log.wire import DeltaSource
from stream_scrub.made_by import MadeBy
from stream_scrub.model import Deadline, Logger, LogReader, LogRecord, Progress
from stream_scrub.numbering import e164, normalise, region_of_user
from stream_scrub.requests.parse_request import named_in, with_numbers
from stream_scrub.rules import Rulebook, digest_of
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.plans import UnusableRegister, unusable


class RegisterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One register at the log's end. `note`: why it changes no verdict; empty if it may change some."""

    register: str
    kind: str
    count: int
    effective_at: str
    age_days: float
    seq: int
    position: int
    source: str
    chain: str
    note: str


class LogStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every register at the log's end, and the unusable ones that today's rules need. `mark`: why the log must not be
    used, because it was renewed or a renewal is not finished; absent otherwise."""

    position: int
    registers: list[RegisterStatus]
    unusable: list[UnusableRegister]
    mark: str | None = None


def status(index: Index, rulebook: Rulebook, now: datetime, mark: LogMark | None = None) -> LogStatus:
    """Return every register of an index by name, and the unusable ones. `mark` is the log's."""
    registers = [
        RegisterStatus(
            register=each.name,
            kind=each.kind,
            count=len(each.numbers),
            effective_at=utc_seconds(each.effective_at),
            age_days=round((now - each.effective_at).total_seconds() / 86400, 2),
            seq=each.seq,
            position=each.position,
            source=each.source,
            chain=each.chain,
            note=scrubbing.unasked(rulebook, each.name, now),
        )
        for each in index.present()
    ]
    return LogStatus(
        position=index.position,
        registers=registers,
        unusable=unusable(rulebook, index, now),
        mark=None if mark is None else mark.why,
    )


_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request as it was on its topic. `others_left_out`: how many other people's numbers were removed from it; absent
    if 0. `made_by`: who sent it over HTTP, by its server."""

    partition: int
    offset: int
    time: str | None
    request: msgspec.Raw
    others_left_out: int = 0
    made_by: MadeBy | None = None


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """The delta by which a number is, or is no longer, in a register. `position` is the offset of its seal."""

    position: int
    time: str | None
    change: str
    reason: str
    source: DeltaSource
    effective_at: str
    requests: list[RequestRecord]


class LoggedChange(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of one delta on a number in one register, with the head of the register's hash chain after it."""

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
    """Whether a number is in a register, since which delta (None: it never was), and when it expires."""

    register: str
    kind: str
    held: bool
    since: Since | None
    end: str | None


class PastMembership(Membership, frozen=True, kw_only=True):
    """A membership at a past position, with the register's size and list then."""

    count: int
    effective_at: str
    age_days: float | None
    source: str
    seq: int
    position: int
    chain: str


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every change of a number, oldest first, and its current memberships."""

    number: str
    position: int
    events: list[LoggedChange]
    registers: list[Membership]


class MembershipsAt(msgspec.Struct, frozen=True, kw_only=True):
    """The memberships of a number after the last seal at or before the offset `asked`."""

    number: str
    asked: int
    position: int
    time: str | None
    log_end: int
    registers: list[PastMembership]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a register holds a number at one position."""

    register: Register
    held: bool
    since: LoggedChange | None  # the change since which that is so; None: it never held the number
    end: datetime | None


class NumberHistory:
    """Follows some numbers through every register, in one pass over the log. It refuses a corrupt log, as a follower does.

    Feed it every record in offset order from the log's beginning. Raises Corrupt
    as `Replay.take` does. `region` is for requests that name none.
    """

    def __init__(self, numbers: Iterable[int], region: str, keys: HashKeys = NO_KEYS) -> None:
        self.unknown: StaleIndex | None = None  # why a register of hashes was passed over: its key is missing
        self._keys = keys
        self.numbers = tuple(dict.fromkeys(numbers))
        self.at_ms: int | None = None  # the moment of the last seal
        self._region = region
        self._replay = Replay(digest_of=digest_of)
        self._ends: dict[tuple[str, int], int] = {}
        self._since: dict[tuple[str, int], LoggedChange] = {}

    @property
    def index(self) -> Index:
        """The index after the last seal."""
        return self._replay.index

    @property
    def rules(self) -> LogRules:
        """The rules on the log after the last seal, with their texts."""
        return self._replay.rules

    @property
    def mark(self) -> LogMark | None:
        """The log's mark after the last seal."""
        return self._replay.known(wire.RULES).log.mark

    def take(self, record: LogRecord) -> dict[int, LoggedChange]:
        """What this record did to the numbers, by number. Only a seal does anything."""
        before = self.index
        delta = self._replay.take(record)
        if delta is None:
            return {}
        self.at_ms = record.timestamp_ms
        name = delta.register
        if name == wire.RULES:
            return {}
        return self._events(record, before.registers.get(name), self.index.registers[name], delta)

    def need_keys(self) -> None:
        """Raises StaleIndex if a register of hashes was passed over."""
        if self.unknown is not None:
            raise self.unknown

    def standing(self, number: int) -> list[Standing]:
        """Every register and whether it holds the number after the last seal, in the order of the names. Registers of
        hashes whose key is missing are passed over."""
        standings = []
        for name, register in sorted(self.index.registers.items()):
            was_member = self._has(register, number)
            if was_member is None:
                continue
            end = self._ends.get((name, number))
            standings.append(
                Standing(register, was_member, self._since.get((name, number)), from_seconds(end))
            )
        return standings

    def _has(self, register: Register, number: int) -> bool | None:
        """Whether the register holds the number; None if its key is missing."""
        try:
            return register.has(number, self._keys)
        except StaleIndex as error:
            self.unknown = error
            return None

    def _events(
        self, record: LogRecord, before: Register | None, after: Register, delta: SealedDelta
    ) -> dict[int, LoggedChange]:
        stated = _stated([part.value for part in delta.parts if part.side == "ends"], self.numbers)
        requests_by_number = self._asked([part.value for part in delta.parts if part.side == "requests"])
        seal, events = delta.seal, dict[int, LoggedChange]()
        for number in self.numbers:
            key = (after.name, number)
            was = False if before is None else self._has(before, number)
            is_member = self._has(after, number)
            if was is None or is_member is None:
                continue
            end_before = self._ends.pop(key, None)
            end = (stated.get(number, end_before) or None) if is_member else None
            if end is not None:
                self._ends[key] = end
            if was == is_member and end == end_before and number not in requests_by_number:
                continue
            moment = from_seconds(end)
            event = LoggedChange(
                position=record.offset,
                time=millis(record.timestamp_ms),
                register=after.name,
                kind=after.kind,
                change=_change(was, is_member, seal),
                reason=seal.reason,
                source=seal.source,
                effective_at=utc_seconds(after.effective_at),
                end=None if moment is None else utc_seconds(moment),
                seq=after.seq,
                chain=after.chain,
                requests=requests_by_number.get(number, []),
            )
            if was != is_member:
                self._since[key] = event
            events[number] = event
        return events

    def _asked(self, parts: list[bytes]) -> Mapping[int, list[RequestRecord]]:
        """The requests in these parts that name one of the numbers, by number."""
        records: dict[int, list[RequestRecord]] = defaultdict(list)
        for line in b"".join(parts).split(b"\n")[:-1]:
            request_line = wire.read_request_line(line)
            try:
                raw = request_line.value()
                request = msgspec.json.decode(raw, type=dict[str, Any])
            except (ValueError, RecursionError):  # it cannot be known whom it names
                continue
            for number, (numbers_shown, others) in self._named(request).items():
                request_bytes = (
                    raw if not others else msgspec.json.encode(with_numbers(request, numbers_shown))
                )
                records[number].append(
                    RequestRecord(
                        partition=request_line.partition,
                        offset=request_line.offset,
                        time=millis(request_line.timestamp),
                        request=msgspec.Raw(request_bytes),
                        others_left_out=others,
                        made_by=request_line.made_by,
                    )
                )
        return records

    def _named(self, request: Mapping[str, Any]) -> dict[int, tuple[list[Any], int]]:
        """The numbers that a request names: how it spells each of them, and how many other numbers it names."""
        by_number: dict[int, list[Any]] = defaultdict(list)
        count = 0
        for text, numbers in named_in(request, self._region):
            count += 1
            for number in numbers:
                if number in self.numbers:
                    by_number[number].append(text)
        return {number: (texts, count - len(texts)) for number, texts in by_number.items()}


def _change(was: bool, held: bool, seal: wire.Seal) -> str:
    """removed, ended: the number left, by a change or at its end; renewed: it stays, requested again or with another end;
    asked: requests named it and changed nothing, and it is not in the register."""
    if was == held:
        return "renewed" if held else "asked"
    if held:
        return "added"
    return "ended" if seal.reason == "ended" else "removed"


def _stated(parts: list[bytes], numbers: Iterable[int]) -> dict[int, int]:
    """The ends that a delta states for these numbers; 0: no end."""
    found = {}
    for part in parts:
        for end, bitmap in wire.decode_ends(part):
            found.update({number: end for number in numbers if number in bitmap})
    return found


def number_of(text: str, region: str) -> int:
    """Parse a typed number. A number in E.164 is taken as it is, since a register may have one that is no longer valid.

    Raises ConfigError, whose text does not repeat the input.
    """
    region = region_of_user(region)
    normalised = normalise(text, region)
    if normalised is not None:
        return normalised[0]
    plain = re.sub(r"[\s().-]", "", text)
    if _E164.fullmatch(plain) is None:
        why = say("not a valid number in %(region)s; write it in full, as in +33612345678", region=region)
        raise ConfigError([f"NUMBER: {why}"])
    return int(plain[1:])


def of(settings: Settings, log: Logger, text: str, region: str, left: Callable[[], bool]) -> HistoryAnswer:
    """Return the history of a typed number. `left`: the caller has gone. Raises ConfigError, Corrupt,
    Unavailable (also when the caller has gone), Refused, StaleIndex."""

    def progress(*_: object) -> None:
        if left():
            raise Unavailable("nobody waits for this history any more")

    number = number_of(text, region)
    with clients.Brokers(settings, log).reading() as reader:
        keys = HashKeys(settings.lists.hash_keys)
        return history(reader, number, region, progress, clients.deadline(), keys)


def history(
    reader: LogReader,
    number: int,
    region: str,
    progress: Progress,
    deadline: Deadline,
    keys: HashKeys = NO_KEYS,
) -> HistoryAnswer:
    """Return every change of the number and its current memberships. The deadline restarts with each record, as in
    `scan`. Raises Corrupt, Unavailable, Refused, StaleIndex (the log's renewal is not finished)."""
    past = NumberHistory([number], region, keys)
    events: list[LoggedChange] = []
    read_into(
        reader,
        lambda record: events.extend(past.take(record).values()),
        deadline,
        on_read=lambda offset, end: progress("reading the log", offset, end),
    )
    need_finished(past.mark)
    past.need_keys()
    return HistoryAnswer(
        number=e164(number),
        position=past.index.position,
        events=events,
        registers=[membership(standing) for standing in past.standing(number)],
    )


def at(
    reader: LogReader,
    position: int,
    number: int,
    region: str,
    progress: Progress,
    deadline: Deadline,
    keys: HashKeys = NO_KEYS,
) -> MembershipsAt:
    """Return the memberships after the last seal at or before a position. The deadline restarts with each record, as in
    `scan`. Raises Corrupt, Unavailable, Refused, StaleIndex (the log's renewal was not finished there)."""
    past = NumberHistory([number], region, keys)
    passage = read_into(
        reader,
        past.take,
        deadline,
        upto=position,
        on_read=lambda offset, end: progress("reading the log", offset, min(end, position + 1)),
    )
    need_finished(past.mark, position)
    past.need_keys()
    then = from_millis(past.at_ms)
    return MembershipsAt(
        number=e164(number),
        asked=position,
        position=past.index.position,
        time=millis(past.at_ms),
        log_end=passage.end,
        registers=[
            PastMembership(
                **msgspec.structs.asdict(membership(standing)),
                count=len(register.numbers),
                effective_at=utc_seconds(register.effective_at),
                age_days=age_days(register.effective_at, then),
                source=register.source,
                seq=register.seq,
                position=register.position,
                chain=register.chain,
            )
            for standing in past.standing(number)
            for register in [standing.register]
        ],
    )


def need_finished(mark: LogMark | None, position: int | None = None) -> None:
    """Raises StaleIndex if a renewal of the log is not finished, or was not at that position: it then lacks registers.
    A log that was replaced by another one is complete."""
    if mark is not None and not mark.goes_on_as:
        raise mark.stale() if position is None else LogMark(f"at position {position}: {mark.why}").stale()


def membership(standing: Standing) -> Membership:
    """Return the membership of a number in a register."""
    last = standing.since
    since = None if last is None else Since(**{name: getattr(last, name) for name in Since.__struct_fields__})
    return Membership(
        register=standing.register.name,
        kind=standing.register.kind,
        held=standing.held,
        since=since,
        end=None if standing.end is None else utc_seconds(standing.end),
    )


def millis(timestamp_ms: int | None) -> str | None:
    """Format a Kafka timestamp as RFC 3339 in UTC with milliseconds; None if there is none."""
    moment = from_millis(timestamp_ms)
    return None if moment is None else utc_millis(moment)


def age_days(effective_at: datetime, then: datetime | None) -> float | None:
    """Return the age of a list in days; None if the time is unknown."""
    return None if then is None else round((then - effective_at).total_seconds() / 86400, 2)
