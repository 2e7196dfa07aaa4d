"""`Checker`: verdicts on numbers are a worker's verdicts, one by one or a column at once, from files, a snapshot or the log."""

import json
import os
import random
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime

import numpy as np
import pytest
from pyroaring import BitMap64

import stream_scrub
from stream_scrub import Checker, ListFile, Reason, RegisterKind, StaleIndex
from stream_scrub.index import Register
from stream_scrub.lists import deltas
from stream_scrub.lists.log.encode import records_of
from stream_scrub.lists.log.follower import Follower
from stream_scrub.lists.log.scan import replay_to_end
from stream_scrub.lists.log.snapshot_writer import SnapshotWriter
from stream_scrub.lists.log.wire import DeltaSource
from stream_scrub.model import Deadline
from stream_scrub.wiring import clients
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader, Writer

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
    """The stamps of prospects with these numbers, as a worker gives them."""
    values = [json.dumps({"phone": number} | facts).encode() for number in numbers]
    out = checker.scrubber.scrub(
        values, checker.index, datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
    ).values
    return [json.loads(value)["scrub"] for value in out]


FACTS = [
    ({}, {}),
    ({"purpose": "press"}, {"purpose": "press"}),
    ({"purpose": ["energy renovation", "x"]}, {"purpose": ["energy renovation", "x"]}),
    ({"contract": True}, {"contract": True}),
    ({"campaign": "acme"}, {"campaign": "ACME"}),
    ({"region": "GB"}, {"country": "GB"}),
]


@pytest.mark.parametrize("on", [OPT_OUT, OPT_IN])
@pytest.mark.parametrize(("said", "facts"), FACTS)
def test_a_verdict_is_the_one_that_a_worker_gives(checker, said, facts, on):
    """A program would call somebody whose prospect the stream blocks, or the other way round."""
    numbers = cells(400)
    told = scrubbed(checker, numbers, on, **facts)

    many = checker.check_many(numbers, **said, on=on)

    assert [json.loads(stamp.json) for stamp in many] == told
    assert [json.loads(checker.check(number, **said, on=on).json) for number in numbers] == told
    assert many.allowed.tolist() == [stamp["verdict"] == "allowed" for stamp in told]
    assert many.reasons.tolist() == [stamp["reason"] for stamp in told]
    assert [None if end is None else end.isoformat() for end in many.until.tolist()] == [
        stamp.get("until") for stamp in told
    ]
    assert [f"+{number}" if number else None for number in many.numbers.tolist()] == [
        stamp.get("number") for stamp in told
    ]
    assert sum(many.counts().values()) == len(numbers)


def test_the_purpose_that_is_said_of_all_counts_here_too(lists, settings):
    """A program would block everybody whom the stream allows, or call for a purpose that is banned."""
    for word, reason in (("insurance", Reason.CONSENTED), ("energy-renovation", Reason.BANNED_PURPOSE)):
        checker = Checker.from_lists(lists, settings=settings | {"prospect.default_purpose": word})
        told = [stamp["reason"] for stamp in scrubbed(checker, [CONSENTING], OPT_IN)]
        assert checker.check(CONSENTING, on=OPT_IN).reason is reason
        assert checker.check_many([CONSENTING], on=OPT_IN).reasons.tolist() == [reason] == told


def test_integers_are_taken_as_a_prospects_integers_are(checker):
    """A table that holds its numbers as integers would be judged by other numbers."""
    numbers = [612345678, 33612345678, 33622222222, 5, 0, 10**19, 33899123456]
    told = [stamp["reason"] for stamp in scrubbed(checker, numbers, OPT_OUT)]

    for column in (
        numbers,
        np.array(numbers, np.uint64),
        np.array(numbers, object),
        [*map(np.uint64, numbers)],
    ):
        assert checker.check_many(column, on=OPT_OUT).reasons.tolist() == told
    assert [checker.check(number, on=OPT_OUT).reason for number in numbers] == told
    assert checker.check_many(np.array([-612345678, 612345678]), on=OPT_OUT).allowed.tolist() == [
        False,
        False,
    ]


class Column:
    """What pandas, polars and pyarrow have in common: it gives an array."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "array",
    [
        np.array([OPPOSED, NOBODY, "x"]),
        np.array([OPPOSED, NOBODY, None], object),
        np.array([OPPOSED, NOBODY, float("nan")], object),
        np.array([OPPOSED, NOBODY, ""], np.dtypes.StringDType()),
    ],
    ids=lambda array: array.dtype.name,
)
def test_whatever_gives_an_array_is_a_column(checker, array):
    """A data frame's column would have to be copied by hand, or its missing cells would end in a traceback."""
    expected = [Reason.OPPOSED, Reason.CLEAR, Reason.INVALID_NUMBER]

    for column in (array, Column(array), tuple(array.tolist())):
        assert checker.check_many(column, on=OPT_OUT).reasons.tolist() == expected


@pytest.mark.parametrize(
    "column", ["0612345678", b"06", np.array([6.1e8]), np.array([["06"]]), {"0612345678"}, 612345678]
)
def test_what_is_no_column_is_refused(checker, column):
    """A text would be taken for ten numbers, and a column of floats would come out blocked without a word."""
    with pytest.raises(TypeError, match="column"):
        checker.check_many(column)


def test_an_empty_column_has_no_verdicts(checker):
    """The first empty batch of a job would end it."""
    none = checker.check_many([])
    assert (len(none), list(none), none.counts(), none.allowed.tolist()) == (0, [], {}, [])


def test_a_column_is_many_times_as_quick_as_a_loop(checker):
    """A table of millions of rows would take minutes instead of a second."""
    numbers = cells(20_000)
    checker.check_many(numbers)
    started = time.process_time()
    checker.check_many(numbers)
    many = time.process_time() - started
    started = time.process_time()
    for number in numbers[:1000]:
        checker.check(number)
    assert 20 * (time.process_time() - started) > 4 * many


def test_no_number_shows_by_itself(checker):
    """Numbers would stand in logs wherever a program prints a verdict."""
    stamp = checker.check(OPPOSED, on=OPT_OUT)
    assert stamp.number == "+33612345678" and b"612345678" in stamp.json
    assert "12345678" not in repr(stamp) + repr(checker.check_many([OPPOSED]))


def test_wrong_questions_are_told(checker):
    """A mistyped region would be read as France, and a moment without a zone as the machine's."""
    with pytest.raises(ValueError, match="no region"):
        checker.check(OPPOSED, region="XX")
    with pytest.raises(ValueError, match="time zone"):
        checker.check(OPPOSED, on=datetime(2026, 8, 10))


def test_a_register_that_is_not_named_is_missing_and_not_empty(lists, settings):
    """Whoever forgets a list would call everybody on it."""
    del lists["bloctel"]
    checker = Checker.from_lists(lists, settings=settings)
    assert checker.check(NOBODY, on=OPT_OUT).reason is Reason.STALE_REGISTER


def test_a_list_that_may_grow_too_old_says_its_day(lists, settings):
    """A list of last year would count as fresh on every day that a program copies its file."""
    path = lists["bloctel"].path
    with pytest.raises(stream_scrub.BadList, match="nothing says of which day it is"):
        Checker.from_lists(lists | {"bloctel": path}, settings=settings)
    dated = path.rename(path.with_name("bloctel-2026-05-01.csv"))
    checker = Checker.from_lists(lists | {"bloctel": dated}, settings=settings)
    assert checker.check(NOBODY, on=OPT_OUT).reason is Reason.STALE_REGISTER
    assert checker.check(OPPOSED, on=date(2026, 5, 20)).reason is Reason.OPPOSED


def test_a_list_says_which_areas_were_bought(tmp_path):
    """One stray number of an area code would let everybody there be called."""
    path = tmp_path / "us-dnc-2026-11-24.txt"
    path.write_text("+12125550123\n+13055550123\n")
    on = datetime(2026, 11, 25, 12, tzinfo=UTC)
    for areas, reason in ((("212",), Reason.STALE_REGISTER), (("212", "305"), Reason.CLEAR)):
        lists = {"us-dnc": ListFile(path, region="US", areas=areas, effective_at=on)}
        checker = Checker.from_lists(lists, settings={"prospect.default_purpose": "insurance"})
        assert checker.check("+13055550199", on=on).reason is reason
        assert checker.check("+12125550199", on=on).reason is Reason.CLEAR
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
    held = replay_to_end(Reader(log), Deadline.after(1)).registers
    base = held.get(register) or Register.empty(register, RegisterKind.DENY, now)
    records, _ = records_of(
        base, deltas.adding(base.numbers, BitMap64(numbers)), now, DeltaSource("list", "ab" * 32)
    )
    Writer(log).publish(records)


def test_a_snapshot_is_judged_by_without_a_broker(tmp_path, settings):
    """A program beside a worker would have to read the whole log again."""
    log, folder = log_with("internal", [33612345678]), tmp_path / "state"
    follower = Follower(lambda: Reader(log), snapshots=SnapshotWriter(folder, "opposition.log"))
    follower.start()
    while follower.lag_s is None:
        time.sleep(0.005)
    follower.stop()

    checker = Checker.from_snapshot(folder, settings=settings)

    assert checker.index.position == follower.index.position
    assert checker.check(OPPOSED).reason is Reason.OPPOSED
    manifest = folder / "stream-scrub-snapshot.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"position"', b'"position_"'))
    with pytest.raises(stream_scrub.Corrupt):
        Checker.from_snapshot(folder, settings=settings)
    with pytest.raises(stream_scrub.ConfigError, match="no snapshot"):
        Checker.from_snapshot(tmp_path, settings=settings)


def test_following_holds_instead_of_guessing(monkeypatch, settings):
    """A program would go on calling people who have opposed meanwhile, by an index of yesterday."""
    log = log_with("internal", [33611111111])
    reader = Reader(log)
    monkeypatch.setattr(clients, "log_reader", lambda *_: reader)

    with Checker.following(settings=settings | {"rules.index_lag_max_s": "0.3"}) as checker:
        assert checker.check(OPPOSED, purpose="insurance").reason is Reason.STALE_REGISTER, "without consents"
        publish(log, "internal", [33612345678])
        until = time.monotonic() + 5
        while checker.check(OPPOSED).reason is not Reason.OPPOSED:
            assert time.monotonic() < until
        reader.silent = True
        time.sleep(0.5)
        with pytest.raises(StaleIndex):
            checker.check(OPPOSED)
        with pytest.raises(StaleIndex):
            checker.check_many([OPPOSED])
        with pytest.raises(StaleIndex):
            _ = checker.index
        reader.silent = False
        time.sleep(0.3)
        assert checker.check(OPPOSED).reason is Reason.OPPOSED
    assert reader.closed


def test_following_an_empty_log_ends_in_time(monkeypatch, settings):
    """A program would wait for ever for a log that nobody has published to."""
    monkeypatch.setattr(clients, "log_reader", lambda *_: Reader(Log()))
    with pytest.raises(StaleIndex, match="no list"), Checker.following(settings=settings, wait_s=0.2):
        pass


def test_a_log_that_was_read_once_is_not_believed_for_long(monkeypatch, settings):
    """A service that reads the log at its start would call whoever opposed since."""
    log = log_with("internal", [33612345678])

    @contextmanager
    def reading(*_arguments):
        yield Reader(log)

    monkeypatch.setattr(clients, "reading", reading)
    checker = Checker.from_config(settings=settings | {"rules.index_lag_max_s": "0.5"})
    assert checker.check(OPPOSED).reason is Reason.OPPOSED
    time.sleep(0.6)
    with pytest.raises(StaleIndex, match="following"):
        checker.check(OPPOSED)
