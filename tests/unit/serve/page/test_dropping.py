"""A list that is dropped on the page: shown first, published by a second click, and gone afterwards."""

import multiprocessing
import os
import re
import tempfile
import threading
import time
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import httpx
import msgspec
import pytest

from stream_scrub.imports import import_list
from stream_scrub.imports.drop_folder import DONE, REFUSED, DropFolder, HandedOrder
from stream_scrub.imports.guards import check_name
from stream_scrub.imports.parsing.cells import day_in
from stream_scrub.serve import tokens, uploads
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.page import forms, list_import
from tests.support.fakes import imports
from tests.unit.serve.conftest import make_lists


@pytest.fixture
def own(serve, tmp_path, monkeypatch):
    """A server whose imports are canned."""
    monkeypatch.setattr(import_list, "asked", imports.imported)

    def here(settings, file, form, dry_run, _stopping):
        """As `list_import.run`, without the second that a process costs."""
        return list_import._outcome(
            lambda: imports.imported(settings, None, str(file), form, dry_run), str(file)
        )

    file = tmp_path / "own-tokens.json"
    token = tokens.add(file, "own", ["admin", "check"], datetime.now(UTC)).token
    signed_in = {"http__tokens": str(file)}

    def start(*, in_process=False, **settings):
        if not in_process:
            monkeypatch.setattr(list_import, "run", here)
        (tmp_path / "state").mkdir(exist_ok=True)
        made = serve(make_lists(), worker__state_dir=str(tmp_path / "state"), **{**signed_in, **settings})
        if signed_in["http__tokens"] == made.settings.http.tokens:
            made.client.cookies.set("scrub_token", token)
            made.client.headers["Authorization"] = f"Bearer {token}"
        made.kept = tmp_path / "state" / "dropped"
        return made

    return start


def waiting(server):
    """The folders of the lists that wait."""
    return [each for each in server.kept.iterdir() if each.is_dir()]


def drop(server, content="447400123456\n", name="list.txt", origin=None, **fields):
    return server.client.post(
        "/lists",
        data={"register": "tps", "change": "full", **fields},
        files={"list": (name, content)},
        headers={"Origin": origin or server.url},
    )


def publish(server, page, origin=None):
    (found,) = re.findall(r'name="pending" value="([0-9a-f]+)"', page.text)
    return server.client.post(
        "/lists/publish", data={"pending": found}, headers={"Origin": origin or server.url}
    )


def heading(page):
    return re.search(r"<h1[^>]*>([^<]*)</h1>", page.text)[1]


def test_a_list_is_shown_and_published_by_a_second_click(own):
    """A wrong list would be in force before anybody saw what it does; or its numbers would lie about."""
    server = own(in_process=True)
    page = drop(server, "447400123456\n447400123457\n", "../../tps\u202e 2026.csv")
    assert page.status_code == 200 and heading(page) == "Nothing is published yet"
    assert "one number a line" in page.text and "tps__2026.csv" in page.text and "GB 2" in page.text
    assert "clear -&gt; opposed" in page.text
    (kept,) = waiting(server)
    assert kept.stat().st_mode & 0o077 == 0

    done = publish(server, page)
    assert heading(done) == "The list is published in tps" and "1234" in done.text
    assert waiting(server) == []
    (line,) = [line for line in server.lines() if line["event"] == "list published on the page"]
    assert line["register"] == "tps" and line["position"] == 1234
    again = publish(server, page)
    assert again.status_code == 404 and "upload it again" in again.text


def test_an_import_names_the_token_that_signed_in(own, monkeypatch):
    """The log would not say who published a list, or what a form says of itself."""
    server, seen = own(), []

    def run(_settings, _file, form, _dry_run, _stopping):
        seen.append(form)
        return list_import.PageImport("refused", "not today")

    monkeypatch.setattr(list_import, "run", run)
    drop(server, token="somebody-else")
    assert [each["token"] for each in seen] == ["own"]


def test_a_list_that_would_be_refused_cannot_be_published(own):
    """A guard of `lists import` would be one click away from being put aside."""
    server = own()
    page = drop(server, "guarded\n")
    assert heading(page) == "The list would be refused" and "it would add too many" in page.text
    assert "pending" not in page.text and waiting(server) == []


EXPORT = "Nom;Mobile;Opt-in\nRose;+4915112345001;Oui\nMax;+4915112345002;Non\n"


def name_columns(server, page, **fields):
    (found,) = re.findall(r'name="pending" value="([0-9a-f]+)"', page.text)
    return server.client.post(
        "/lists/columns", data={"pending": found, **fields}, headers={"Origin": server.url}
    )


@pytest.mark.parametrize("in_process", [True, False])
def test_the_columns_of_an_export_are_named_in_a_form(own, in_process):
    """Whoever imports on the page could not import consents from a CRM, or would import everybody in it."""
    server = own(in_process=in_process)
    page = drop(server, EXPORT, "crm.csv", register="consent", campaign="acme")
    assert page.status_code == 200 and heading(page) == "Name the columns"
    assert "consent@acme is a register of consents" in page.text and "<td>Rose</td>" in page.text
    selected = re.findall(r'name="(column-\d)">.*?<option selected>(\w+)</option>', page.text)
    assert selected == [("column-2", "phone"), ("column-3", "consent")]
    assert 'name="no_into" value="internal@acme"' in page.text

    twice = name_columns(server, page, **{"column-2": "phone", "column-1": "phone"})
    assert twice.status_code == 422 and "two columns have one role" in twice.text
    shown = name_columns(server, page, **dict(selected), no_into="internal@acme")
    assert heading(shown) == "Nothing is published yet"
    assert "phone=2,consent=3" in shown.text and "Opt-outs added to internal@acme" in shown.text
    done = publish(server, shown)
    assert heading(done) == "The list is published in consent@acme"
    assert "phone=2,consent=3" in done.text and waiting(server) == []


def test_a_list_of_which_everybody_consented_is_handed_to_the_publisher(own, tmp_path):
    """Beside a publisher a list of consents with columns could not be imported, or be read without its columns."""
    server = own(lists__folder=str(tmp_path / "drop"))
    page = drop(server, EXPORT, "crm.csv", register="consent")
    publisher = Publisher(
        tmp_path / "drop",
        DONE,
        outcome="published",
        register="consent",
        effective_at="2026-11-26",
        position=7,
    )
    done = publish(server, name_columns(server, page, all_consented="yes"))
    publisher.join()
    assert heading(done) == "The list is published in consent"
    assert publisher.dropped.all_consented and publisher.order is None


def test_named_columns_and_the_box_for_opt_outs_go_with_the_list_to_the_publisher(own, tmp_path):
    """Beside a publisher nobody could import a CRM's consents on the page, and those who said no would stay callable."""
    server = own(lists__folder=str(tmp_path / "drop"))
    page = drop(server, EXPORT, "crm.csv", register="consent", campaign="acme")
    columns = {"column-2": "phone", "column-3": "consent"}
    shown = name_columns(server, page, **columns, no_into="internal@acme")
    assert heading(shown) == "Nothing is published yet"
    figures = {"register": "consent@acme", "effective_at": "2026-11-26", "position": 7}
    publisher = Publisher(tmp_path / "drop", DONE, outcome="published", **figures)
    done = publish(server, shown)
    publisher.join()
    assert heading(done) == "The list is published in consent@acme"
    digest = sha256(EXPORT.encode()).hexdigest()
    assert publisher.order == HandedOrder(digest, "phone=2,consent=3", "internal@acme")


class Publisher(threading.Thread):
    """Takes one file of a drop folder, as the daemon does."""

    def __init__(self, folder: Path, where: str, **report: object) -> None:
        super().__init__()
        self.folder, self.where, self.report = DropFolder(folder), where, report
        self.start()

    def run(self) -> None:
        until = time.monotonic() + 60
        while not (waiting := self.folder.waiting()):
            assert time.monotonic() < until
            time.sleep(0.01)
        self.dropped = self.folder.claim(waiting[0])
        digest = self.folder.take_in(self.dropped)
        self.order = self.folder.order(self.dropped)
        self.folder.finish(self.dropped, self.where, {"sha256": digest, **self.report})
        self.folder.close()


def test_a_list_is_handed_to_the_publisher(own, tmp_path, monkeypatch):
    """Beside a publisher, which owns its registers, no list could be published on the page."""
    server = own(lists__folder=str(tmp_path / "drop"))
    figures = {"register": "tps@acme", "added": 2, "removed": 0, "count": 7, "effective_at": "2026-11-26"}
    for where, outcome in (
        (DONE, {"outcome": "published", "position": 77, **figures}),
        (REFUSED, {"outcome": "refused", "why": "it is too large"}),
    ):
        publisher = Publisher(tmp_path / "drop", where, **outcome)
        page = drop(server, name="acme.txt", campaign="acme", change="adds", effective_at="2026-11-26")
        answer = publish(server, page)
        publisher.join()
        assert (publisher.dropped.register, publisher.dropped.change) == ("tps@acme", "adds")
        assert datetime.fromtimestamp(publisher.dropped.written_ns / 1e9, UTC).date() == date(2026, 11, 26)
        assert publisher.dropped.path.name == "list-2026-11-26-acme.txt"
        if where == DONE:
            assert heading(answer) == "The list is published in tps@acme" and "77" in answer.text
        else:
            assert answer.status_code == 422 and "it is too large" in answer.text
    assert waiting(server) == []

    monkeypatch.setattr(list_import, "WAIT_S", 0.2)
    late = publish(server, drop(server))
    assert late.status_code == 503 and "the publisher has the file in its folder" in late.text
    assert (tmp_path / "drop" / "tps" / "list.txt").read_text() == "447400123456\n"
    elsewhere = drop(server, region="DE")
    assert elsewhere.status_code == 422 and "+44" in elsewhere.text


@pytest.mark.parametrize(
    ("name", "handed"), [("tps-2026-11-20.txt", "list-{}-{}"), ("20261120_a.txt", "{}-{}")]
)
def test_the_day_of_the_form_goes_before_the_day_of_the_name(own, tmp_path, monkeypatch, name, handed):
    """The dry run would show another day than the publisher takes, and an old list pass for a young one."""
    monkeypatch.setattr(list_import, "WAIT_S", 0.2)
    server = own(lists__folder=str(tmp_path / "drop"))
    publish(server, drop(server, name=name, effective_at="2026-11-10"))
    (found,) = (tmp_path / "drop" / "tps").iterdir()
    assert found.name == handed.format("2026-11-10", name)
    assert day_in(found.name, date(2026, 11, 28)) == date(2026, 11, 10)


@pytest.mark.parametrize("name", ["opt-outs.tmp", "opt-outs.PART", "\u540d" * 100])
def test_the_publisher_takes_a_list_of_any_name(own, tmp_path, name):
    """Opt-outs would lie in the folder for ever, as a file that is not complete yet, or not come there at all."""
    server = own(lists__folder=str(tmp_path / "drop"))
    publisher = Publisher(
        tmp_path / "drop",
        DONE,
        outcome="published",
        register="internal",
        effective_at="2026-11-26",
        position=7,
    )
    answer = publish(server, drop(server, name=name, register="internal", change="adds"))
    publisher.join()
    assert heading(answer) == "The list is published in internal"


def test_a_list_that_waits_for_the_publisher_is_replaced_by_no_other(own, tmp_path, monkeypatch):
    """Opt-outs that wait in the folder would be gone, and nobody hear of it, if the next list has the same name."""
    monkeypatch.setattr(list_import, "WAIT_S", 0.2)
    server = own(lists__folder=str(tmp_path / "drop"))
    folder = tmp_path / "drop" / "internal" / "adds"
    folder.mkdir(parents=True)
    (folder / "list.txt").write_text("447400123450\n")
    contents = ["447400123451\n", "447400123452\n"]
    for content in contents:
        publish(server, drop(server, content, register="internal", change="adds"))
    assert sorted(each.read_text() for each in folder.iterdir()) == ["447400123450\n", *contents]


@pytest.mark.parametrize(
    ("first", "status", "said"),
    [
        ("bad", 422, "Nothing was published: list.txt: line 1 holds no valid number"),
        ("no register", 422, "register: it is none"),
        ("away", 503, "nothing was published: no broker answers"),
        ("dies", 503, "its process ended with code 9"),
        ("fault", 503, "its process ended with code 1"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_kept(own, first, status, said):
    """A list that kills its reader would take the answers to all diallers with it; or its numbers would be shown."""
    server = own(in_process=first in {"dies", "fault"})
    page = drop(server, f"{first}\n")
    assert page.status_code == status and said.lower() in page.text.lower()
    assert 'role="alert"' in page.text and 'action="/lists"' in page.text, "another try is one click away"
    assert "612345678" not in page.text
    assert waiting(server) == []
    assert server.client.get("/readyz").status_code == 200


def test_checks_go_on_while_a_list_is_read_and_a_second_one_waits(own):
    """Diallers would wait for a list; or two lists would take twice the memory."""
    server = own(in_process=True)
    answers = []

    def slowly():
        with httpx.Client(base_url=server.url, timeout=60, cookies=server.client.cookies) as client:
            files = {"list": ("l", "slow\n")}
            answers.append(
                client.post("/lists", data={"register": "tps"}, files=files, headers={"Origin": server.url})
            )

    thread = threading.Thread(target=slowly)
    thread.start()
    server.until(lambda: server.kept.exists() and any(server.kept.glob("*/job.json")))
    refused = drop(server)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "30"
    with list_import.pending_lists(str(server.kept.parent)).slot() as is_free:
        assert not is_free, "nor may another process of the server"
    assert len(waiting(server)) == 1, "what had to wait is not kept"
    assert server.check({"number": "+33611111111"}).status_code == 200
    server.state.stopping = True
    thread.join(60)
    assert answers[0].status_code == 503 and "is stopping" in answers[0].text


def test_only_an_admin_of_this_site_may(own, tmp_path):
    """Whoever may check numbers could empty a register; or a page that an admin visits could."""
    file = tmp_path / "tokens.json"
    made = {
        name: tokens.add(file, name, [scope], datetime.now(UTC)).token
        for name, scope in (("dialler", "check"), ("admin", "admin"), ("other", "admin"))
    }
    server = own(http__tokens=str(file))
    assert drop(server).status_code == 401
    server.client.cookies.set("scrub_token", made["dialler"])
    assert drop(server).status_code == 403
    assert "Import a list" not in server.client.get("/").text
    server.client.cookies.set("scrub_token", made["admin"])
    assert "Import a list" in server.client.get("/").text
    for origin in ("https://evil.example", "null"):
        assert drop(server, origin=origin).status_code == 403
    assert not server.kept.exists()
    page = drop(server)
    assert publish(server, page, origin="null").status_code == 403
    server.client.cookies.set("scrub_token", made["other"])
    assert publish(server, page).status_code == 404, "it is not theirs"
    server.client.cookies.set("scrub_token", made["admin"])
    assert publish(server, page).status_code == 200


def test_what_is_no_form_with_a_file_is_refused(own, monkeypatch):
    """Somebody's odd client would end in a fault of ours, or fill the disk."""
    monkeypatch.setattr(forms, "FILE_BYTES_MAX", 4096)
    server = own()
    headers = {"Origin": server.url}
    client = server.client
    assert client.post("/lists", data={"register": "tps"}, headers=headers).status_code == 415
    multipart = {**headers, "Content-Type": "multipart/form-data; boundary=x"}
    for body in (
        b"",
        b"--x",
        b"--y\r\n\r\n--x",
        b"\xff" * 100,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
    ):
        assert client.post("/lists", content=body, headers=multipart).status_code == 422, body
    assert drop(server, "1" * 5000).status_code == 413
    assert drop(server, effective_at="x" * 2000).status_code == 413
    two = [("list", ("a", "1")), ("list", ("b", "2"))]
    assert client.post("/lists", data={"register": "tps"}, files=two, headers=headers).status_code == 422
    assert waiting(server) == []
    assert not [line for line in server.lines() if line["level"] == "error"]


def multipart(*parts):
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (multipart(b'name="list"; filename=""\r\n\r\n' + b"1" * 100_000), 422),
        (multipart(b'name="list"; filename=""\r\n\r\n'), 422),
        (multipart(*[b'name="%090d"\r\n\r\n' % n for n in range(1000)]), 413),
        (b"--x\r\n\r\n\r\n" * 1000 + b"--x--", 413),
        (multipart(*[b'name="a"\r\nX: %s\r\n\r\nb' % (b"y" * 4000)] * 5), 413),
    ],
    ids=["nameless", "empty", "fields", "headless", "headers"],
)
def test_a_form_takes_no_memory_beside_its_file(own, body, status):
    """One form could take hundreds of megabytes, and the server's memory with them."""
    server = own()
    headers = {"Origin": server.url, "Content-Type": "multipart/form-data; boundary=x"}
    answer = server.client.post("/lists", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert waiting(server) == []
    headers["Content-Type"] = "multipart/form-data; boundary=" + "x" * 300
    assert server.client.post("/lists", content=b"x", headers=headers).status_code == 422
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_lists_that_wait_are_bounded(own, monkeypatch):
    """Whoever drops lists again and again would fill the disk, with people's numbers."""
    server = own()
    for _ in range(3):
        page = drop(server)
    assert len(waiting(server)) == 1, "a list takes the place of the one before"
    assert publish(server, page).status_code == 200
    store = list_import.pending_lists(str(server.kept.parent))
    for place in range(list_import.PENDING_MAX):
        store.keep(msgspec.structs.replace(last := store.new(f"admin-{place}"), most=0))
    full = drop(server)
    assert full.status_code == 429 and "The server has no room for another file" in full.text
    store.delete(last.id)
    assert drop(server).status_code == 200


def test_the_lists_that_wait_have_room_together(own, monkeypatch):
    """Eight lists of the largest size would fill the pod's volume: it would be evicted, and diallers get no answer."""
    monkeypatch.setattr(list_import, "PENDING_BYTES_MAX", 60_000)
    server = own()
    store = list_import.pending_lists(str(server.kept.parent))
    job = store.new("admin-0")
    (store.upload(job) / "l").write_bytes(b"1" * 40_000)
    store.keep(msgspec.structs.replace(job, most=0))
    assert drop(server, "1" * 30_000).status_code == 413
    store.delete(job.id)
    assert drop(server, "1" * 30_000).status_code != 413


def test_a_refusal_speaks_of_the_form():
    """Somebody at a browser would look for an option of a command line."""
    refused = list_import._outcome(lambda: check_name("tsp", {"tps"}), "list.txt")
    assert "did you mean tps?" in refused.why and "of `stream-scrub lists import`" in refused.why


def test_without_tokens_no_list_is_imported(own):
    """Any program of this machine could empty a register: a person's browser, or whatever runs there."""
    server = own(http__tokens="")
    page = server.client.get("/lists").text
    assert "set <code>http.tokens</code>" in page and 'action="/lists"' not in page
    refused = drop(server)
    assert refused.status_code == 403 and "set http.tokens" in refused.text
    told = server.client.post("/lists/publish", data={"pending": "a"}, headers={"Origin": server.url})
    assert told.status_code == 403 and not server.kept.exists()


def kill_in_the_middle(state):
    """A list as a server leaves it that is killed in the middle of it."""
    store = list_import.pending_lists(state)
    job = store.new("own")
    (store.upload(job) / "list.txt").write_text("447400123456\n")
    os.close(store._locks.pop(job.id))
    return store.folder / job.id


@pytest.mark.parametrize("has_state_dir", [True, False])
def test_what_a_killed_server_left_is_deleted_by_the_next(serve, tmp_path, monkeypatch, has_state_dir):
    """People's numbers would lie on the server's disk until somebody drops another list, or for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(uploads, "_SWEEP_S", 0.05)
    state = str(tmp_path) if has_state_dir else ""
    made = kill_in_the_middle(state)
    server = serve(make_lists(), worker__state_dir=state)
    assert not made.exists()
    made = kill_in_the_middle(state)
    server.until(lambda: not made.exists())


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    """Another user of the machine could make the folder first, and read people's numbers there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = list_import.pending_lists("")
    (tmp_path / "theirs").mkdir()
    store.folder.symlink_to(tmp_path / "theirs")
    with pytest.raises(Problem):
        store.new("own")
    store.folder.unlink()
    store.folder.mkdir(mode=0o770)
    store.new("own")
    assert store.folder.stat().st_mode & 0o077 == 0, "one's own is made one's own alone again"


def test_a_list_is_kept_for_as_long_as_it_is_read(tmp_path):
    """A publication that takes long would fail in the middle, because its file is gone."""
    store = list_import.pending_lists(str(tmp_path))
    job = store.new("own")
    store.keep(msgspec.structs.replace(job, at=time.time() - 1000, keep_s=2100))
    store.delete_old()
    assert store.find(job.id, "own").id == job.id
    store.keep(msgspec.structs.replace(job, at=time.time() - 1000))
    with pytest.raises(Problem, match="upload it again"):
        store.find(job.id, "own")


def test_an_import_ends_with_a_server_that_is_killed(tmp_path):
    """A list would be published by nobody, whom nobody tells what became of it."""
    marks = [tmp_path / "began", tmp_path / "published"]
    parent = multiprocessing.get_context("spawn").Process(
        target=imports.serve_one, args=(str(tmp_path / "l"),)
    )
    (tmp_path / "l").write_text(f"marks {marks[0]} {marks[1]}\n")
    parent.start()
    until = time.monotonic() + 60
    while not marks[0].exists():
        assert time.monotonic() < until and parent.is_alive()
        time.sleep(0.01)
    child = int(marks[0].read_text())
    parent.kill()
    parent.join()
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.01)
    assert not marks[1].exists()


def test_what_was_left_is_deleted(own):
    """People's numbers would lie on the server's disk for as long as nobody looks."""
    server = own()
    drop(server)
    assert len(waiting(server)) == 1
    store = list_import.pending_lists(str(server.kept.parent))
    (job,) = store.of("own")
    store.keep(msgspec.structs.replace(job, at=0))
    store.delete_old()
    assert waiting(server) == []


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("C:\\lists\\tps.csv", "tps.csv"),
        ("/etc/passwd", "passwd"),
        ("..", "list"),
        ("", "list"),
        ("a\x00b\n.zip", "a_b_.zip"),
        ("x" * 300 + ".zip", "x" * 96 + ".zip"),
        ("x." + "y" * 95 + ".zip", "y" * 95 + ".zip"),
    ],
)
def test_a_files_name_stays_in_its_folder(said, plain):
    """A file could be written wherever its sender wants."""
    assert forms.plain_name(said) == plain


@pytest.mark.parametrize(
    ("outcome", "says"), [("unavailable", "try again"), ("ended", "look at the last deltas")]
)
def test_a_publication_that_is_in_doubt_is_said_to_be(own, monkeypatch, outcome, says):
    """Somebody would believe that a list is not in force, and it is."""
    server = own()
    page = drop(server)
    monkeypatch.setattr(list_import, "run", lambda *_: list_import.PageImport(outcome, "no broker answers"))
    told = publish(server, page)
    assert told.status_code == 503 and "The list may have been published" in told.text and says in told.text
