"""`lists history` and `lists at`: when a number was in which register, and by which list or request.

The answers hold the number that was asked for, and no other person's.
"""

import re
from datetime import datetime

import msgspec
from structlog.typing import FilteringBoundLogger

from stream_scrub.config import Settings
from stream_scrub.errors import ConfigError
from stream_scrub.lists.audit.number_history import NumberEvent, NumberHistory, RequestEvidence, Standing
from stream_scrub.lists.log.ledger import LogMark
from stream_scrub.lists.log.scan import read_into
from stream_scrub.model import Deadline, LogReader, Progress
from stream_scrub.numbering import REGIONS, e164, normalise
from stream_scrub.queries.evidence import (
    HistoryAnswer,
    LoggedChange,
    Membership,
    MembershipsAt,
    PastMembership,
    RequestRecord,
    Since,
)
from stream_scrub.timestamps import from_millis, utc_millis, utc_seconds
from stream_scrub.wiring import clients

_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


def number_of(text: str, region: str) -> int:
    """The number that a person typed. A number in E.164 is taken as it is, since a register may hold one that was
    valid once.

    Raises ConfigError, whose text does not repeat what was typed.
    """
    if region not in REGIONS:
        raise ConfigError([f"--region: {region!r} is no region with a numbering plan (ISO 3166-1, as in FR)"])
    read = normalise(text, region)
    if read is not None:
        return read[0]
    plain = re.sub(r"[\s().-]", "", text)
    if _E164.fullmatch(plain) is None:
        raise ConfigError(
            [f"NUMBER: no valid number of region {region}; write it with its country, as in +33612345678"]
        )
    return int(plain[1:])


def of(settings: Settings, log: FilteringBoundLogger, text: str, region: str) -> HistoryAnswer:
    """The history of a number as somebody typed it. Raises ConfigError, Corrupt, Unavailable, Refused,
    StaleIndex."""
    number = number_of(text, region)
    with clients.reading(settings, log) as reader:
        return history(reader, number, region, lambda *_: None, clients.deadline())


def history(
    reader: LogReader, number: int, region: str, progress: Progress, deadline: Deadline
) -> HistoryAnswer:
    """Every coming and going of the number, and how every register stands to it now. The deadline is for silence, as in
    `scan`. Raises Corrupt, Unavailable, Refused, StaleIndex (the log is not put together yet)."""
    past = NumberHistory([number], region)
    events: list[NumberEvent] = []
    read_into(
        reader,
        lambda record: events.extend(past.take(record)),
        deadline,
        on_read=lambda offset, end: progress("reading the log", offset, end),
    )
    need_finished(past.mark)
    return HistoryAnswer(
        number=e164(number),
        position=past.index.position,
        events=[_event(event) for event in events],
        registers=[membership(standing) for standing in past.standing(number)],
    )


def at(
    reader: LogReader, position: int, number: int, region: str, progress: Progress, deadline: Deadline
) -> MembershipsAt:
    """How every register stood to the number after the last seal at or before a position. The deadline is for silence,
    as in `scan`. Raises Corrupt, Unavailable, Refused, StaleIndex (the log was not put together there)."""
    past = NumberHistory([number], region)
    passage = read_into(
        reader,
        past.take,
        deadline,
        upto=position,
        on_read=lambda offset, end: progress("reading the log", offset, min(end, position + 1)),
    )
    need_finished(past.mark, position)
    then = from_millis(past.at_ms)
    return MembershipsAt(
        number=e164(number),
        asked=position,
        position=past.index.position,
        time=millis(past.at_ms),
        log_end=passage.end,
        registers=[_past_membership(standing, then) for standing in past.standing(number)],
    )


def need_finished(mark: LogMark | None, position: int | None = None) -> None:
    """Raises StaleIndex for a log that a renewal has not put together, or had not at that position: what it holds is a
    part of the registers. What was left for another log is whole."""
    if mark is not None and not mark.goes_on_as:
        raise mark.stale() if position is None else LogMark(f"at position {position}: {mark.why}").stale()


def _event(event: NumberEvent) -> LoggedChange:
    return LoggedChange(
        position=event.position,
        time=millis(event.timestamp_ms),
        register=event.register,
        kind=event.kind,
        change=event.change,
        reason=event.reason,
        source=event.source,
        effective_at=utc_seconds(event.effective_at),
        end=None if event.end is None else utc_seconds(event.end),
        seq=event.seq,
        chain=event.chain,
        requests=[_request(asked) for asked in event.requests],
    )


def since(event: NumberEvent | None) -> Since | None:
    """By which event a register holds a number, or holds it no more."""
    if event is None:
        return None
    return Since(
        position=event.position,
        time=millis(event.timestamp_ms),
        change=event.change,
        reason=event.reason,
        source=event.source,
        effective_at=utc_seconds(event.effective_at),
        requests=[_request(asked) for asked in event.requests],
    )


def _request(asked: RequestEvidence) -> RequestRecord:
    return RequestRecord(
        partition=asked.partition,
        offset=asked.offset,
        time=millis(asked.timestamp_ms),
        request=asked.request,
        others_left_out=asked.others_left_out,
    )


def membership(standing: Standing) -> Membership:
    """How a register stands to a number."""
    return Membership(
        register=standing.register.name,
        kind=standing.register.kind,
        held=standing.held,
        since=since(standing.since),
        end=None if standing.end is None else utc_seconds(standing.end),
    )


def _past_membership(standing: Standing, then: datetime | None) -> PastMembership:
    register = standing.register
    return PastMembership(
        **msgspec.structs.asdict(membership(standing)),
        count=len(register.numbers),
        effective_at=utc_seconds(register.effective_at),
        age_days=age_days(register.effective_at, then),
        source=register.source,
        seq=register.seq,
        position=register.position,
        chain=register.chain,
    )


def millis(timestamp_ms: int | None) -> str | None:
    """A timestamp of Kafka's as RFC 3339 in UTC with milliseconds; None where Kafka has none."""
    moment = from_millis(timestamp_ms)
    return None if moment is None else utc_millis(moment)


def age_days(effective_at: datetime, then: datetime | None) -> float | None:
    """The age of a list at that moment, in days; None where the moment is not known."""
    return None if then is None else round((then - effective_at).total_seconds() / 86400, 2)
