"""A small log with everything that a log may hold, and readers of it: for the tests of evidence.

`python -m tests.support.golden.evidence` writes tests/golden/log/evidence.jsonl and tests/golden/evidence again, and
`python -m tests.unit.cli.test_console` what commands write about them: only for a change of the formats that is meant.
"""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from pyroaring import BitMap64

from stream_scrub.config.settings import Settings
from stream_scrub.index import deltas
from stream_scrub.index.deltas import Delta
from stream_scrub.log import rules_on_log, wire
from stream_scrub.log.replay import Replay
from stream_scrub.model import Deadline, LogRecord, RegisterKind
from stream_scrub.queries import history, verify_log
from stream_scrub.queries.explain import EmittedProspect, explain
from stream_scrub.rules import digest_of
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.batch import Scrubber
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import AT, NOW, Publisher, bitmap, stated
from tests.support.golden import files as golden

DAY = 86_400
CALLED, OPPOSED, CONSENTING, OTHER = 33611111111, 33612345678, 33622222222, 33633333333
NUMBERS = {"called": CALLED, "opposed": OPPOSED, "consenting": CONSENTING, "other": OTHER}
POSITIONS = (0, 4, 17, 28, 43)
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
    rules = rules_on_log.read(Reader(publisher.log), known, Deadline.after(60))
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


def prospects() -> dict[str, bytes]:
    """Prospects as a worker emitted them by the small log, by the position of the index that judged them."""
    settings = Settings()
    scrubber = Scrubber(scrubbing.terms(settings, hold=False), law.rulebook(law.OPT_IN))
    values = {
        "consented": (18, b'{"id":1,"phone":"06 22 22 22 22","campaign":"acme","purpose":"other"}'),
        "opposed": (43, b'{"id":2,"phone":["0622222222","0633333333"],"purpose":"other"}'),
    }
    records = timed(small_log())
    emitted = {}
    for name, (position, value) in values.items():
        (emitted[name],) = scrubber.scrub([value], taken(records, position).index, law.NOW).values
    return {name: value or b"" for name, value in emitted.items()}


def queried(records: list[LogRecord], emitted: dict[str, bytes]) -> dict[str, Any]:
    """What the queries answer about the log and the prospects, by the names of the files in tests/golden/evidence.
    Without what the release decides: its version, its sentences, its speed."""

    def quiet(_what: str, _done: int, _of: int) -> None:
        pass

    answers: dict[str, Any] = {}
    settings = Settings()
    for name, value in emitted.items():
        (told,) = explain(reader(records), [EmittedProspect(value)], settings, quiet, Deadline.after(15))
        answer = answers[f"explain-{name}"] = plain(told)
        del answer["read_with"]
        for entry in answer["numbers"]:
            del entry["says"], entry["rule"]["says"]
    for name, number in NUMBERS.items():
        found = history.history(reader(records), number, "FR", quiet, Deadline.after(15))
        answers[f"history-{name}"] = plain(found)
    for position in POSITIONS:
        at = history.at(reader(records), position, OPPOSED, "FR", quiet, Deadline.after(15))
        answers[f"at-{position}"] = plain(at)
    answers["verify"] = plain(verify_log.verify(reader(records), quiet, Deadline.after(15)))
    del answers["verify"]["took_s"]
    return answers


def plain(answer: object) -> Any:
    """An answer of a query as JSON has it."""
    return json.loads(msgspec.json.encode(answer))


if __name__ == "__main__":
    (golden.GOLDEN / "log" / "evidence.jsonl").write_text(written(timed(small_log())))
    for each, content in prospects().items():
        (golden.GOLDEN / "evidence" / f"prospect-{each}.json").write_bytes(content)
    for each, answered in queried(list(golden.log("evidence")), prospects()).items():
        (golden.GOLDEN / "evidence" / f"{each}.json").write_text(f"{json.dumps(answered, indent=1)}\n")
