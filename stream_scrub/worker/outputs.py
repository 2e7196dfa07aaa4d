"""Records that the output topics refuse as they are: between steps 5 and 6 of a prospect's life.

They are emitted in another form: on the blocked topic, with a key of ours if they have none, and with the time of their
emission. If the topics' size limit is known, nothing larger is sent.

A broker refuses a client's whole batch for one record. The client names the records at fault if there are several. So these
are sent once more one by one; otherwise those without a key or with the first or last timestamp; otherwise all. What is
refused alone is proven. The reason (no key, a timestamp too far ahead or behind, too many bytes) applies to other records of
that topic too: for `_FOR_S` seconds they are not even tried, so that a producer that always sends them costs the others
nothing.
"""

import math
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import getitem
from typing import Any, NamedTuple

import numpy as np

from stream_scrub.clock import Throttle, utc_millis
from stream_scrub.config.settings import Inputs
from stream_scrub.errors import ScrubError, StaleIndex, TooLarge, Unavailable, Unwritable
from stream_scrub.index import Index
from stream_scrub.kafka.bulk import Fetched, Outgoing, RecordBatch, polled
from stream_scrub.kafka.cloud_events import CloudEvents
from stream_scrub.kafka.headers import FROM_HEADER, LOST
from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch
from stream_scrub.kafka.session import EmittedRecord, Session, StandIn
from stream_scrub.model import Fault, Header, Logger, PartitionKey
from stream_scrub.registry.records import RecordReader
from stream_scrub.scrub.backend import ends_of
from stream_scrub.scrub.batch import Batch, RecordVerdicts, Scrubber

Place = tuple[str, int, int]  # topic, partition and offset of a prospect

_FOR_S = 60.0  # how long a proof holds for other records; then the topic's settings may have changed
_NEAR_MS = 60_000  # clocks differ; a timestamp that is farther from now was refused for that
OTHER = "_INVALID_DIFFERENT_RECORD"  # the client's code for the others of a batch, if the broker named some
TOO_LARGE = "MSG_SIZE_TOO_LARGE"
_KEYLESS = "INVALID_RECORD"
_TIMESTAMP = "INVALID_TIMESTAMP"
_SIZES = frozenset({TOO_LARGE, "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE"})
PLAIN, BARE = 1, 2  # forms: its own bytes with our key and timestamp; if that is refused, without its bytes


class RecordReport(NamedTuple):
    """What the client reported of a record, and possible reasons."""

    place: Place
    topic: str  # to which it was sent
    blocked: str  # the topic of its input's blocked prospects
    code: str
    keyless: bool
    timestamp_ms: int
    nbytes: int  # as it was sent
    own_bytes: int  # without the stamp in its value


class RecordRefusal(NamedTuple):
    """Why a record cannot be emitted as it is, and in which form it is."""

    cause: str
    form: int


@dataclass(slots=True)
class _Refuses:
    """What one topic refuses, as far as a record has proven it."""

    keyless: bool = False
    upto_ms: float = -math.inf  # timestamps up to here
    from_ms: float = math.inf  # and from here on
    from_bytes: float = math.inf
    bare_from: float = math.inf  # records with so many bytes of their own as `PLAIN`, too

    def cause(self, report: RecordReport) -> str:
        """Why this record is refused; empty if it is not."""
        if self.keyless and report.keyless:
            return _KEYLESS
        if not self.upto_ms < report.timestamp_ms < self.from_ms:
            return _TIMESTAMP
        if report.nbytes >= self.from_bytes:
            return TOO_LARGE
        return ""

    def learn(self, report: RecordReport, now_ms: int) -> bool:
        """Learn from a record that was refused alone; returns whether its reason applies to others."""
        if report.code in _SIZES:
            self.from_bytes = min(self.from_bytes, report.nbytes)
        elif report.code == _TIMESTAMP:
            if abs(report.timestamp_ms - now_ms) <= _NEAR_MS:
                return False
            if report.timestamp_ms > now_ms:
                self.from_ms = min(self.from_ms, report.timestamp_ms)
            else:
                self.upto_ms = max(self.upto_ms, report.timestamp_ms)
        elif report.keyless:
            self.keyless = True
        else:
            return False
        return True


def _likely(named: Sequence[RecordReport]) -> Iterator[RecordReport]:
    """The records that have what topics refuse most often with their code."""
    moments = [report.timestamp_ms for report in named if report.code == _TIMESTAMP]
    first, last = min(moments, default=0), max(moments, default=0)
    for report in named:
        if report.code == _TIMESTAMP:
            if report.timestamp_ms in (first, last):
                yield report
        elif report.keyless and report.code not in _SIZES:
            yield report


class RefusedRecords:
    """The records that one worker's outputs refuse. The caller gives the time: `now_s` monotonic, `now_ms` since 1970."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._until_s: float | None = None
        self._suspects: set[Place] = set()
        self._proven: dict[Place, RecordRefusal] = {}
        self._refuses: defaultdict[str, _Refuses] = defaultdict(_Refuses)  # by topic

    @property
    def are_known(self) -> bool:
        """Whether any record is suspected or proven. Otherwise a batch need not be checked."""
        return self._until_s is not None

    def failed(self, reports: Sequence[RecordReport], *, alone: bool, now_s: float, now_ms: int) -> None:
        """A batch was refused, with these reports; `alone` says that it had only one record."""
        named = [report for report in reports if report.code != OTHER]
        if not named:
            return
        if self._until_s is None:
            self._until_s = now_s + _FOR_S
        if not alone:
            self._suspects = {report.place for report in list(_likely(named)) or named}
        elif self._prove(named[0], now_ms):
            self._until_s = now_s + _FOR_S
            self._suspects.clear()  # the same reason probably explains them

    def _prove(self, report: RecordReport, now_ms: int) -> bool:
        """A record was refused alone. Returns whether the reason applies to others."""
        is_plain = report.place in self._proven
        self._proven[report.place] = RecordRefusal(report.code, BARE if is_plain else PLAIN)
        if not is_plain:
            return self._refuses[report.topic].learn(report, now_ms)
        if report.code not in _SIZES:
            return False
        refuses = self._refuses[report.blocked]
        refuses.bare_from = min(refuses.bare_from, report.own_bytes)
        return True

    def together(self, places: Iterable[Place]) -> int | None:
        """How many of a batch's first records may be sent together; None for all of them."""
        if self._suspects:
            for at, place in enumerate(places):
                if place in self._suspects:
                    return at or 1
        return None

    def of(self, reports: Iterable[RecordReport], now_s: float) -> dict[int, RecordRefusal]:
        """The records that must be emitted in another form, by their index in `reports`, whose codes are ignored."""
        if self._until_s is not None and self._until_s <= now_s:
            self._forget()
        refused = {}
        for at, report in enumerate(reports):
            refusal = self._proven.get(report.place) or self._by_reason(report)
            if refusal is not None:
                refused[at] = refusal
        return refused

    def _by_reason(self, report: RecordReport) -> RecordRefusal | None:
        cause = self._refuses[report.topic].cause(report)
        if not cause:
            return None
        is_bare = report.own_bytes >= self._refuses[report.blocked].bare_from
        return RecordRefusal(cause, BARE if is_bare else PLAIN)

    def committed(self, places: Iterable[Place]) -> None:
        """These records are committed: forget them."""
        for place in places:
            self._suspects.discard(place)
            self._proven.pop(place, None)


def stamp_facts(refusal: RecordRefusal, report: RecordReport, *, several: bool) -> Mapping[str, Any]:
    """What the stamp says apart from the verdict: the cause, the record's input place (with its topic if there are `several`),
    and its own timestamp, which would be lost."""
    topic, partition, offset = report.place
    place = f"{topic}/{partition}/{offset}" if several else f"{partition}/{offset}"
    return {"cause": refusal.cause, "from": place, "timestamp": report.timestamp_ms}


# The bytes of a record apart from its key, value and headers: lengths, timestamp and offset deltas, attributes (KIP-98).
_RECORD_OVERHEAD = 96
_RECORD_LEAST = 68  # of it: a batch's own header, and each length in one byte
_ASK_EVERY_S = _LOG_EVERY_S = 60.0
# Of a record that is refused also without its bytes: a longer key may be the reason.
_KEY_BYTES_MAX = 4096
_BATCH_BYTES_MIN = 1024  # smaller batches of the client would have one record each


class ReadyBatch(NamedTuple):
    """A batch that is ready to be emitted."""

    fetched: PolledBatch  # what there was time to judge
    batch: Batch
    records: Sequence[EmittedRecord]
    headers: Sequence[Sequence[Header] | None]
    rest: Fetched  # not judged
    routes: Sequence[
        tuple[str, str]
    ]  # topics of blocked and allowed ones: one pair for all records, or one for each

    def topics(self) -> Iterator[str]:
        """The topic of each record."""
        if len(self.routes) == 1:
            return map(self.routes[0].__getitem__, self.batch.allowed)
        return map(getitem, self.routes, self.batch.allowed)

    def places(self) -> Iterable[PartitionKey]:
        """The partitions of the outputs that it is written to."""
        return zip(self.topics(), self.fetched.partitions, strict=True)

    def emit(self, session: Session) -> None:
        """Begin a transaction and produce every record. Raises as `Session.emit`."""
        fetched, batch = self.fetched, self.batch
        session.emit(
            self.records, fetched.partitions, self.headers, self.topics(), batch.values, batch.stamps
        )


class ReadyRecords(NamedTuple):
    """As `ReadyBatch`, for records that the extension holds."""

    fetched: RecordBatch
    batch: RecordVerdicts
    out: Outgoing
    rest: Fetched

    def places(self) -> Iterable[PartitionKey]:
        """The partitions of the outputs that it is written to."""
        partition = self.fetched.records.partition
        return {(self.out.topics[to], partition(at)) for at, to in enumerate(self.out.routes.tolist())}

    def emit(self, session: Session) -> None:
        """As `ReadyBatch.emit`."""
        session.emit_records(self.out)


Ready = ReadyBatch | ReadyRecords


@dataclass(eq=False)
class Outputs:
    """The output topics of one worker. `records` reads what comes in. `limit`: the largest record that they take, in bytes,
    None without the right to ask. `ask` asks again and raises ScrubError. `events`: makes each record a CloudEvent."""

    session: Session
    inputs: Inputs
    scrubber: Scrubber
    records: RecordReader
    log: Logger
    limit: int | None
    ask: Callable[[], int | None]
    events: CloudEvents | None = None
    _routes: dict[str, tuple[str, str]] = field(default_factory=dict, init=False)
    _asking: Throttle = field(default_factory=lambda: Throttle(_ASK_EVERY_S, at_once=False), init=False)
    _line: Throttle = field(default_factory=lambda: Throttle(_LOG_EVERY_S), init=False)
    _refused: RefusedRecords = field(default_factory=RefusedRecords, init=False)

    def together(self, fetched: Fetched) -> int | None:
        """How many of the first records may be in one batch; None for all of them."""
        return self._refused.together(_places(fetched))

    def judge(self, fetched: Fetched, index: Index, enough: Callable[[], bool]) -> Ready:
        """Judge a batch by an index, and give each record a form that its topic takes. Raises StaleIndex."""
        now = datetime.now(UTC)
        if not isinstance(fetched, RecordBatch):
            ready = self._judge_polled(fetched, index, now, enough)
            count = len(ready.fetched)
            return ready if count == len(fetched) else ready._replace(rest=fetched.parted(count)[1])
        if self.session.takes_records and not self._refused.are_known:
            records = self._ready_records(fetched, index, now, enough)
            if records is not None:
                return records
        ready = self._judge_polled(polled(fetched), index, now, enough)
        return ready._replace(rest=fetched.parted(len(ready.fetched))[1])

    def _ready_records(
        self, fetched: RecordBatch, index: Index, now: datetime, enough: Callable[[], bool]
    ) -> ReadyRecords | None:
        """The batch, judged where the extension holds it; None if one record at least needs a closer look."""
        if fetched.records.has_odd_header():
            return None
        try:
            read = self.records.read_records(fetched.records, enough)
        except Unavailable as error:
            raise StaleIndex("registry", str(error)) from error
        emitted = None if read is fetched.records else fetched.records
        original = fetched.records

        def fault_at(at: int) -> Fault:
            headers = original.headers(at) or ()
            return self._fault(original.value(at), [(name.decode(), value) for name, value in headers])

        limit = self.limit
        if limit is not None and self.events is not None:
            limit -= self.events.nbytes
        verdicts = self.scrubber.scrub_records(
            read, index, now, limit=limit, enough=enough, emitted=emitted, fault_at=fault_at
        )
        if verdicts is None:
            return None
        count = len(verdicts.ids)
        fetched, rest = (fetched, NOTHING) if count == len(fetched) else fetched.parted(count)
        places = np.zeros(count, np.int32)
        inputs = fetched.records.topic_places(places)
        topics = [topic for each in inputs for topic in self._outputs_of(each)]
        heads, tails = ends_of(verdicts.templates)
        out = Outgoing(
            fetched,
            topics,
            2 * places + verdicts.allowed,
            verdicts.numbers,
            verdicts.ids,
            heads,
            tails,
            verdicts.into_value,
            verdicts.others,
            None if self.events is None else self.events.of_batch(len(inputs), utc_millis(now).encode()),
        )
        return ReadyRecords(fetched, verdicts, out, rest)

    def _judge_polled(
        self, fetched: PolledBatch, index: Index, now: datetime, enough: Callable[[], bool]
    ) -> ReadyBatch:
        read = self._read(fetched, enough)
        if len(read) < len(fetched):
            fetched, _ = fetched.parted(len(read))
        spoilt: dict[int, Mapping[str, Any]] = {at: {"cause": LOST} for at in fetched.headers.lost}
        event_bytes = 0 if self.events is None else self.events.nbytes

        def scrub() -> Batch:
            return self.scrubber.scrub(
                read,
                index,
                now,
                limit=self.limit,
                overhead=lambda at: _overhead(fetched, at) + event_bytes,
                spoilt=spoilt,
                enough=enough,
                emitted=None if read is fetched.values else fetched.values,
                fault_at=lambda at: self._fault(fetched.values[at], fetched.headers.each[at]),
            )

        batch = scrub()
        if batch.shortened and self._takes_more():
            batch = scrub()
        if not (self._refused.are_known or batch.shortened):
            return self._ready(fetched, batch, {}, now)
        reports = [self._report(fetched, batch, at, "") for at in range(len(batch.values))]
        refused = self._refused.of(reports, time.monotonic())
        if self.limit is not None:
            hopeless = RecordRefusal(TOO_LARGE, BARE)
            refused |= {
                at: hopeless for at, report in enumerate(reports) if self._fits_never(report, fetched, at)
            }
        if refused:
            several = self.inputs.several
            spoilt |= {at: stamp_facts(each, reports[at], several=several) for at, each in refused.items()}
            batch = scrub()
        return self._ready(fetched, batch, refused, now)

    def _read(self, fetched: PolledBatch, enough: Callable[[], bool]) -> Sequence[bytes | None]:
        """As much of a batch as can be read now. Raises StaleIndex if its first record cannot."""
        try:
            return self.records.read(fetched.values, fetched.headers.each, enough)
        except Unavailable as error:
            raise StaleIndex("registry", str(error)) from error

    def _fault(self, value: bytes | None, headers: Sequence[Header] | None) -> Fault:
        """Why a record is unreadable. Raises StaleIndex."""
        try:
            return self.records.fault(value, headers)
        except Unavailable as error:
            raise StaleIndex("registry", str(error)) from error

    def _fits_never(self, report: RecordReport, fetched: PolledBatch, at: int) -> bool:
        """Whether a record's own bytes are surely too many for the outputs, even compressed. The client compresses with
        lz4, which never beats zlib: a record that zlib brings under the limit is tried."""
        assert self.limit is not None, "there is a limit"
        room = self.limit - _RECORD_LEAST
        own = report.own_bytes - _RECORD_OVERHEAD
        return own > room and len(zlib.compress(fetched.values[at] or b"")) > room

    def _ready(
        self, fetched: PolledBatch, batch: Batch, refused: Mapping[int, RecordRefusal], now: datetime
    ) -> ReadyBatch:
        count = len(batch.values)
        fetched, rest = (fetched, NOTHING) if count == len(fetched) else fetched.parted(count)
        records: list[Any] = fetched.messages
        headers: list[Any] = fetched.headers.each
        refused = {at: refusal for at, refusal in refused.items() if at < len(records)}
        if refused:
            records, headers = list(records), list(headers)
            for at, refusal in refused.items():
                key = fetched.messages[at].key() or b""
                if refusal.form == BARE:
                    batch.values[at] = None
                    headers[at] = [each for each in headers[at] or () if each[0] == FROM_HEADER]
                    key = key if len(key) <= _KEY_BYTES_MAX else b""
                if not key:  # the topic may refuse records without one
                    message = fetched.messages[at]
                    key = f"scrub/{message.topic()}/{fetched.partitions[at]}/{message.offset()}".encode()
                records[at] = StandIn(key, int(now.timestamp() * 1000))
        if refused or batch.shortened:
            self._tell(fetched, refused, batch.shortened)
        if self.events is not None:
            headers = _of_events(self.events, fetched, headers, batch, now)
        return ReadyBatch(fetched, batch, records, headers, rest, self._routes_of(fetched))

    def _routes_of(self, fetched: PolledBatch) -> Sequence[tuple[str, str]]:
        topics = fetched.topics or self.inputs.names
        routes = {topic: self._outputs_of(topic) for topic in set(topics)}
        return [routes[topic] for topic in topics]

    def _outputs_of(self, topic: str) -> tuple[str, str]:
        """The topics of an input's blocked and allowed prospects."""
        outputs = self._routes.get(topic)
        if outputs is None:
            outputs = self._routes[topic] = self.inputs.route(topic).outputs
        return outputs

    def _tell(self, fetched: PolledBatch, refused: Mapping[int, RecordRefusal], too_large: int) -> None:
        """Log it at most once a minute, however many such records come."""
        if not self._line.is_due():
            return
        self.log.error(
            "records could not be written as they are; emitted as blocked",
            refused={refusal.cause: list(_places(fetched))[at] for at, refusal in refused.items()},
            too_large_with_stamp=too_large,
            record_limit=self.limit,
        )

    def committed(self, ready: Ready) -> None:
        """The transaction of `ready` is committed."""
        if self._refused.are_known:
            self._refused.committed(_places(ready.fetched))

    def failed(self, ready: Ready, error: Unwritable) -> None:
        """Records of this batch were refused for what they are. The next batches find out which, and emit them in another
        form."""
        reports = []
        if isinstance(ready, ReadyBatch):
            reports = [
                self._report(ready.fetched, ready.batch, at, code) for at, code in error.reports.items()
            ]
        if isinstance(error, TooLarge) and self._fits_otherwise(reports):
            return
        alone = len(ready.fetched) == 1
        now_ms = int(time.time() * 1000)
        self._refused.failed(reports, alone=alone, now_s=time.monotonic(), now_ms=now_ms)

    def _report(self, fetched: PolledBatch, batch: Batch, at: int, code: str) -> RecordReport:
        message = fetched.messages[at]
        outputs = self._outputs_of(message.topic() or "")
        return RecordReport(
            (message.topic() or "", fetched.partitions[at], message.offset() or 0),
            outputs[batch.allowed[at]],
            outputs[False],
            code,
            keyless=message.key() is None,
            timestamp_ms=message.timestamp()[1],
            nbytes=len(batch.values[at] or b"") + len(batch.stamps[at] or b"") + _overhead(fetched, at),
            own_bytes=len(fetched.values[at] or b"") + _overhead(fetched, at),
        )

    def _fits_otherwise(self, reports: Sequence[RecordReport]) -> bool:
        """Whether a changed limit, or the size of the client's batches, explains the refusal. Then no single record is to
        blame."""
        known = self.limit
        limit = self._asked()
        if limit is not None and self.session.batch_bytes > limit:
            self.session.fit(limit)
            return True
        if limit != known:
            return True
        if limit is not None:
            return False
        together = Counter((report.topic, report.place[1]) for report in reports)
        if max(together.values(), default=0) > 1 and self.session.batch_bytes > _BATCH_BYTES_MIN:
            self.session.fit(max(_BATCH_BYTES_MIN, self.session.batch_bytes // 2))
            return True
        return False

    def _takes_more(self) -> bool:
        """Whether the outputs take larger records than before: somebody may have raised their limit."""
        known = self.limit
        if self._asking.age_s < _ASK_EVERY_S:
            return False
        limit = self._asked()
        return limit is not None and known is not None and limit > known

    def _asked(self) -> int | None:
        """The limit as it is now; the last known one if the brokers do not answer."""
        self._asking.restart()
        with suppress(ScrubError):
            self.limit = self.ask()
        return self.limit


def _places(fetched: Fetched) -> Iterator[Place]:
    fetched = polled(fetched)
    for message, partition in zip(fetched.messages, fetched.partitions, strict=True):
        yield message.topic() or "", partition, message.offset() or 0


def _of_events(
    events: CloudEvents,
    fetched: PolledBatch,
    headers: Sequence[Sequence[Header] | None],
    batch: Batch,
    now: datetime,
) -> list[list[Header]]:
    moment = utc_millis(now).encode()
    return [
        events.headers(came, place, moment, allowed=allowed, stamped=value is not None and value != own)
        for came, place, allowed, value, own in zip(
            headers, _places(fetched), batch.allowed, batch.values, fetched.values, strict=True
        )
    ]


def _overhead(fetched: PolledBatch, at: int) -> int:
    return (
        _RECORD_OVERHEAD
        + len(fetched.messages[at].key() or b"")
        + sum(len(name) + len(value or b"") + 8 for name, value in fetched.headers.each[at] or ())
    )
