"""`offsets`: the group's committed offsets, and for partitions whose offset expired, up to where prospects were emitted.

A batch is emitted as a whole, and in order within each partition. So every prospect before the later one of the last
records on each output was emitted, and none after it. Both are found among the prospects by timestamp, key and own
bytes. If that is not unique, no offset is given.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple

from stream_scrub.config import Settings
from stream_scrub.errors import Refused, Unavailable
from stream_scrub.kafka import clients
from stream_scrub.kafka.headers import FROM_HEADER, came_from, renews
from stream_scrub.kafka.offsets import CommitNote
from stream_scrub.model import Deadline, Logger, LogReader, LogRecord, PartitionKey
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.decode import Members
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.stamp import header_in, stamp_on

_LAST = 64  # records read from the end; doubled until one counts
_ANSWER_S = 15.0


class EmittedUpto(NamedTuple):
    """Up to where prospects of a partition were emitted."""

    offset: int | None  # the first prospect that was not emitted; None: uncertain
    why: str
    position: int = 0  # the latest index position on the last stamps


class _LastRecord(NamedTuple):
    """The last record of an output: its offset among the prospects, if its stamp has it, and what to search for."""

    place: int | None
    record: LogRecord
    own: bytes | None
    position: int


def emitted_upto(
    prospects: LogReader, outputs: list[LogReader], partition: int, members: Members, topic: str = ""
) -> EmittedUpto:
    """Recover the offset of one partition from the readers of the prospects and of each output. `topic`: set if the
    outputs are shared; their records then name their input topic. Raises Unavailable, Refused, Corrupt."""
    first, end = prospects.bounds()
    lasts = []
    for output in outputs:
        if output.bounds()[1] == 0:
            continue
        record = _last_of(output, topic)
        if record is not None:
            lasts.append(_read(record, partition, members, topic))
        elif not topic or output.bounds()[0] > 0:
            return EmittedUpto(None, "the last emitted record was deleted from an output")
    if not lasts:
        return EmittedUpto(first, "nothing was emitted")
    position = max(last.position for last in lasts)
    places, oldest_ms = _places(prospects, first, end, lasts, members)
    upto = -1
    for each, offsets in zip(lasts, places, strict=True):
        if len(offsets) > 1:
            return EmittedUpto(None, "several prospects equal the last emitted record")
        if not offsets and not (oldest_ms is not None and oldest_ms > (each.record.timestamp_ms or 0)):
            return EmittedUpto(None, "no prospect equals the last emitted record")
        upto = max(upto, *offsets, -1)
    if upto < 0:
        return EmittedUpto(first, "every emitted record is older than all prospects", position)
    return EmittedUpto(upto + 1, "the last emitted records were found", position)


def _last_of(reader: LogReader, topic: str) -> LogRecord | None:
    """Return the last committed record of a partition; with `topic`, of those from that topic."""
    first, end = reader.bounds()
    count = _LAST
    while True:
        begin = max(first, end - count)
        read = records_between(reader, begin, end, "outputs")
        records = [
            each
            for each in read
            if renews(each.headers) is None and (not topic or came_from(each.headers) == topic)
        ]
        if records or begin == first:
            return records[-1] if records else None
        end, count = begin, count * 2


def records_between(reader: LogReader, begin: int, end: int, what: str) -> Iterator[LogRecord]:
    """Yield the records from one offset to another. Raises Unavailable."""
    return chain.from_iterable(batches_between(reader, begin, end, what))


def batches_between(reader: LogReader, begin: int, end: int, what: str) -> Iterator[Sequence[LogRecord]]:
    """Yield the records from one offset to another as they come. Raises Unavailable."""
    reader.seek(begin)
    deadline, at_end = Deadline.after(_ANSWER_S), begin >= end
    while begin < end and not at_end:
        records, at_end = reader.read(0.5)
        if records:
            begin, deadline = records[-1].offset + 1, Deadline.after(_ANSWER_S)
        elif deadline.passed and not at_end:
            raise Unavailable(f"the {what} could not be read in time")
        yield records if begin <= end else [record for record in records if record.offset < end]


def _read(record: LogRecord, partition: int, members: Members, topic: str) -> _LastRecord:
    stamp = stamp_on(header_in(record.headers), record.value)
    origins = [
        (value or b"").decode("ascii", "replace") for name, value in record.headers if name == FROM_HEADER
    ]
    at = origins[-1] if topic and origins else "" if stamp is None else stamp.origin
    *_, of, offset = ("", *at.split("/"))
    noted_offset = int(offset) if of == str(partition) and offset.isdecimal() else None
    position = 0 if stamp is None else stamp.index
    return _LastRecord(noted_offset, record, without_stamp(record.value, members), position)


def _places(
    prospects: LogReader, first: int, end: int, lasts: list[_LastRecord], members: Members
) -> tuple[list[list[int]], int | None]:
    """Return the offsets of the prospects that equal each record, and the earliest timestamp of a prospect."""
    places = [[] if last.place is None else [last.place] for last in lasts]
    oldest_ms: int | None = None
    for record in records_between(prospects, first, end, "prospects"):
        moment = record.timestamp_ms or 0
        oldest_ms = moment if oldest_ms is None else min(oldest_ms, moment)
        for each, offsets in zip(lasts, places, strict=True):
            if (
                each.place is None
                and record.timestamp_ms == each.record.timestamp_ms
                and record.key == each.record.key
                and without_stamp(record.value, members) == each.own
            ):
                offsets.append(record.offset)
    return places, oldest_ms


def need_certain(emitted: dict[PartitionKey, EmittedUpto]) -> None:
    """Raises Refused for partitions whose offset is uncertain."""
    if doubts := {p: each.why for p, each in emitted.items() if each.offset is None}:
        reasons = "; ".join(f"{topic}/{p}: {why}" for (topic, p), why in sorted(doubts.items()))
        raise Refused(f"{reasons}: not committed; see docs/runbook.md, Committed offsets that are gone")


class GroupPosition(NamedTuple):
    """The offsets by partition."""

    committed: dict[PartitionKey, int | None]
    emitted: dict[PartitionKey, EmittedUpto]  # for partitions without a committed offset


def group_position(settings: Settings, log: Logger) -> GroupPosition:
    """Read the committed offsets, and recover the missing ones. Raises Unavailable, Refused, Corrupt."""
    inputs, members = settings.topics.inputs, scrubbing.terms(settings).members
    brokers = clients.Brokers(settings, log)
    with brokers.group_offsets() as group:
        committed = group.committed(clients.deadline())
    emitted = {}
    for topic, partition in [key for key, offset in committed.items() if offset is None]:
        route = inputs.route(topic)
        with ExitStack() as opened:
            prospects, *outputs = (opened.enter_context(brokers.reading(each, partition)) for each in route)
            of = topic if inputs.shared else ""
            emitted[topic, partition] = emitted_upto(prospects, outputs, partition, members, of)
    return GroupPosition(committed, emitted)


def restore(settings: Settings, log: Logger, position: GroupPosition) -> None:
    """Commit the recovered offsets that are certain. Raises Unavailable, and Refused while a worker runs."""
    offsets = {key: each.offset for key, each in position.emitted.items() if each.offset is not None}
    if offsets:
        index_position = max(each.position for each in position.emitted.values())
        with clients.Brokers(settings, log).group_offsets() as group:
            group.commit(offsets, CommitNote(index_position, settings.topics.log))
