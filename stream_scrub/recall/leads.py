"""Reads emitted prospects back: which numbers may be called, until when, and with which facts. Pure."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np

from stream_scrub.errors import StaleIndex, Unavailable
from stream_scrub.kafka.polled_batch import PolledBatch
from stream_scrub.model import PartitionKey
from stream_scrub.numbering import line_of
from stream_scrub.recall.outstanding import Outstanding, day_that_lasts
from stream_scrub.registry.records import JSON, RecordReader, Values, read_all
from stream_scrub.scrub.backend import Kind, Plain
from stream_scrub.scrub.batch import Scrubber
from stream_scrub.scrub.stamp import without_stamp
from stream_scrub.stamp import Stamp, decode, header_in, stamp_on

_SPLICED = b',"scrub":'
_NUMBER = b'"number":"+'
_STAMPS_MAX = 10_000  # that are remembered


class AllowedNumbers(NamedTuple):
    """The allowed numbers of some records. `records` has the place of each number's record, `lasts` its last day."""

    plain: Plain
    records: list[int]
    lasts: list[date]
    position: int  # the highest index position on the stamps; -1 without a record


class LeadReader:
    """`keep_days`: for how long a number is outstanding whose verdict has no end. `records` reads what was emitted."""

    def __init__(self, scrubber: Scrubber, keep_days: int, records: RecordReader = JSON) -> None:
        self._scrubber = scrubber
        self.records = records
        self._keep = timedelta(keep_days)
        self._known: dict[tuple[bytes, bytes], tuple[date, int] | None] = {}

    def read(self, batch: PolledBatch, now: datetime) -> AllowedNumbers:
        """The leads of these records whose last day is not over. A record without a stamp is none. Raises StaleIndex if the
        schema of one is not known and cannot be asked for."""
        first_day = day_that_lasts(now)
        headers = list(map(header_in, batch.headers.each))
        values = self._values(batch)
        cuts = [_cut(header, value) for header, value in zip(headers, values, strict=True)]
        read = self._scrubber.read([own for own, _ in cuts])
        numbers: list[int] = []
        kinds: list[int] = []
        records: list[int] = []
        lasts: list[date] = []
        pairs: dict[Kind, int] = {kind: at for at, kind in enumerate(read.pairs)}
        highest = -1
        for record, (number, kind) in enumerate(zip(read.numbers.tolist(), read.kinds.tolist(), strict=True)):
            written = cuts[record][1]
            said = self._said(written, number) if kind >= 0 and written is not None else None
            found = [(number, kind)]
            if said is None:
                stamp = stamp_on(headers[record], values[record])
                if stamp is None or not stamp.allowed:
                    continue
                said = self.last_day(stamp), stamp.index
                several = self._several(stamp, headers[record], values[record])
                found = [(one, pairs.setdefault(of, len(pairs))) for one, of in several]
            last, position = said
            highest = max(highest, position)
            for one, of in found if last >= first_day else ():
                numbers.append(one)
                kinds.append(of)
                records.append(record)
                lasts.append(last)
        plain = Plain(np.array(numbers, np.uint64), np.array(kinds, np.int32), list(pairs))
        return AllowedNumbers(plain, records, lasts, highest)

    def _values(self, batch: PolledBatch) -> Values:
        try:
            return read_all(self.records, batch.values, batch.headers.each)
        except Unavailable as error:
            raise StaleIndex("registry", str(error)) from error

    def _said(self, written: bytes, number: int) -> tuple[date, int] | None:
        """The last day and the index position of an allowing stamp with that number alone; None for any other one. Stamps of
        a batch differ in their numbers alone, so most are not decoded."""
        head, _, rest = written.partition(_NUMBER)
        text, _, tail = rest.partition(b'"')
        if text != b"%d" % number:  # the worker read the prospect by other settings
            return None
        key = (head, tail)
        if key not in self._known:
            if len(self._known) >= _STAMPS_MAX:
                self._known.clear()
            self._known[key] = self._decoded(written)
        return self._known[key]

    def _decoded(self, written: bytes) -> tuple[date, int] | None:
        try:
            stamp = decode(written)
        except ValueError:
            return None
        return (self.last_day(stamp), stamp.index) if stamp.allowed and stamp.number else None

    def last_day(self, stamp: Stamp) -> date:
        """The last day on which a verdict may be used."""
        kept = min(stamp.at.date(), date.max - self._keep) + self._keep
        return kept if stamp.until is None else min(stamp.until, kept)

    def _several(self, stamp: Stamp, header: bytes | None, value: bytes | None) -> Sequence[tuple[int, Kind]]:
        """The allowed numbers of one prospect, each with its kind. Without readable facts any campaign may be calling."""
        own = without_stamp(value, self._scrubber.terms.members, header)
        facts = self._scrubber.facts(own)
        texts = stamp.callable or [each.number for each in stamp.each if each.allowed and each.number]
        numbers = [int(text[1:]) for text in texts]
        return [(number, (line, facts)) for number in numbers if (line := line_of(number)) is not None]


def _cut(header: bytes | None, value: bytes | None) -> tuple[bytes | None, bytes | None]:
    """The producer's own bytes and the stamp, cut where the worker spliced the stamp in; None for what is elsewhere."""
    if header is not None or value is None:
        return value, header
    own, spliced, written = value.rpartition(_SPLICED)
    if not spliced or written[-1:] != b"}":
        return None, None
    return own + b"}", written[:-1]


def add_leads(
    outstanding: Outstanding, leads: AllowedNumbers, partitions: Sequence[PartitionKey], keep: Sequence[bool]
) -> None:
    """Add the leads to keep; each is of that partition."""
    groups: dict[tuple[PartitionKey, int, date], list[int]] = {}
    plain = leads.plain
    for number, kind, last, partition, kept in zip(
        plain.numbers.tolist(), plain.kinds.tolist(), leads.lasts, partitions, keep, strict=True
    ):
        if kept:
            groups.setdefault((partition, kind, last), []).append(number)
    for (partition, kind, last), numbers in groups.items():
        outstanding.add(partition, plain.pairs[kind], last, numbers)
