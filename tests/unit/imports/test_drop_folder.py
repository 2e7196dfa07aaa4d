"""The drop folder: what is taken from it, in which order, and that no file is ever lost."""

import json
import os
import time
from hashlib import sha256

import pytest

from stream_scrub.errors import Refused
from stream_scrub.imports.drop_folder import DropFolder, PublicationNote


@pytest.fixture
def root(tmp_path):
    return tmp_path / "drop"


def put(root, where, content="x", written=None):
    path = root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if written is not None:
        os.utime(path, (written, written))
    return path


def seen(folder):
    return [(each.register, each.way, each.path.name) for each in folder.waiting()]


def test_files_are_taken_in_the_order_in_which_they_were_written(root):
    """A list of yesterday would overwrite that of today."""
    folder = DropFolder(root)
    dropped = {  # the moment it was written, the change, any change, any age
        "bloctel/b.csv": (100, "full", False, False),
        "bloctel/allow-change/a.csv": (200, "full", True, False),
        "internal/adds/c.csv": (200, "adds", False, False),
        "internal/adds/d.csv": (200, "adds", False, False),
        "internal@acme/removes/a.csv": (300, "removes", False, False),
        "bloctel/allow-older/a.csv": (400, "full", False, True),
        "internal/adds/allow-change/a.csv": (500, "adds", True, False),
    }
    for where, (written, *_) in reversed(dropped.items()):
        put(root, where, written=written)
    assert [str(each.path.relative_to(root)) for each in folder.waiting()] == [*dropped]
    read_as = [(each.change, each.any_change, each.any_age) for each in folder.waiting()]
    assert read_as == [tuple(each[1:]) for each in dropped.values()]


@pytest.mark.parametrize(
    "where",
    [
        *("bloctel/.hidden", "bloctel/a.csv.part", "bloctel/a.TMP", "a.csv", "bloctel/sub/a.csv"),
        *("Bloctel/a.csv", "rules/a.csv", "bloctel/done/a.csv", "bloctel/refused/a.csv", ".working/x"),
    ],
)
def test_what_was_not_handed_over_is_left_alone(root, where):
    """Half a list would be published as the whole one, or yesterday's again."""
    folder = DropFolder(root)
    path = put(root, where)
    (root / "bloctel").mkdir(exist_ok=True)
    (root / "bloctel" / "link.csv").symlink_to(path)
    assert seen(folder) == [] and path.exists()
    named = [name for name in ("Bloctel", "rules") if where.startswith(name)]
    assert folder.ignored() == named, "an operator would wait for ever for it"


def test_a_file_that_is_worked_on_cannot_be_replaced(root):
    """The list that came in its place would be moved away unread."""
    folder = DropFolder(root)
    put(root, "bloctel/a.csv", "first")
    claimed = folder.claim(folder.waiting()[0])
    put(root, "bloctel/a.csv", "second")
    assert claimed.path.read_text() == "first"
    done = folder.finish(claimed, "done", {"outcome": "published"})
    assert done == root / "bloctel/done/a.csv" and done.read_text() == "first"
    assert json.loads((root / "bloctel/done/a.csv.report.json").read_text()) == {"outcome": "published"}
    (second,) = folder.waiting()
    moved = folder.finish(folder.claim(second), "done", {})
    assert moved.name == "a.csv.2" and moved.read_text() == "second"
    assert (root / "bloctel/done/a.csv").read_text() == "first"


def test_what_a_killed_publisher_was_at_is_found_again_with_its_note(root):
    """The file would lie where nobody looks, be published twice, or be new to every life of a publisher that it kills."""
    folder = DropFolder(root)
    put(root, "internal/removes/a.csv")
    put(root, "internal/b.csv")
    noted, unnoted = (folder.claim(each) for each in folder.waiting())
    note = PublicationNote("ab" * 32, 1234, "opposition.log", "an-id")
    folder.begin(noted, note)
    folder.note_tries(noted, 2)
    folder.close()
    folder = DropFolder(root)
    assert folder.waiting() == [] and sorted(folder.left()) == sorted([noted, unnoted])
    assert (folder.begun(noted), folder.begun(unnoted)) == (note, None)
    assert (folder.tries(noted), folder.tries(unnoted)) == (2, 0)
    folder.finish(noted, "done", {})
    assert folder.left() == [unnoted] and list(noted.path.parent.iterdir()) == []
    folder.note_tries(noted, 2)
    folder.begin(noted, note)
    put(root, "internal/removes/a.csv")
    again = folder.claim(folder.waiting()[0])
    assert (folder.tries(again), folder.begun(again)) == (0, None), "another file of that name is new"


@pytest.mark.parametrize(
    "damaged", ['{"sha256": "x"', "\x00" * 99, "[]", json.dumps({"sha256": "ab" * 32, "after": 7})]
)
def test_a_note_that_cannot_be_read_is_of_no_log(root, damaged):
    """The file would count as one that was never about to be published, and be published twice."""
    folder = DropFolder(root)
    put(root, "bloctel/a.csv")
    claimed = folder.claim(folder.waiting()[0])
    note = claimed.path.parent / ".a.csv.note"
    note.write_text(damaged)
    assert folder.begun(claimed) == PublicationNote("", -1, "", "")


def test_two_publishers_do_not_share_a_folder(root, tmp_path):
    """They would take files from under each other, or a publisher look well and take no file."""
    folder = DropFolder(root)
    with pytest.raises(Refused, match=f"process {os.getpid()}"):
        DropFolder(root)
    folder.close()
    DropFolder(root).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be used"):
        DropFolder(tmp_path / "file")


def test_a_link_that_took_the_place_of_a_file_is_not_read(root, tmp_path):
    """Whoever may drop a list would learn the digest of any file that the publisher can read."""
    folder = DropFolder(root)
    secret = tmp_path / "secret"
    secret.write_text("+33612345678\n")
    path = put(root, "bloctel/a.csv")
    (dropped,) = folder.waiting()
    path.unlink()
    path.symlink_to(secret)
    claimed = folder.claim(dropped)
    for look in (folder.take_in, folder.open):
        with pytest.raises(OSError, match="symbolic links"):
            look(claimed)
    assert folder.left() == [] and secret.read_text() == "+33612345678\n"


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(root):
    """The publisher would wait for a writer for ever, and take no file any more."""
    folder = DropFolder(root)
    path = put(root, "bloctel/a.csv")
    (dropped,) = folder.waiting()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        folder.take_in(folder.claim(dropped))


@pytest.mark.parametrize("name", ["bloctel", "internal"])
def test_a_linked_register_is_not_another_one(root, name):
    """A list that was handed over for one register would be published as another's."""
    folder = DropFolder(root)
    put(root, "tps/a.csv")
    put(root, "internal@acme/b.csv")
    (root / name).symlink_to(root / "tps")
    (root / "internal@acme" / "adds").symlink_to(root / "tps")
    (root / "Not a register").symlink_to(root / "tps")
    assert sorted(seen(folder)) == [("internal@acme", "", "b.csv"), ("tps", "", "a.csv")]
    assert folder.links() == [name] and folder.ignored() == []


@pytest.mark.parametrize("where", ["done", "refused"])
def test_a_linked_place_gets_nothing(root, tmp_path, where):
    """A rejected file of a chosen name would be carried to a place of the sender's choice, a settings file say."""
    folder = DropFolder(root)
    put(root, "bloctel/stream-scrub.toml")
    (root / "bloctel" / where).symlink_to(tmp_path)
    claimed = folder.claim(folder.waiting()[0])
    with pytest.raises(NotADirectoryError):
        folder.finish(claimed, where, {})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["drop"] and folder.left() == [claimed]


def test_what_others_put_where_the_publisher_works_is_put_aside(root, tmp_path):
    """A link in place of the lock would have another file emptied, and one in place of the working folder choose where
    files are kept; or the publisher would not start, and opt-outs wait."""
    kept = tmp_path / "kept"
    kept.write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    for make in (os.symlink, os.link):
        root.mkdir(exist_ok=True)
        make(kept, root / ".lock")
        (root / ".working").symlink_to(tmp_path / "elsewhere")
        folder = DropFolder(root)
        put(root, "bloctel/a.csv", "mine")
        claimed = folder.claim(folder.waiting()[0])
        assert kept.read_text() == "precious" and not any((tmp_path / "elsewhere").iterdir())
        assert (root / ".working").stat().st_mode & 0o777 == 0o700
        folder.finish(claimed, "done", {})
        folder.close()
        (root / ".lock").unlink()
        (root / ".working" / "bloctel").rmdir()
        (root / ".working").rmdir()


def test_who_still_writes_does_not_write_in_what_is_published(root, tmp_path):
    """What is sealed would not be what was published: nobody could prove later what a list said."""
    folder = DropFolder(root)
    path = put(root, "bloctel/a.csv", "first", written=1_700_000_000)
    os.link(path, tmp_path / "other-name")
    claimed = folder.claim(folder.waiting()[0])
    told = folder.take_in(claimed)
    (tmp_path / "other-name").write_text("second")
    with folder.open(claimed) as file:
        assert file.read() == b"first" and told == sha256(b"first").hexdigest()
    assert [each.written_ns for each in folder.left()] == [1_700_000_000 * 10**9]


def test_a_file_that_has_no_room_leaves_nothing_behind(root):
    """A file that says it is as large as any disk, or that never ends, would fill the folder for everybody."""
    folder = DropFolder(root)
    path = put(root, "bloctel/a.csv")
    os.truncate(path, 1 << 42)
    claimed = folder.claim(folder.waiting()[0])
    with pytest.raises(OSError, match="no room"):
        folder.take_in(claimed)
    assert list(claimed.path.parent.iterdir()) == [claimed.path]


def test_a_file_that_still_grows_is_no_list(root, monkeypatch):
    """Half of it would be published as the whole, or its copy never end."""
    folder = DropFolder(root)
    path = put(root, "bloctel/a.csv", "+33612345678\n")
    os.link(path, path.parent.parent / "other-name")
    claimed = folder.claim(folder.waiting()[0])
    told = os.fstat

    def grows(number):
        found = told(number)
        with (path.parent.parent / "other-name").open("a") as file:
            file.write("+336")
        return found

    monkeypatch.setattr("stream_scrub.imports.drop_folder.os.fstat", grows)
    with pytest.raises(OSError, match="still written to"):
        folder.take_in(claimed)
    assert list(claimed.path.parent.iterdir()) == [claimed.path]


def test_what_is_written_is_for_nobody_else(root):
    """Everybody on the machine could read the numbers that were handed over to the publisher alone."""
    before = os.umask(0)
    try:
        folder = DropFolder(root)
        for name, mode in (("a", 0o600), ("b", 0o666), ("c", 0o640)):
            put(root, f"bloctel/{name}").chmod(mode)
        for dropped in folder.waiting():
            claimed = folder.claim(dropped)
            folder.take_in(claimed)
            folder.note_tries(claimed, 1)
            folder.begin(claimed, PublicationNote("ab" * 32, 1, "opposition.log", "an-id"))
            for note in (".{}.tries", ".{}.note"):
                path = claimed.path.parent / note.format(claimed.path.name)
                assert path.stat().st_mode & 0o777 == 0o600
            done = folder.finish(claimed, "done", {})
            assert done.with_name(done.name + ".report.json").stat().st_mode & 0o777 == 0o640
        modes = {path.name: path.stat().st_mode & 0o777 for path in (root / "bloctel/done").glob("?")}
        assert modes == {"a": 0o600, "b": 0o660, "c": 0o640}
    finally:
        os.umask(before)


def test_what_is_deleted_is_in_the_folder(root, tmp_path):
    """Whoever may make a link would choose what the publisher deletes."""
    folder = DropFolder(root)
    (tmp_path / "elsewhere").mkdir()
    for where in ("elsewhere/kept", "kept"):
        (tmp_path / where).write_text("precious")
    put(root, "bloctel/refused/a.csv")
    (root / "bloctel" / "done").symlink_to(tmp_path / "elsewhere")
    (root / "bloctel" / "refused" / "link").symlink_to(tmp_path / "kept")
    (root / "bloctel" / "refused" / "sub").mkdir()
    put(root, "bloctel/b.csv")
    (root / "tps").symlink_to(root / "bloctel")
    assert folder.forget_older(time.time() - 60, 10) == 0
    assert folder.forget_older(time.time() + 60, 10) == 1
    assert not (root / "bloctel/refused/a.csv").exists() and (root / "bloctel/b.csv").is_file()
    assert (tmp_path / "elsewhere/kept").is_file() and (tmp_path / "kept").is_file()
