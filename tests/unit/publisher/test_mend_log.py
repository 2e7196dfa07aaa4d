"""Parts that were never sealed are set aside by a delta that says so, and nothing else of the log changes."""

from contextlib import contextmanager

import pytest
import structlog

from stream_scrub.config import Settings
from stream_scrub.errors import Refused
from stream_scrub.lists import deltas
from stream_scrub.lists.audit.log_audit import LogAudit
from stream_scrub.lists.audit.number_history import NumberHistory
from stream_scrub.lists.log import wire
from stream_scrub.lists.log.encode import records_of
from stream_scrub.model import RegisterKind
from stream_scrub.publisher import mend_log
from stream_scrub.rules import digest_of
from tests.support.fakes.law import OPT_IN
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, SOURCE, Publisher, bitmap, followed
from tests.support.golden.evidence import keep_rules, small_log

LOGGER = structlog.get_logger()


@pytest.fixture
def log(monkeypatch) -> Log:
    """A log with registers and rules, where `mending` finds it."""
    made = small_log()

    @contextmanager
    def there(*_, **__):
        yield Reader(made)

    monkeypatch.setattr(mend_log.clients, "topics", there)
    monkeypatch.setattr(mend_log.clients, "reading", there)
    monkeypatch.setattr(mend_log.clients, "log_writer", lambda *_, **__: Writer(made))
    monkeypatch.setattr(mend_log.clients, "replayed", lambda *_, **__: followed(made, keep_ends=True))
    monkeypatch.setattr(mend_log.preflight, "need", lambda *_: None)
    monkeypatch.setattr(mend_log.ownership, "leave_to_daemon", lambda *_: None)
    return made


def tear(log: Log, name: str, numbers, kind=RegisterKind.DENY, requests=()) -> int:
    """What an end that came late left: a delta's parts without its seal. The offset of the first."""
    publisher = Publisher(log)
    base = publisher.base(name, kind)
    delta = deltas.adding(base.numbers, bitmap(numbers))
    records, _ = records_of(base, delta, AT, SOURCE, known=publisher.replay.known(name))
    offsets = [log.append(*record) for record in records if dict(record[2])["part"] != b"seal"]
    log.skip()
    return offsets[0]


def held(log: Log) -> dict[str, set[int]]:
    return {name: set(register.numbers) for name, register in followed(log).index.registers.items()}


@pytest.mark.parametrize("name", ["list", "internal", "internal@acme"])
def test_what_was_never_sealed_is_set_aside_and_named(log, name):
    """Every worker would hold for a delta of which nothing counts, or the evidence of it be gone."""
    before, dates = held(log), {n: r.effective_at for n, r in followed(log).index.registers.items()}
    first = tear(log, name, [33_699_000_001])
    assert followed(log).unsealed == first

    (made,) = mend_log.run(Settings(), LOGGER)

    assert (made.register, made.parts, made.first, made.last) == (name, 1, first, first)
    replay = followed(log, keep_ends=True)
    assert replay.unsealed is None and replay.index.position == made.position
    assert held(log) == before | ({name: set()} if name not in before else {})
    for each, date in dates.items():
        assert replay.index.registers[each].effective_at == date, "no list is fresher by it"
    seal, _ = wire.decode_seal(log.records[-1].value)
    assert seal.reason == "mended" and str(first) in seal.source.name
    audit = LogAudit(digest_of)
    for record in log.records:
        audit.take(record)
    audit.finish()
    assert audit.problems == [] and audit.registers[name].tally.set_aside == [(first, first, made.position)]
    assert mend_log.run(Settings(), LOGGER) == []


def test_parts_of_the_rules_are_set_aside_too(log):
    """Nobody could put the text of a new rule on the log."""
    seq = followed(log).rules.seq + 1
    text = b'country = "FR"'
    first = log.append(b"rules", text, wire.part_headers("rules", "rules", seq, 0, digest_of(text)))

    (made,) = mend_log.run(Settings(), LOGGER)

    assert (made.register, made.first) == ("rules", first)
    assert followed(log, digest_of=digest_of).unsealed is None
    keep_rules(Publisher(log), OPT_IN)


def test_a_register_that_was_never_sealed_is_not_made_up(log):
    """An empty register would be there where a list is missing, and everybody on that list be called."""
    tear(log, "bloctel", [33_699_000_001])
    with pytest.raises(Refused, match="bloctel was never sealed"):
        mend_log.run(Settings(), LOGGER)
    assert "bloctel" not in held(log)
    Publisher(log).import_list("bloctel", {33_699_000_002: 0})
    assert held(log)["bloctel"] == {33_699_000_002}


def test_what_was_set_aside_is_in_nobodys_history(log):
    """A person would be told of an opposition that never was in force."""
    number = 33_699_000_001
    tear(log, "list", [number])
    Publisher(log).import_list("list", {7: 0}, adding=True)
    past = NumberHistory([number], "FR")
    events = [event for record in log.records for event in past.take(record)]
    assert events == []
