"""Records that the output topics do not take as they are: between steps 5 and 6 of a prospect's life.

`refused_records` knows which they are; here they get another form: on the blocked topic, with a key of ours where
they have none, and with the moment of their emission. Where the topics' size limit is known, it is kept before
anything is sent.
"""

import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import getitem
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from stream_scrub.config.inputs import Inputs
from stream_scrub.errors import ScrubError, TooLarge, Unwritable
from stream_scrub.index import Index
from stream_scrub.kafka.fetched import NOTHING, Fetched
from stream_scrub.kafka.headers import FROM_HEADER, LOST
from stream_scrub.kafka.session import EmittedRecord, Session
from stream_scrub.model import Header, PartitionKey
from stream_scrub.scrub.batch import Batch, Scrubber
from stream_scrub.worker.refused_records import (
    BARE,
    TOO_LARGE,
    Place,
    RecordRefusal,
    RecordReport,
    RefusedRecords,
    stamp_facts,
)

# The bytes of a record besides its key, value and headers: lengths, timestamp and offset deltas, attributes (KIP-98).
_RECORD_OVERHEAD = 96
_RECORD_LEAST = 68  # of it: a batch's own header, and each length in one byte
_ASK_EVERY_S = _TELL_EVERY_S = 60.0
_KEY_BYTES_MAX = (
    4096  # of a record that is refused also without its bytes: a longer key may be what it is refused for
)
_BATCH_BYTES_MIN = 1024  # smaller ones of the client's would hold one record each, whatever they may be


class _Standin(NamedTuple):
    """Stands for a record in `Session.emit`, with another key and timestamp."""

    own_key: bytes
    moment_ms: int

    def key(self) -> bytes:
        return self.own_key

    def timestamp(self) -> tuple[int, int]:
        return (0, self.moment_ms)


class ReadyBatch(NamedTuple):
    """A batch that is ready to be emitted: what there was time to judge, its records and headers as they go out, and
    the rest."""

    fetched: Fetched
    batch: Batch
    records: Sequence[EmittedRecord]
    headers: Sequence[Sequence[Header] | None]
    rest: Fetched
    routes: Sequence[
        tuple[str, str]
    ]  # where blocked and allowed ones go: one for all records, or one for each

    def topics(self) -> Iterator[str]:
        """Where each record goes."""
        if len(self.routes) == 1:
            return map(self.routes[0].__getitem__, self.batch.allowed)
        return map(getitem, self.routes, self.batch.allowed)

    def places(self) -> Iterator[PartitionKey]:
        """The partition that each record goes to."""
        return zip(self.topics(), self.fetched.partitions, strict=True)


class Outputs:
    """The output topics of one worker. `limit` is the largest record that they take, in bytes, None where we may not
    ask; `ask` asks again and raises ScrubError.
    """

    def __init__(
        self,
        session: Session,
        inputs: Inputs,
        scrubber: Scrubber,
        log: FilteringBoundLogger,
        limit: int | None,
        ask: Callable[[], int | None],
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._routes: dict[str, tuple[str, str]] = {}
        self._scrubber = scrubber
        self._log = log
        self._limit = limit
        self._ask = ask
        self._asked_at = time.monotonic()
        self._logged_at = float("-inf")
        self._refused = RefusedRecords()

    def together(self, fetched: Fetched) -> int | None:
        """How many of the first records may go in one batch; None for all of them."""
        return self._refused.together(_places(fetched))

    def judge(self, fetched: Fetched, index: Index, enough: Callable[[], bool]) -> ReadyBatch:
        """Judge a batch by an index, and bring each record into a form that its topic takes. Raises StaleIndex."""
        now = datetime.now(UTC)
        spoilt: dict[int, Mapping[str, Any]] = {at: {"cause": LOST} for at in fetched.headers.lost}

        def scrub() -> Batch:
            return self._scrubber.scrub(
                fetched.values,
                index,
                now,
                limit=self._limit,
                overhead=lambda at: _overhead(fetched, at),
                spoilt=spoilt,
                enough=enough,
            )

        batch = scrub()
        if batch.shortened and self._takes_more():
            batch = scrub()
        if not (self._refused.are_known or batch.shortened):
            return self._ready(fetched, batch, {}, 0)
        now_ms = int(now.timestamp() * 1000)
        reports = [_report(fetched, batch, at, "") for at in range(len(batch.values))]
        refused = self._refused.of(reports, time.monotonic())
        if self._limit is not None:
            hopeless = RecordRefusal(TOO_LARGE, BARE)
            refused |= {
                at: hopeless for at, report in enumerate(reports) if self._fits_never(report, fetched, at)
            }
        if refused:
            several = self._inputs.several
            spoilt |= {at: stamp_facts(each, reports[at], several=several) for at, each in refused.items()}
            batch = scrub()
        return self._ready(fetched, batch, refused, now_ms)

    def _fits_never(self, report: RecordReport, fetched: Fetched, at: int) -> bool:
        """Whether a record's own bytes are surely too many for the outputs, even compressed. The client compresses
        with lz4, which never gets below zlib: a record that zlib brings under the limit is tried.
        """
        assert self._limit is not None, "there is a limit"
        room = self._limit - _RECORD_LEAST
        own = report.own_bytes - _RECORD_OVERHEAD
        return own > room and len(zlib.compress(fetched.values[at] or b"")) > room

    def _ready(
        self, fetched: Fetched, batch: Batch, refused: Mapping[int, RecordRefusal], now_ms: int
    ) -> ReadyBatch:
        fetched, rest = _parted(fetched, len(batch.values))
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
                records[at] = _Standin(key or _key_of(fetched, at), now_ms)
        if refused or batch.shortened:
            self._tell(fetched, refused, batch.shortened)
        return ReadyBatch(fetched, batch, records, headers, rest, self._routes_of(fetched))

    def _routes_of(self, fetched: Fetched) -> Sequence[tuple[str, str]]:
        routes, topics = self._routes, fetched.topics or self._inputs.names
        for topic in set(topics) - routes.keys():
            routes[topic] = self._inputs.route(topic).outputs
        return [routes[topic] for topic in topics]

    def _tell(self, fetched: Fetched, refused: Mapping[int, RecordRefusal], too_large: int) -> None:
        """Log it at most once a minute, however many such records come."""
        now = time.monotonic()
        if now - self._logged_at < _TELL_EVERY_S:
            return
        self._logged_at = now
        self._log.error(
            "prospects come out blocked for what their record is: see `stream-scrub topics --check`",
            refused={refusal.cause: list(_places(fetched))[at] for at, refusal in refused.items()},
            too_large_with_stamp=too_large,
            record_limit=self._limit,
        )

    def committed(self, ready: ReadyBatch) -> None:
        """It is out."""
        if self._refused.are_known:
            self._refused.committed(_places(ready.fetched))

    def failed(self, ready: ReadyBatch, error: Unwritable) -> None:
        """Records of this batch were refused for what they are. The next batches find out which, and bring them out
        in another form."""
        reports = [_report(ready.fetched, ready.batch, at, code) for at, code in error.reports.items()]
        if isinstance(error, TooLarge) and self._fits_otherwise(reports):
            return
        alone = len(ready.batch.values) == 1
        now_ms = int(time.time() * 1000)
        self._refused.failed(reports, alone=alone, now_s=time.monotonic(), now_ms=now_ms)

    def _fits_otherwise(self, reports: Sequence[RecordReport]) -> bool:
        """Whether a changed limit, or the size of the client's batches, explains that something was too large: then
        no single record is to blame."""
        known = self._limit
        limit = self._asked()
        if limit is not None and self._session.batch_bytes > limit:
            self._session.fit(limit)
            return True
        if limit != known:
            return True
        if limit is not None:
            return False
        together = Counter((report.allowed, *report.place[:2]) for report in reports)
        if max(together.values(), default=0) > 1 and self._session.batch_bytes > _BATCH_BYTES_MIN:
            self._session.fit(max(_BATCH_BYTES_MIN, self._session.batch_bytes // 2))
            return True
        return False

    def _takes_more(self) -> bool:
        """Whether the outputs take larger records than before: somebody may have raised their limit."""
        known = self._limit
        if time.monotonic() - self._asked_at < _ASK_EVERY_S:
            return False
        limit = self._asked()
        return limit is not None and known is not None and limit > known

    def _asked(self) -> int | None:
        """The limit as it is now; the last known one where the brokers do not answer."""
        self._asked_at = time.monotonic()
        with suppress(ScrubError):
            self._limit = self._ask()
        return self._limit


def _places(fetched: Fetched) -> Iterable[Place]:
    for message, partition in zip(fetched.messages, fetched.partitions, strict=True):
        yield message.topic() or "", partition, message.offset() or 0


def _parted(fetched: Fetched, count: int) -> tuple[Fetched, Fetched]:
    return (fetched, NOTHING) if count == len(fetched.messages) else fetched.parted(count)


def _key_of(fetched: Fetched, at: int) -> bytes:
    """A key that no other record has, for a topic that refuses records without a key."""
    message = fetched.messages[at]
    return f"scrub/{message.topic()}/{fetched.partitions[at]}/{message.offset()}".encode()


def _overhead(fetched: Fetched, at: int) -> int:
    return (
        _RECORD_OVERHEAD
        + len(fetched.messages[at].key() or b"")
        + sum(len(name) + len(value or b"") + 8 for name, value in fetched.headers.each[at] or ())
    )


def _report(fetched: Fetched, batch: Batch, at: int, code: str) -> RecordReport:
    message = fetched.messages[at]
    return RecordReport(
        (message.topic() or "", fetched.partitions[at], message.offset() or 0),
        batch.allowed[at],
        code,
        keyless=message.key() is None,
        timestamp_ms=message.timestamp()[1],
        nbytes=len(batch.values[at] or b"") + len(batch.stamps[at] or b"") + _overhead(fetched, at),
        own_bytes=len(fetched.values[at] or b"") + _overhead(fetched, at),
    )
