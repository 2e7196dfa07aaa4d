"""Up to where a partition's prospects have come out, from what came out: for a group whose offsets Kafka forgot.

A batch comes out as a whole, and in each partition in its order. So everything before the later one of the last record
on each output has come out, and nothing after it. The two are found again in the prospects by their moment, key and
own bytes. Where that is not certain, no offset is given.
"""

from contextlib import suppress
from typing import NamedTuple

from stream_scrub.errors import ConfigError, Refused, Unavailable
from stream_scrub.kafka.headers import FROM_HEADER, came_from
from stream_scrub.model import Deadline, LogReader, LogRecord, PartitionKey
from stream_scrub.queries.emitted_prospect import EmittedProspect, stamp_of
from stream_scrub.scrub.decode import STAMP, Members
from stream_scrub.scrub.stamp import without_stamp

_LAST = 64  # records from the end on, and twice as many before them each time that none of these counts
_ANSWER_S = 15.0


class EmittedUpto(NamedTuple):
    """The offset of the first prospect that has not come out, None where that is not certain, and why; and the latest
    index position that the last stamps name."""

    offset: int | None
    why: str
    position: int = 0


class _Last(NamedTuple):
    """The last record of an output: its place among the prospects, if its stamp says so, and what to look for."""

    place: int | None
    record: LogRecord
    own: bytes | None
    position: int


def emitted_upto(
    prospects: LogReader, outputs: list[LogReader], partition: int, members: Members, topic: str = ""
) -> EmittedUpto:
    """For the readers of one partition of the prospects and of each output. With `topic` others come out there as well, and
    what is from this topic says so. Raises Unavailable, Refused, Corrupt."""
    first, end = prospects.bounds()
    lasts = []
    for output in outputs:
        if output.bounds()[1] == 0:
            continue
        record = _last_of(output, topic)
        if record is not None:
            lasts.append(_read(record, partition, members, topic))
        elif not topic or output.bounds()[0] > 0:
            return EmittedUpto(None, "an output no longer holds the last record that came out there")
    if not lasts:
        return EmittedUpto(first, "nothing has come out")
    position = max(each.position for each in lasts)
    places, oldest_ms = _places(prospects, first, end, lasts, members)
    upto = -1
    for each, found in zip(lasts, places, strict=True):
        if len(found) > 1:
            return EmittedUpto(None, "the last record that came out equals several prospects")
        if not found and not (oldest_ms is not None and oldest_ms > (each.record.timestamp_ms or 0)):
            return EmittedUpto(None, "the last record that came out is not among the prospects")
        upto = max(upto, *found, -1)
    if upto < 0:
        return EmittedUpto(first, "what came out is older than all prospects that are there", position)
    return EmittedUpto(upto + 1, "the last records that came out were found", position)


def _last_of(reader: LogReader, topic: str) -> LogRecord | None:
    """The last committed record that a reader's partition still holds, with `topic` of those from there."""
    first, end = reader.bounds()
    count = _LAST
    while True:
        begin = max(first, end - count)
        records = [
            each for each in _records(reader, begin, end) if not topic or came_from(each.headers) == topic
        ]
        if records or begin == first:
            return records[-1] if records else None
        end, count = begin, count * 2


def _records(reader: LogReader, begin: int, end: int) -> list[LogRecord]:
    """What a reader's partition holds from one offset to another."""
    found: list[LogRecord] = []
    if begin >= end:
        return found
    reader.seek(begin)
    deadline, at_end = Deadline.after(_ANSWER_S), False
    while not at_end and not (found and found[-1].offset >= end - 1):
        records, at_end = reader.read(0.5)
        found += records
        if records:
            deadline = Deadline.after(_ANSWER_S)
        elif deadline.passed and not at_end:
            raise Unavailable("what came out could not be read in time")
    return found


def _read(record: LogRecord, partition: int, members: Members, topic: str) -> _Last:
    headers = [value for name, value in record.headers if name == STAMP]
    stamp: dict[str, object] = {}
    with suppress(ConfigError):
        stamp = stamp_of(EmittedProspect(record.value, headers[-1] if headers else None))
    told = [
        (value or b"").decode("ascii", "replace") for name, value in record.headers if name == FROM_HEADER
    ]
    at, position = told[-1] if topic and told else str(stamp.get("from", "")), stamp.get("index")
    *_, of, offset = ("", *at.split("/"))
    place = int(offset) if of == str(partition) and offset.isdecimal() else None
    return _Last(
        place, record, without_stamp(record.value, members), position if isinstance(position, int) else 0
    )


def _places(
    prospects: LogReader, first: int, end: int, lasts: list[_Last], members: Members
) -> tuple[list[list[int]], int | None]:
    """The offsets of the prospects that may be each of these records, and the earliest moment of a prospect."""
    places = [[] if each.place is None else [each.place] for each in lasts]
    oldest_ms: int | None = None
    at, at_end = first, first >= end
    prospects.seek(first)
    deadline = Deadline.after(_ANSWER_S)
    while at < end and not at_end:
        records, at_end = prospects.read(0.5)
        for record in records:
            moment = record.timestamp_ms or 0
            oldest_ms = moment if oldest_ms is None else min(oldest_ms, moment)
            for each, found in zip(lasts, places, strict=True):
                if (
                    each.place is None
                    and record.timestamp_ms == each.record.timestamp_ms
                    and record.key == each.record.key
                    and without_stamp(record.value, members) == each.own
                ):
                    found.append(record.offset)
        if records:
            at, deadline = records[-1].offset + 1, Deadline.after(_ANSWER_S)
        elif deadline.passed:
            raise Unavailable("the prospects could not be read in time")
    return places, oldest_ms


def need_certain(found: dict[PartitionKey, EmittedUpto]) -> None:
    """Raises Refused for partitions whose offset is not certain."""
    if doubts := {p: each.why for p, each in found.items() if each.offset is None}:
        told = "; ".join(f"{topic}/{p}: {why}" for (topic, p), why in sorted(doubts.items()))
        raise Refused(
            f"{told}: nothing is committed for these; see docs/runbook.md, Committed offsets that are gone"
        )
