"""The status page: its first line is whether it is safe to dial, its actions do what the API does, and no other site can
act through it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import clients
from stream_scrub.serve import serving, tokens
from stream_scrub.serve.page import live_parts, navigation, routes
from tests.support.fakes.desk import Desk
from tests.support.fakes.log import Log
from tests.support.running.server import Served, publish
from tests.unit.serve.conftest import CONSENTING, OPPOSED, make_lists, starting

DESK = Desk()
SCOPES = {
    "admin": ["admin"],
    "officer": ["evidence"],
    "marketer": ["file"],
    "dialler": ["check"],
    "clerk": ["request"],
    "reader": ["history"],
    "engineer": ["check", "file"],
}


@pytest.fixture(scope="module")
def server(rules) -> Iterator[Served]:
    """A server without tokens, whose requests come to `DESK`."""
    with starting(rules) as start, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.Brokers, "requests_writer", lambda *_: DESK)
        patch.setattr(clients.Brokers, "last_refused", lambda *_: iter(DESK.refused))
        yield start(make_lists())


@pytest.fixture(scope="module")
def guarded(rules, tmp_path_factory) -> Iterator[Served]:
    """A server with a token for each task."""
    file = tmp_path_factory.mktemp("guarded") / "tokens.json"
    made = {name: tokens.add(file, name, scope, datetime.now(UTC)).token for name, scope in SCOPES.items()}
    with starting(rules) as start, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.Brokers, "last_refused", lambda *_: iter(()))
        server = start(make_lists(), http__tokens=str(file))
        server.tokens = made
        yield server


@pytest.fixture
def desk() -> Desk:
    """The publisher's half of the requests, to which none has come."""
    DESK.__init__()
    return DESK


def heading(answer: httpx.Response) -> str:
    return re.search(r"<h1[^>]*>([^<]*)</h1>", answer.text)[1]


def send(server: Served, path: str, **fields: str) -> httpx.Response:
    return server.client.post(path, data=fields, headers={"Origin": server.url})


def test_the_first_line_is_whether_it_is_safe(server, serve):
    """A supervisor would have to put it together from ten figures, while people are being called."""
    page = server.client.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert heading(page) == "Safe to dial: yes"
    assert "GB" in re.search(r"Except for numbers of ([^<:]*), which are blocked", page.text)[1]
    wrong = page.text.partition("What is wrong")[2].partition("</section>")[0]
    assert "<p>Nothing.</p>" in wrong, "countries that nobody calls are not wrong"
    assert re.search(r"Never imported: [^.]*\btps\b[^.]*\. To do: import the lists", wrong)
    assert page.text.index("What is wrong") < page.text.index("The stream") < page.text.index("Registers")
    assert "consent" in page.text and "an opt-in law made for the tests" in page.text

    empty = serve(Log(), ready=False)
    empty.until(lambda: "holds no list yet" in empty.client.get("/").text)
    page = empty.client.get("/")
    assert heading(page) == "Safe to dial: no" and "To do: import a list" in page.text


def test_a_number_is_checked_with_its_reasons(server):
    """Nobody could tell a person why they are called, or a dialler why they may not."""
    page = send(server, "/check", number="06 12 34 56 78")
    assert re.fullmatch(r"Blocked: opposed on \d+ \w+ \d{4} by the list list", heading(page))
    assert f"+{OPPOSED}" in page.text
    assert re.search(r"In internal since \d+ \w+ \d{4}, by the list list\.", page.text)
    assert "an opt-in law made for the tests" in page.text and "until" not in heading(page)
    decided = page.text.index("The rule that decided")
    assert decided < page.text.index("A number in internal is always blocked") < page.text.index("<details>")
    assert "Now in these registers: consent, internal." in page.text and 'value="06 12 34 56 78"' in page.text
    assert "never in a register" in send(server, "/check", number="0699999999", history="yes").text
    allowed = send(server, "/check", number="0611111111")
    assert re.fullmatch(r"May be called( until \w+ \d+ \w+ \d+)?", heading(allowed))
    assert "The person consented." in allowed.text and re.search(
        r"In consent since \d+ \w+ \d{4}, by the list", allowed.text
    )
    banned = send(server, "/check", number="0611111111", purpose="energy-renovation")
    assert heading(banned) == "Blocked: calls for this purpose are banned"
    invalid = send(server, "/check", number="x")
    assert (
        heading(invalid) == "Blocked: this is not a valid number (no-digits)"
        and "as +33612345678" in invalid.text
    )
    assert send(server, "/check", region="FR").status_code == 200


def test_a_form_stays_filled(server):
    """Whoever checks ten numbers of one campaign would type it ten times; and would have to know the words."""
    empty = server.client.get("/check").text
    assert '"US-FL"' not in empty, "a state is no region of numbers"
    assert '<option value="FR" selected>' in empty and "<option>insurance</option>" in empty
    asked = {"number": "06 11 11 11 11", "region": "GB", "purpose": "insurance", "campaign": "acme"}
    for page in (send(server, "/check", **asked), send(server, "/check", **asked, contract="true")):
        assert 'value="06 11 11 11 11"' in page.text and 'value="acme"' in page.text
        assert '<option value="GB" selected>' in page.text and "<option selected>insurance" in page.text
    assert " checked>" in page.text
    wrong = send(server, "/opt-out", number="12", region="FR")
    assert wrong.status_code == 422 and 'role="alert"' in wrong.text and 'value="12"' in wrong.text


def test_a_number_is_checked_after_its_opt_out(serve, lists):
    """Whoever looked up a person that had opted out got an internal error, from then on."""
    request = {
        "request": "opt-out",
        "number": f"+{CONSENTING}",
        "at": "2026-11-12T09:00:00Z",
        "source": "page",
    }
    publish(lists, "internal", [CONSENTING], name="opposition.requests", requests=[request])
    at = int(datetime(2026, 11, 12, 9, tzinfo=UTC).timestamp() * 1000)
    lists.records[:] = [each._replace(timestamp_ms=at) for each in lists.records]
    checked = send(serve(lists), "/check", number="0611111111")
    assert checked.status_code == 200
    assert heading(checked) == "Blocked: opposed on 12 November 2026 by an opt-out request"
    assert "In internal since 12 November 2026, by an opt-out request." in checked.text
    assert "Now in these registers: " in checked.text


def test_an_opt_out_is_recorded_or_said_not_to_be(server, desk):
    """Somebody who said no to a supervisor would be called again; or half of a couple, without a word."""
    page = send(server, "/opt-out", number="06 11 11 11 11")
    assert heading(page) == "The objection is recorded" and "opposition.requests/0/0" in page.text
    assert desk.opposed == [("internal", CONSENTING)]
    refused = send(server, "/opt-out", number="nobody")
    assert refused.status_code == 422 and "Number: no valid number: write it as" in refused.text
    half = send(server, "/opt-out", number="06 12 34 56 82, 06 12 34", scope="!", region="FR")
    assert "Some of the numbers could not be read" in half.text
    assert "(invalid-register), so it counts for every campaign." in half.text
    scoped = send(server, "/opt-out", number="06 12 34 56 83", scope="acme")
    assert heading(scoped) == "The objection is recorded"
    assert desk.opposed[1:] == [("internal", 33612345682), ("internal@acme", 33612345683)]


def test_an_unread_request_is_settled(server, desk):
    """Whoever said no in words that no program reads would be called until somebody reads a topic of Kafka."""
    desk.ask(b'{"request":"opt-out","number":"the <b>blue</b> house"}', b"crm-7")
    desk.ask(b"don't call me")
    page = server.client.get("/unread")
    assert page.text.index("don&#39;t call me") < page.text.index("the &lt;b&gt;blue&lt;/b&gt; house")
    assert "invalid-number" in page.text and "Key: crm-7" in page.text
    second, first = re.findall(r'name="settles" value="([^"]*)"', page.text)

    wrong = send(server, "/unread", settles=first, number="blue", region="GB")
    assert wrong.status_code == 422 and 'role="alert"' in wrong.text and wrong.text.count('value="blue"') == 1
    done = send(server, "/unread", settles=first, number="06 12 34 56 80, 06 12 34 56 81", region="FR")
    assert heading(done) == "The objection is recorded" and "could not be read" not in done.text
    assert desk.opposed == [("internal", 33612345680), ("internal", 33612345681)]
    assert json.loads(desk.refused[-1].value)["source"] == "page"
    left = server.client.get("/unread").text
    assert "blue" not in left and "call me" in left
    settled = send(server, "/unread", settles=second, none="yes")
    assert heading(settled) == "The request is settled: no opposition"
    assert "<p>None.</p>" in server.client.get("/unread").text
    assert send(server, "/unread", settles="x", none="yes").status_code == 422


def test_nothing_of_an_unread_request_is_missing_without_a_word(server, desk):
    """Somebody would settle a request that looks empty or whole, and leave people in the rest of it unprotected."""
    desk.ask(b"call nobody " * 200)
    page = server.client.get("/unread").text
    assert "352 more bytes are not shown" in page
    assert "From opposition.requests, partition and offset 0/0." in page
    desk.ask(b"x" * 200_000, headers=[("omitted", b"forged")], slim=True)
    page = server.client.get("/unread").text
    assert "200,000 more bytes are not shown" in page and "no content" not in page
    desk.ask(None, at_ms=2**62, headers=[("omitted", b"forged")])  # brokers keep any moment
    assert "no content" in server.client.get("/unread").text


def test_unread_requests_that_cannot_be_looked_up_are_not_none(server, monkeypatch):
    """An administrator would take a broker's silence for news that nobody waits."""

    def refuses(*_):
        raise Unavailable("reading opposition.refused: no broker answers")

    monkeypatch.setattr(clients.Brokers, "last_refused", refuses)
    page = server.client.get("/unread")
    assert page.status_code == 503 and "no broker answers" in page.text and "None." not in page.text


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
@pytest.mark.parametrize("path", ["/check", "/opt-out", "/unread", "/sign-in", "/sign-out"])
def test_no_other_site_can_act(server, path, headers):
    """A page that an operator visits could record opt-outs in their name, or look people up."""
    answer = server.client.post(path, data={"number": "0611111111", "token": "x"}, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_browser_that_is_lost_gets_a_page(server):
    """Somebody who mistypes an address would read JSON, without a way back."""
    browser = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    for path, status, title in (("/chek", 404, "Not found"), ("/v1/check", 405, "Method not allowed")):
        page = server.client.get(path, headers=browser)
        assert (page.status_code, heading(page)) == (status, title)
        assert '<a href="/">Back to: Status</a>' in page.text
        assert server.client.get(path).json()["title"] == title, "programs read JSON"


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
    assert server.client.get("/page/..%2froutes.py").status_code == 404


def test_what_others_named_is_shown_as_text_and_without_numbers(serve, lists):
    """A list's file name could run in a supervisor's browser, or show the number of the person whose file it was."""
    hostile = "<script>alert(1)</script>\"'&"
    publish(lists, "internal@x", [CONSENTING], name="0622222222 of Jane 2026-11-26.txt")
    publish(lists, "internal@y", [CONSENTING], name=hostile)
    server = serve(lists)
    server.until(lambda: "Jane 2026-11-26" in server.client.get("/").text)
    page = send(server, "/check", number=hostile, region=hostile, purpose=hostile, campaign=hostile)
    assert "<script>alert" not in page.text
    text = server.client.get("/").text
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    texts = [text, server.client.get("/v1/registers").text]
    texts.append(send(server, "/check", history="yes", number=f"+{CONSENTING}").text)
    texts.append(send(server, "/check", number=f"+{CONSENTING}", campaign="x").text)
    for text in texts:
        assert "0622222222" not in text and "[number] of Jane 2026-11-26.txt" in text


def test_a_trial_says_so(rules, monkeypatch, lists):
    """Somebody would take the verdicts of made-up lists for real ones, and call people by them."""
    real = serving.serve
    monkeypatch.setattr(serving, "serve", lambda _trial, process: real(True, process))
    with starting(rules) as start:
        server = start(lists)
        for page in (server.client.get("/").text, send(server, "/check", number="0611111111").text):
            assert "Trial: the lists are made up" in page
        page = server.client.get("/").text
        assert "Import a list" not in page and "Safe to dial" not in page
        told = server.client.post("/lists/publish", data={"pending": "a"}, headers={"Origin": server.url})
        assert told.status_code == 403 and "trial" in told.text


def test_the_page_is_live(serve, lists, monkeypatch):
    """A supervisor would look at a state of an hour ago."""
    monkeypatch.setattr(live_parts, "LIVE_EVERY_S", 0.05)
    monkeypatch.setattr(routes, "VIEWERS_MAX", 1)
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
    monkeypatch.setattr(live_parts, "LIVE_EVERY_S", 0.05)
    server = serve(lists)
    with httpx.Client(base_url=server.url) as viewer, viewer.stream("GET", "/events") as events:
        lines = events.iter_lines()
        assert next(lines)
        server.state.stopping = True
        assert all(line is not None for line in lines), "it ends"


def test_a_revoked_token_ends_what_it_looks_at(serve, lists, tmp_path, monkeypatch):
    """Whoever was shut out would go on looking for as long as their page is open."""
    monkeypatch.setattr(live_parts, "LIVE_EVERY_S", 0.05)
    file = tmp_path / "tokens.json"
    leaked = tokens.add(file, "leaked", ["admin"], datetime.now(UTC)).token
    server = serve(lists, http__tokens=str(file))
    with (
        httpx.Client(base_url=server.url, cookies={"scrub_token": leaked}, timeout=60) as viewer,
        viewer.stream("GET", "/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines)
        tokens.revoke(file, "leaked")
        assert all(line is not None for line in lines), "it ends"


def test_with_tokens_one_signs_in(guarded):
    """Whoever finds the address could look people up; or a stolen cookie would do what its owner may not."""
    server, dialler = guarded, guarded.tokens["dialler"]
    server.client.cookies.clear()
    page = server.client.get("/")
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in")
    page = server.client.get("/sign-in")
    assert page.status_code == 200 and heading(page) == "Sign in" and "consent" not in page.text
    assert server.client.get("/events").status_code == 401
    assert send(server, "/check", number="0611111111").status_code == 401
    assert "This token is not valid" in send(server, "/sign-in", token="scrub_x").text

    answer = send(server, "/sign-in", token=dialler)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "secure" not in cookie
    https = {"Origin": f"https://127.0.0.1:{server.port}"}
    answer = server.client.post("/sign-in", data={"token": dialler}, headers=https)
    assert "secure" in answer.headers["set-cookie"].lower()
    server.client.cookies.set("scrub_token", dialler)
    assert server.client.get("/events").status_code == 403, "the status is the operator's"
    checked = send(server, "/check", number="0611111111")
    assert checked.status_code == 200
    assert "Now in these registers: " not in checked.text, "the history has a scope"
    assert send(server, "/opt-out", number="0611111111").status_code == 403
    assert send(server, "/unread", settles="anId/0/0", none="yes").status_code == 403
    assert server.client.post("/v1/check", json={"number": CONSENTING}).status_code == 401, "no cookie there"
    assert 'scrub_token=""' in send(server, "/sign-out", x="1").headers["set-cookie"]


@pytest.mark.parametrize(
    ("user", "pages"),
    [
        ("admin", ["/", "/dossiers", "/files", "/check", "/opt-out", "/unread", "/lists", "/docs"]),
        ("officer", ["/dossiers", "/check", "/opt-out"]),
        ("marketer", ["/files"]),
        ("dialler", ["/check", "/docs"]),
        ("clerk", ["/opt-out"]),
        ("reader", ["/check"]),
        ("engineer", ["/files", "/check", "/docs"]),
    ],
)
def test_everybody_starts_with_their_own_task(guarded, user, pages):
    """A marketer would begin among the operator's figures, or follow a link that refuses her."""
    get = guarded.client.get
    guarded.client.cookies.clear()
    guarded.client.cookies.set("scrub_token", guarded.tokens[user])
    start = get("/", follow_redirects=True)
    assert start.status_code == 200 and start.url.path == pages[0]
    nav = re.search(r"<nav.*?</nav>", start.text)[0]
    assert re.findall(r'href="([^"]*)"', nav) == pages
    assert {get(path).status_code for path in pages} == {200}
    others = {page.path for page in navigation.PAGES} - {*pages, "/", "/docs"}
    assert {get(path).status_code for path in others} <= {403}
    lost = get("/chek", headers={"Accept": "text/html"})
    assert f'<a href="{pages[0]}">Back to: ' in lost.text


UNSAFE = [
    "//evil.example",
    "https://evil.example",
    "/\\evil.example",
    "/..//evil.example",
    "/a\n/b",
    "check",
    "/sign-out",
    "/sign-in",
    "/dossiers/a/state",
    "/check?x=1",
    "javascript:alert(1)",
]


def test_signing_in_leads_back_to_where_one_came_from(guarded):
    """An officer who opens the link to an answer would have to find it again; or a link would lead elsewhere."""
    server, token = guarded, guarded.tokens["officer"]
    server.client.cookies.clear()
    wanted = "/dossiers/0123456789abcdef0123456789abcdef/dossier.html"
    led = server.client.get(wanted)
    assert led.headers["location"] == f"/sign-in?to={wanted}"
    form = server.client.get(led.headers["location"]).text
    assert form.count(f'name="to" value="{wanted}"') == 2, "also of the choice of a language"
    wrong = send(server, "/sign-in", token="scrub_x", to=wanted)
    assert wrong.status_code == 401 and f'name="to" value="{wanted}"' in wrong.text
    assert send(server, "/sign-in", token=token, to=wanted).headers["location"] == wanted
    for unsafe in UNSAFE:
        assert send(server, "/sign-in", token=token, to=unsafe).headers["location"] == "/", unsafe
    revoked = {"Origin": server.url, "Cookie": "scrub_token=scrub_revoked"}
    ended = server.client.post("/check", data={"number": "1"}, headers=revoked)
    assert ended.status_code == 401 and 'name="to" value="/check"' in ended.text
    assert "Your sign-in has ended." in ended.text and "Your sign-in has ended." not in form


def test_the_pages_speak_the_languages_of_their_readers(serve, lists):
    """An officer who reads no English could not record an objection, or would not know why it is refused."""
    server, title = serve(lists), "Enregistrer une opposition"
    english, origin = {"Accept-Language": "en-GB"}, {"Origin": f"http://127.0.0.1:{server.port}"}
    page = server.client.get("/opt-out", headers={"Accept-Language": "pt, fr-CH;q=0.8, en;q=0.5"}).text
    assert '<html lang="fr">' in page and title in page and "Record an objection" not in page
    assert '<html lang="en">' in server.client.get("/opt-out", headers=english).text

    chosen = server.client.post("/language", data={"language": "fr", "to": "/opt-out"}, headers=origin)
    assert (chosen.status_code, chosen.headers["location"]) == (303, "/opt-out")
    assert title in server.client.get("/opt-out", headers=english).text, "the choice is kept"
    assert server.client.post("/language", data={"language": "xx"}, headers=origin).status_code == 422
    unsafe = {"language": "fr", "to": "//evil.example"}
    assert server.client.post("/language", data=unsafe, headers=origin).headers["location"] == "/"
