"""The files of schemas/examples, as the code makes them: `python -m tests.support.golden.examples` writes them anew.

The moment, the index and the rules (schemas/examples/fr.toml) are fixed, so the bytes are the same on every machine.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from pyroaring import BitMap64

from stream_scrub.fanout import receipt
from stream_scrub.fanout.receipt import FanoutReceipt
from stream_scrub.imports.formats import scrub_delta
from stream_scrub.index import Register
from stream_scrub.index import deltas as diff
from stream_scrub.index.deltas import Ends, StatedEnds, ended, with_ends
from stream_scrub.log.encode import FULL_EVERY, DeltaRecords, records_of, rules_records
from stream_scrub.log.replay import Replay
from stream_scrub.log.wire import ANCHORED, DeltaSource, Seal, request_line
from stream_scrub.made_by import MadeBy
from stream_scrub.model import LogRecord, Reason, RegisterKind
from stream_scrub.recall_notice import RecallNotice, encode
from stream_scrub.rules import Rulebook, RuleFile, digest_of
from stream_scrub.scrub.batch import Scrubber, Terms
from tests.support.fakes import law
from tests.support.fakes.scrubbers import MEMBERS
from tests.support.golden.files import GOLDEN

FOLDER = Path(__file__).parents[3] / "schemas" / "examples"
RESTED_DAY = datetime(2018, 7, 1, 12, 0, 0, 123_000, UTC)
WASH_DAY = datetime(2019, 7, 1, 12, 0, 0, 123_000, UTC)
OPT_OUT_DAY = datetime(2026, 7, 1, 12, 0, 0, 123_000, UTC)
OPT_IN_DAY = law.NOW
OPPOSED, CONSENTING = 33612345678, 33622222222
# The name of each example: the day it is judged on, the prospect, how several numbers are taken.
STAMPS: dict[str, tuple[datetime, bytes, str]] = {
    "clear": (OPT_OUT_DAY, b'{"phone":"0611111111"}', "block"),
    "opposed": (OPT_OUT_DAY, b'{"phone":"06 12 34 56 78"}', "block"),
    "opposed-scoped": (OPT_OUT_DAY, b'{"phone":"0633333333","campaign":"acme"}', "block"),
    "contract": (OPT_OUT_DAY, b'{"phone":"0612345678","contract":true}', "block"),
    "exempt": (OPT_OUT_DAY, b'{"phone":"0612345678","purpose":"press"}', "block"),
    "several": (OPT_OUT_DAY, b'{"phone":["0611111111","0612345678"]}', "block"),
    "strip": (OPT_OUT_DAY, b'{"phone":["0611111111","0612345678","x"]}', "strip"),
    "consented": (OPT_IN_DAY, b'{"phone":"+33622222222"}', "block"),
    "no-consent": (OPT_IN_DAY, b'{"phone":"0611111111"}', "block"),
    "not-washed": (WASH_DAY, b'{"phone":"0611111111"}', "block"),
    "banned-purpose": (OPT_IN_DAY, b'{"phone":"0622222222","purpose":"Energy renovation"}', "block"),
    "unknown-purpose": (OPT_IN_DAY, b'{"phone":"0622222222","purpose":"offer of the month"}', "block"),
    "not-callable": (OPT_IN_DAY, b'{"phone":"0899123456"}', "block"),
    "no-rule": (OPT_IN_DAY, b'{"phone":"+447400123456"}', "block"),
    "stale-register": (OPT_OUT_DAY, b'{"phone":"0611111111","stale":1}', "block"),
    "too-often": (RESTED_DAY, b'{"phone":"0644444444"}', "block"),
    "invalid-number": (OPT_IN_DAY, b'{"phone":"06123"}', "block"),
    "unknown-country": (OPT_IN_DAY, b'{"phone":"0622222222","country":"31"}', "block"),
    "unreadable": (OPT_IN_DAY, b'{"phone":"0611111111","phone":"0622222222"}', "block"),
    "unreadable-headers": (OPT_IN_DAY, b'{"phone":"0622222222"}', "block"),
    "unreadable-refused": (OPT_IN_DAY, b'{"phone":"0622222222"}', "block"),
}
SPOILT = {
    "unreadable-headers": {0: {"cause": "headers"}},
    "unreadable-refused": {
        0: {"cause": "INVALID_TIMESTAMP", "from": "3/4711", "timestamp": 1_795_521_600_000_000}
    },
}


# Others write requests. These are as the pages tell them to write.
ATTEMPT = (
    b'{"request":"attempt","id":"1764000000.42","number":"+33612345678","at":"2026-11-24T12:00:00Z",'
    b'"campaign":"spring","outcome":"NA"}'
)
REQUESTS = {
    "opt-out": b'{"request":"opt-out","number":"+33612345678","at":"2026-11-24T12:00:00Z","source":"dialler-7"}',
    "consent": b'{"request":"consent","number":"06 12 34 56 78","region":"FR","until":"2027-11-24","source":"form-energy-42",'
    b'"proof":{"text":"I agree to be called about my energy contract","url":"https://example.org/form","ip":"192.0.2.7"}}',
    "withdrawal": b'{"request":"withdrawal","number":["+33612345678","+33612345679"],"scope":"acme","source":"crm"}',
    "correction": b'{"request":"correction","number":33612345679,"remove_from":"internal",'
    b'"reason":"typed wrong by dialler-7 on 24 November 2026","source":"crm"}',
}


def rulebook() -> Rulebook:
    """The rules of the examples."""
    return Rulebook.of([RuleFile("fr.toml", "schemas/examples/fr.toml", (FOLDER / "fr.toml").read_bytes())])


def rested(number: int) -> Register:
    """The register of a number that rests until 31 July 2018 in Paris."""
    register = law.register("rested", [number])
    numbers, end = np.array([number], np.uint64), datetime(2018, 7, 30, 22, tzinfo=UTC).timestamp()
    return replace(register, ends=register.ends.changed(numbers[:0], numbers, np.array([end], np.int64)))


def stamp(name: str) -> bytes:
    """One stamp, as it goes into a header. The same bytes go into a value."""
    now, value, mixed = STAMPS[name]
    days_old = (law.NOW - now).days + (40 if b"stale" in value else 1)
    index = law.index(
        law.register("list", [OPPOSED], days_old=days_old),
        law.register("internal@acme", [33633333333]),
        rested(33644444444),
        law.allow("consent", [CONSENTING]),
        law.allow("list-clean", [CONSENTING], days_old),
    )
    terms = Terms(MEMBERS, mixed=mixed, stamp="header", stale="block", default_purpose="insurance")
    spoilt = SPOILT.get(name, {})
    (made,) = Scrubber(terms, rulebook()).scrub([value], index, now, spoilt=spoilt).stamps
    assert made is not None
    return made


def deltas() -> Iterator[tuple[str, bytes]]:
    """The first deltas of a log: parts, seals and the headers of each, by register and sequence number."""
    replay, offset = Replay(keep_ends=True, digest_of=digest_of), 0
    at = datetime(2026, 6, 30, 4, 0, 0, tzinfo=UTC)
    for records, seal in _published(replay, at):
        for key, value, headers in records:
            replay.take(LogRecord(offset, key, value, headers))
            offset += 1
            told = {name: (text or b"").decode() for name, text in headers}
            name = f"{seal.register}-{seal.seq}." + (f"part-{told['i']}" if "i" in told else "seal")
            ending = {"requests": "jsonl", "rules": "toml", "starts": "jsonl", "seal": "json"}.get(
                told["part"], "bin"
            )
            yield f"{name}.headers.json", json.dumps(told, separators=(",", ":")).encode()
            yield f"{name}.{ending}", value
        offset += 1  # the transaction's marker


def _published(replay: Replay, at: datetime) -> Iterator[tuple[DeltaRecords, Seal]]:
    """Two lists of opposed numbers, the rules, two consents with an end, the withdrawal of one, the end of the other."""

    def put(
        register: str, change: Callable[[BitMap64], diff.Delta], source: str, full_every: int = FULL_EVERY
    ) -> tuple[DeltaRecords, Seal]:
        kind = RegisterKind.ALLOW if register == "consent" else RegisterKind.DENY
        base = replay.index.registers.get(register) or Register.empty(register, kind, at)
        told = DeltaSource(source, sha256(source.encode()).hexdigest())
        known = replay.known(register)
        return records_of(base, change(base.numbers), at, told, known=known, full_every=full_every)

    for i, listed in enumerate(
        ({33611111111, 33612345678, 447400123456}, {33612345678, 33699999999, 447400123456}), 1
    ):
        yield put(
            "list", lambda held, listed=listed: diff.full(held, BitMap64(sorted(listed))), f"opposed-{i}.csv"
        )
    texts = rulebook().texts
    yield rules_records(
        replay.rules,
        texts,
        at,
        DeltaSource("stream-scrub", sha256(b"").hexdigest()),
        known=replay.known("rules"),
    )
    consents = BitMap64([CONSENTING, 33633333333])
    ends = [int(datetime(2027, month, 1, tzinfo=UTC).timestamp()) for month in (6, 7)]
    wanted = StatedEnds(np.array(list(consents), np.uint64), np.array(ends, np.int64))
    yield put(
        "consent",
        lambda held: with_ends(diff.full(held, consents), Ends.none(), consents, wanted),
        "consents.csv",
    )
    line = request_line(
        2, 41, 1_782_950_400_000, b'{"request":"withdrawal","number":"+33622222222","source":"crm"}'
    )
    yield put(
        "consent",
        lambda held: replace(diff.removing(held, BitMap64([CONSENTING])), reason="requests", requests=[line]),
        "opposition.requests",
    )
    later = datetime(2027, 7, 1, tzinfo=UTC)
    # State here where the registers begin; usually that is stated only after a thousand records.
    yield put("consent", lambda _: ended(replay.known("consent").ends, later), "ended", 12)
    # A timestamp of the head, by a server with the authority ca.pem there.
    answer = (GOLDEN / "timestamps" / "example.tsr").read_bytes()
    yield rules_records(
        replay.rules,
        {},
        at,
        DeltaSource("https://timestamps.example", sha256(answer).hexdigest(), MadeBy("ops", "anchor-0")),
        known=replay.known("rules"),
        reason=ANCHORED,
        timestamp=base64.b64encode(answer).decode(),
    )


def delta_file() -> bytes:
    """A delta of the same register as a file, which `lists import` reads."""
    ends = datetime(2027, 6, 30, tzinfo=UTC)
    out = BytesIO()
    scrub_delta.write(
        out,
        scrub_delta.DeltaHeader(
            kind=RegisterKind.DENY,
            change="delta",
            base=2,
            register="list",
            effective_at=datetime(2026, 7, 1, 4, 0, 0, tzinfo=UTC),
            source="opposed-3",
        ),
        [
            scrub_delta.DeltaEntry(3, "A", f"+{OPPOSED}", reason="opt-out", source="dialler-7"),
            scrub_delta.DeltaEntry(
                3, "A", "+447400123456", expires_at=ends, reason="asked for a year of rest"
            ),
            scrub_delta.DeltaEntry(3, "D", "+33699999999", reason="number given back"),
        ],
    )
    return out.getvalue()


RECALLS = {
    "recalled": RecallNotice(
        kind="recalled",
        number="+33612345678",
        reason=Reason.OPPOSED,
        register="internal",
        since="2026-11-24T11:59:59.500Z",
        index=1234,
        rules=json.loads(stamp("no-consent"))["rules"],
        at="2026-11-24T12:00:00.123Z",
        key="lead-7",
        origin="3/4711",
    ),
    "suspended": RecallNotice(
        kind="suspended",
        reason=Reason.STALE_REGISTER,
        register="bloctel",
        since="2026-11-24T12:00:00.123Z",
        index=1234,
        at="2026-11-24T12:00:00.123Z",
    ),
    "resumed": RecallNotice(
        kind="resumed",
        register="bloctel",
        since="2026-11-25T08:00:00.123Z",
        index=1240,
        at="2026-11-25T08:00:00.123Z",
    ),
    "alive": RecallNotice(
        kind="alive",
        index=1240,
        at="2026-11-25T08:00:04.123Z",
        partitions=("prospects.allowed/0", "prospects.allowed/1"),
        lag_ms=1250,
    ),
}


RECEIPT = FanoutReceipt(
    target="dialler-7",
    event="opted-out",
    id="opposition_log-0-4711-0-1795521599500",
    number="+33612345678",
    list="SYSTEM_INTERNAL",
    register="internal",
    reason="requests",
    since="2026-11-24T11:59:59.500Z",
    at="2026-11-24T12:00:00.123Z",
    outcome="confirmed",
    tries=2,
    answer="200 ERROR: check_phone_number PHONE NUMBER IN DNC - [number]|api",
)


def made() -> dict[str, bytes]:
    """Every example file by its name, except the rules."""
    return {
        **{f"stamp-{name}.json": stamp(name) for name in STAMPS},
        **{f"request-{name}.json": value for name, value in REQUESTS.items()},
        "attempt.json": ATTEMPT,
        **{f"recall-{name}.json": encode(each) for name, each in RECALLS.items()},
        "receipt-confirmed.json": receipt.encode(RECEIPT),
        **dict(deltas()),
        "scrub-delta.jsonl": delta_file(),
    }


if __name__ == "__main__":
    for name, content in made().items():
        (FOLDER / name).write_bytes(content)
