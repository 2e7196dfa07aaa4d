"""The status page: its first line is whether it is safe to dial, its actions do what the API does, and no other site can
act through it."""

import json
import re
from datetime import UTC, datetime

import httpx
import pytest

from stream_scrub.kafka.requests_writer import RequestPlace
from stream_scrub.model import RegisterKind
from stream_scrub.server import tokens
from stream_scrub.server.page import live, site
from stream_scrub.server.process import serving
from stream_scrub.wiring import clients
from tests.support.fakes.log import Log
from tests.support.running.server import Served, publish
from tests.unit.server.conftest import CONSENTING, OPPOSED, starting


def heading(answer: httpx.Response) -> str:
    return re.search(r"<h1[^>]*>([^<]*)</h1>", answer.text)[1]


def send(server: Served, path: str, **fields: str) -> httpx.Response:
    return server.client.post(path, data=fields, headers={"Origin": server.url})


def test_the_first_line_is_whether_it_is_safe(server, serve):
    """A supervisor would have to put it together from ten figures, while people are being called."""
    page = server.client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert heading(page) == "Safe to dial: yes"
    assert "GB" in re.search(r"Not everywhere: numbers of ([^<]*) come", page.text)[1]
    assert "consent" in page.text and "an opt-in law made for the tests" in page.text

    empty = serve(Log(), ready=False)
    empty.until(lambda: "holds no list yet" in empty.client.get("/").text)
    page = empty.client.get("/")
    assert heading(page) == "Safe to dial: no" and "What to do: import a list" in page.text


def test_a_number_is_checked_with_its_reasons(server):
    """Nobody could tell a person why they are called, or a dialler why they may not."""
    page = send(server, "/check", number="06 12 34 56 78")
    assert heading(page) == f"+{OPPOSED}: must not be called"
    assert "opposed" in page.text and "internal" in page.text
    assert "an opt-in law made for the tests" in page.text and "<li>" in page.text
    assert re.search(r"In internal since</th><td>[^<]* by list list", page.text), (
        "since when, and by which list"
    )
    assert heading(send(server, "/check", number="0611111111")) == f"+{CONSENTING}: may be called"
    assert "banned-purpose" in send(server, "/check", number="0611111111", purpose="energy-renovation").text
    assert heading(send(server, "/check", number="x")) == "No valid number: must not be called"
    assert send(server, "/check", region="FR").status_code == 200


def test_a_history_is_told(server):
    """A person who asks would get no answer without a shell on the server."""
    page = send(server, "/history", number="06 12 34 56 78")
    assert heading(page) == f"+{OPPOSED}" and "Now in: consent, internal." in page.text
    assert "never in a register" in send(server, "/history", number="0699999999").text
    assert send(server, "/history", number="x").status_code == 422


def test_an_opt_out_is_recorded_or_said_not_to_be(server, monkeypatch):
    """Somebody who said no to a supervisor would be called again."""
    taken = []

    class Writer:
        def send(self, key, value, told):
            taken.append((key, json.loads(value)))
            told(RequestPlace(0, 7))

        def close(self):
            pass

    monkeypatch.setattr(clients, "requests_writer", lambda *_: Writer())
    page = send(server, "/opt-out", number="06 11 11 11 11", scope="acme")
    assert heading(page) == "The opt-out is recorded" and "offset 7" in page.text
    ((key, said),) = taken
    assert key == f"+{CONSENTING}".encode()
    assert (said["request"], said["scope"], said["source"]) == ("opt-out", "acme", "page")
    assert send(server, "/opt-out", number="nobody").status_code == 422 and len(taken) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[1"},
        {"Origin": "http://", "Host": ""},
    ],
    ids=range(6),
)
@pytest.mark.parametrize("path", ["/check", "/history", "/opt-out", "/sign-in", "/sign-out"])
def test_no_other_site_can_act(server, path, headers):
    """A page that an operator visits could record opt-outs in their name, or look people up."""
    answer = server.client.post(path, data={"number": "0611111111", "token": "x"}, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_form_of_too_many_fields_is_refused(server):
    """Whoever finds the address could fill the log with faults of ours."""
    fields = {f"f{place}": "x" for place in range(30)}
    assert send(server, "/check", **fields).status_code == 413
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_the_page_is_safe_to_show(server):
    """A script from elsewhere could run in it, or another site show it in a frame and catch its clicks."""
    for answer in (server.client.get("/"), send(server, "/check", number="x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert re.findall(r"(?:src|href|action)=\"(?!/|#|data:)", answer.text) == []
        assert re.findall(r"\son\w+=|style=\"", answer.text) == []
    for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript")):
        file = server.client.get(f"/page/{name}")
        assert file.status_code == 200 and file.headers["content-type"].startswith(kind)
    assert server.client.get("/page/base.html.j2").status_code == 404
    assert server.client.get("/page/..%2fsite.py").status_code == 404


def test_what_others_named_is_shown_as_text(serve, lists):
    """A list's file name could run in a supervisor's browser."""
    server = serve(lists)
    hostile = "<script>alert(1)</script>\"'&"
    page = send(server, "/check", number=hostile, region=hostile, purpose=hostile, campaign=hostile)
    assert "<script>alert" not in page.text
    publish(lists, "internal@x", [CONSENTING], RegisterKind.DENY, name=hostile)
    server.until(lambda: "internal@x" in server.client.get("/").text)
    text = server.client.get("/").text
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_no_number_in_the_name_of_a_list_is_shown(serve, lists):
    """Whoever may look at the page would read the number of the person whose file a list was."""
    publish(lists, "internal@x", [CONSENTING], RegisterKind.DENY, name="0622222222 of Jane 2026-11-26.txt")
    server = serve(lists)
    server.until(lambda: "by list" in send(server, "/check", number=str(OPPOSED)).text)
    server.until(lambda: "Jane 2026-11-26" in server.client.get("/").text)
    texts = [server.client.get("/").text, server.client.get("/v1/registers").text]
    texts.append(send(server, "/history", number=f"+{CONSENTING}").text)
    texts.append(send(server, "/check", number=f"+{CONSENTING}", campaign="x").text)
    for text in texts:
        assert "0622222222" not in text and "[number] of Jane 2026-11-26.txt" in text


def test_a_trial_says_so(rules, monkeypatch, lists):
    """Somebody would take the verdicts of made-up lists for real ones, and call people by them."""
    real = serving.one
    monkeypatch.setattr(serving, "one", lambda *given: real(*given, trial=True))
    with starting(rules) as start:
        server = start(lists)
        for page in (server.client.get("/").text, send(server, "/check", number="0611111111").text):
            assert "A trial: its lists are made up" in page
        page = server.client.get("/").text
        assert "Import a list" not in page
        told = server.client.post("/lists/publish", data={"staged": "a"}, headers={"Origin": server.url})
        assert told.status_code == 403 and "trial" in told.text


def test_the_page_is_live(serve, lists, monkeypatch):
    """A supervisor would look at a state of an hour ago."""
    monkeypatch.setattr(live, "LIVE_EVERY_S", 0.05)
    monkeypatch.setattr(site, "VIEWERS_MAX", 1)
    server = serve(lists, rules__index_lag_max_s="0.3")
    with server.client.stream("GET", "/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = (json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: "))
        assert "Safe to dial: yes" in next(lines)
        assert httpx.get(f"{server.url}/events").status_code == 429
        server.reader.silent = True
        assert next(text for text in lines if "Safe to dial: no" in text)
    server.reader.silent = False
    server.until(lambda: server.check({"number": CONSENTING}).status_code == 200)


def test_a_viewer_does_not_keep_the_server_from_ending(serve, lists, monkeypatch):
    """Every restart would wait for whoever has the page open."""
    monkeypatch.setattr(live, "LIVE_EVERY_S", 0.05)
    server = serve(lists)
    with httpx.Client(base_url=server.url) as viewer, viewer.stream("GET", "/events") as events:
        lines = events.iter_lines()
        assert next(lines)
        server.collector.counters.stopping = True
        assert all(line is not None for line in lines), "it ends"


def test_a_revoked_token_ends_what_it_looks_at(serve, lists, tmp_path, monkeypatch):
    """Whoever was shut out would go on looking for as long as their page is open."""
    monkeypatch.setattr(live, "LIVE_EVERY_S", 0.05)
    file = tmp_path / "tokens.json"
    leaked = tokens.add(file, "leaked", ["check"], datetime.now(UTC)).token
    server = serve(lists, http__tokens=str(file))
    with (
        httpx.Client(base_url=server.url, cookies={"scrub_token": leaked}, timeout=5) as viewer,
        viewer.stream("GET", "/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines)
        tokens.revoke(file, "leaked")
        assert all(line is not None for line in lines), "it ends"


def test_with_tokens_one_signs_in(serve, lists, tmp_path):
    """Whoever finds the address could look people up; or a stolen cookie would do what its owner may not."""
    file = tmp_path / "tokens.json"
    dialler = tokens.add(file, "dialler", ["check"], datetime.now(UTC)).token
    server = serve(lists, http__tokens=str(file))
    page = server.client.get("/")
    assert page.status_code == 401 and heading(page) == "Sign in" and "consent" not in page.text
    assert server.client.get("/events").status_code == 401
    assert send(server, "/check", number="0611111111").status_code == 401
    assert "Nobody knows this token" in send(server, "/sign-in", token="scrub_x").text

    answer = send(server, "/sign-in", token=dialler)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    https = {"Origin": f"https://127.0.0.1:{server.port}"}
    assert (
        "secure"
        in server.client.post("/sign-in", data={"token": dialler}, headers=https)
        .headers["set-cookie"]
        .lower()
    )
    server.client.cookies.set("scrub_token", dialler)
    assert heading(server.client.get("/")) == "Safe to dial: yes"
    assert send(server, "/check", number="0611111111").status_code == 200
    assert send(server, "/history", number="0611111111").status_code == 403
    assert send(server, "/opt-out", number="0611111111").status_code == 403
    assert server.client.post("/v1/check", json={"number": CONSENTING}).status_code == 401, "no cookie there"
    assert 'scrub_token=""' in send(server, "/sign-out", x="1").headers["set-cookie"]
