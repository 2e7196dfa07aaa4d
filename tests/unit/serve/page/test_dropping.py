"""A list that is dropped on the page: shown first, published by a second click, and gone afterwards."""

import multiprocessing
import os
import re
import shutil
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
from stream_scrub.imports.parsing.cells import day_in
from stream_scrub.serve import tokens, uploads
from stream_scrub.serve.bodies import Problem
from stream_scrub.serve.page import forms, list_import
from tests.support.fakes import imports
from tests.support.waiting import wait_until
from tests.unit.serve.conftest import make_lists, starting


def begun(start, folder, **settings):
    """A server, and tokens for it."""
    file = folder / "tokens.json"
    (folder / "state").mkdir()
    scopes = {"own": ["admin", "check"], "other": ["admin"], "dialler": ["check"]}
    made = {name: tokens.add(file, name, scope, datetime.now(UTC)).token for name, scope in scopes.items()}
    server = start(
        make_lists(), **{"worker__state_dir": str(folder / "state"), "http__tokens": str(file), **settings}
    )
    server.kept, server.tokens = folder / "state" / "dropped", made
    sign_in(server, "own")
    return server


def sign_in(server, name):
    server.client.cookies.set("scrub_token", server.tokens[name])
    server.client.headers["Authorization"] = f"Bearer {server.tokens[name]}"


@pytest.fixture(scope="module")
def shared(rules, tmp_path_factory):
    """A server over a drop folder of its own."""
    with starting(rules) as start:
        yield begun(start, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def canned(monkeypatch):
    """Imports that a canned answer stands for, in this process; the forms that they got."""
    seen = []

    def here(settings, file, form, dry_run, _stopping):
        """As `list_import.run`, without the second that a process costs."""
        seen.append(form)
        return list_import._outcome(
            lambda: imports.imported(settings, None, str(file), form, dry_run), str(file)
        )

    monkeypatch.setattr(list_import, "run", here)
    return seen


@pytest.fixture
def server(shared, monkeypatch):
    """The shared server, where no list waits."""
    monkeypatch.setattr(import_list, "asked", imports.imported)
    sign_in(shared, "own")
    yield shared
    for each in waiting(shared):
        shutil.rmtree(each)


@pytest.fixture
def beside(serve, canned, tmp_path):
    """A server beside a publisher."""
    server = begun(serve, tmp_path, lists__folder=str(tmp_path / "drop"))
    server.drop = tmp_path / "drop"
    return server


def waiting(server):
    """The folders of the lists that wait."""
    return [each for each in server.kept.glob("*") if each.is_dir()]


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


def test_a_list_is_shown_and_published_by_a_second_click(server):
    """A wrong list would be in force before anybody saw what it does; or its numbers would lie about."""
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


def test_a_list_that_would_be_refused_cannot_be_published(server, canned):
    """A guard of `lists import` would be one click away from being put aside."""
    page = drop(server, "guarded\n")
    assert heading(page) == "The list would be refused" and "it would add too many" in page.text
    assert "pending" not in page.text and waiting(server) == []


EXPORT = "Nom;Mobile;Opt-in\nRose;+4915112345001;Oui\nMax;+4915112345002;Non\n"


def name_columns(server, page, **fields):
    (found,) = re.findall(r'name="pending" value="([0-9a-f]+)"', page.text)
    return server.client.post(
        "/lists/columns", data={"pending": found, **fields}, headers={"Origin": server.url}
    )


def test_the_columns_of_an_export_are_named_in_a_form(server):
    """Whoever imports on the page could not import consents from a CRM, or would import everybody in it."""
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


@pytest.mark.parametrize(
    ("named", "columns"),
    [
        ({"column-2": "phone", "column-3": "consent", "no_into": "internal@acme"}, "phone=2,consent=3"),
        ({"all_consented": "yes"}, ""),
    ],
)
def test_named_columns_go_with_the_list_to_the_publisher(beside, named, columns):
    """Beside a publisher nobody could import a CRM's consents on the page, and those who said no would stay callable."""
    page = drop(beside, EXPORT, "crm.csv", register="consent", campaign="acme")
    shown = name_columns(beside, page, **named)
    assert heading(shown) == "Nothing is published yet"
    publisher = Publisher(beside.drop, DONE, outcome="published", **FIGURES)
    done = publish(beside, shown)
    publisher.join()
    assert heading(done) == "The list is published in tps@acme"
    assert publisher.dropped.all_consented == ("all_consented" in named)
    digest = sha256(EXPORT.encode()).hexdigest()
    assert publisher.order == (HandedOrder(digest, columns, "internal@acme") if columns else None)


FIGURES = {
    "register": "tps@acme",
    "added": 2,
    "removed": 0,
    "count": 7,
    "effective_at": "2026-11-26",
    "position": 77,
}


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


@pytest.mark.parametrize(
    ("where", "report"),
    [
        (DONE, {"outcome": "published", **FIGURES}),
        (REFUSED, {"outcome": "refused", "why": "it is too large"}),
    ],
)
def test_a_list_is_handed_to_the_publisher(beside, where, report):
    """Beside a publisher, which owns its registers, no list could be published on the page."""
    publisher = Publisher(beside.drop, where, **report)
    page = drop(beside, name="acme.txt", campaign="acme", change="adds", effective_at="2026-11-26")
    answer = publish(beside, page)
    publisher.join()
    assert (publisher.dropped.register, publisher.dropped.change) == ("tps@acme", "adds")
    assert datetime.fromtimestamp(publisher.dropped.written_ns / 1e9, UTC).date() == date(2026, 11, 26)
    if where == DONE:
        assert heading(answer) == "The list is published in tps@acme" and "77" in answer.text
    else:
        assert answer.status_code == 422 and "it is too large" in answer.text
    assert waiting(beside) == []


def test_each_list_that_nobody_takes_waits_for_the_publisher(beside, monkeypatch):
    """Opt-outs would be replaced by the next list, or lie in the folder for ever as a file that is not complete; or an old
    list would pass for a young one by the day in its name."""
    monkeypatch.setattr(list_import, "WAIT_S", 0.05)
    late = publish(beside, drop(beside))
    assert late.status_code == 503 and "the publisher has the file in its folder" in late.text
    assert (beside.drop / "tps" / "list.txt").read_text() == "447400123456\n"
    for name, handed in (("tps-2026-11-20.txt", "list-{}-{}"), ("20261120_a.txt", "{}-{}")):
        publish(beside, drop(beside, name=name, effective_at="2026-11-10"))
        found = beside.drop / "tps" / handed.format("2026-11-10", name)
        assert found.exists() and day_in(found.name, date(2026, 11, 28)) == date(2026, 11, 10)
    contents = [f"44740012345{place}\n" for place in range(5)]
    names = ["list.txt", "list.txt", "opt-outs.tmp", "opt-outs.PART", "\u540d" * 100]
    for content, name in zip(contents, names, strict=True):
        publish(beside, drop(beside, content, name, register="internal", change="adds"))
    dropped = [each.path for each in DropFolder(beside.drop).waiting() if each.register == "internal"]
    assert sorted(each.read_text() for each in dropped) == contents
    elsewhere = drop(beside, region="DE")
    assert elsewhere.status_code == 422 and "+44" in elsewhere.text


@pytest.mark.parametrize(
    ("first", "status", "said"),
    [
        ("bad", 422, "Nothing was published: list.txt: line 1 holds no valid number"),
        ("no register", 422, "register: it is none"),
        ("away", 503, "nothing was published: no broker answers"),
        ("dies", 503, "its process ended with code 9"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_kept(server, request, first, status, said):
    """A list that kills its reader would take the answers to all diallers with it; or its numbers would be shown."""
    if first != "dies":
        request.getfixturevalue("canned")
    page = drop(server, f"{first}\n")
    assert page.status_code == status and said.lower() in page.text.lower()
    assert 'role="alert"' in page.text and 'action="/lists"' in page.text, "another try is one click away"
    assert "612345678" not in page.text
    assert waiting(server) == []
    assert server.client.get("/readyz").status_code == 200


def test_checks_go_on_while_a_list_is_read_and_a_second_one_waits(server):
    """Diallers would wait for a list; or two lists would take twice the memory."""
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
    server.state.stopping = False
    assert answers[0].status_code == 503 and "is stopping" in answers[0].text


def test_only_an_admin_of_this_site_may(server, canned):
    """Whoever may check numbers could empty a register; or a page that an admin visits could."""
    server.client.cookies.clear()
    assert drop(server).status_code == 401
    sign_in(server, "dialler")
    assert drop(server).status_code == 403
    assert "Import a list" not in server.client.get("/").text
    sign_in(server, "own")
    assert "Import a list" in server.client.get("/").text
    for origin in ("https://evil.example", "null"):
        assert drop(server, origin=origin).status_code == 403
    assert waiting(server) == []
    page = drop(server, token="other")
    assert [each["token"] for each in canned] == ["own"], "whoever signed in, and not what a form says"
    assert publish(server, page, origin="null").status_code == 403
    sign_in(server, "other")
    assert publish(server, page).status_code == 404, "it is not theirs"
    sign_in(server, "own")
    assert publish(server, page).status_code == 200


def multipart(*parts):
    return b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--"


FORM, LIST = "multipart/form-data; boundary=x", b'name="list"; filename="a"\r\n\r\n1'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"register=tps", 415),
        (FORM, b"", 422),
        (FORM, b"--y\r\n\r\n--x", 422),
        (FORM, b"\xff" * 100, 422),
        (FORM, multipart(b'name="a"\r\n\r\nb'), 422),
        (FORM, multipart(LIST, LIST), 422),
        (FORM, multipart(b'name="list"; filename=""\r\n\r\n' + b"1" * 100_000), 422),
        (FORM, multipart(b'name="list"; filename=""\r\n\r\n'), 422),
        (FORM + "x" * 300, b"x", 422),
        (FORM, multipart(b'name="effective_at"\r\n\r\n' + b"x" * 2000), 413),
        (FORM, multipart(*[b'name="%090d"\r\n\r\n' % n for n in range(1000)]), 413),
        (FORM, b"--x\r\n\r\n\r\n" * 1000 + b"--x--", 413),
        (FORM, multipart(*[b'name="a"\r\nX: %s\r\n\r\nb' % (b"y" * 4000)] * 5), 413),
    ],
    ids=range(13),
)
def test_what_is_no_form_with_a_file_takes_no_memory_and_no_disk(server, kind, body, status):
    """Somebody's odd client would end in a fault of ours, or fill the disk or the memory."""
    headers = {"Origin": server.url, "Content-Type": kind}
    answer = server.client.post("/lists", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert waiting(server) == []
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_lists_that_wait_are_bounded(serve, canned, tmp_path, monkeypatch):
    """Whoever drops lists again and again would fill the disk, with people's numbers."""
    monkeypatch.setattr(list_import, "PENDING_BYTES_MAX", 120_000)
    server = begun(serve, tmp_path)
    assert drop(server, "1" * 130_000).status_code == 413
    for _ in range(2):
        page = drop(server)
    assert len(waiting(server)) == 1, "a list takes the place of the one before"
    assert publish(server, page).status_code == 200
    store = list_import.pending_lists(str(server.kept.parent))
    for place in range(list_import.PENDING_MAX):
        store.keep(msgspec.structs.replace(last := store.new(f"admin-{place}"), most=0))
    full = drop(server)
    assert full.status_code == 429 and "The server has no room for another file" in full.text
    store.delete(last.id)
    (first,) = store.of("admin-0")
    (store.upload(first) / "l").write_bytes(b"1" * 60_000)
    assert drop(server, "1" * 40_000).status_code == 413, "all together have room for so many"
    store.delete(first.id)
    assert drop(server, "1" * 40_000).status_code == 200


def test_without_tokens_no_list_is_imported(serve, tmp_path):
    """Any program of this machine could empty a register: a person's browser, or whatever runs there."""
    server = begun(serve, tmp_path, http__tokens="")
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
    monkeypatch.setattr(uploads, "tempfile", tempfile)
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
    monkeypatch.setattr(uploads, "tempfile", tempfile)
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
    """A publication that takes long would lose its file in the middle; or people's numbers would lie on the disk for ever."""
    store = list_import.pending_lists(str(tmp_path))
    job = store.new("own")
    store.keep(msgspec.structs.replace(job, at=time.time() - 1000, keep_s=2100))
    store.delete_old()
    assert store.find(job.id, "own").id == job.id
    store.keep(msgspec.structs.replace(job, at=time.time() - 1000))
    with pytest.raises(Problem, match="upload it again"):
        store.find(job.id, "own")
    store.delete_old()
    assert not (store.folder / job.id).exists()


def test_an_import_ends_with_a_server_that_is_killed(tmp_path):
    """A list would be published by nobody, whom nobody tells what became of it."""
    began, published, file = tmp_path / "began", tmp_path / "published", tmp_path / "l"
    file.write_text(f"marks {began} {published}\n")
    parent = multiprocessing.get_context("spawn").Process(target=imports.serve_one, args=(str(file),))
    parent.start()
    wait_until(began.exists)
    child = Path(f"/proc/{began.read_text()}/stat")
    parent.kill()
    parent.join()
    wait_until(lambda: not child.exists() or " Z " in child.read_text())
    assert not published.exists()


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
def test_a_publication_that_is_in_doubt_is_said_to_be(server, canned, monkeypatch, outcome, says):
    """Somebody would believe that a list is not in force, and it is."""
    page = drop(server)
    monkeypatch.setattr(list_import, "run", lambda *_: list_import.PageImport(outcome, "no broker answers"))
    told = publish(server, page)
    assert told.status_code == 503 and "The list may have been published" in told.text and says in told.text
