"""`lists history`, `lists at` and `lists verify`: what was on the log when, and the proof that nothing of it changed.

What is asked for is a value here, in the members that `--json` shows; `cli/render_evidence.py` says the same in words. The number
that was asked for stands in it, and no other person's.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from stream_scrub.errors import ConfigError
from stream_scrub.lists.audit.number_history import NumberEvent, NumberHistory, RequestEvidence, Standing
from stream_scrub.lists.log.scan import read_into
from stream_scrub.model import Deadline, LogReader
from stream_scrub.numbering import REGIONS, e164, normalise
from stream_scrub.timestamps import from_millis, utc_millis, utc_seconds
from stream_scrub.wiring import clients

Stage = Callable[[str, int, int], None]
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)


def number_of(text: str, region: str) -> int:
    """The number that a person typed. One in E.164 is taken as it is: a register may hold what was valid once.

    Raises ConfigError, without the text: it is no number that anybody asked for.
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


def history(reader: LogReader, number: int, region: str, stage: Stage) -> dict[str, Any]:
    """Every coming and going of the number, and how every register stands to it now. Raises Corrupt, Unavailable,
    Refused."""
    past = NumberHistory([number], region)
    events: list[NumberEvent] = []
    read_into(
        reader,
        lambda record: events.extend(past.take(record)),
        Deadline.after(clients.ASK_S),
        on_read=lambda offset, end: stage("reading the log", offset, end),
    )
    return {
        "number": e164(number),
        "position": past.index.position,
        "events": [event_told(event) for event in events],
        "registers": [_standing(standing) for standing in past.standing(number)],
    }


def at(reader: LogReader, position: int, number: int, region: str, stage: Stage) -> dict[str, Any]:
    """How every register stood to the number after the last seal at or before a position. Raises Corrupt,
    Unavailable, Refused."""
    past = NumberHistory([number], region)
    passage = read_into(
        reader,
        past.take,
        Deadline.after(clients.ASK_S),
        upto=position,
        on_read=lambda offset, end: stage("reading the log", offset, min(end, position + 1)),
    )
    then = from_millis(past.at_ms)
    registers = []
    for standing in past.standing(number):
        register = standing.register
        registers.append(
            {
                **_standing(standing),
                "count": len(register.numbers),
                "effective_at": utc_seconds(register.effective_at),
                "age_days": age_days(register.effective_at, then),
                "source": register.source,
                "seq": register.seq,
                "position": register.position,
                "chain": register.chain,
            }
        )
    return {
        "number": e164(number),
        "asked": position,
        "position": past.index.position,
        "time": millis(past.at_ms),
        "log_end": passage.end,
        "registers": registers,
    }


def event_told(event: NumberEvent) -> dict[str, Any]:
    """An event for machines."""
    return {
        "position": event.position,
        "time": millis(event.timestamp_ms),
        "register": event.register,
        "kind": event.kind,
        "change": event.change,
        "reason": event.reason,
        "source": {"name": event.source.name, "sha256": event.source.sha256},
        "effective_at": utc_seconds(event.effective_at),
        "end": None if event.end is None else utc_seconds(event.end),
        "seq": event.seq,
        "chain": event.chain,
        "requests": [_asked(asked) for asked in event.requests],
    }


def since_told(event: NumberEvent | None) -> dict[str, Any] | None:
    """Since when a register holds a number, or holds it no more, and by what."""
    if event is None:
        return None
    told = event_told(event)
    names = ("position", "time", "change", "reason", "source", "effective_at", "requests")
    return {name: told[name] for name in names}


def _asked(asked: RequestEvidence) -> dict[str, Any]:
    told: dict[str, Any] = {
        "partition": asked.partition,
        "offset": asked.offset,
        "time": millis(asked.timestamp_ms),
        "request": asked.request,
    }
    return told | ({"others_left_out": asked.others_left_out} if asked.others_left_out else {})


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "register": standing.register.name,
        "kind": standing.register.kind,
        "held": standing.held,
        "since": since_told(standing.since),
        "end": None if standing.end is None else utc_seconds(standing.end),
    }


def millis(timestamp_ms: int | None) -> str | None:
    """A moment of Kafka's, RFC 3339 in UTC with milliseconds."""
    moment = from_millis(timestamp_ms)
    return None if moment is None else utc_millis(moment)


def age_days(effective_at: datetime, then: datetime | None) -> float | None:
    """How old a list was at that moment."""
    return None if then is None else round((then - effective_at).total_seconds() / 86400, 2)
