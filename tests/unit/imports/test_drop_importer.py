"""Dropped files on their way: read, published, moved, and found again after a kill between two of these."""

import io
import json
import os
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from stream_scrub import clock
from stream_scrub.config import Settings
from stream_scrub.errors import Refused, Unavailable, Uncertain
from stream_scrub.imports import drop_importer as module
from stream_scrub.imports.drop_folder import DropFolder, HandedOrder, PublicationNote, hand_in
from stream_scrub.imports.drop_importer import DropImporter
from stream_scrub.imports.formats import FORMATS, open_list
from stream_scrub.imports.parsing.format import read_list
from stream_scrub.index.deltas import Delta
from stream_scrub.log.encode import records_of
from stream_scrub.log.scan import find_seal
from stream_scrub.log.wire import DeltaSource
from tests.support.fakes.log import Log, Reader
from tests.support.fakes.publisher import Publisher, bitmap

LOG = structlog.get_logger()


class Desk:
    """What an inbox publishes through, on a log in memory; `trouble` is raised after the delta is on the log, or before."""

    def __init__(self):
        self.publisher = Publisher(Log())
        self.trouble = None
        self.published = 0

    @property
    def replay(self):
        return self.publisher.replay

    def ready(self, _name):
        self.publisher.catch_up()
        return True

    def publish(self, made):
        (one,) = made
        records, seal = module_records(one)
        self.publisher.writer.publish(records)
        self.published += 1
        if self.trouble is not None:
            raise self.trouble
        return [(seal, self.publisher.log.records[-1].offset)]


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def module_records(one):
    return records_of(one.base, one.delta, one.effective_at, one.source, known=one.known)


LISTS = {"registers": ["internal", "consent", "bloctel", "partner"]}  # names that no rule uses


class Beside:
    """Reads a list where the test is, in the place of a process of its own."""

    def __init__(self, *_bounds):
        """In no bounds."""

    def read(self, file, name, options):
        with open_list(name, opened=file) as packed:
            return read_list(FORMATS, packed, options)

    def stop(self):
        """It has ended."""


@pytest.fixture
def world(tmp_path, monkeypatch):
    desk = Desk()
    monkeypatch.setattr(module, "IsolatedReader", Beside)

    @contextmanager
    def reading(**_):
        yield Reader(made.desk.publisher.log)

    made = SimpleNamespace(root=tmp_path, desk=desk, settings=Settings(lists=LISTS), log_id="the-first")
    witnesses = SimpleNamespace(id_of=lambda _topic, _deadline: made.log_id)
    brokers = SimpleNamespace(witnesses=witnesses, reading=reading, close=lambda: None)
    monkeypatch.setattr(module.clients, "Brokers", lambda *_: brokers)
    return made


def opened(world):
    world.folder = DropFolder(world.root)
    return DropImporter(world.folder, world.desk, world.settings, LOG)


def put(world, where, text):
    path = world.root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def worked(inbox):
    """Step until something came of it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if came := inbox.step():
            return dict(came)
        time.sleep(0.002)
    raise AssertionError("nothing came of it")


def noted(world, path):
    """What is written down of a file that is about to be published to the log as it is."""
    log = world.settings.topics.log
    return PublicationNote(digest(path), world.desk.replay.known("internal").upto, log, world.log_id)


def report_of(world, where):
    """The report beside a finished file."""
    return json.loads((world.root / f"{where}.report.json").read_text())


def held(world, name):
    world.desk.publisher.catch_up()
    return set(world.desk.replay.index.registers[name].numbers)


def test_a_dropped_export_is_read_by_the_columns_of_the_settings(world):
    """The nightly export of a CRM could not be dropped, or everybody in it would count."""
    rows = "Nom;Mobile;Opt-in\nRose;+4915112345678;oui\nMax;+4915112345679;\n"
    put(world, "consent/a.csv", rows)
    put(world, "consent-artificial/adds/all-consented/a.csv", rows)
    put(world, "consent-artificial/b.csv", rows)
    put(world, "consent-sms/a.csv", "Mobile;Opt-in;Canal\n+33612345678;oui;SMS\n+33612345679;oui;appel\n")
    columns = {"phone": "Mobile", "consent": "Opt-in"}
    world.settings = with_lists(
        world, columns={"consent": columns, "consent-sms": {**columns, "channel": "Canal"}}
    )
    inbox = opened(world)
    assert [worked(inbox) for _ in range(4)].count({"files": 1}) == 3
    assert held(world, "consent") == {4915112345678}
    assert held(world, "consent-artificial") == {4915112345678, 4915112345679}
    assert held(world, "consent-sms") == {33612345678}, "the rules ask for messages"
    report = report_of(world, "consent/done/a.csv")
    assert report["outcomes"] == {"consented": 1, "unclear": 1}
    assert "columns used: Mobile (phone), Opt-in (consent)" in report["reading"]
    why = report_of(world, "consent-artificial/refused/b.csv")["why"]
    assert '"consent-artificial" = { phone = "Mobile", consent = "Opt-in" } below [lists.columns]' in why
    assert "drop the file into consent-artificial/all-consented" in why and "--" not in why


def with_lists(world, **said):
    """The settings, with these of lists."""
    return world.settings.model_copy(update={"lists": world.settings.lists.model_copy(update=said)})


EXPORT = "Nom;Mobile;Opt-in\nRose;+4915112345678;oui\nMax;+4915112345679;non\n"
YES, NO = {4915112345678}, {4915112345679}


def test_who_said_no_in_a_dropped_export_is_opposed_by_the_settings(world):
    """A customer who ticked no in the nightly export would be called for the next campaign."""
    columns = {"consent": {"phone": "Mobile", "consent": "Opt-in"}}
    world.settings = with_lists(world, columns=columns, no_into={"consent": "internal@acme"})
    put(world, "consent@acme/a.csv", EXPORT)
    assert worked(opened(world)) == {"files": 1}
    assert held(world, "consent@acme") == YES and held(world, "internal@acme") == NO
    report = report_of(world, "consent@acme/done/a.csv")
    assert report["opt_outs"]["register"] == "internal@acme" and report["opt_outs"]["added"] == 1


def test_nothing_is_published_of_a_dropped_list_that_does_not_fit_with_its_opt_outs(world):
    """The opt-outs would be in force, and the report say that nothing was published."""
    columns = {"consent": {"phone": "Mobile", "consent": "Opt-in"}}
    no_into = {"consent": "internal@acme"}
    world.settings = with_lists(world, columns=columns, no_into=no_into, max_numbers=50)
    put(world, "internal@b/b.csv", "+493012345670\n+493012345671\n")  # in one block: they count as 22
    inbox = opened(world)
    assert worked(inbox) == {"files": 1}
    put(world, "consent@acme/a.csv", EXPORT)
    assert worked(inbox) == {"files_refused": 1}
    why = report_of(world, "consent@acme/refused/a.csv")["why"]
    assert "all registers together count as 64" in why and "nothing was published" in why
    assert "internal@acme" not in world.desk.replay.index.registers


def test_a_file_is_read_as_the_order_beside_it_says_and_no_other_file_is(world):
    """Columns that somebody named for one list would say who consented in another one of its name."""
    source = io.BytesIO(EXPORT.encode())
    order = HandedOrder(sha256(EXPORT.encode()).hexdigest(), "phone=2,consent=3", "internal")
    hand_in(world.root, ("consent",), "a.csv", source, order=order)
    inbox = opened(world)
    assert worked(inbox) == {"files": 1}
    assert held(world, "consent") == YES and held(world, "internal") == NO

    other = EXPORT.replace("Max", "Moritz").replace("non", "oui")
    hand_in(world.root, ("consent",), "b.csv", io.BytesIO(other.encode()), order=order)
    assert worked(inbox) == {"files_refused": 1}
    why = report_of(world, "consent/refused/b.csv")["why"]
    assert "below [lists.columns]" in why and held(world, "consent") == YES
    assert not [*world.root.glob("**/.*.order")]


def test_a_publisher_that_dies_between_opt_outs_and_consents_publishes_both(world):
    """The opt-outs of a list would be in force, and its consents nowhere, or the other way round."""
    order = HandedOrder(sha256(EXPORT.encode()).hexdigest(), "phone=2,consent=3", "internal")
    hand_in(world.root, ("consent",), "a.csv", io.BytesIO(EXPORT.encode()), order=order)
    inbox = opened(world)
    world.desk.trouble = Uncertain("the broker is away")
    with pytest.raises(Uncertain):
        worked(inbox)
    assert held(world, "internal") == NO
    world.desk.trouble = None
    world.folder.close()
    again = opened(world)
    again.recover()
    assert worked(again) == {"files": 1}
    assert held(world, "consent") == YES and held(world, "internal") == NO


def test_a_file_is_published_and_moved_with_its_report(world):
    """An operator could not tell what became of the file that he handed over."""
    put(world, "consent/a.txt", "+4915112345678\n+4915112345679\n")
    inbox = opened(world)
    assert worked(inbox) == {"files": 1}
    assert held(world, "consent") == {4915112345678, 4915112345679}
    assert world.desk.replay.index.registers["consent"].kind == "allow", "the rules say what consent is"
    report = report_of(world, "consent/done/a.txt")
    assert (report["outcome"], report["added"], report["count"]) == ("published", 2, 2)
    assert report["sha256"] == digest(world.root / "consent/done/a.txt")
    assert world.desk.replay.index.registers["consent"].source == "a.txt"


def dropped(world, where, day):
    """A file of one number, written on that day of 2026."""
    put(world, where, "+33612345678\n")
    written = datetime(2026, *day, tzinfo=UTC).timestamp()
    os.utime(world.root / where, (written, written))


def test_a_file_from_before_what_the_register_holds_is_refused(world):
    """A copy of last month's list, dropped by mistake, would bring back whoever left the register since."""
    inbox = opened(world)
    dropped(world, "bloctel/a.txt", (3, 5))
    worked(inbox)
    dropped(world, "bloctel/b.txt", (2, 5))
    assert worked(inbox) == {"files_refused": 1}
    report = report_of(world, "bloctel/refused/b.txt")
    assert "2026-02-05" in report["why"] and "2026-03-05" in report["why"] and "allow-older" in report["why"]
    dropped(world, "bloctel/allow-older/b.txt", (2, 5))
    assert worked(inbox) == {"files": 1}
    held(world, "bloctel")
    assert world.desk.replay.index.registers["bloctel"].effective_at == datetime(2026, 2, 5, tzinfo=UTC)


ENDING = "phone,expires\n+33612345678,2099-01-01\n+33612345679,2020-01-01\n"


@pytest.mark.parametrize(
    ("folder", "text", "register", "told"),
    [
        ("internal", ENDING, "internal", {"endless": 2, "ending": 0, "count": 2}),
        ("internal@acme/adds/allow-ends", ENDING, "internal@acme", {"endless": 0, "ending": 1, "count": 1}),
        ("internal@Acme Energy/adds", "+33612345678\n", "internal@acme-energy", {"count": 1}),
        ("partner", "07400 123456\n", "partner", {"count": 1, "refused": 0}),
    ],
)
def test_a_file_is_read_as_its_folder_says(world, folder, text, register, told):
    """Who said no would be called once a date in a dialler's export has passed, or a campaign's oppositions lie unread."""
    world.settings = Settings(lists=LISTS | {"regions": {"partner": "GB"}})
    put(world, f"{folder}/a.csv", text)
    assert worked(opened(world)) == {"files": 1}
    report = report_of(world, f"{folder.partition('/')[0]}/done/a.csv")
    assert {name: report[name] for name in told} == told
    assert len(held(world, register)) == told["count"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("b.txt", "+33612345670\n" * 3, "--allow-change"),
        ("b.txt", "nothing\nhere\n", "hold no valid number"),
        ("b.gz", "no gzip", ""),
    ],
)
def test_a_file_that_may_not_be_right_is_refused_and_kept(world, name, text, why):
    """A wrong file would empty a register, or vanish."""
    put(world, "bloctel/a.txt", "".join(f"+336123456{n:02}\n" for n in range(20)))
    inbox = opened(world)
    worked(inbox)
    put(world, f"bloctel/{name}", text)
    assert worked(inbox) == {"files_refused": 1}
    report = report_of(world, f"bloctel/refused/{name}")
    assert report["outcome"] == "refused" and why in report["why"]
    assert (world.root / f"bloctel/refused/{name}").read_text() == text
    assert len(held(world, "bloctel")) == 20


def test_a_full_list_takes_nobody_out_of_internal(world):
    """One source's file would undo what people said to another one."""
    put(world, "internal/a.txt", "".join(f"+336123456{n:02}\n" for n in range(20)))
    put(world, "internal/b.txt", "+33612345600\n+33612345620\n")
    inbox = opened(world)
    worked(inbox), worked(inbox)
    assert len(held(world, "internal")) == 21
    assert report_of(world, "internal/done/b.txt")["kept"] == 19


@pytest.mark.parametrize("where", ["open", "ready"])
def test_a_fault_of_ours_refuses_the_file_and_stops_nothing(world, monkeypatch, where):
    """One odd file would stop the publisher, again at each restart, and with it every opt-out."""

    def broken(*_, **__):
        raise ZeroDivisionError("of +33612345678")

    monkeypatch.setattr(DropFolder if where == "open" else world.desk, where, broken)
    put(world, "bloctel/a.txt", "+33612345678\n")
    with capture_logs() as told:
        assert worked(opened(world)) == {"files_refused": 1}
    assert "a fault of ours (ZeroDivisionError)" in report_of(world, "bloctel/refused/a.txt")["why"]
    assert [each["event"] for each in told] == ["file cannot be read", "file refused"]


def test_a_fault_while_it_is_published_is_looked_up_on_the_log(world):
    """A file that was published would be told as refused, handed over again, and its numbers removed twice."""
    put(world, "internal/adds/a.txt", "+33612345678\n")
    put(world, "internal/adds/b.txt", "+33612345679\n")
    inbox = opened(world)
    world.desk.trouble = ZeroDivisionError()
    with pytest.raises(Uncertain):
        worked(inbox)
    inbox.recover()
    assert (world.root / "internal/done/a.txt").is_file()
    world.desk.publish = lambda _made: 1 // 0
    with pytest.raises(Uncertain):
        worked(inbox)
    inbox.recover()
    assert worked(inbox) == {"files_refused": 1}
    assert held(world, "internal") == {33612345678}


class Killed(BaseException):
    """What no handler sees."""


def killed_over(world, monkeypatch):
    """A life of the publisher that is killed while it is at a file."""

    def kill(*_, **__):
        raise Killed

    inbox = opened(world)
    with monkeypatch.context() as patched, suppress(Killed), inbox.open():
        patched.setattr(module.plan_import, "plan_of", kill)
        inbox.recover()
        while worked(inbox):
            pass
    world.folder.close()


def test_a_file_that_kills_the_publisher_does_not_kill_every_life_of_it(world, monkeypatch):
    """Opt-outs, ends and all other files would wait for somebody who finds out which file it is."""
    put(world, "bloctel/a.txt", "+33612345678\n")
    killed_over(world, monkeypatch)
    put(world, "partner/b.txt", "+33612345678\n")
    killed_over(world, monkeypatch)
    inbox = opened(world)
    inbox.recover()
    assert worked(inbox) == {"files_refused": 1}
    report = report_of(world, "bloctel/refused/a.txt")
    assert "was killed 2 times" in report["why"]
    assert worked(inbox) == {"files": 1} and held(world, "partner") == {33612345678}
    put(world, "bloctel/a.txt", "+33612345678\n")
    assert worked(inbox) == {"files": 1}, "another file of that name, or the same one again, is tried anew"


def test_a_list_that_may_grow_too_old_says_its_day_in_its_name(world):
    """A file that is copied anew each night, and never fetched, would keep a register young."""
    put(world, "tps/b-2026-01-05.txt", "+447400123456\n")
    inbox = opened(world)
    assert worked(inbox) == {"files": 1}
    assert held(world, "tps") == {447400123456}
    assert world.desk.replay.index.registers["tps"].effective_at == datetime(2026, 1, 5, tzinfo=UTC)
    put(world, "tps/b-2026-01-06.txt", "+447400123456\n")
    assert worked(inbox) == {"files_refused": 1}
    why = report_of(world, "tps/refused/b-2026-01-06.txt")["why"]
    assert "byte for byte the list of 2026-01-05" in why


def test_a_publisher_that_is_told_to_stop_was_no_try(world, monkeypatch):
    """Two deployments in a morning would refuse a good list."""
    put(world, "bloctel/a.txt", "+33612345678\n")
    reading, stopped = threading.Event(), []
    read = Beside.read
    monkeypatch.setattr(Beside, "stop", lambda _: stopped.append(True))
    monkeypatch.setattr(Beside, "read", lambda *_: reading.wait(5))
    for ended in (None, Refused("another one publishes"), None):
        inbox = opened(world)
        with suppress(Refused), inbox.open():
            inbox.step()
            if ended is not None:
                raise ended
        assert stopped == [True]
        stopped.clear()
        reading.set()
    monkeypatch.setattr(Beside, "read", read)
    assert worked(opened(world)) == {"files": 1}


def test_a_file_that_cannot_be_taken_keeps_no_other_waiting(world, monkeypatch):
    """One sender's wrong rights would stop everybody's lists."""
    put(world, "bloctel/a.txt", "+33612345678\n")
    put(world, "partner/b.txt", "+33612345678\n")
    os.utime(world.root / "bloctel/a.txt", (1, 1))
    claim = DropFolder.claim

    def closed(folder, dropped):
        if dropped.register == "bloctel":
            raise PermissionError(13, "Permission denied")
        return claim(folder, dropped)

    monkeypatch.setattr(DropFolder, "claim", closed)
    with capture_logs() as told:
        assert worked(opened(world)) == {"files": 1}
    assert held(world, "partner") == {33612345678}
    assert [each["why"] for each in told if each["log_level"] == "warning"] == ["Permission denied"]


def full(*_):
    """No room on the disk."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["note_tries", "begin"])
def test_a_full_disk_refuses_a_file_and_ends_nothing(world, monkeypatch, failing):
    """A list that fills the folder's disk would end the publisher, at each start again."""
    monkeypatch.setattr(DropFolder, failing, full)
    put(world, "bloctel/a.txt", "+33612345678\n")
    assert worked(opened(world)) == {"files_refused": 1}
    assert "No space left" in report_of(world, "bloctel/refused/a.txt")["why"]
    assert "bloctel" not in world.desk.replay.index.registers


def test_a_refused_file_is_handed_back_once_the_disk_has_room(world, monkeypatch):
    """A list of opt-outs would be out of sight until somebody restarts the publisher, and its people be called."""
    put(world, "internal/adds/a.txt", "+33612345678\n")
    inbox = opened(world)
    with monkeypatch.context() as patched, capture_logs() as told:
        patched.setattr(DropFolder, "note_tries", full)
        patched.setattr(DropFolder, "finish", full)
        assert worked(inbox) == {"files_refused": 1}
        put(world, "internal/adds/a.txt", "+33612345679\n")  # it must not replace the first one
        for seconds in range(10, 40, 10):
            later(monkeypatch, seconds)
            inbox.step()
        assert [each["event"] for each in told].count("finished file cannot be moved") == 1
    later(monkeypatch, 50)
    inbox.step()
    assert "No space left" in why_refused(world)
    assert "78" in (world.root / "internal/refused/a.txt").read_text()
    later(monkeypatch, 60)
    assert worked(inbox) == {"files": 1}
    assert 33612345679 in held(world, "internal") and 33612345678 not in held(world, "internal")


@pytest.mark.parametrize("name", [b"liste_\xe9t\xe9.csv", b"x" * 250, b"\x1b]0;a\x07\n.csv"])
def test_a_file_is_published_whatever_its_name(world, name):
    """A file's name would end the publisher, at each start again."""
    put(world, "bloctel/" + os.fsdecode(name), "+33612345678\n")
    assert worked(opened(world)) == {"files": 1}
    (report,) = (world.root / "bloctel/done").glob("*.report.json")
    assert json.loads(report.read_bytes())["added"] == 1


def test_a_file_that_was_published_before_the_kill_is_not_published_again(world):
    """Numbers that came back meanwhile would be removed a second time, and called."""
    published_and_not_moved(world)

    again = opened(world)
    again.recover()

    assert world.desk.published == 1 and held(world, "internal") == {33612345678, 33612345679}
    report = report_of(world, "internal/done/a.txt")
    assert (report["outcome"], report["removed"]) == ("published", 1)
    assert world.folder.left() == [] and not again.step()


def test_a_file_that_was_not_published_before_the_kill_is(world):
    """The file would lie where nobody looks."""
    world.desk.publisher.put("internal", Delta(bitmap([33612345678]), bitmap([]), 0))
    put(world, "internal/removes/a.txt", "+33612345678\n")
    folder = DropFolder(world.root)
    claimed = folder.claim(folder.waiting()[0])
    folder.begin(claimed, noted(world, claimed.path))
    folder.close()
    inbox = opened(world)
    inbox.recover()
    assert worked(inbox) == {"files": 1} and held(world, "internal") == set()


REMOVED, KEPT = 33612345678, 33612345679


def published_and_not_moved(world, register="internal"):
    """A file that takes a number out is on the log, and its publisher ended before it moved the file."""
    world.desk.publisher.put(register, Delta(bitmap([REMOVED, KEPT]), bitmap([]), 0))
    put(world, f"{register}/removes/a.txt", f"+{REMOVED}\n")
    inbox = opened(world)
    world.desk.trouble = Uncertain("the broker went away at that moment")
    with pytest.raises(Uncertain):
        worked(inbox)
    world.desk.trouble = None
    world.folder.close()
    world.desk.publisher.catch_up()
    world.desk.publisher.put(register, Delta(bitmap([REMOVED]), bitmap([]), 0, reason="requests"))


def renewed(world, name):
    """The registers, on a log of that name that was made anew."""
    world.desk, world.log_id = Desk(), "the-second"
    world.settings = Settings.model_validate({"topics": {"log": name}})
    world.desk.publisher.put("internal", Delta(bitmap([REMOVED, KEPT]), bitmap([]), 0))


def why_refused(world):
    return report_of(world, "internal/refused/a.txt")["why"]


def tried_twice(world):
    """As a publisher leaves it that was killed each time."""
    (world.root / ".working/internal/removes/.a.txt.tries").write_text("2")


@pytest.mark.parametrize("name", ["opposition.log.2027", "opposition.log"])
@pytest.mark.parametrize("before", [lambda _world: None, tried_twice])
def test_a_file_that_may_be_on_the_log_before_is_not_published_to_the_new_one(world, name, before):
    """Whoever opted out after a file had taken his number out would be taken out again after a renewal, and called."""
    published_and_not_moved(world)
    before(world)
    renewed(world, name)

    inbox = opened(world)
    with capture_logs() as told:
        inbox.recover()
        assert worked(inbox) == {"files_refused": 1}
        for _ in range(3):
            assert not inbox.step()

    assert world.desk.published == 0 and held(world, "internal") == {REMOVED, KEPT}
    assert "published to the log opposition.log" in (why := why_refused(world)) and "renewed" in why
    assert "lists history" in why and "lists status" in why and "drop it again" in why
    assert [each["event"] for each in told] == ["file refused"]
    assert list((world.root / ".working/internal/removes").iterdir()) == []


def test_a_refusal_that_cannot_be_moved_is_none_to_forget(world, monkeypatch):
    """On a disk that stays full, the second start on the new log would publish what the first one refused."""
    published_and_not_moved(world)
    renewed(world, "opposition.log.2027")
    with monkeypatch.context() as patched:
        patched.setattr(DropFolder, "finish", full)
        inbox = opened(world)
        inbox.recover()
        assert worked(inbox) == {"files_refused": 1} and not inbox.step()
        world.folder.close()
    again = opened(world)
    again.recover()
    assert worked(again) == {"files_refused": 1} and world.desk.published == 0
    assert "drop it again" in why_refused(world)


@pytest.mark.parametrize(
    "damage", [lambda _: '{"sha256', lambda note: json.dumps({"sha256": note["sha256"]})]
)
def test_a_file_whose_note_does_not_say_its_log_is_not_published_by_itself(world, damage):
    """After a disk's damage, or an upgrade together with a renewal, a number would be removed a second time, and called."""
    published_and_not_moved(world)
    note = world.root / ".working/internal/removes/.a.txt.note"
    note.write_text(damage(json.loads(note.read_text())))

    inbox = opened(world)
    inbox.recover()

    assert worked(inbox) == {"files_refused": 1} and world.desk.published == 1
    assert held(world, "internal") == {REMOVED, KEPT}
    assert "its note does not say to which log" in (why := why_refused(world)) and "drop it again" in why
    sha256 = report_of(world, "internal/refused/a.txt")["sha256"]
    assert sha256 == digest(world.root / "internal/refused/a.txt"), "to look for on the log"


def test_no_file_is_published_while_nobody_tells_which_log_it_is(world, monkeypatch):
    """Its note would be of no log, and a file that was never published be refused after the next kill."""
    put(world, "internal/adds/a.txt", f"+{REMOVED}\n")
    inbox = opened(world)

    def away(*_):
        raise Unavailable("no broker answers")

    with monkeypatch.context() as patched:
        patched.setattr(module.clients, "Brokers", away)
        with pytest.raises(Unavailable):
            worked(inbox)
    inbox.recover()
    assert worked(inbox) == {"files": 1} and world.desk.published == 1


def test_a_list_of_the_same_name_from_before_is_not_taken_for_it(world):
    """Today's file would be moved away unread because yesterday's was published."""
    text = "+33612345678\n"
    put(world, "bloctel/a.txt", text)
    inbox = opened(world)
    worked(inbox)
    put(world, "bloctel/a.txt", text)
    assert worked(inbox) == {"files": 1} and world.desk.published == 2
    seen = [r for r in world.desk.publisher.log.records if dict(r.headers)["part"] == b"seal"]
    source = DeltaSource("a.txt", digest(world.root / "bloctel/done/a.txt"))
    log = world.desk.publisher.log
    assert find_seal(Reader(log), seen[0].offset, "bloctel", source, 5.0)[1] == seen[1].offset
    assert find_seal(Reader(log), seen[1].offset, "bloctel", source, 5.0) is None


def test_a_log_that_takes_longer_to_read_than_one_waits_is_read_to_its_end(world, monkeypatch):
    """Killed over a list of half a gigabyte, on a slow link, no publisher would ever begin again, and no opt-out count."""
    for at in range(6):
        world.desk.publisher.put("internal", Delta(bitmap([33612345670 + at]), bitmap([]), 0))
    now = 0.0
    monkeypatch.setattr(clock, "elapsed", lambda: now)
    slow = Reader(world.desk.publisher.log, at_once=1)
    read = slow.read

    def slowly(timeout_s):
        nonlocal now
        now += 4.0
        return read(timeout_s)

    monkeypatch.setattr(slow, "read", slowly)
    asked = -1, "internal", DeltaSource("a.txt", "0" * 64)
    assert find_seal(slow, *asked, 5.0) is None and now > 20.0
    monkeypatch.setattr(slow, "read", lambda timeout_s: (slowly(timeout_s)[0][:0], False))
    with pytest.raises(Unavailable, match="no records arrive"):
        find_seal(slow, *asked, 5.0)


def left_by_a_kill_after_the_move(world, text):
    """A file of this text was published and moved, and its publisher killed before it took the note away."""
    put(world, "internal/adds/a.txt", text)
    folder = DropFolder(world.root)
    claimed = folder.claim(folder.waiting()[0])
    folder.begin(claimed, noted(world, claimed.path))
    note = next(claimed.path.parent.glob(".*.note"))
    kept = note.read_bytes()
    folder.close()
    assert worked(opened(world)) == {"files": 1}
    world.folder.close()
    note.write_bytes(kept)


@pytest.mark.parametrize("log_id", ["the-first", "the-second"])
def test_another_list_is_not_taken_for_the_one_whose_note_was_left(world, log_id):
    """Today's opt-outs would be filed as published, or refused, unread, because yesterday's file of that name was."""
    left_by_a_kill_after_the_move(world, "+33612345678\n")
    world.log_id = log_id
    # Claimed, and its publisher was killed before it wrote a note of its own.
    (world.root / ".working/internal/adds/a.txt").write_text("+33612345679\n")
    inbox = opened(world)

    inbox.recover()

    assert worked(inbox) == {"files": 1}
    assert held(world, "internal") == {33612345678, 33612345679}


def test_a_link_in_the_place_of_a_file_is_refused_without_its_digest(world, tmp_path):
    """The report would tell the digest of a file that nobody handed over."""
    (tmp_path / "secret").write_text("+33612345678\n")
    put(world, "bloctel/a.txt", "+33612345679\n")
    folder = DropFolder(world.root)
    claimed = folder.claim(folder.waiting()[0])
    folder.close()
    inbox = opened(world)
    claimed.path.unlink()
    claimed.path.symlink_to(tmp_path / "secret")
    assert worked(inbox) == {"files_refused": 1}
    report = report_of(world, "bloctel/refused/a.txt")
    assert "cannot be read" in report["why"] and report["sha256"] == ""
    assert "bloctel" not in world.desk.replay.index.registers


@pytest.mark.parametrize("name", ["liste_0612345678.csv", "Jane Doe 06:12:34:56:78 [red]\x1b[2J.csv"])
def test_no_number_in_a_name_is_in_a_log_line(world, name):
    """A customer's number in a file's name would be kept for months where half the company reads."""
    put(world, f"partner/{name}", "no number\n")
    put(world, f"partner/adds/{name}", "+33612345679\n")
    put(world, "0612345678/a.txt", "+33612345679\n")
    put(world, f"{name}/a.txt", "+33612345679\n")
    for link in ("33612345678", "bloctel"):
        (world.root / link).symlink_to(world.root / "partner")
    inbox = opened(world)
    with capture_logs() as told:
        assert worked(inbox) == {"files_refused": 1} and worked(inbox) == {"files": 1}
        for _ in range(3):
            inbox.step()
    said = str(told)
    assert {"event": "sub-folders ignored: not a register's name", "count": 2, "log_level": "warning"} in told
    assert {"event": "links ignored", "count": 1, "log_level": "warning"} in told
    assert "12345678" not in said and "12:34" not in said
    held(world, "partner")
    assert list(world.desk.replay.index.registers) == ["partner"]


def later(monkeypatch, seconds):
    """It is so many seconds later than it really is."""
    ahead = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=lambda: time.monotonic() + seconds)
    monkeypatch.setattr(module, "time", ahead)


def test_old_lists_are_deleted(world, monkeypatch):
    """Numbers of people who asked not to be called would lie about for ever, for whoever gets the disk."""
    inbox = opened(world)
    put(world, "bloctel/a.txt", "+33612345678\n")
    put(world, "bloctel/b.txt", "none\n")
    os.utime(world.root / "bloctel/a.txt", (1, 1))  # the list's own day is of no account
    worked(inbox), worked(inbox)
    later(monkeypatch, 3700)
    inbox.step()
    assert len(list(world.root.rglob("?.txt*"))) == 4
    monkeypatch.setattr(module, "_FORGET_MAX", 3)
    for seconds, left in ((60, 1), (62, 0)):
        later(monkeypatch, 30 * 86_400 + seconds)
        inbox.step()
        assert len(list(world.root.rglob("?.txt*"))) == left


def test_nothing_is_deleted_where_all_is_kept(world, monkeypatch):
    """Whoever must keep what was handed over would lose it."""
    world.settings = Settings.model_validate({"lists": {**LISTS, "keep_done_days": 0}})
    inbox = opened(world)
    put(world, "bloctel/a.txt", "+33612345678\n")
    worked(inbox)
    later(monkeypatch, 1e9)
    inbox.step()
    assert (world.root / "bloctel/done/a.txt").is_file()
