"""Prospects that were judged on some days, found on the output topics by their stamps.

A topic is halved by the moments on its stamps until the first of those days. Neither a partition nor Kafka's time index
can be looked up: a prospect keeps the key and the timestamp of its producer.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from stream_scrub.config import Settings
from stream_scrub.config.settings import outputs_of
from stream_scrub.errors import ConfigError
from stream_scrub.kafka import clients
from stream_scrub.languages import say
from stream_scrub.model import Logger, LogReader, LogRecord, Progress
from stream_scrub.numbering import e164, line_of
from stream_scrub.queries.committed_offsets import batches_between, records_between
from stream_scrub.queries.explain import EmittedProspect
from stream_scrub.queries.kept_places import KeptPlaces
from stream_scrub.recall.restore import StampSearch
from stream_scrub.rules import Rulebook
from stream_scrub.scrub import scrubbing
from stream_scrub.stamp import Stamp, header_in, stamp_on

_FEW = 10_000  # records that are read faster than halved again
_SHOWN = 1_000  # records from one sign of progress to the next
# A local day begins up to fourteen hours before the UTC day. Workers' clocks may differ a little.
AROUND = timedelta(hours=15)
_YEARS = (2000, 2999)


def need_years(first: date, last: date) -> None:
    """Raises ConfigError for days of which no verdict can be: a slip, and no moment around them has a place in the calendar."""
    if first.year < _YEARS[0] or last.year > _YEARS[1]:
        first_year, last_year = map(str, _YEARS)
        why = say("between %(first)s and %(last)s", first=first_year, last=last_year)
        raise ConfigError([f"--from, --to and --month: {why}"])


class FoundProspect(NamedTuple):
    """An emitted prospect, its place, and the day of its verdict in the number's country."""

    topic: str
    partition: int
    offset: int
    day: date
    stamp: Stamp
    prospect: EmittedProspect


class OldestLeft(NamedTuple):
    """The oldest record that a partition still has, of which older ones have been deleted."""

    topic: str
    partition: int
    judged_at: datetime


class EmittedBetween(NamedTuple):
    """What was found, in the order of its moments, and the partitions whose oldest records are gone. `by_index`: an index said
    where to look."""

    found: list[FoundProspect]
    deleted: list[OldestLeft]
    by_index: bool = False


def emitted_between(
    settings: Settings, log: Logger, number: int, first: date, last: date, progress: Progress
) -> EmittedBetween:
    """Return the prospects with this number that were judged on these days, in the number's own country. Raises
    Unavailable, Refused; OSError for `files.index_dir`."""
    index = settings.files.index_dir
    typed, rulebook = e164(number), scrubbing.law(settings)
    region = region_of(rulebook, number)
    prospects, deleted, ids = list[FoundProspect](), list[OldestLeft](), dict[str, str]()
    for topic, partition, reader in outputs(settings, log):
        if (oldest_left := oldest(reader)) is not None:
            deleted.append(OldestLeft(topic, partition, oldest_left))
        if index and topic not in ids:
            ids[topic] = clients.Brokers(settings, log).witnesses.id_of(topic, clients.deadline())
        if ids.get(topic):  # brokers before 2.8 give none
            places = KeptPlaces(Path(index), topic, ids[topic], partition)
            judged = _with_stamps(places.records(reader, number, progress))
        else:
            judged = judged_between(reader, first, last, topic, progress, typed.encode())
        verdict = settings.topics.inputs.verdict_of(topic)
        for record, stamp in judged:
            day = day_of(rulebook, region, stamp.at)
            if first <= day <= last and any(each.number == typed for each in stamp.each):
                prospect = EmittedProspect(record.value, header_in(record.headers), verdict, record.headers)
                prospects.append(FoundProspect(topic, partition, record.offset, day, stamp, prospect))
    prospects.sort(key=lambda each: each.stamp.at)
    return EmittedBetween(prospects, deleted, by_index=any(ids.values()))


def outputs(settings: Settings, log: Logger) -> Iterator[tuple[str, int, LogReader]]:
    """Yield every partition of the output topics with its reader, the allowed ones first. Raises Unavailable, Refused."""
    brokers = clients.Brokers(settings, log)
    with brokers.topics() as there:
        names = outputs_of(brokers.routes(there))[::-1]
        described = there.describe(names, clients.deadline())
    for topic in names:
        for partition in range(described[topic].partitions if topic in described else 0):
            with brokers.reading(topic, partition) as reader:
                yield topic, partition, reader


def oldest(reader: LogReader) -> datetime | None:
    """The moment on the oldest stamp that is left, now if none is; None if no record was deleted."""
    first, end = reader.bounds()
    if not first:
        return None
    judged = next(_stamped(reader, first, end), None)
    return datetime.now(UTC) if judged is None else judged[1].at


def region_of(rulebook: Rulebook, number: int) -> str:
    """The region whose rules govern a number; empty for no valid number."""
    line = line_of(number)
    return "" if line is None else rulebook.region_of(number, line.region)


def zone_of(rulebook: Rulebook, number: int) -> tzinfo:
    """The zone of a number's country; UTC for a number without a rule."""
    country = rulebook.country(region_of(rulebook, number))
    return UTC if country is None else country.zone


def day_of(rulebook: Rulebook, region: str, at: datetime) -> date:
    """The day of a moment in the country of a number; in UTC for a number without a rule."""
    return rulebook.day(region, at) or at.astimezone(UTC).date()


def judged_between(
    reader: LogReader, day: date, last: date, topic: str, progress: Progress, naming: bytes = b""
) -> Iterator[tuple[LogRecord, Stamp]]:
    """Yield the records of a partition that were judged on these days anywhere on earth. They are in the order of their
    stamps. `naming`: records with these bytes, and a few others."""
    low = datetime.combine(day, time(), UTC) - AROUND
    high = datetime.combine(last, time(), UTC) + timedelta(days=1) + AROUND
    first, end = reader.bounds()
    key = topic, 0
    search = StampSearch({key: first}, {key: end}, low, _FEW)
    while probes := search.probes():
        for _, judged in islice(_stamped(reader, probes[key], end), 1):
            search.take(key, judged.at)
    begin = search.firsts[key]
    later_since: int | None = None  # the offset from which on all stamps are later
    progress_shown = begin
    for records in batches_between(reader, begin, end, "outputs"):
        if records and records[-1].offset >= progress_shown:
            progress(f"searching {topic}", records[0].offset - begin, end - begin)
            progress_shown = records[-1].offset + _SHOWN
        for record in _naming(records, naming):
            if (stamp := _stamp_of(record)) is None:
                continue
            if stamp.at <= high:
                later_since = None
                yield record, stamp
                continue
            # A worker whose clock is ahead judges some prospects before it notices: they do not end the search.
            later_since = record.offset if later_since is None else later_since
            if record.offset - later_since >= _FEW:
                return


def _naming(records: Sequence[LogRecord], naming: bytes) -> Sequence[LogRecord]:
    """The records whose stamps may have these bytes, and the first one of each batch, whose moment is looked at. To decode
    every stamp, or to look for each header, would take most of the time."""
    if not naming:
        return records
    hits = [
        record
        for record in records[1:]
        if (record.value is not None and naming in record.value)
        or (record.headers and naming in (header_in(record.headers) or b""))
    ]
    return [*records[:1], *hits]


def _stamped(reader: LogReader, begin: int, end: int) -> Iterator[tuple[LogRecord, Stamp]]:
    """The records from an offset on that have a stamp. Raises Unavailable."""
    return _with_stamps(records_between(reader, begin, end, "outputs"))


def _with_stamps(records: Iterable[LogRecord]) -> Iterator[tuple[LogRecord, Stamp]]:
    for record in records:
        if (stamp := _stamp_of(record)) is not None:
            yield record, stamp


def _stamp_of(record: LogRecord) -> Stamp | None:
    """The stamp on a record; None if it has none, or a foreign one with moments that are none."""
    stamp = stamp_on(header_in(record.headers), record.value)
    if stamp is None or not _YEARS[0] <= stamp.at.year <= _YEARS[1]:
        return None
    try:
        for _ in () if stamp.call is None else stamp.call.spans():
            pass
    except ValueError:
        return None
    return stamp
