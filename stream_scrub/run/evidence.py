"""`lists history`, `lists at` and `lists verify`: what was on the log when, and the proof that nothing of it changed.

What is asked for is a value here, in the members that `--json` shows; `telling.py` says the same in words. The number
that was asked for stands in it, and no other person's.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from stream_scrub.errors import ConfigError
from stream_scrub.lists import snapshot, wire
from stream_scrub.lists.audit import Audit, compare
from stream_scrub.lists.history import Asked, Event, History, Standing
from stream_scrub.lists.past import read_into
from stream_scrub.lists.replay import State
from stream_scrub.lists.strand import Strand
from stream_scrub.model import Deadline, LogReader
from stream_scrub.numbering import REGIONS, e164, normalise
from stream_scrub.rules import digest_of
from stream_scrub.run import wiring

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
    past = History([number], region)
    events: list[Event] = []
    read_into(
        reader,
        lambda record: events.extend(past.take(record)),
        Deadline.after(wiring.ASK_S),
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
    past = History([number], region)
    passage = read_into(
        reader,
        past.take,
        Deadline.after(wiring.ASK_S),
        upto=position,
        on_read=lambda offset, end: stage("reading the log", offset, min(end, position + 1)),
    )
    then = _datetime(past.at_ms)
    registers = []
    for standing in past.standing(number):
        register = standing.register
        registers.append(
            {
                **_standing(standing),
                "count": len(register.numbers),
                "effective_at": wire.utc_seconds(register.effective_at),
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


def verify(
    reader: LogReader,
    stage: Stage,
    folder: Path | None = None,
    topic: str = "",
    filed: Mapping[str, tuple[int, str]] | None = None,
) -> dict[str, Any]:
    """Whether the whole log, called `topic`, is what publishers wrote, and the snapshot in a folder what the log gives;
    and whether it still is the log of which the chains in `filed` were kept.

    Raises Unavailable, Refused, ConfigError when there is no snapshot; what is wrong is told, and not raised.
    """
    started = time.monotonic()
    state, wrong = _snapshot(folder, topic)
    first = reader.bounds()[0]
    watch = None if state is None else state.index.position
    audit = Audit(digest_of, first=first, watch=watch, filed=filed)
    passage = read_into(
        reader,
        audit.take,
        Deadline.after(wiring.ASK_S),
        settled=lambda: not audit.unsealed,
        on_damage=audit.damaged,
        on_read=lambda offset, end: stage("verifying the log", offset, end),
    )
    audit.finish()
    if state is not None:
        wrong += snapshot_problems(state, audit, passage.end)
    told: dict[str, Any] = {
        "sound": not audit.problems and not wrong,
        "first": passage.first,
        "end": passage.end,
        "records": passage.records,
        "seals": audit.seals,
        "registers": [_proven(strand) for _, strand in sorted(audit.strands.items())],
        "problems": [problem._asdict() for problem in audit.problems],
        "problems_left_out": audit.problems_left_out,
    }
    if folder is not None:
        told["snapshot"] = {
            "folder": str(folder),
            "position": None if state is None else state.index.position,
            "problems": wrong,
        }
    return {**told, "took_s": round(time.monotonic() - started, 3)}


def filed_in(file: Path) -> dict[str, tuple[int, str]]:
    """The sequence and chain of each register in an earlier `lists verify --json`. Raises ConfigError."""
    try:
        earlier = msgspec.json.decode(file.read_bytes(), type=_Filed)
    except (OSError, msgspec.MsgspecError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no output of `lists verify --json`"
        raise ConfigError([f"--against: {file}: {reason}"]) from error
    return {each.register: (each.seq, each.chain) for each in earlier.registers if each.seq}


class _FiledRegister(msgspec.Struct):
    register: str
    seq: int
    chain: str


class _Filed(msgspec.Struct):
    registers: list[_FiledRegister]


def snapshot_problems(state: State, audit: Audit, end: int) -> list[str]:
    """What a snapshot holds otherwise than the log that was audited up to `end`."""
    seen = audit.seen
    if state.index.position >= end or seen is None:
        return [f"it is of position {state.index.position}, and the log ends at {end}"]
    wrong = list(compare(state.index.registers, seen))
    if state.starts != seen.starts and not audit.problems:
        wrong.append("where the registers' full sets begin is not where they do on the log")
    rules = seen.rules
    if rules is not None and (rules.seq, rules.chain, rules.position, set(rules.texts)) != (
        state.rules.seq,
        state.rules.chain,
        state.rules.position,
        set(state.rules.texts),
    ):
        wrong.append("its rules are not those on the log")
    return wrong


def _snapshot(folder: Path | None, topic: str) -> tuple[State | None, list[str]]:
    """The snapshot, and what is wrong with its files. Raises ConfigError when there is none."""
    if folder is None:
        return None, []
    try:
        state = snapshot.load(folder, topic, "any")
    except (ValueError, OSError) as error:
        return None, [(isinstance(error, OSError) and error.strerror) or str(error)]
    if state is None:
        raise ConfigError([f"--snapshot: {folder} holds no snapshot ({snapshot.MANIFEST})"])
    return state, []


def event_told(event: Event) -> dict[str, Any]:
    """An event for machines."""
    return {
        "position": event.position,
        "time": millis(event.timestamp_ms),
        "register": event.register,
        "kind": event.kind,
        "change": event.change,
        "reason": event.reason,
        "source": {"name": event.source.name, "sha256": event.source.sha256},
        "effective_at": wire.utc_seconds(event.effective_at),
        "end": None if event.end is None else wire.utc_seconds(event.end),
        "seq": event.seq,
        "chain": event.chain,
        "requests": [_asked(asked) for asked in event.requests],
    }


def since_told(event: Event | None) -> dict[str, Any] | None:
    """Since when a register holds a number, or holds it no more, and by what."""
    if event is None:
        return None
    told = event_told(event)
    names = ("position", "time", "change", "reason", "source", "effective_at", "requests")
    return {name: told[name] for name in names}


def _asked(asked: Asked) -> dict[str, Any]:
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
        "end": None if standing.end is None else wire.utc_seconds(standing.end),
    }


def _proven(strand: Strand) -> Mapping[str, Any]:
    register, rules, tally = strand.register, strand.rules, strand.tally
    is_rules = strand.name == wire.RULES
    count = len(rules.texts) if is_rules and rules else None if register is None else len(register.numbers)
    return {
        "register": strand.name,
        "kind": "rules" if is_rules else None if register is None else register.kind,
        "seq": strand.seq,
        "count": count,
        "deltas": tally.deltas,
        "restated": tally.restated,
        "chain": strand.head,
        "problems": tally.problems,
        "unproven": [list(span) for span in tally.unproven],
        "set_aside": [list(span) for span in tally.set_aside],
    }


def millis(timestamp_ms: int | None) -> str | None:
    """A moment of Kafka's, RFC 3339 in UTC with milliseconds."""
    moment = _datetime(timestamp_ms)
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age_days(effective_at: datetime, then: datetime | None) -> float | None:
    """How old a list was at that moment."""
    return None if then is None else round((then - effective_at).total_seconds() / 86400, 2)


def _datetime(timestamp_ms: int | None) -> datetime | None:
    return (
        None if timestamp_ms is None or timestamp_ms < 0 else datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    )
