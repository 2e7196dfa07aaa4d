"""`lists import` from a file to the log in memory: what is published, what is refused, and what is told of it."""

import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import structlog
from pyroaring import BitMap64

from stream_scrub.config import load
from stream_scrub.errors import ConfigError, Refused
from stream_scrub.imports import import_list, plan_import, remove_register
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.isolated_reader import IsolatedReader
from stream_scrub.index import deltas
from stream_scrub.log.encode import marked, records_of
from stream_scrub.log.wire import MOVED, RULES, Cursor, DeltaSource, request_line
from stream_scrub.model import RegisterKind
from stream_scrub.queries import history
from stream_scrub.scrub import scrubbing
from stream_scrub.scrub.plans import unusable
from tests.support.fakes.lists import NOW
from tests.support.fakes.log import Writer
from tests.support.golden.files import GOLDEN

LISTS = GOLDEN / "lists"
FILES = sorted(path.name for path in LISTS.iterdir() if not (LISTS / path.stem).is_file())


def run(file, register="internal", **more):
    order = plan_import.ImportOptions(
        file=file,
        register=register,
        change="full",
        kind=None,
        effective_at=None,
        region="FR",
        column="",
        max_bad=1.0,
        dry_run=False,
        register_unknown=True,
    )
    settings = load(environ={}, cwd=file.parent)
    return import_list.run(replace(order, **more), settings, structlog.get_logger(), lambda *_: None)


def written(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("change", "bound", "says"),
    [
        ("full", {"max_numbers": 10_099}, "would hold 10,100 numbers"),
        ("adds", {"max_numbers": 10_099}, "would hold 10,100 numbers"),
        ("full", {"max_numbers": 9_999}, "holds more than lists.max_numbers"),
        ("adds", {"max_added": 9_999, "max_change": 0.1}, "add 10,000 numbers, where internal holds 100"),
    ],
)
def test_a_file_of_a_line_that_stands_for_more_than_there_is_room_for_is_refused(
    log, tmp_path, change, bound, says
):
    """Everything would be blocked, and every worker outgrow its memory, by a file of a few bytes."""
    run(written(tmp_path, b"".join(b"+336110000%02d\n" % n for n in range(100))))

    with pytest.raises(BadList, match=says):
        run(written(tmp_path, b"+3361234XXXX\n"), change=change, **bound)
    held = log.replayed().index.registers["internal"]
    assert (held.seq, len(held.numbers)) == (1, 100)
    looked = run(
        written(tmp_path, b"+3361234XXXX\n"), change="adds", max_added=9, max_change=0.1, dry_run=True
    )
    assert "lists.max_added" in looked.would_be_refused and looked.added == 10_000
    assert run(written(tmp_path, b"+3361234XXXX\n"), change="adds", max_numbers=10_500).count == 10_100


def guarded(file, register, **more):
    """An import with the guards of the default settings."""
    lists = load(environ={}, cwd=file.parent).lists
    bounds = {"max_change": lists.change_allowed(register), "max_added": lists.max_added}
    return run(
        file, register, **{"register_unknown": False, "max_numbers": lists.max_numbers, **bounds, **more}
    )


def test_the_first_import_of_a_national_list_is_published_without_a_flag(log, tmp_path):
    """The most common first step would be refused, and everybody learn to pass --allow-change without looking."""
    lines = b"".join(b"06%08d\n" % number for number in range(10_000_000, 10_000_200))

    effect = guarded(written(tmp_path, lines), "pacitel", effective_at=NOW, max_added=100)

    assert effect.added == effect.count == 200 and effect.position is not None


@pytest.mark.parametrize(
    ("content", "register", "says"),
    [
        (b"+336XXXXXXXX\n", "pacitel", "holds more than lists.max_numbers"),
        (b"+33612XXXXXX\n+33613XXXXXX\n", "pacitel", "where pacitel holds 0: more than lists.max_added"),
        (b"+12025550123\n+12025550124\n+33612345678\n", "pacitel", r"2 of its 3 .*\(\+262, .*--region"),
        (b"0612345678\n", "pacitell", "did you mean pacitel.*--register-unknown"),
        (b"0612345678\n", "partner", "no rule of any day uses a register partner: correct the name"),
    ],
)
def test_an_odd_first_list_is_refused_with_what_to_do(log, tmp_path, content, register, says):
    """A wrong file would fill a register that had no list yet, or make one that nothing is judged by."""
    file = written(tmp_path, content)
    with pytest.raises(BadList, match=says):
        guarded(file, register, effective_at=NOW)
    assert register not in log.replayed().index.registers


def test_what_is_odd_passes_when_the_operator_says_that_it_is_meant(log, tmp_path):
    """No register of one's own could be made, and no list of numbers abroad be kept."""
    assert guarded(written(tmp_path, b"0612345678\n"), "partner", register_unknown=True).count == 1
    foreign = guarded(written(tmp_path, b"+12025550123\n"), "pacitel", allow_change=True, effective_at=NOW)
    assert foreign.count == 1
    assert "--allow-change let through: 1 of its 1 new numbers are not of the countries" in foreign.notes[0]


def test_a_list_whose_numbers_are_mostly_of_another_country_asks_for_the_region(log, tmp_path):
    """A Belgian opt-out would oppose a French number, and the Belgian be called."""
    file = written(tmp_path, b"phone;name\n0470123450;a\n0032470123451;b\n")
    with pytest.raises(BadList, match=r"1 of its 1 .* than FR \(\+32: 1\).*--region"):
        run(file, "internal")

    french = run(file, "internal", is_region_named=True)
    assert {*log.replayed().index.registers["internal"].numbers} == {33470123450, 32470123451}
    assert french.read_as.endswith("national numbers are read as FR")


FRENCH = "".join(f"061234{place:04d};\n" for place in range(60))
BRITISH = b"07400123456\n07400123457\n"


def test_national_numbers_are_those_of_the_only_country_that_uses_the_register(log, tmp_path):
    """An operator in France would import the British register without a region, and every line be refused."""
    effect = run(written(tmp_path, BRITISH), "tps", region="", effective_at=NOW)
    assert {*log.replayed().index.registers["tps"].numbers} == {447400123456, 447400123457}
    assert "national numbers are those of GB: only its rules use tps" in effect.notes
    regions = {"us-dnc": "US", "us-tx-dnc": "US", "consent": "FR"}
    settings = load(environ={}, cwd=tmp_path)
    assert {register: import_list.region_of(register, settings) for register in regions} == regions


def test_the_configured_region_of_a_register_counts(log, tmp_path):
    """The drop folder has no option for a region, so an opt-out list of another country would be refused."""
    (tmp_path / "stream-scrub.toml").write_text('[lists.regions]\npartner = "UK"\n"partner@acme" = "BE"\n')
    run(written(tmp_path, BRITISH), "partner", region="")
    assert {*log.replayed().index.registers["partner"].numbers} == {447400123456, 447400123457}
    run(written(tmp_path, b"0470123450\n"), "partner@acme", region="")
    assert {*log.replayed().index.registers["partner@acme"].numbers} == {32470123450}
    run(written(tmp_path, BRITISH), "partner@spring", region="")
    assert {*log.replayed().index.registers["partner@spring"].numbers} == {447400123456, 447400123457}


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_imported_with_nothing_but_the_register(log, name):
    """What is read rightly would be published wrongly."""
    expected = json.loads((LISTS / f"{name}.json").read_text())
    over = {int(n) for n, end in expected.get("ends", {}).items() if datetime.fromisoformat(end) <= NOW}

    base = "washed" if expected.get("kind") == "allow" else "internal"
    if expected["format"] == "wash":
        base = "sg-clean"
    register = f"{base}@{expected['scope']}" if expected.get("scope") else base
    if expected.get("base"):
        with pytest.raises(BadList, match="applies on sequence"):
            run(LISTS / name, register)
        return
    columns = expected.get("columns", {})
    effect = run(LISTS / name, register, allow_ends=True, columns=columns, is_region_named=True)

    replay = log.replayed()
    held = replay.index.registers[register]
    assert set(held.numbers) == set(expected["numbers"]) - over
    assert held.kind == (expected.get("kind") or "deny")
    assert effect.read_as.startswith(expected["format"])
    assert len(replay.known(register).ends.numbers()) == len(expected.get("ends", {})) - len(over)
    assert effect.count == len(held.numbers)


def test_who_opposed_does_so_for_good_whatever_the_list_says(log, tmp_path):
    """A dialler's export, in which every number expires after half a year, would have people called who said no."""
    file = written(tmp_path, b"phone,expires\n0612345678,2099-01-01\n0612345679,2020-01-01\n0612345670,\n")
    effect = run(file, "internal@acme")
    held = log.replayed()

    assert set(held.index.registers["internal@acme"].numbers) == {33612345678, 33612345679, 33612345670}
    assert not len(held.known("internal@acme").ends.numbers())
    assert (effect.count, effect.ending, effect.endless) == (3, 0, 2)

    meant = run(file, "internal", allow_ends=True)
    assert (meant.count, meant.ending, meant.endless) == (2, 1, 0)
    again = run(file, "internal")
    assert (again.count, again.endless) == (3, 2) and not len(log.replayed().known("internal").ends.numbers())


def test_a_dry_run_publishes_nothing(log, tmp_path):
    """Who only wants to look would change the register."""
    effect = run(written(tmp_path, b"0612345678\n0612345678\nx\n"), dry_run=True)

    assert (effect.added, effect.duplicates, effect.refused_lines, effect.position) == (1, 1, [3], None)
    assert not log.replayed().index.registers


def test_a_dry_run_says_that_the_log_takes_nothing_any_more(log, tmp_path):
    """Somebody would see all well, and the import of that night fail."""
    there = log.replayed()
    source = DeltaSource("opposition.log.2", "cd" * 32)
    Writer(log).publish(marked(there.rules, MOVED, source, NOW, there.known(RULES)))
    effect = run(written(tmp_path, b"0612345678\n"), dry_run=True)

    assert "renewed as opposition.log.2" in effect.would_be_refused and effect.added == 1


def test_changes_are_published_as_one_delta(log, tmp_path):
    """Between additions and removals a register would be what it never was."""
    run(written(tmp_path, b"416,5550123\n905,5550142\n"))
    changes = written(tmp_path, b"A,212,5550199,2026-11-23\nD,416,5550123,2026-11-23\n")
    columns = {"change": "1", "area": "2", "number": "3", "date": "4"}
    effect = run(changes, format="nanp-change", columns=columns)

    register = log.replayed().index.registers["internal"]
    assert set(register.numbers) == {19055550142, 12125550199}
    assert (effect.added, effect.removed, register.seq) == (1, 1, 2)


def test_too_many_bad_lines_are_refused_and_none_of_them_told(log, tmp_path):
    """The wrong file would replace a register, or its numbers stand in a log."""
    with pytest.raises(BadList, match=r"read as plain, .* 2 of 3 lines .*Lines: 2, 3$") as caught:
        run(written(tmp_path, b"0612345678\n0712\n061234567812\n"), max_bad=0.5)

    assert "0612" not in str(caught.value) and not log.replayed().index.registers


def test_a_list_of_lines_without_content_is_refused(log, tmp_path):
    """An empty download would empty the register."""
    with pytest.raises(BadList, match="the list is empty"):
        run(written(tmp_path, b"\n\n"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"register": "Bad Name"}, "--register"),
        ({"region": "ZZ"}, "--region"),
        ({"kind": RegisterKind.ALLOW}, "--kind: register internal is of kind deny since its first import"),
        ({"register": "consent", "kind": RegisterKind.DENY}, "--kind: the rules need consent as"),
        ({"register": "us-dnc@acme", "kind": RegisterKind.ALLOW}, "--kind: the rules need us-dnc@acme as"),
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
    assert import_list.effective("", said) is None
    assert import_list.effective("2026-10-31", said) == datetime(2026, 10, 31, tzinfo=UTC)
    for text in ("tomorrow", "2026-11-03"):
        with pytest.raises(ConfigError):
            import_list.effective(text, said)


def test_an_older_list_is_refused_with_both_days(log, tmp_path):
    """Last month's file found in a folder would bring back whoever had left the register, and call whoever had come."""
    file = written(tmp_path, b"".join(b"+336110000%02d\n" % n for n in range(20)))
    newer, older = datetime(2026, 11, 20, 6, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)
    run(file, "bloctel", effective_at=newer)
    file = written(tmp_path, b"0612345678\n")
    says = r"it is of 2026-10-20T00:00:00Z, and bloctel holds a list of 2026-11-20T06:00:00Z: .*--allow-older"
    with pytest.raises(BadList, match=says):
        run(file, "bloctel", effective_at=older)
    foreseen = run(file, "bloctel", effective_at=older, max_change=0.1, dry_run=True)
    assert "--allow-older" in foreseen.would_be_refused and "lists.max_change" in foreseen.would_be_refused
    assert foreseen.effective_at == "2026-10-20T00:00:00Z"
    let_through = run(file, "bloctel", effective_at=older, allow_older=True)
    assert let_through.effective_at == "2026-10-20T00:00:00Z"


def test_a_list_that_may_grow_too_old_says_its_day(log, tmp_path):
    """A file that somebody forgot to fetch anew would be judged by for ever, as young as its last import."""
    file = written(tmp_path, b"+447400123456\n")
    with pytest.raises(BadList, match=r"the list has no date.*as in list-2026-11-24.txt.*--effective-at"):
        run(file, "tps")
    assert "the list has no date" in run(file, "tps", dry_run=True).would_be_refused
    assert not log.replayed().index.registers
    assert run(file, "tps", effective_at=datetime(2026, 11, 1, tzinfo=UTC)).added == 1
    with pytest.raises(BadList, match="the list has no date"):
        run(file, "tps")
    assert run(file, "tps", change="adds").effective_at == "2026-11-01T00:00:00Z", "additions need none"
    assert run(file, "of-ours").added == 1, "no rule lets this one grow too old"


def test_a_day_in_the_files_name_is_the_lists(log, tmp_path):
    """Whoever drops files into a folder could not say of which day they are."""
    file = written(tmp_path, b"+447400123456\n").rename(tmp_path / "tps-20261120.txt")
    assert run(file, "tps", dry_run=True).effective_at == "2026-11-20T00:00:00Z"
    assert run(file, "tps").effective_at == "2026-11-20T00:00:00Z"
    said = datetime(2026, 11, 2, tzinfo=UTC)
    assert run(file, "tps@acme", effective_at=said).effective_at == "2026-11-02T00:00:00Z"
    assert run(file, "bloctel").effective_at == "2026-11-20T00:00:00Z", "also where the register does not age"
    assert datetime.fromisoformat(run(file, "bloctel@acme", change="adds").effective_at) == NOW
    ahead = written(tmp_path, b"+447400123456\n").rename(tmp_path / "tps-2026-12-31.txt")
    with pytest.raises(BadList, match="the list has no date"):
        run(ahead, "tps")


def test_another_name_makes_no_bytes_younger(log, tmp_path):
    """A job that names yesterday's download by today's day would keep a list young that nobody fetches."""
    named = [tmp_path / f"tps-2026-11-{day}.txt" for day in (18, 20, 21, 22)]
    run(written(tmp_path, b"+447400123456\n").rename(named[0]), "tps")
    run(written(tmp_path, b"+447400123456\n+447400123457\n").rename(named[1]), "tps")
    assert run(named[1], "tps").effective_at == "2026-11-20T00:00:00Z", "to import it again is safe"
    for stale, fresh in ((named[1], named[2]), (named[0], named[3])):
        fresh.write_bytes(stale.read_bytes())
        with pytest.raises(BadList, match=r"byte for byte the list of 2026-11-(18|20)T00:00:00Z"):
            run(fresh, "tps")
    said = datetime(2026, 11, 21, tzinfo=UTC)
    assert run(named[2], "tps", effective_at=said).effective_at == "2026-11-21T00:00:00Z"


def published(log, delta, name, cursor=None, digest="ab" * 32):
    """Publish a delta of `tps` as a daemon does."""
    replay = log.replayed()
    base, source = replay.index.registers["tps"], DeltaSource(name, digest)
    records, _ = records_of(
        base, delta, base.effective_at, source, known=replay.known("tps"), cursor=cursor, full_every=3
    )
    Writer(log).publish(records)


def restated_by_lists(log, folder):
    """More lists, until the next publisher starts at a later full set than the first list's."""
    for hour in range(8):
        at = datetime(2026, 11, 21, hour, tzinfo=UTC)
        run(written(folder, b"+44740012346%d\n" % hour), "tps", effective_at=at)
    stated = log.replayed().known("").log.read.stated
    assert stated is not None and log.replayed().known("tps").span[0] > log.records[1].offset


def corrected_by_requests(log, folder):
    """A correction, and a list after it."""
    delta = replace(deltas.nothing(BitMap64(), "requests"), requests=(request_line(0, 0, 0, b"{}"),))
    published(log, delta, "requests", Cursor("requests", "id", {0: 1}))
    (folder / "tps-2026-11-20.txt").write_bytes(b"+447400123457\n+447400123458\n")
    run(folder / "tps-2026-11-20.txt", "tps")


def ended_each_day(log, folder):
    """More deltas of the publisher's own than lists whose days are kept."""
    for day in range(40):
        published(log, deltas.nothing(BitMap64(), "ended"), "ends", digest=f"{day:064x}")


@pytest.mark.parametrize("meanwhile", [restated_by_lists, corrected_by_requests, ended_each_day])
def test_another_name_makes_no_bytes_younger_whatever_came_between(log, tmp_path, meanwhile):
    """Whoever opposed since an overdue list would be called, for as long as its copy counts as current."""
    (tmp_path / "stream-scrub.toml").write_text("[lists]\nfull_every = 3\n")
    stale = tmp_path / "tps-2026-11-20.txt"
    run(written(tmp_path, b"+447400123456\n+447400123457\n").rename(stale), "tps")
    meanwhile(log, tmp_path)
    fresh = tmp_path / "tps-2026-11-23.txt"
    fresh.write_bytes(stale.read_bytes())
    with pytest.raises(BadList, match="byte for byte the list of 2026-11-20T00:00:00Z"):
        run(fresh, "tps")


def test_answers_in_words_that_nobody_knows_are_not_taken_for_clean(log, tmp_path):
    """Whoever opposed would be called: the file was read as a list of numbers, and its answers by nobody."""
    file = tmp_path / "answer-2026-11-20.csv"
    file.write_text("number,status\n+393401234567,libero\n+393401234568,bloccato\n")
    with pytest.raises(BadList, match="rpo-clean holds clean answers, and another column may hold them"):
        run(file, "rpo-clean", region="IT")
    with pytest.raises(BadList, match="another column may hold them"):
        run(file, "rpo-clean", region="IT", format="plain", column="number")
    run(file, "rpo-clean", region="IT", format="wash", columns={"clean": "libero"})
    assert clean(log) == [7]


WASH = {"format": "wash", "region": "IT", "columns": {"days": "15"}}


def wash(folder, day, *rows):
    content = "number,status\n" + "".join(f"+39340123456{last},{status}\n" for last, status in rows)
    file = folder / f"answer-{day}.csv"
    file.write_text(content)
    return run(file, "rpo-clean", **WASH)


def clean(log):
    return sorted(number % 10 for number in log.replayed().index.registers["rpo-clean"].numbers)


def test_an_older_answer_does_not_undo_a_newer_one(log, tmp_path):
    """A person who registered would be called, because last week's answer was imported after today's.

    Source: D.P.R. 26/2022, art. 8: before each campaign the operator consults the register.
    """
    wash(tmp_path, "2026-11-18", (1, "clean"), (2, "clean"))
    wash(tmp_path, "2026-11-23", (1, "registered"), (2, "clean"))
    late = wash(tmp_path, "2026-11-20", (1, "clean"), (2, "registered"), (3, "clean"))

    assert clean(log) == [2], "1 opposed on the 23rd, 2 is clean by it, and 3 may be known by it"
    assert late.older == 2 and late.effective_at == "2026-11-23T00:00:00Z"
    wash(tmp_path, "2026-11-23T", (3, "clean"))
    assert clean(log) == [2, 3], "an answer of the same day counts"
    register = log.replayed().index.registers["rpo-clean"]
    assert register.next_end.date().isoformat() == "2026-12-07", "no older answer shortened it"
    (tmp_path / "answer-2026-11-24.csv").write_bytes((tmp_path / "answer-2026-11-23.csv").read_bytes())
    with pytest.raises(BadList, match="byte for byte the list of 2026-11-23T00:00:00Z"):
        run(tmp_path / "answer-2026-11-24.csv", "rpo-clean", **WASH)


def test_no_answer_becomes_younger_with_its_register(log, tmp_path):
    """A number whose answer is over would be called, because other numbers were added to the register today.

    Source: D.P.R. 26/2022, art. 8: an answer of the register is good for 15 days.
    """

    def add(last, day):
        file = written(tmp_path, f"+39340123456{last}\n".encode())
        at = datetime(2026, 11, day, tzinfo=UTC)
        return run(file, "rpo-clean", change="adds", effective_at=at, region="IT")

    assert add(1, 12).ending == 0
    add(2, 23)
    add(1, 23)
    replayed = log.replayed()
    assert replayed.index.registers["rpo-clean"].effective_at.day == 23
    _, ends = replayed.known("rpo-clean").ends.stated()
    days = [datetime.fromtimestamp(end, UTC).date().isoformat() for end in ends.tolist()]
    assert days == ["2026-11-27", "2026-12-08"], "nothing says that 1 was asked about again"


def test_changes_join_on_to_the_registers_day(log, tmp_path):
    """Five weeks of oppositions whose file was lost would be called until the next full list.

    Source: 16 CFR 310.4(b)(3)(iv): a version of the registry obtained no more than 31 days before the call.
    """

    def changes(*rows, **more):
        file = written(tmp_path, "".join(f"{row}\n" for row in rows).encode())
        return run(file, "us-dnc", region="US", format="nanp-change", max_change=2.0, **more)

    with pytest.raises(BadList, match="changes only, and us-dnc has no list yet: import the full list first"):
        changes("212,5550101,20261020,A")
    full = written(tmp_path, b"212,5550100\n305,5550100\n").rename(tmp_path / "us-2026-10-19.txt")
    run(full, "us-dnc", region="US", format="nanp-pair", areas=("212", "305"))
    says = "changes of 2026-10-20 to 2026-11-22 are missing.*--allow-change"
    with pytest.raises(BadList, match=says):
        changes("212,5550102,20261123,A")
    joined = changes("212,5550101,20261020,A", "305,5550101,20261023,D", "305,5550102,20261023,A")
    assert joined.effective_at == "2026-10-20T00:00:00Z", "212 is no younger"
    one_area = changes("212,5550103,20261021,A")
    assert (one_area.added, one_area.effective_at) == (1, "2026-10-20T00:00:00Z"), "305 is not in it"
    let_through = changes("212,5550104,20261123,A", "305,5550104,20261123,A", allow_change=True)
    assert "2026-10-21 to 2026-11-22 are missing" in let_through.notes[0]
    assert let_through.effective_at == "2026-11-23T00:00:00Z"


@pytest.mark.parametrize("areas", [("212", "305"), ("all",)])
def test_a_late_file_of_one_area_keeps_the_register_as_old_as_that_area(log, tmp_path, areas):
    """Everybody there who registered since would be called, for as long as the other areas' changes look young.

    Source: 16 CFR 310.4(b)(3)(iv): a version of the registry obtained no more than 31 days before the call.
    """
    full = written(tmp_path, b"212,5550100\n305,5550100\n").rename(tmp_path / "us-2026-10-19.txt")
    run(full, "us-dnc", region="US", format="nanp-pair", areas=areas)
    packed = tmp_path / "changes.zip"
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr("212.csv", "212,5550101,20261020,A\n212,5550102,20261023,A\n")
        files.writestr("212-b.csv", "212,5550103,20261024,A\n")
        files.writestr("305.csv", "305,5550101,20261020,D\n305,5550102,20261021,A\n")
    effect = run(packed, "us-dnc", region="US", format="nanp-change", max_change=5.0)
    assert (effect.added, effect.effective_at) == (4, "2026-10-21T00:00:00Z")


@pytest.mark.parametrize(
    ("change", "said", "after"),
    [
        ("adds", None, "2026-11-20T06:00:00Z"),
        ("removes", "2026-10-20", "2026-11-20T06:00:00Z"),
        ("adds", "2026-11-22", "2026-11-22T00:00:00Z"),
    ],
)
def test_a_few_numbers_make_a_register_neither_older_nor_younger_unasked(log, tmp_path, change, said, after):
    """Ten numbers added to a list that nobody has fetched for months would make it look fresh, and be judged by."""
    file = written(tmp_path, b"0612345678\n")
    run(file, "bloctel", effective_at=datetime(2026, 11, 20, 6, tzinfo=UTC))
    moment = said and datetime.fromisoformat(said).replace(tzinfo=UTC)
    assert run(file, "bloctel", change=change, effective_at=moment).effective_at == after
    assert log.replayed().index.registers["bloctel"].effective_at == datetime.fromisoformat(after)


def test_a_list_that_is_sold_by_area_says_what_was_bought_and_is_held_to_it(log, tmp_path):
    """One stray number would open an area that nobody looked up, or a missing file let a whole area be called."""
    bought = {"register": "us-dnc", "region": "US", "effective_at": NOW, "allow_change": True}
    file = written(tmp_path, b"+12125550123\n+12125550124\n+13055550123\n")
    with pytest.raises(BadList, match="name the areas that you bought"):
        run(file, **bought)
    with pytest.raises(BadList, match="no number of the declared area 1718"):
        run(file, **bought, areas=("212", "718"))
    for odd in (("21",), ("2120",), ("all", "212")):
        with pytest.raises(ConfigError, match="is no area of us-dnc"):
            run(file, **bought, areas=odd)
    with pytest.raises(ConfigError, match="no rule says that internal is sold by area"):
        run(file, areas=("212",))

    assert run(file, **bought, areas=("1212",)).outside == 1
    assert log.replayed().index.registers["us-dnc"].areas == ("1212",)
    assert run(file, **bought).outside == 1  # what was declared stays so
    added = written(tmp_path, b"+17185550123\n")
    run(added, **bought | {"areas": ("718",), "change": "adds"})
    run(added, **bought | {"change": "removes", "allow_older": True})
    assert log.replayed().index.registers["us-dnc"].areas == ("1212", "1718")
    dry = run(written(tmp_path, b"+12125550123\n"), **bought, dry_run=True)
    assert "no number of the declared area 1718" in dry.would_be_refused
    run(written(tmp_path, b"+12125550123\n"), **bought, areas=("all",))
    assert log.replayed().index.registers["us-dnc"].areas == ("",)


@pytest.mark.parametrize(
    ("name", "after"),
    [("us-718-2026-10-01.txt", "2026-10-01"), ("us-718-2026-11-20.txt", "2026-11-10")],
)
def test_an_area_that_is_added_is_no_younger_than_its_list(log, tmp_path, name, after):
    """Everybody who registered there since that old list would be called as long as the other areas' list is young.

    Source: 16 CFR 310.4(b)(3)(iv): a version of the registry obtained no more than 31 days before the call.
    """
    area = {"register": "us-dnc", "region": "US", "areas": ("718",), "change": "adds", "allow_change": True}
    full = written(tmp_path, b"212,5550100\n").rename(tmp_path / "us-2026-11-10.txt")
    run(full, "us-dnc", region="US", areas=("212",))
    with pytest.raises(BadList, match="the list has no date"):
        run(written(tmp_path, b"718,5550100\n"), **area)
    with pytest.raises(BadList, match="changes only, and area 1718 of us-dnc has no list yet"):
        run(
            written(tmp_path, b"718,5550101,20261111,A\n"),
            **area | {"format": "nanp-change", "change": "full"},
        )
    added = run(written(tmp_path, b"718,5550100\n").rename(tmp_path / name), **area)
    assert (added.added, added.effective_at[:10]) == (1, after), "all areas have the day of the oldest"
    assert log.replayed().index.registers["us-dnc"].areas == ("1212", "1718")


def test_a_list_of_consents_ends_as_the_law_says(log, tmp_path):
    """A Spaniard would be called by a consent that two years have ended, because a list names no ends."""
    given = datetime(2026, 11, 1, tzinfo=UTC)
    last = int((given + timedelta(days=730)).timestamp())
    file = written(tmp_path, b"+34612345678\n+4915112345678\n")

    def ends():
        numbers = np.array([34612345678, 4915112345678], np.uint64)
        return log.replayed().known("consent").ends.of_each(numbers).tolist()

    run(file, "consent", effective_at=given)
    assert ends() == [last, 0]
    run(file, "consent", effective_at=given + timedelta(days=20))  # a consent grows no younger by that
    assert ends() == [last, 0]
    said = written(tmp_path, b"phone,until\n+34612345678,2031-01-01\n+4915112345678,2031-01-01\n")
    run(said, "consent", effective_at=given + timedelta(days=20), all_consented=True)
    assert ends()[0] == last + 20 * 86_400 < ends()[1]
    old = written(tmp_path, b"+34612345679\n+4915112345679\n")
    run(old, "consent@acme", effective_at=datetime(2024, 11, 1, tzinfo=UTC))
    assert set(log.replayed().index.registers["consent@acme"].numbers) == {4915112345679}


def test_a_delta_that_needs_a_longer_transaction_is_made_anew_against_the_register(log, tmp_path):
    """A very large list could not be published at all; or its delta be against a register that somebody else has
    changed while the longer transaction was opened, and every worker find the log corrupt."""
    numbers = [33_600_000_000 + 7919 * at for at in range(2_000)]
    text = "".join(f"+{number}\n" for number in numbers).encode()
    other = written(tmp_path, b"+33612345678\n").rename(tmp_path / "other.txt")
    log.meanwhile = [lambda: None, lambda: run(other, "bloctel", change="adds")]
    effect = run(written(tmp_path, text), "bloctel", max_change=float("inf"))

    register = log.replayed().index.registers["bloctel"]
    assert (set(register.numbers), register.seq) == (set(numbers), 2)
    assert (effect.added, effect.removed) == (len(set(numbers)), 1)
    assert len(log.opened) == 3 and all(writer.closed for writer in log.opened)


def test_columns_are_named_as_they_are_written():
    """A change list would be read by the wrong columns."""
    assert import_list.columns("area=1, number = Phone No,change=4") == {
        "area": "1",
        "number": "Phone No",
        "change": "4",
    }
    assert import_list.columns("") == {}
    for text in ("area", "=1", "area=", "area=1,area=2"):
        with pytest.raises(ConfigError, match="--columns"):
            import_list.columns(text)


def test_a_file_that_is_written_to_while_it_is_read_is_refused(log, tmp_path, monkeypatch):
    """What is sealed would not be what was published."""
    path = written(tmp_path, b"+33612345678\n")
    real = plan_import.read_list

    def slow(*arguments):
        reading = real(*arguments)
        path.write_bytes(b"+33612345678\n+33612345679\n")
        return reading

    monkeypatch.setattr(plan_import, "read_list", slow)
    with pytest.raises(BadList, match="written to while it was read"):
        run(path)
    assert "internal" not in log.replayed().index.registers


def test_a_form_asks_with_every_guard_and_its_list_is_read_apart(log, tmp_path, monkeypatch):
    """The page would publish what the console refuses, or a list would kill the server."""
    monkeypatch.setattr(import_list, "preview", lambda *_: None)
    settings = load(environ={}, cwd=tmp_path, flags={"lists.max_added": 9_999})
    apart = []
    monkeypatch.setattr(
        import_list,
        "IsolatedReader",
        lambda *bounds: apart.append(bounds) or IsolatedReader(*bounds),
    )

    def asked(content, dry_run=True, **said):
        file = written(tmp_path, content)
        given = {"register": "consent", "kind": "allow", "all_consented": "yes", **said}
        return import_list.asked(settings, structlog.get_logger(), str(file), given, dry_run)

    told = asked(b"+49151123XXXXX\n")
    assert told["added"] == 100_000 and "lists.max_added" in told["would_be_refused"]
    with pytest.raises(BadList, match=r"lists.max_added"):
        asked(b"+49151123XXXXX\n", dry_run=False)
    assert apart == [(settings.lists.read_max_mb, settings.lists.read_max_s)] * 2
    done = asked(b"+4915112345678\n", dry_run=False, change="adds", kind="allow")
    assert (done["register"], done["kind"], done["added"]) == ("consent", "allow", 1)
    assert done["position"] is not None
    for said in ({"change": "all"}, {"kind": "both"}, {"register": "+33612345678"}, {"effective_at": "soon"}):
        with pytest.raises(ConfigError):
            asked(b"+33612345678\n", **said)


def removed(folder, register):
    settings = load(environ={}, cwd=folder)
    return remove_register.run(register, settings, structlog.get_logger(), lambda *_: None)


def test_a_register_under_a_wrong_name_is_removed_and_counts_as_never_imported(log, tmp_path):
    """A misspelt register would stay on the log and on every page for ever."""
    run(written(tmp_path, b"0612345678\n0612345679\n"), "tsp")
    assert removed(tmp_path, "tsp").numbers == 2

    replay = log.replayed()
    held = replay.index.registers["tsp"]
    assert held.is_removed and (held.seq, len(held.numbers)) == (2, 0)
    shown = history.status(replay.index, scrubbing.rulebook(load(environ={}, cwd=tmp_path)), NOW)
    assert [each.register for each in shown.registers] == []
    with pytest.raises(Refused, match="the log holds no register tsp: `stream-scrub lists status`"):
        removed(tmp_path, "tsp")
    again = run(written(tmp_path, b"0612345678\n"), "tsp", effective_at=NOW)
    held = log.replayed().index.registers["tsp"]
    assert (again.count, held.seq, held.is_removed) == (1, 3, False)


def test_the_last_removed_register_of_a_campaign_counts_as_never_imported(log, tmp_path):
    """Italian leads would be blocked for an answer that nobody could give, and no page say that its list is gone."""
    book = scrubbing.rulebook(load(environ={}, cwd=tmp_path))

    def missing():
        why = {each.register: each.why for each in unusable(book, log.replayed().index, NOW)}
        return why.get("rpo-clean")

    run(written(tmp_path, b"+393331234567\n"), "rpo-clean@acme", kind=RegisterKind.ALLOW, effective_at=NOW)
    assert missing() is None
    removed(tmp_path, "rpo-clean@acme")
    assert missing() == "it was never imported"


def test_nothing_is_removed_that_protects_somebody(log, tmp_path):
    """One command would let everybody be called who opposed, or stop a country's leads."""
    run(written(tmp_path, b"+447400123456\n"), "tps", effective_at=NOW)
    run(written(tmp_path, b"0612345678\n"), "internal@acme")
    run(written(tmp_path, b"+4915112345678\n"), "consent@amce", kind=RegisterKind.ALLOW)
    with pytest.raises(Refused, match="the rules of GB ask tps"):
        removed(tmp_path, "tps")
    with pytest.raises(Refused, match="internal@acme --removes"):
        removed(tmp_path, "internal@acme")
    with pytest.raises(Refused, match="no register consent@acme: did you mean consent@amce"):
        removed(tmp_path, "consent@acme")
    assert removed(tmp_path, "consent@amce").numbers == 1


def test_a_list_that_no_rule_of_today_asks_says_so(log, tmp_path, monkeypatch):
    """The operator would rest on a list that changes no verdict, and see it healthy."""
    effect = run(written(tmp_path, b"0612345678\n"), "pacitel", effective_at=NOW)
    says = "no rule of today uses pacitel: this list changes no verdict"
    assert effect.notes == [says]
    book = scrubbing.rulebook(load(environ={}, cwd=tmp_path))
    shown = history.status(log.replayed().index, book, datetime.now(UTC))
    assert [each.note for each in shown.registers] == [says]
    monkeypatch.setattr(import_list, "preview", lambda *_: None)
    dry = run(written(tmp_path, b"+447400123456\n"), "tsp", register_unknown=False, dry_run=True)
    assert "did you mean tps" in dry.would_be_refused


def test_an_error_keeps_its_figures_and_masks_the_names_that_others_chose(log, tmp_path):
    """The operator would read "it would remove [number]%", or a person's number in the name of a file."""
    run(written(tmp_path, b"".join(b"+4474001%05d\n" % n for n in range(20_000))), "tps", effective_at=NOW)
    short = written(tmp_path, b"".join(b"+4474001%05d\n" % n for n in range(8_000)))
    short = short.rename(tmp_path / "tps 07400123456 20261120.txt")
    with pytest.raises(BadList) as refused:
        run(short, "tps", max_change=0.1, allow_older=True)
    told = str(refused.value)
    assert "remove 12,000 (60.0%), where tps holds 20,000 numbers" in told and "like +999999999999" in told
    assert "tps [number].txt" in told
    assert refused.value.shown == told, "a page masks nothing else of it"
    with pytest.raises(BadList, match=r"tps_20261120\.txt"):
        run(short.rename(tmp_path / "tps_20261120.txt"), "tps", max_change=0.1, allow_older=True)
    with pytest.raises(ConfigError, match=r"'\[number\]' is not a register's name"):
        plan_import.named("+33612345678")


@pytest.mark.parametrize(
    ("head", "country"),
    [("phone;nation", "BE"), ("phone;Indicatif", "+32"), ("phone;locale", "nl-BE"), ("", "BE")],
)
def test_a_column_that_may_name_countries_is_asked_about(log, tmp_path, head, country):
    """A Belgian opt-out would oppose a French number, and the Belgian be called: the column with `BE` was not looked at."""
    rows = [head, f"0470123450;{country}", f"0470123451;{country}"]
    file = written(tmp_path, "\n".join(filter(None, rows)).encode())
    says = r"may name each row's country, and 2 .* read as FR.*--region.*country=2"
    with pytest.raises(BadList, match=says):
        run(file, "internal")
    assert "internal" not in log.replayed().index.registers

    named = run(file, "internal", columns={"phone": "1", "country": "2"})
    assert [*log.replayed().index.registers["internal"].numbers] == [32470123450, 32470123451]
    assert any(column.role == "country" for column in named.columns)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("phone;country\n0470123450;XX\n0470123451;XX\n", "may name each row's country"),
        ("phone;country_code\n0470123450;32\n0470123451;32\n", "may name each row's country"),
        (f"phone;country\n{FRENCH}0470123450;BE\n", "column country may name each row's country"),
        ("phone;langue\n0470123450;fr\n0470123451;nl\n0612345678;nl\n", "column langue may name"),
        (
            "phone;billing country;phone country\n0470123450;FR;BE\n",
            "columns 2 and 3 name different countries",
        ),
    ],
)
def test_a_country_that_nobody_knows_for_sure_is_asked_about(log, tmp_path, content, says):
    """A Belgian list, French and Dutch, would be read as French: `0470 12 34 50` is a number there too."""
    with pytest.raises(BadList, match=says):
        run(written(tmp_path, content.encode()), "internal")


@pytest.mark.parametrize(
    ("region", "phone", "head", "cells"),
    [
        ("FR", "061234567{}", "Civilité", ["MR", "MS"]),
        ("FR", "0142685{}00", "vendeur", ["AL", "BG"]),
        ("US", "202-555-010{}", "State", ["CA", "DE", "IN"]),
        ("US", "202-555-010{}", "home", ["Georgia"]),
        ("IT", "347 123400{}", "Prov.", ["BG", "MT", "RO", "SI"]),
    ],
)
def test_a_column_of_no_countries_stops_no_list(log, tmp_path, region, phone, head, cells):
    """Half of all CRM exports would stop: their titles, sellers and states are spelt like codes of countries."""
    rows = [f"{phone.format(place)};{cells[place % len(cells)]}" for place in range(8)]
    file = written(tmp_path, "\n".join([f"phone;{head}", *rows]).encode())
    run(file, "internal", region=region)
    assert len(log.replayed().index.registers["internal"].numbers) == 8
