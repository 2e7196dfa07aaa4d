"""A prospect as it was emitted, from its topic or from files, and the stamp in it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.model import Deadline, LogReader, LogRecord
from stream_scrub.scrub.decode import STAMP
from stream_scrub.timestamps import parse_zoned


@dataclass(frozen=True, slots=True)
class EmittedProspect:
    """A prospect as it was emitted: its value, its header `scrub` if it had one, and the verdict that its topic is
    for."""

    value: bytes | None
    header: bytes | None = None
    topic_verdict: str = ""


def emitted_at(
    reader: LogReader, topic: str, partition: int, offset: int, verdict: str, deadline: Deadline
) -> EmittedProspect:
    """The prospect at an offset of an output topic. Raises Refused when there is none, Unavailable when the deadline
    passes first."""
    first, end = reader.bounds()
    where = f"{topic}, partition {partition}"
    if not first <= offset < end:
        raise Refused(f"{where} holds the offsets from {first} to {end - 1}, so not {offset}")
    reader.seek(offset)
    while not deadline.passed:
        records, at_end = reader.read(0.5)
        for record in records:
            if record.offset == offset:
                return EmittedProspect(record.value, _header(record), verdict)
        if records or at_end:
            raise Refused(f"{where}: there is no committed prospect at offset {offset}")
    raise Unavailable(f"{where} could not be read in time")


def _header(record: LogRecord) -> bytes | None:
    stamps = [value for name, value in record.headers if name == STAMP]
    return stamps[-1] if stamps else None


def stamp_of(emitted: EmittedProspect) -> dict[str, Any]:
    """The stamp, from the header or the value. Raises ConfigError when there is none that can be replayed."""
    stamp: Any = None
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if emitted.header is not None:
            stamp = msgspec.json.decode(emitted.header)
        else:
            stamp = msgspec.json.decode(emitted.value or b"", type=dict[str, Any]).get(STAMP)
    if not isinstance(stamp, dict):
        raise ConfigError(
            [f"no stamp: neither a member `{STAMP}` in the prospect, nor its header (--header, --stamp)"]
        )
    position, at = stamp.get("index"), stamp.get("at")
    if not isinstance(position, int) or isinstance(position, bool) or not isinstance(at, str):
        raise ConfigError(["this is no stamp of stream-scrub: it has no `index`, or no moment `at`"])
    moment_of(at)
    return stamp


def moment_of(text: str) -> datetime:
    """The moment `at` of a stamp. Raises ConfigError."""
    moment: datetime | None = None
    with suppress(ValueError):
        moment = parse_zoned(text)
    if moment is None or not 1970 < moment.year < 9000:
        raise ConfigError(["the stamp's `at` is not a moment with a time zone (RFC 3339)"])
    return moment
