"""`lists import` from a file to the log in memory: what is published, what is refused, and what is told of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from stream_scrub.config import load
from stream_scrub.errors import ConfigError
from stream_scrub.lists.begin import begin
from stream_scrub.lists.follow import replay_to_end
from stream_scrub.lists.formats import BadList
from stream_scrub.model import Deadline, RegisterKind
from stream_scrub.run import importing
from tests.fakes.golden import GOLDEN
from tests.fakes.lists import NOW
from tests.fakes.log import Log, Reader, Writer

LISTS = GOLDEN / "lists"
FILES = sorted(path.name for path in LISTS.iterdir() if not (LISTS / path.stem).is_file())


class Frozen(datetime):
    """The clock stands at NOW: the lists of tests/golden speak of days around it."""

    @classmethod
    def now(cls, tz=None):
        return NOW.astimezone(tz)


@pytest.fixture
def log(monkeypatch):
    """The opposition log, in memory, in place of Kafka's."""
    monkeypatch.setattr(importing, "datetime", Frozen)
    made = Log()

    def replayed(settings, said, *, keep_ends=False, **_):
        reader = Reader(made)
        replay = begin(reader, Deadline.after(5), start="latest-full", keep_ends=keep_ends)
        replay_to_end(reader, Deadline.after(5), replay=replay)
        return replay

    monkeypatch.setattr(importing.wiring, "replayed", replayed)
    monkeypatch.setattr(importing.wiring, "log_writer", lambda settings, register, said: Writer(made))
    monkeypatch.setattr(importing.ownership, "leave_to_daemon", lambda *_: None)
    monkeypatch.setattr(importing.archiving, "keep_rules", lambda *_: None)
    made.replayed = lambda: replayed(None, None, keep_ends=True)
    return made


def run(file, register="internal", **more):
    order = importing.Order(
        file=file,
        register=register,
        change="full",
        kind=None,
        effective_at=None,
        region="FR",
        column="",
        max_bad=1.0,
        dry_run=False,
        sample=0,
    )
    settings = load(environ={}, cwd=file.parent)
    return importing.run(replace(order, **more), settings, structlog.get_logger(), lambda *_: None)


def written(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_imported_with_nothing_but_the_register(log, name):
    """What is read rightly would be published wrongly."""
    expected = json.loads((LISTS / f"{name}.json").read_text())
    over = {int(n) for n, end in expected.get("ends", {}).items() if datetime.fromisoformat(end) <= NOW}

    register = f"internal@{expected['scope']}" if expected.get("scope") else "internal"
    if expected.get("base"):
        with pytest.raises(BadList, match="applies on sequence"):
            run(LISTS / name, register)
        return
    effect = run(LISTS / name, register)

    replay = log.replayed()
    held = replay.index.registers[register]
    assert set(held.numbers) == set(expected["numbers"]) - over
    assert held.kind == (expected.get("kind") or "deny")
    assert effect.read_as.startswith(expected["format"])
    assert len(replay.known(register).ends.numbers()) == len(expected.get("ends", {})) - len(over)
    assert effect.count == len(held.numbers)


def test_a_dry_run_publishes_nothing(log, tmp_path):
    """Who only wants to look would change the register."""
    effect = run(written(tmp_path, b"0612345678\n0612345678\nx\n"), dry_run=True)

    assert (effect.added, effect.duplicates, effect.refused_lines, effect.position) == (1, 1, [3], None)
    assert not log.replayed().index.registers


def test_changes_are_published_as_one_delta(log, tmp_path):
    """Between additions and removals a register would be what it never was."""
    run(written(tmp_path, b"416,5550123\n905,5550142\n"))
    changes = written(tmp_path, b"A,212,5550199,2026-11-23\nD,416,5550123,2026-11-23\n")
    effect = run(
        changes, format="nanp-change", columns={"change": "1", "area": "2", "number": "3", "date": "4"}
    )

    register = log.replayed().index.registers["internal"]
    assert set(register.numbers) == {19055550142, 12125550199}
    assert (effect.added, effect.removed, register.seq) == (1, 1, 2)
    with pytest.raises(BadList, match=r"list.txt, read as nanp-change, .*leave --adds and --removes out"):
        run(changes, change="adds")


def test_ends_are_published(log, tmp_path):
    """Consents would be on the log without their end, and allow for ever."""
    day = NOW.date()
    lines = [f"+3361234567{at},{day + timedelta(days=days)}T00:00Z" for at, days in enumerate((-1, 5, 9))]
    effect = run(
        written(tmp_path, "\n".join(["phone,expires", *lines]).encode()), "consent", kind=RegisterKind.ALLOW
    )

    replay = log.replayed()
    assert set(replay.index.registers["consent"].numbers) == {33612345671, 33612345672}
    assert replay.index.registers["consent"].next_end.date() == day + timedelta(days=5)
    assert effect.ending == 2


def test_too_many_bad_lines_are_refused_and_none_of_them_told(log, tmp_path):
    """The wrong file would replace a register, or its numbers stand in a log."""
    with pytest.raises(BadList, match=r"read as plain, .* 2 of 3 lines .*Lines: 2, 3$") as caught:
        run(written(tmp_path, b"0612345678\n0712\n061234567812\n"), max_bad=0.5)

    assert "0612" not in str(caught.value) and not log.replayed().index.registers


def test_a_list_of_lines_without_content_is_refused(log, tmp_path):
    """An empty download would empty the register."""
    with pytest.raises(BadList, match="no line holds anything"):
        run(written(tmp_path, b"\n\n"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"register": "Bad Name"}, "--register"),
        ({"region": "ZZ"}, "--region"),
        ({"kind": RegisterKind.ALLOW}, "--kind"),
    ],
)
def test_a_wrong_order_is_refused(log, tmp_path, more, says):
    """A typing error would make a register that no rule names."""
    run(written(tmp_path, b"0612345678\n"))
    with pytest.raises(ConfigError) as caught:
        run(written(tmp_path, b"0612345678\n"), **more)
    assert caught.value.problems[0].startswith(says)


def test_the_moment_is_the_operators_or_the_lists_or_now(log, tmp_path):
    """A list would look fresher than it is."""
    said = datetime(2026, 11, 1, tzinfo=UTC)
    assert run(written(tmp_path, b"0612345678\n"), effective_at=said).effective_at == "2026-11-01T00:00:00Z"
    effect = run(written(tmp_path, b"0612345678\n"))
    assert datetime.fromisoformat(effect.effective_at) == NOW
    assert importing.effective("", said) is None
    assert importing.effective("2026-10-31", said) == datetime(2026, 10, 31, tzinfo=UTC)
    for text in ("tomorrow", "2026-11-03"):
        with pytest.raises(ConfigError):
            importing.effective(text, said)


def test_columns_are_named_as_they_are_written():
    """A change list would be read by the wrong columns."""
    assert importing.columns("area=1, number = Phone No,change=4") == {
        "area": "1",
        "number": "Phone No",
        "change": "4",
    }
    assert importing.columns("") == {}
    for text in ("area", "=1", "area=", "area=1,area=2"):
        with pytest.raises(ConfigError, match="--columns"):
            importing.columns(text)
