"""A small log with everything that a log may hold, and readers of it: for the tests of evidence.

`python -m tests.support.golden.evidence NAME` writes a log for tests/golden/log. It never overwrites one that is
there: later releases must read the old ones.
"""

import base64
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from pyroaring import BitMap64

from stream_scrub.lists import deltas
from stream_scrub.lists.audit import rules_on_log
from stream_scrub.lists.deltas import Delta
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.replay import Replay
from stream_scrub.model import Deadline, LogRecord, RegisterKind
from stream_scrub.rules import digest_of
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import AT, NOW, Publisher, bitmap, stated

DAY = 86_400
CALLED, OPPOSED, CONSENTING, OTHER = 33611111111, 33612345678, 33622222222, 33633333333
CONSENT = (
    b'{"request":"consent","number":"06 22 22 22 22","region":"FR","until":"2026-12-24","source":"form-42",'
    b'"proof":{"text":"I agree","url":"https://example.org/42","ip":"192.0.2.1"}}'
)
OPT_OUTS = b'{"request":"opt-out","number":["+33633333333","06 22 22 22 22"],"source":"dialler-7"}'


def timed(log: Log, since_ms: int = NOW * 1000) -> list[LogRecord]:
    """The records of a log with Kafka's timestamps: one second for each offset."""
    return [record._replace(timestamp_ms=since_ms + 1000 * record.offset) for record in log.records]


def reader(records: list[LogRecord], start: int = 0) -> Reader:
    """A reader of a log with these records, whose first offset is `start`."""
    log = Log(start)
    log.records = list(records)
    log.end = records[-1].offset + 2 if records else start
    return Reader(log)


def keep_rules(publisher: Publisher, *texts: str, full_every: int = 1000) -> None:
    """Put the texts of rules on a publisher's log. The publisher need not know the whole log."""
    known = publisher.replay.known(wire.RULES)
    rules = rules_on_log.read(Reader(publisher.log), known, Deadline.after(5))
    book = law.rulebook(*texts)
    rules_on_log.put(publisher.writer, rules, known, book, AT, "stream-scrub", full_every=full_every)
    publisher.catch_up()


def small_log() -> Log:
    """Rules, two registers of each kind, ends, requests, a number that comes, goes and comes again, full sets."""
    log = Log()
    publisher = Publisher(log, full_every=9)
    keep_rules(publisher, law.OPT_IN)
    publisher.import_list("list", {OPPOSED: 0, OTHER: 0})
    publisher.import_list("washed", {CALLED: NOW + DAY}, RegisterKind.ALLOW)
    line = wire.request_line(3, 17, NOW * 1000, CONSENT)
    consenting = Delta(bitmap([CONSENTING]), BitMap64(), 0, stated({CONSENTING: NOW + 30 * DAY}))
    publisher.put("consent", consenting_with(consenting, line), RegisterKind.ALLOW, hours=1)
    publisher.import_list("list", {OTHER: 0})
    publisher.end("washed", NOW + 2 * DAY)
    line = wire.request_line(0, 4, NOW * 1000 + 5, OPT_OUTS)
    opposing = deltas.adding(publisher.base("internal").numbers, bitmap([CONSENTING, OTHER]))
    publisher.request("internal", opposing, [line])
    publisher.import_list("list", {OTHER: 0, OPPOSED: 0})
    keep_rules(publisher, law.OPT_OUT, full_every=9)
    publisher.import_list("list", {OTHER: 0, OPPOSED: 0, 33644444444: 0})
    return log


def consenting_with(delta: Delta, *lines: bytes) -> Delta:
    """The same delta, asked for by requests."""
    return Delta(delta.adds, delta.removes, delta.unchanged, delta.ends, "requests", lines)


def taken(records: list[LogRecord], upto: int | None = None) -> Replay:
    """A follower that has taken all records up to an offset."""
    replay = Replay(keep_ends=True, digest_of=digest_of)
    for record in records:
        if upto is None or record.offset <= upto:
            replay.take(record)
    return replay


def written(records: list[LogRecord]) -> str:
    """Records as tests/golden/log keeps them."""
    lines = [
        {
            "offset": record.offset,
            "key": (record.key or b"").decode(),
            "value": base64.b64encode(record.value or b"").decode(),
            "headers": [[name, (value or b"").decode()] for name, value in record.headers],
            "timestamp": record.timestamp_ms,
        }
        for record in records
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


if __name__ == "__main__":
    made = Path(__file__).parents[2] / "golden" / "log" / f"{sys.argv[1]}.jsonl"
    with made.open("x") as file:
        file.write(written(timed(small_log())))
