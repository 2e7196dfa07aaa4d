"""The local snapshot: used when it is good, never when it is not, and written so that nobody meets half of one."""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from stream_scrub.errors import Unavailable
from stream_scrub.index import as_numbers
from stream_scrub.log import snapshot
from stream_scrub.log.follower import Follower
from stream_scrub.log.replay import Replay
from stream_scrub.log.scan import begin
from stream_scrub.log.snapshot import SnapshotWriter
from stream_scrub.model import Deadline, RegisterKind
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import NOW, Publisher, followed
from tests.support.waiting import wait_until

NUMBERS = st.one_of(st.integers(33_600_000_000, 33_600_000_030), st.integers(0, 2**50))
ENDS = st.dictionaries(NUMBERS, st.one_of(st.just(0), st.integers(NOW, NOW + 5)), max_size=20)
NAMES = st.sampled_from(["list", "consent", "internal@acme", "rested"])


def log_of(lists):
    publisher = Publisher(Log.behind_aborted(3))
    for name, listed in lists:
        publisher.import_list(name, listed, RegisterKind.ALLOW if name == "consent" else RegisterKind.DENY)
    return publisher


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def kept(folder):
    """A log and the snapshot that a follower left."""
    log = log_of([("list", {1: 0, 2: NOW + 9}), ("consent", {33_600_000_001: NOW}), ("empty", {})]).log
    with_snapshots(log, folder).stop()
    return log


def with_snapshots(log, folder, told=None, **options):
    """A writer that was offered what a follower knows."""
    made = SnapshotWriter(folder, "log", on_write=(told if told is not None else []).append, **options)
    made.offer(followed(log).state)
    return made


def begun(log, folder, told=None):
    """What a writer begins with; None when that is nothing."""
    return SnapshotWriter(folder, "log", on_unused=(told if told is not None else []).append).begin(
        Reader(log), Deadline.after(60)
    )


def same(one, other):
    assert one.position == other.position and one.registers.keys() == other.registers.keys()
    for name, register in one.registers.items():
        mine = other.registers[name]
        assert set(register.numbers) == set(mine.numbers)
        for part in ("kind", "seq", "chain", "effective_at", "position", "source", "next_end"):
            assert getattr(register, part) == getattr(mine, part)
        assert [each.tolist() for each in mine.ends.arrays()] == [
            each.tolist() for each in register.ends.arrays()
        ]
        assert bool(mine.filter.perhaps(as_numbers(register.numbers)).all())


@given(st.lists(st.tuples(NAMES, ENDS), min_size=1, max_size=5), st.tuples(NAMES, ENDS))
def test_what_is_kept_is_what_comes_back(tmp_path_factory, lists, more):
    """A restarted worker would judge by other registers than the log's."""
    folder = tmp_path_factory.mktemp("state")
    publisher = log_of(lists)
    replay = followed(publisher.log)
    snapshot.save(folder, "log", replay.state)

    state = snapshot.load(folder, "log")
    same(replay.index, state.index)
    assert (state.starts, state.rules) == (replay.state.starts, replay.state.rules)
    resumed = Replay.resuming(state)
    publisher.import_list(*more, RegisterKind.ALLOW if more[0] == "consent" else RegisterKind.DENY)
    for record in publisher.log.records:
        if record.offset > state.index.position:
            resumed.take(record)
    same(followed(publisher.log).index, resumed.index)
    assert resumed.state.starts == publisher.replay.state.starts
    shutil.rmtree(folder)


def every_file(folder):
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock")


def test_every_flipped_byte_of_every_file_is_found(kept, folder):
    """A disk's fault would make an opposed number callable."""
    names = {path.suffix for path in every_file(folder)}
    assert names == {".numbers", ".filter", ".json"}
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    for path in every_file(folder):
        value = path.read_bytes()
        for at in range(0, len(value), max(1, len(value) // 60)):
            path.write_bytes(value[:at] + bytes([value[at] ^ 1 << at % 8]) + value[at + 1 :])
            told = []
            assert begun(kept, folder, told) is None
            assert len(told) == 1 and told[0].startswith("the log is replayed instead: ")
            assert not (folder / snapshot.MANIFEST).exists()  # the next one is written from the log
            shutil.copytree(copy, folder, dirs_exist_ok=True)
    assert begun(kept, folder) is not None


@pytest.mark.parametrize("damage", ["cut", "gone", "longer"])
def test_a_file_that_is_not_whole_is_found(kept, folder, damage):
    """A full disk would make half a register out of one."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    for path in every_file(folder):
        value = path.read_bytes()
        changed = {"cut": value[:-1], "gone": None, "longer": value + b"\0"}[damage]
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)
        told = []
        assert begun(kept, folder, told) is None
        assert len(told) == (0 if damage == "gone" and path.name == snapshot.MANIFEST else 1)
        shutil.copytree(copy, folder, dirs_exist_ok=True)


def rewritten(folder, **members):
    """The manifest with other members, and its own digest right."""
    path = folder / snapshot.MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest |= members
    manifest.pop("sha256")
    content = json.dumps(manifest, separators=(",", ":")).encode()[:-1]
    path.write_bytes(content + b',"sha256":"' + sha256(content).hexdigest().encode() + b'"}')


def test_a_snapshot_of_another_log_or_format_is_not_used(kept, folder):
    """A worker would judge by the registers of another country, or by what it does not understand."""
    path = folder / snapshot.MANIFEST
    sound = path.read_bytes()
    sound_manifest = json.loads(sound)
    register = sound_manifest["registers"][0]
    for members, why in (
        ({}, None),
        ({"log": "other"}, "another log"),
        ({"format": 2}, "format version 2"),
        ({"filters": "0" * 16}, "another way"),
        ({"position": 10_000}, "position"),
        ({"position": 4}, "position"),
        ({"registers": [{**register, "count": 7}]}, "size"),
        ({"registers": "none"}, "manifest"),
    ):
        path.write_bytes(sound)
        rewritten(folder, **members)
        told = []
        assert (begun(kept, folder, told) is None) is bool(members)
        assert all(why in text for text in told) and bool(told) is bool(members)


def test_a_snapshot_that_the_log_does_not_go_on_from_is_not_used(kept, folder):
    """After a log was made anew under its name, deltas would be applied to what the old one held."""
    anew = log_of([("list", {5: 0}), ("consent", {6: 0}), ("empty", {}), ("list", {7: 0})]).log
    like = log_of([("list", {1: 0, 2: NOW + 9}), ("consent", {33_600_000_002: NOW}), ("empty", {})]).log
    assert len(like.records) == len(kept.records) and like.records[-1] != kept.records[-1]
    for log in (anew, like, Log(), log_of([("list", {1: 0})]).log):
        copy = folder.with_name("copy")
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        told = []
        assert begun(log, copy, told) is None
        assert len(told) == 1


def test_a_broker_that_cannot_be_asked_is_no_reason_to_throw_it_away(kept, folder):
    """An outage would cost every worker its quick start."""
    reader = Reader(kept)
    reader.trouble = [Unavailable("not now")]
    with pytest.raises(Unavailable):
        SnapshotWriter(folder, "log").begin(reader, Deadline.after(60))
    assert begun(kept, folder) is not None


def test_only_what_changed_is_written_and_what_is_old_is_taken_away(folder):
    """A national list would be written every minute, and the disk fill up."""
    publisher = log_of([("list", {1: 0, 2: 0}), ("internal", {3: 0})])
    folder.mkdir()
    (folder / "mine.numbers").write_bytes(b"somebody else's")
    (folder / "snapshot-x.part").write_bytes(b"left by a writer that was killed")
    snapshot.save(folder, "log", publisher.replay.state)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    publisher.import_list("internal", {3: 0, 4: 0})
    snapshot.save(folder, "log", publisher.replay.state)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    assert len(after) == len(before) == 6
    assert "snapshot-x.part" not in after and "mine.numbers" in after
    assert len(before.items() & after.items()) == 3  # the list's two files, and mine
    same(publisher.replay.index, snapshot.load(folder, "log").index)


def test_a_filter_written_while_numbers_are_added_misses_none(folder):
    """A number added during the writing would be taken for surely not opposed."""
    publisher = log_of([("list", dict.fromkeys(range(1000), 0))])
    folder.mkdir()
    register = publisher.base("list")
    state = publisher.replay.state
    register.filter.add(np.arange(5000, 5100, dtype=np.uint64))
    snapshot.save(folder, "log", state)
    same(state.index, snapshot.load(folder, "log").index)


def test_a_snapshot_writer_writes_now_and_then_and_at_its_end(kept, folder):
    """A worker killed after a week would start from a week ago, or one that stops cleanly from a minute ago."""
    publisher = log_of([("list", {1: 0, 2: NOW + 9}), ("consent", {33_600_000_001: NOW}), ("empty", {})])
    made = SnapshotWriter(folder, "log", every_s=3600)
    made.begin(Reader(publisher.log), Deadline.after(60))
    position = publisher.replay.index.position
    for number in range(4):
        made.offer(publisher.import_list("list", {number: 0}) and publisher.replay.state)
        if not number:
            wait_until(lambda: snapshot.load(folder, "log").index.position > position)
            first = publisher.replay.index.position
    assert snapshot.load(folder, "log").index.position == first  # the next one is an hour away
    made.stop()
    assert snapshot.load(folder, "log").index.position == publisher.replay.index.position


def hold_lock(folder: Path, held, release) -> None:
    made = SnapshotWriter(folder, "log")
    assert made._locked()
    held.set()
    release.wait(600)


def test_one_of_several_processes_writes(folder):
    """Two workers on one machine would take each other's files away."""
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(folder, held, release))
    other.start()
    try:
        assert held.wait(60)
        log = log_of([("list", {1: 0})]).log
        with_snapshots(log, folder).stop()
        assert snapshot.load(folder, "log") is None
        other.kill()  # its lock ends with it
        other.join(60)
        with_snapshots(log, folder).stop()
        assert snapshot.load(folder, "log") is not None
    finally:
        other.kill()


def test_a_folder_that_cannot_be_written_is_reported_and_stops_nothing(folder):
    """A full disk would stop the worker, or stay unknown."""
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where the folder should be")
    told = []
    with_snapshots(log_of([("list", {1: 0})]).log, folder, told).stop()
    assert told and set(told) == {"File exists"}


def test_a_follower_uses_it_and_keeps_it(folder):
    """`worker.state_dir` would be set, and every start be as slow as before."""
    publisher = log_of([("list", {1: 0, 2: 0})])
    last = -1
    for round_ in range(3):
        reader = Reader(publisher.log)
        follower = Follower(lambda reader=reader: reader, snapshots=SnapshotWriter(folder, "log"))
        follower.start()
        wait_until(lambda follower=follower: follower.lag_s is not None)
        assert set(follower.usable(5).registers["list"].numbers) == {1, 2, *range(10, 10 + round_)}
        if round_:
            assert min(reader.read_offsets) == last  # the seal that it ends with, looked at again
        publisher.import_list("list", {1: 0, 2: 0, **dict.fromkeys(range(10, 11 + round_), 0)})
        wait_until(lambda f=follower: f.index.position == publisher.replay.index.position)
        last = follower.index.position
        follower.stop()
        assert snapshot.load(folder, "log").index.position == last


@settings(max_examples=20)
@given(st.binary(max_size=300))
def test_any_manifest_is_one_or_is_refused(tmp_path_factory, value):
    """A follower would end in a traceback because of a file."""
    folder = tmp_path_factory.mktemp("state")
    content = value + b',"sha256":"'
    (folder / snapshot.MANIFEST).write_bytes(content + sha256(value).hexdigest().encode() + b'"}')
    told = []
    assert begun(Log(), folder, told) is None and len(told) == 1
    begin(Reader(Log()), Deadline.after(60))


def used(log, folder):
    """Whether a follower begins with the snapshot, and what was told otherwise."""
    told = []
    replay = SnapshotWriter(folder, "log", on_unused=told.append).begin(Reader(log), Deadline.after(60))
    return replay is not None, told


@pytest.mark.parametrize(
    ("which", "mode"), [("*.json", 0o620), ("*.numbers", 0o602), ("*.filter", 0o620)], ids=str
)
def test_what_others_may_write_is_not_believed(kept, folder, which, mode):
    """Whoever may write in the worker's folder would say which numbers are opposed."""
    assert used(kept, folder) == (True, [])
    next(folder.glob(which)).chmod(mode)
    good, (told,) = used(kept, folder)
    assert not good and "written by others" in told


def test_a_snapshot_that_is_replaced_while_it_is_opened_is_used(kept, folder, monkeypatch):
    """A worker that starts next to a running one would read the whole log, and throw its snapshot away."""
    opened = os.open

    def replacing(path, flags, *more):
        descriptor = opened(path, flags, *more)
        copy = Path(path).with_suffix(".copy")
        shutil.copy2(path, copy)
        copy.replace(path)
        return descriptor

    monkeypatch.setattr(snapshot.os, "open", replacing)
    assert used(kept, folder) == (True, [])


def test_what_another_one_wrote_is_not_believed(kept, folder, monkeypatch):
    """A forged snapshot with right digests was taken for the log's."""
    monkeypatch.setattr(snapshot.os, "geteuid", lambda: 4711)
    good, (told,) = used(kept, folder)
    assert not good and "written by others" in told


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_link_in_a_snapshot_is_not_followed(kept, folder, tmp_path, make):
    """A file elsewhere, which others may write, would be the register."""
    path = next(folder.glob("*.numbers"))
    path.rename(tmp_path / "elsewhere")
    getattr(path, make)(tmp_path / "elsewhere")
    assert not used(kept, folder)[0]


def test_a_register_of_another_size_than_the_log_says_is_not_believed(folder):
    """A snapshot that a fault of ours made too small would let numbers through for good."""
    publisher = log_of([("list", {1: 0, 2: 0})])
    state = followed(publisher.log).state
    register = state.index.registers["list"]
    less = replace(register, numbers=register.numbers - BitMap64([1]))
    folder.mkdir()
    snapshot.save(folder, "log", replace(state, index=state.index.with_register(less)))
    good, (told,) = used(publisher.log, folder)
    assert not good and "another size than the log says" in told


def test_a_snapshot_is_for_nobody_else(folder):
    """Everybody on the machine could read who is opposed."""
    before = os.umask(0)
    try:
        with_snapshots(log_of([("list", {1: 0})]).log, folder).stop()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_reader_meets_a_whole_snapshot_while_another_is_written(folder):
    """A worker that starts beside running ones would find files missing and read the whole log."""
    publisher = log_of([("list", {1: 0})])
    folder.mkdir()
    snapshot.save(folder, "log", publisher.replay.state)
    restored = snapshot._restored

    def replaced(*arguments, tries=[]):  # noqa: B006
        if not tries:
            tries.append(1)
            publisher.import_list("list", {1: 0, 2: 0})
            snapshot.save(folder, "log", publisher.replay.state)
        return restored(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_restored", replaced)
        state = snapshot.load(folder, "log")
    same(publisher.replay.index, state.index)
