"""A list that is dropped on the page: shown first, published by a second click, and gone afterwards."""

import multiprocessing
import os
import re
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from stream_scrub.server import tokens
from stream_scrub.server.page import forms, importing, staged
from stream_scrub.server.process import serving
from tests.support.fakes import imports
from tests.support.running import server as running
from tests.unit.server.conftest import make_lists


@pytest.fixture
def own(serve, tmp_path, monkeypatch):
    """A server whose imports are canned."""
    questions = running.QUESTIONS.__class__(
        running.QUESTIONS.registers, running.QUESTIONS.rule, running.QUESTIONS.history, imports.imported
    )
    monkeypatch.setattr(running, "QUESTIONS", questions)

    def here(settings, questions, asked, _stopping):
        """As `importing.run`, without the second that a process costs."""
        return importing._outcome(
            lambda: questions.import_list(settings, None, asked.file, asked.said, asked.dry_run)
        )

    file = tmp_path / "own-tokens.json"
    token = tokens.add(file, "own", ["admin", "check"], datetime.now(UTC)).token
    signed_in = {"http__tokens": str(file)}

    def start(*, in_process=False, **settings):
        if not in_process:
            monkeypatch.setattr(importing, "run", here)
        (tmp_path / "state").mkdir(exist_ok=True)
        made = serve(make_lists(), worker__state_dir=str(tmp_path / "state"), **{**signed_in, **settings})
        if signed_in["http__tokens"] == made.settings.http.tokens:
            made.client.cookies.set("scrub_token", token)
            made.client.headers["Authorization"] = f"Bearer {token}"
        made.kept = tmp_path / "state" / "dropped"
        return made

    return start


def drop(server, content="447400123456\n", name="list.txt", origin=None, **fields):
    return server.client.post(
        "/lists",
        data={"register": "tps", "change": "full", **fields},
        files={"list": (name, content)},
        headers={"Origin": origin or server.url},
    )


def publish(server, page, origin=None):
    (found,) = re.findall(r'name="staged" value="([0-9a-f]+)"', page.text)
    return server.client.post(
        "/lists/publish", data={"staged": found}, headers={"Origin": origin or server.url}
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
    (kept,) = server.kept.iterdir()
    assert kept.stat().st_mode & 0o077 == 0

    done = publish(server, page)
    assert heading(done) == "The list is published in tps" and "1234" in done.text
    assert [*server.kept.iterdir()] == []
    (line,) = [line for line in server.lines() if line["event"] == "a list was published on the page"]
    assert line["register"] == "tps" and line["position"] == 1234
    again = publish(server, page)
    assert again.status_code == 404 and "drop it again" in again.text


def test_a_list_that_would_be_refused_cannot_be_published(own):
    """A guard of `lists import` would be one click away from being put aside."""
    server = own()
    page = drop(server, "guarded\n")
    assert heading(page) == "The list would be refused" and "it would add too many" in page.text
    assert "staged" not in page.text and [*server.kept.iterdir()] == []


@pytest.mark.parametrize(
    ("first", "status", "said"),
    [
        ("bad", 422, "holds no valid number"),
        ("no register", 422, "register: it is none"),
        ("away", 503, "nothing was published: no broker answers"),
        ("dies", 503, "its process ended with 9"),
        ("fault", 503, "its process ended with 1"),
    ],
)
def test_what_goes_wrong_is_said_and_nothing_is_kept(own, first, status, said):
    """A list that kills its reader would take the answers to all diallers with it; or its numbers would be shown."""
    server = own(in_process=first in {"dies", "fault"})
    page = drop(server, f"{first}\n")
    assert page.status_code == status and said.lower() in page.text.lower()
    assert "612345678" not in page.text
    assert [*server.kept.iterdir()] == []
    assert server.client.get("/readyz").status_code == 200


def test_checks_go_on_while_a_list_is_read_and_a_second_one_waits(own):
    """Diallers would wait for a list; or two lists would take twice the memory."""
    server = own(in_process=True)
    answers = []

    def slowly():
        with httpx.Client(base_url=server.url, timeout=30, cookies=server.client.cookies) as client:
            files = {"list": ("l", "slow\n")}
            answers.append(
                client.post("/lists", data={"register": "tps"}, files=files, headers={"Origin": server.url})
            )

    thread = threading.Thread(target=slowly)
    thread.start()
    server.until(lambda: server.kept.exists() and any(server.kept.glob("*/said.json")))
    refused = drop(server)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "30"
    with pytest.raises(staged.Busy), staged.Staged(str(server.kept.parent)).alone():
        """Nor may another process of the server."""
    assert len([*server.kept.iterdir()]) == 1, "what had to wait is not kept"
    assert server.check({"number": "+33611111111"}).status_code == 200
    server.collector.counters.stopping = True
    thread.join(10)
    assert answers[0].status_code == 503 and "told to stop" in answers[0].text


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
    assert [*server.kept.iterdir()] == []
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
    assert [*server.kept.iterdir()] == []
    headers["Content-Type"] = "multipart/form-data; boundary=" + "x" * 300
    assert server.client.post("/lists", content=b"x", headers=headers).status_code == 422
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_lists_that_wait_are_bounded(own, monkeypatch):
    """Whoever drops lists again and again would fill the disk, with people's numbers."""
    server = own()
    for _ in range(3):
        page = drop(server)
    assert len([*server.kept.iterdir()]) == 1, "a list takes the place of the one before"
    assert publish(server, page).status_code == 200
    store = staged.Staged(str(server.kept.parent))
    for place in range(staged.STAGED_MAX):
        with store.taking(f"admin-{place}") as made:
            store.keep(made, f"admin-{place}", "l", {})
    full = drop(server)
    assert full.status_code == 429 and "8 lists wait" in full.text
    with store.taking("admin-0"):
        """One's own may be dropped anew."""


def test_without_tokens_no_list_is_imported(own):
    """Any program of this machine could empty a register: a person's browser, or whatever runs there."""
    server = own(http__tokens="")
    page = server.client.get("/").text
    assert "set <code>http.tokens</code>" in page and 'action="/lists"' not in page
    refused = drop(server)
    assert refused.status_code == 403 and "set http.tokens" in refused.text
    told = server.client.post("/lists/publish", data={"staged": "a"}, headers={"Origin": server.url})
    assert told.status_code == 403 and not server.kept.exists()


def kill_in_the_middle(state):
    """A list as a server leaves it that is killed in the middle of it."""
    store = staged.Staged(state)
    with store.taking("own") as made:
        (made / "list.txt").write_text("447400123456\n")
        store.keep(made, "own", "list.txt", {})
    store._ours.clear()
    old = time.time() - staged.STAGED_S - 1
    os.utime(made, (old, old))
    return made


@pytest.mark.parametrize("has_state_dir", [True, False])
def test_what_a_killed_server_left_is_deleted_by_the_next(serve, tmp_path, monkeypatch, has_state_dir):
    """People's numbers would lie on the server's disk until somebody drops another list, or for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(serving, "_MINUTE_S", 0.05)
    state = str(tmp_path) if has_state_dir else ""
    made = kill_in_the_middle(state)
    server = serve(make_lists(), worker__state_dir=state)
    assert not made.exists()
    made = kill_in_the_middle(state)
    server.until(lambda: not made.exists())


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    """Another user of the machine could make the folder first, and read people's numbers there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = staged.Staged("")
    (tmp_path / "theirs").mkdir()
    folder = tmp_path / f"stream-scrub-dropped-{os.geteuid()}"
    folder.symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError), store.taking("own"):
        """It is refused."""
    folder.unlink()
    folder.mkdir(mode=0o770)
    with store.taking("own"):
        assert folder.stat().st_mode & 0o077 == 0, "one's own is made one's own alone again"


def test_a_list_that_is_read_is_not_deleted(tmp_path):
    """A publication that takes long would fail in the middle, because its file is gone."""
    store = staged.Staged(str(tmp_path))
    with store.taking("own") as made:
        kept = store.keep(made, "own", "l", {})
    store.renew(kept.id, 1200)
    os.utime(made, (made.stat().st_mtime - 1000,) * 2)
    store.forget_old()
    assert store.find(kept.id, "own") is not None
    os.utime(made, (made.stat().st_mtime - 2000,) * 2)
    assert store.find(kept.id, "own") is None


def test_an_import_ends_with_a_server_that_is_killed(tmp_path):
    """A list would be published by nobody, whom nobody tells what became of it."""
    marks = [tmp_path / "began", tmp_path / "published"]
    parent = multiprocessing.get_context("spawn").Process(
        target=imports.serve_one, args=(str(tmp_path / "l"),)
    )
    (tmp_path / "l").write_text(f"marks {marks[0]} {marks[1]}\n")
    parent.start()
    until = time.monotonic() + 30
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


def test_what_was_left_is_deleted(own, monkeypatch):
    """People's numbers would lie on the server's disk for as long as nobody looks."""
    server = own()
    drop(server)
    assert len([*server.kept.iterdir()]) == 1
    monkeypatch.setattr(staged, "STAGED_S", -1.0)
    store = staged.Staged(str(server.kept.parent))
    store.forget_old()
    assert [*server.kept.iterdir()] == []


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("C:\\lists\\tps.csv", "tps.csv"),
        ("/etc/passwd", "passwd"),
        ("..", "list"),
        ("", "list"),
        ("a\x00b\n.zip", "a_b_.zip"),
        ("x" * 300 + ".zip", "x" * 96 + ".zip"),
    ],
)
def test_a_files_name_stays_in_its_folder(said, plain):
    """A file could be written wherever its sender wants."""
    assert forms.plain_name(said) == plain


@pytest.mark.parametrize(
    ("outcome", "says"), [("unavailable", "try it again"), ("ended", "look at the last deltas")]
)
def test_a_publication_that_is_in_doubt_is_said_to_be(own, monkeypatch, outcome, says):
    """Somebody would believe that a list is not in force, and it is."""
    server = own()
    page = drop(server)
    monkeypatch.setattr(importing, "run", lambda *_: importing.Import(outcome, "no broker answers"))
    told = publish(server, page)
    assert (
        told.status_code == 503
        and "It is not known whether it was published" in told.text
        and says in told.text
    )
