"""`Checker`: verdicts on numbers are a worker's verdicts, one by one or a column at once, from files, a snapshot or the log."""

import json
import os
import random
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyroaring import BitMap64

import stream_scrub
from stream_scrub import (
    BadList,
    Call,
    Checker,
    ListFile,
    Reason,
    RegisterKind,
    StaleIndex,
    Unknown,
    clock,
    scrub_file,
)
from stream_scrub.index import Register, deltas
from stream_scrub.index.deltas import Delta
from stream_scrub.kafka import clients
from stream_scrub.log.encode import records_of
from stream_scrub.log.follower import Follower
from stream_scrub.log.scan import replay_to_end
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.log.wire import DeltaSource
from stream_scrub.model import Deadline
from tests.support.fakes import law
from tests.support.fakes.hashes import KEY, hashed, hashing_of, keys_in
from tests.support.fakes.lists import consents
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import followed
from tests.support.machine.cost import cpu_s
from tests.support.waiting import wait_until

OPPOSED, CONSENTING, NOBODY = "0612345678", "0611111111", "+33622222222"
OPT_OUT, OPT_IN = date(2026, 6, 1), date(2026, 8, 1)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Rules of the tests' own, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("STREAM_SCRUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "fr.toml").write_text(law.OPT_OUT_THEN_IN)
    return {"rules.folder": str(rules), "rules.stale": "block"}


@pytest.fixture
def lists(tmp_path):
    """A file for each register."""
    numbers = {
        "bloctel": [OPPOSED, "0633333333"],
        "internal": ["0644444444"],
        "internal@acme": ["0655555555"],
        "consent": [CONSENTING, OPPOSED],
    }
    files = {}
    for name, listed in numbers.items():
        files[name] = tmp_path / f"{name}.csv"
        files[name].write_text("phone\n" + "\n".join(listed) + "\n")
    files["bloctel"] = ListFile(files["bloctel"], effective_at=datetime(2026, 5, 20, tzinfo=UTC))
    return files


@pytest.fixture
def checker(lists, settings):
    return Checker.from_lists(lists, settings=settings)


def cells(count: int, seed: int = 7) -> list[str]:
    """Numbers as people type them, most of them French, many of them listed, some of them none."""
    chance = random.Random(seed)
    listed = [OPPOSED, CONSENTING, NOBODY, "0633333333", "06 44 44 44 44", "0655555555", "+33 6.33.33.33.33"]
    odd = [
        "",
        " ",
        "nobody",
        "12",
        "0162345678",
        "0899123456",
        "+447400123456",
        "+262692123456",
        "06\n12345678",
    ]
    made = [f"06{chance.randrange(10**8):08d}" for _ in range(count)]
    return [chance.choice([each, each, *listed, *odd]) for each in made]


def scrubbed(checker, numbers, on, **facts):
    """The stamps of prospects with these numbers, as a worker gives them, without the member's name: a cell has none."""
    values = [json.dumps({"phone": number} | facts).encode() for number in numbers]
    out = checker.scrubber.scrub(
        values, checker.index, datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
    ).values
    stamps = [json.loads(value)["scrub"] for value in out]
    return [{name: fact for name, fact in stamp.items() if name != "member"} for stamp in stamps]


CALLS = [
    (Call(), None, {}),
    (Call(purpose="press"), None, {"purpose": "press"}),
    (Call(purpose=("energy renovation", "x")), None, {"purpose": ["energy renovation", "x"]}),
    (Call(contract=True), None, {"contract": True}),
    (Call(campaign="acme"), None, {"campaign": "ACME"}),
    (Call(), "GB", {"country": "GB"}),
]


@pytest.mark.parametrize("on", [OPT_OUT, OPT_IN])
@pytest.mark.parametrize(("call", "region", "facts"), CALLS)
def test_a_verdict_is_the_one_that_a_worker_gives(checker, call, region, facts, on):
    """A program would call somebody whose prospect the stream blocks, or the other way round."""
    integers = [612345678, 33612345678, 33622222222, 5, 0, 10**19, 33899123456]
    numbers = [*cells(200), *integers]
    told = scrubbed(checker, numbers, on, **facts)

    many = checker.check_many(numbers, call, region=region, on=on)

    assert [json.loads(stamp.json) for stamp in many] == told
    assert [json.loads(checker.check(number, call, region=region, on=on).json) for number in numbers] == told
    assert many.allowed.tolist() == [stamp["verdict"] == "allowed" for stamp in told]
    assert many.reasons.tolist() == [stamp["reason"] for stamp in told]
    assert [None if end is None else end.isoformat() for end in many.until.tolist()] == [
        stamp.get("until") for stamp in told
    ]
    assert [f"+{number}" if number else None for number in many.numbers.tolist()] == [
        stamp.get("number") for stamp in told
    ]
    assert sum(many.counts().values()) == len(numbers)


@pytest.mark.parametrize("on", [OPT_OUT, OPT_IN])
@pytest.mark.parametrize("as_column", [list, pa.array])
def test_facts_that_differ_by_row_are_those_of_prospects(checker, as_column, on):
    """A table with a country, a purpose and a campaign in each row would be judged by those of the first one."""
    chance = random.Random(16)
    numbers = cells(400)
    columns = {
        "country": [chance.choice(["FR", "GB", "nl-NL", "Atlantis", " ", None]) for _ in numbers],
        "purpose": [chance.choice(["press", "energy renovation", "", None]) for _ in numbers],
        "campaign": [chance.choice(["acme", "ACME", "spring", None]) for _ in numbers],
        "relation": [chance.choice(["purchase:2026-05-31", "purchase", None]) for _ in numbers],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    told = []
    for number, row in zip(numbers, rows, strict=True):
        facts = {name: cell for name, cell in row.items() if cell and cell.strip()}
        if facts.get("relation") == "purchase:2026-05-31":
            facts["relation"] = {"kind": "purchase", "since": "2026-05-31"}
        told += scrubbed(checker, [number], on, **facts)

    many = checker.check_many(
        numbers, on=on, columns={name: as_column(cells) for name, cells in columns.items()}
    )

    found = [json.loads(stamp.json) for stamp in many]
    for stamp in found:  # only a check says whether a call may begin at this very moment
        stamp.pop("callable_now", None)
        stamp.pop("opens", None)
    assert found == told
    assert len({stamp["reason"] for stamp in told}) > 4


def test_a_row_without_a_fact_has_that_of_the_call(checker):
    """A column that is empty in some rows would take the purpose from all others, or its own from these."""
    call = Call(purpose="energy renovation")
    reasons = checker.check_many(
        [CONSENTING] * 2, call, on=OPT_IN, columns={"purpose": ["insurance", None]}
    ).reasons
    assert reasons.tolist() == [Reason.CONSENTED, Reason.BANNED_PURPOSE]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"purposes": ["x"]}, "'purposes' is none of country, purpose"),
        ({"purpose": ["x", "y"]}, "has 2 cells"),
    ],
)
def test_columns_that_fit_no_row_are_refused(checker, columns, text):
    """A misspelt name, or a column of another table, would leave all rows to the defaults."""
    with pytest.raises(ValueError, match=text):
        checker.check_many([OPPOSED], columns=columns)


def test_a_table_of_verdicts_can_be_replayed(checker):
    """A row in a warehouse would say that somebody could be called, and nobody could tell by which lists and law."""
    many = checker.check_many([OPPOSED, NOBODY, "x"], on=OPT_OUT)
    table = pa.table(many)
    stamps = [json.loads(stamp.json) for stamp in many]
    assert table["index"].to_pylist() == [stamp["index"] for stamp in stamps]
    assert table["rules"].to_pylist() == [stamp.get("rules", "") for stamp in stamps]
    assert table["why"].to_pylist() == [stamp.get("why") for stamp in stamps] == [None, None, "no-digits"]
    assert {f"{moment:%Y-%m-%dT%H:%M}" for moment in table["at"].to_pylist()} == {stamps[0]["at"][:16]}


def test_no_cell_spoils_or_stands_for_others(checker):
    """One odd row would end the job of a whole table, and a masked one would get the verdict of a number that nobody sees."""
    assert checker.check_many([OPPOSED, 10**5000], on=OPT_OUT).numbers.tolist() == [33612345678, 0]
    assert checker.check(10**5000).reason is Reason.INVALID_NUMBER
    integers = np.array([-612345678, 612345678])
    assert checker.check_many(integers, on=OPT_OUT).allowed.tolist() == [False, False]
    masked = np.ma.array([33622222222, 33622222222], mask=[False, True])
    assert checker.check_many(masked, on=OPT_OUT).allowed.tolist() == [True, False]


def test_a_stream_that_breaks_off_is_refused_without_its_numbers(checker):
    """A number would stand in the log of whatever program read the table."""
    arrow = pytest.importorskip("pyarrow")

    def batches():
        yield arrow.record_batch({"phone": [NOBODY]})
        raise OSError(f"cannot read {OPPOSED}")

    broken = arrow.RecordBatchReader.from_batches(arrow.schema([("phone", arrow.string())]), batches())
    with pytest.raises(TypeError, match="column") as found:
        checker.check_many(broken)
    assert OPPOSED not in str(found.value)


@pytest.mark.parametrize(
    "column", ["0612345678", b"06", np.array([6.1e8]), np.array([["06"]]), {"0612345678"}, 612345678]
)
def test_what_is_no_column_is_refused(checker, column):
    """A text would be taken for ten numbers, and a column of floats would come out blocked without a word."""
    with pytest.raises(TypeError, match="column"):
        checker.check_many(column)


def test_a_column_is_many_times_as_quick_as_a_loop(checker):
    """A table of millions of rows would take minutes instead of a second."""
    numbers = cells(5_000)
    checker.check_many(numbers)
    many = cpu_s(lambda: checker.check_many(numbers))
    one_by_one = cpu_s(lambda: [checker.check(number) for number in numbers[:500]])
    assert 10 * one_by_one > 4 * many


def test_no_number_shows_by_itself(checker):
    """Numbers would stand in logs wherever a program prints a verdict."""
    stamp = checker.check(OPPOSED, on=OPT_OUT)
    assert stamp.number == "+33612345678" and b"612345678" in stamp.json
    assert "12345678" not in repr(stamp) + repr(checker.check_many([OPPOSED]))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ({"call": "insurance"}, "give a Call"),
        ({"on": "2026-08-10"}, "give a date"),
        ({"on": 20260810}, "give a date"),
        ({"on": datetime(2026, 8, 10)}, "time zone"),
        ({"region": "XX"}, "unknown region"),
    ],
)
def test_a_wrong_argument_says_what_it_wants(checker, question, text):
    """A mistyped region would be read as France, or a developer read of an attribute of `str`."""
    with pytest.raises(ValueError, match=text):
        checker.check(OPPOSED, **question)
    with pytest.raises(ValueError, match=text):
        checker.check_many([OPPOSED], **question)


@pytest.mark.parametrize(
    ("head", "row"),
    [("phone;newsletter", "yes"), ("phone,email,created_at,consent", "a@example.com,2026-01-31,yes")],
)
def test_a_list_of_consents_with_other_columns_is_refused_until_they_are_named(tmp_path, head, row):
    """An export of everybody, with a column of who agreed, would make those callable who did not."""
    listed, sign = tmp_path / "consents-2026-11-20.csv", head[5] if head.startswith("phone") else ";"
    listed.write_text(f"{head}\n06 12 34 56 78{sign}{row}\n")
    for kind in (None, RegisterKind.ALLOW):
        with pytest.raises(BadList, match="consent@acme is a register of consents") as refused:
            Checker.from_lists({"consent@acme": ListFile(listed, kind=kind)})
        said = str(refused.value)
        assert "ListFile(columns={'phone': " in said and "ListFile(all_consented=True)" in said
        assert "--" not in said, "a program has no options"
    assert Checker.from_lists({"internal": listed}).check(OPPOSED, region="FR").reason == "opposed"


def test_a_list_file_says_how_it_was_read(tmp_path):
    """A program would not see that most of a list's people did not say yes."""
    listed = tmp_path / "crm.csv"
    listed.write_text("Nom;Mobile;Opt-in;Date\n" + "".join(
        f"Rose;{number};{word};{day}\n"
        for number, word, day in (
            ("06 12 34 56 78", "oui", f"{datetime.now(UTC):%d/%m/%Y}"),
            ("06 12 34 56 79", "oui", ""),
            ("06 12 34 56 80", "oui", f"{datetime.now(UTC) - timedelta(days=400):%d/%m/%Y}"),
            ("06 12 34 56 81", "?", "01/02/2026"),
        )
    ))  # fmt: skip
    crm = ListFile(listed, columns={"phone": "Mobile", "consent": "Opt-in", "given": "Date"})
    checker = Checker.from_lists({"consent@acme": crm, "internal": opt_outs(tmp_path)})

    assert (
        checker.check(OPPOSED, Call(purpose="insurance", campaign="acme"), region="FR").reason == "consented"
    )
    assert crm.reading.outcomes == {"consented": 1, "unclear": 1, "ended": 1, "undated": 1}
    assert crm.reading.lines[-2:] == [
        "columns used: Mobile (phone), Opt-in (consent), Date (given)",
        "columns ignored: Nom",
    ]


def opt_outs(folder):
    """A list of one number that nobody is called by."""
    file = folder / "opt-outs.txt"
    file.write_text("+33699999999\n")
    return file


def test_what_is_no_list_says_how_it_is_given(settings):
    """A developer who tries the obvious would read of an index that he has never heard of."""
    for arguments in (("opt-outs.csv",), ({"internal": "opt-outs.csv"},)):
        with pytest.raises(TypeError, match=r"from_lists\(\{"):
            Checker(*arguments)
    for call in (
        Checker.from_lists,
        lambda lists, **more: scrub_file("leads.csv", "out", lists=lists, **more),
    ):
        with pytest.raises(stream_scrub.ConfigError, match=r'as in \{"internal": "opt-outs.txt"'):
            call("x.csv", settings=settings)


def test_a_list_that_may_grow_too_old_says_its_day(lists, settings):
    """A list of last year would count as fresh on every day that a program copies its file."""
    path = lists["bloctel"].path
    with pytest.raises(stream_scrub.BadList, match="the list has no date"):
        Checker.from_lists(lists | {"bloctel": path}, settings=settings)
    without = {name: each for name, each in lists.items() if name != "bloctel"}
    missing = Checker.from_lists(without, settings=settings)
    assert missing.check(NOBODY, on=OPT_OUT).reason is Reason.STALE_REGISTER
    dated = path.rename(path.with_name("bloctel-2026-05-01.csv"))
    checker = Checker.from_lists(lists | {"bloctel": dated}, settings=settings)
    assert checker.check(NOBODY, on=OPT_OUT).reason is Reason.STALE_REGISTER
    assert checker.check(OPPOSED, on=date(2026, 5, 20)).reason is Reason.OPPOSED


def test_consents_that_end_by_law_say_their_day(tmp_path):
    """Consents of three years ago would count for two more years after each copy of their file.

    Source: Ley 10/2025: consents are renewed every two years.
    """
    path = tmp_path / "consents.csv"
    path.write_text("+34612345678\n")
    lists = {"consent@acme": path, "robinson": ListFile(path, effective_at=datetime.now(UTC))}
    with pytest.raises(stream_scrub.BadList, match="the list has no date"):
        Checker.from_lists(lists)
    path.write_text("+4915112345678\n")
    Checker.from_lists({"consent@acme": path})
    path.write_text("+33612345678\n")
    with pytest.raises(stream_scrub.BadList, match="none of its 1 consents has a day"):
        Checker.from_lists({"consent@acme": path})


def test_a_purpose_in_a_name_may_be_any_known_word(settings, tmp_path):
    """A consent that an import keeps under `insurance` would count for no call, because the program says assurance."""
    (tmp_path / "consents.csv").write_text(consents([CONSENTING]))
    checker = Checker.from_lists({"consent@acme+assurance": tmp_path / "consents.csv"})
    stamp = checker.check(CONSENTING, Call(purpose="Assurances", campaign="acme"))
    assert (stamp.reason, checker.check(CONSENTING, Call(purpose="credit", campaign="acme")).reason) == (
        Reason.CONSENTED,
        Reason.NO_CONSENT,
    )


def test_a_list_says_which_areas_were_bought(tmp_path):
    """Whoever bought one area code would call everybody in another."""
    path = tmp_path / "us-dnc-2026-11-24.txt"
    path.write_text("+14045550123\n+19075550123\n")
    on = datetime(2026, 11, 25, 12, tzinfo=UTC)
    lists = {"us-dnc": ListFile(path, region="US", areas=("404",), effective_at=on)}
    checker = Checker.from_lists(lists, settings={"prospect.default_purpose": "insurance"})
    assert checker.check("+14045550199", on=on).reason is Reason.CLEAR
    assert checker.check("+19075550199", on=on).reason is Reason.STALE_REGISTER
    with pytest.raises(stream_scrub.BadList, match="no number of the declared area 1718"):
        Checker.from_lists({"us-dnc": ListFile(path, region="US", areas=("718",))})


def test_lists_that_are_none_are_refused(tmp_path, lists, settings):
    """A wrong file would be an empty register, and everybody on it called."""
    (tmp_path / "letter.txt").write_text("Dear customer,\nwe have moved.\n")
    for wrong, error in [
        ({"internal": tmp_path / "letter.txt"}, stream_scrub.BadList),
        ({"internal": tmp_path / "not-there.csv"}, stream_scrub.ConfigError),
        ({"Internal": lists["internal"]}, stream_scrub.ConfigError),
        ({"bloctel": ListFile(lists["bloctel"].path, RegisterKind.ALLOW)}, stream_scrub.ConfigError),
        ({}, stream_scrub.ConfigError),
    ]:
        with pytest.raises(error):
            Checker.from_lists(wrong, settings=settings)


def log_with(register, numbers):
    """The opposition log with one list on it."""
    log = Log()
    publish(log, register, numbers)
    return log


def publish(log, register, numbers):
    now = datetime.now(UTC)
    held = replay_to_end(Reader(log), Deadline.after(60)).registers
    base = held.get(register) or Register.empty(register, RegisterKind.DENY, now)
    records, _ = records_of(
        base, deltas.adding(base.numbers, BitMap64(numbers)), now, DeltaSource("list", "ab" * 32)
    )
    Writer(log).publish(records)


def keep_snapshot(log, folder) -> int:
    """Follow a log to its end, and keep the snapshot: its position."""
    follower = Follower(lambda: Reader(log), snapshots=SnapshotWriter(folder, "opposition.log"))
    follower.start()
    wait_until(lambda: follower.lag_s is not None)
    follower.stop()
    return follower.index.position


def test_a_snapshot_is_judged_by_without_a_broker(tmp_path, settings):
    """A program beside a worker would have to read the whole log again."""
    log, folder = log_with("internal", [33612345678]), tmp_path / "state"
    position = keep_snapshot(log, folder)
    checker = Checker.from_snapshot(folder, settings=settings)
    assert checker.index.position == position
    assert checker.check(OPPOSED).reason is Reason.OPPOSED
    manifest = folder / "stream-scrub-snapshot.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"position"', b'"position_"'))
    with pytest.raises(stream_scrub.Corrupt):
        Checker.from_snapshot(folder, settings=settings)
    with pytest.raises(stream_scrub.ConfigError, match="no snapshot"):
        Checker.from_snapshot(tmp_path, settings=settings)


def test_hashes_are_looked_up_by_the_key_and_without_it_nothing_is_known(tmp_path, settings):
    """A program without the key would call whoever is in a buyer's list; a file of leads would never be scrubbed."""
    keys_in(tmp_path / "keys", KEY)
    held = hashed(law.register("hashed", [33612345678]), hashing_of("hmac-sha256", "+", "", KEY), KEY)
    log, folder = log_with("internal", [33611111111]), tmp_path / "state"
    Writer(log).publish(
        records_of(
            Register.empty("hashed", RegisterKind.DENY, law.NOW),
            Delta(held.numbers, BitMap64(), 0, hashed=held.hashed),
            law.NOW,
            DeltaSource("acme.csv", "ab" * 32),
            known=followed(log, keep_ends=True).known("hashed"),
        )[0]
    )
    keep_snapshot(log, folder)

    with_key = settings | {"lists.hash_keys": str(tmp_path / "keys")}
    checker = Checker.from_snapshot(folder, settings=with_key)
    assert list(checker.check(OPPOSED).registers) == ["hashed"]
    assert checker.check_many([OPPOSED, OPPOSED]).counts() == {Reason.OPPOSED: 2}
    without = Checker.from_snapshot(folder, settings=settings)
    answer = without.check(OPPOSED)
    assert not answer and answer.cause == "hash-key"
    assert without.check_many([OPPOSED]).unknown == answer

    leads = tmp_path / "leads.csv"
    leads.write_text(f"phone\n{OPPOSED}\n{OPPOSED}\n")
    scrub_file(leads, tmp_path / "out", snapshot=folder, settings=with_key)
    assert (tmp_path / "out" / "blocked.csv").read_text().count("blocked,opposed") == 2
    with pytest.raises(StaleIndex, match="needs the key"):
        scrub_file(leads, tmp_path / "none", snapshot=folder, settings=settings)


def test_following_holds_instead_of_guessing(monkeypatch, settings):
    """A program would go on calling people who have opposed meanwhile, by an index of yesterday."""
    log = log_with("internal", [33611111111])
    reader = Reader(log)
    monkeypatch.setattr(clients.Brokers, "log_reader", lambda *_: reader)
    monkeypatch.setattr(clients.Brokers, "index_guards", lambda *_, **__: [])

    with Checker.following(settings=settings | {"rules.index_lag_max_s": "1"}) as checker:

        def reason(*call):
            return getattr(checker.check(OPPOSED, *call), "reason", None)

        # There are no consents.
        wait_until(lambda: reason(Call(purpose="insurance")) is Reason.STALE_REGISTER)
        publish(log, "internal", [33612345678])
        wait_until(lambda: reason() is Reason.OPPOSED)
        reader.silent = True
        wait_until(lambda: isinstance(checker.check(OPPOSED), Unknown))
        unknown = checker.check(OPPOSED)
        assert isinstance(unknown, Unknown) and unknown.cause == "log-behind"
        assert not unknown and not unknown.allowed
        column = checker.check_many([OPPOSED, "x"])
        assert column.unknown.cause == "log-behind" and list(column) == [column.unknown] * 2
        assert column.allowed.tolist() == [False, False] and column.reasons.tolist() == [None, None]
        assert column[:1].unknown == column.unknown and column.counts() == {} and len(column) == 2
        with pytest.raises(StaleIndex):
            _ = checker.index
        reader.silent = False
        wait_until(lambda: reason() is Reason.OPPOSED)
    assert reader.closed


def test_following_an_empty_log_ends_in_time(monkeypatch, settings):
    """A program would wait for ever for a log that nobody has published to."""
    monkeypatch.setattr(clients.Brokers, "log_reader", lambda *_: Reader(Log()))
    with pytest.raises(StaleIndex, match="no list"), Checker.following(settings=settings, wait_s=0.2):
        pass


def test_a_log_that_was_read_once_is_not_believed_for_long(monkeypatch, settings):
    """A service that reads the log at its start would call whoever opposed since."""
    log = log_with("internal", [33612345678])

    @contextmanager
    def reading(*_arguments):
        yield Reader(log)

    monkeypatch.setattr(clients.Brokers, "reading", reading)
    monkeypatch.setattr(clients.Brokers, "index_guards", lambda *_, **__: [])
    checker = Checker.from_config(settings=settings)
    assert checker.check(OPPOSED).reason is Reason.OPPOSED
    later = clock.elapsed() + 3600
    monkeypatch.setattr(clock, "elapsed", lambda: later)
    found = checker.check(OPPOSED)
    assert isinstance(found, Unknown) and "following" in found.why


def test_a_checker_and_its_verdicts_show_what_they_hold(settings, lists):
    """In a notebook nobody could see which lists the verdicts rest on."""
    checker = Checker.from_lists(lists, settings=settings)
    shown = repr(checker)
    assert (
        "bloctel: 2 numbers of 2026-05-20, asked by no rule of today" in shown
        and "internal: 1 number of" in shown
    )
