"""A list that is dropped on the page: shown first, published by a second click, and gone afterwards."""

import re
import threading
from datetime import UTC, datetime

import httpx
import pytest

from stream_scrub.server import tokens
from stream_scrub.server.page import forms, importing, staged
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

    def start(*, in_process=False, **settings):
        if not in_process:
            monkeypatch.setattr(importing, "run", here)
        (tmp_path / "state").mkdir(exist_ok=True)
        made = serve(make_lists(), worker__state_dir=str(tmp_path / "state"), **settings)
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
        with httpx.Client(base_url=server.url, timeout=30) as client:
            files = {"list": ("l", "slow\n")}
            answers.append(
                client.post("/lists", data={"register": "tps"}, files=files, headers={"Origin": server.url})
            )

    thread = threading.Thread(target=slowly)
    thread.start()
    server.until(lambda: server.kept.exists() and any(server.kept.glob("*/said.json")))
    assert drop(server).status_code == 429
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
