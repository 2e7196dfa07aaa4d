"""Every page and every refusal that somebody who is no operator can meet, in each language."""

import html
import re
from datetime import UTC, datetime

import pytest

from stream_scrub.errors import Unavailable
from stream_scrub.kafka import clients
from stream_scrub.languages import LANGUAGES
from stream_scrub.serve import tokens
from tests.support.fakes.desk import Desk
from tests.support.running.server import Served
from tests.unit.serve.conftest import make_lists, starting

# Words that no other of the languages has.
ENGLISH = re.compile(
    r"\b(?:the|is|are|of|and|this|with|from|not|it|must|may|cannot|number|write|send|at most|day|added|wrong|read)\b",
    re.IGNORECASE,
)
# In English everywhere: the sentences of rules, what is for operators, programs' words, and the tests' own law.
KEPT = re.compile(
    r'<(small|code)\b[^>]*>.*?</\1>|<ul lang="en">.*?</ul>|<p>an opt-in law made for the tests</p>|`[^`]*`',
    re.DOTALL,
)
OPTED_OUT = {"number": "0612345678", "at": "2026-06-01", "channel": "letter", "said_by": "the person"}
CALLED = {"number": "0612345678", "from": "2026-06-01"}
GETS = (
    "/sign-in",
    "/check",
    "/opt-out",
    "/dossiers",
    "/chek",
    "/v1/check",
    "/lists",
    "/unread",
    "/dossiers/" + "0" * 32,
)
FORMS = {
    "blocked": ("/check", {"number": "0612345678", "history": "yes"}),
    "allowed": ("/check", {"number": "0611111111"}),
    "no number": ("/check", {"number": "x"}),
    "many fields": ("/check", {f"f{place}": "x" for place in range(30)}),
    "large": ("/check", {"number": "1" * 20_000}),
    "objection": ("/opt-out", OPTED_OUT),
    "objection in part": ("/opt-out", {**OPTED_OUT, "number": "0612345678, 12", "scope": "!"}),
    "objection of nobody": ("/opt-out", {**OPTED_OUT, "number": "12"}),
    "objection in the future": ("/opt-out", {**OPTED_OUT, "at": "2999-01-01"}),
    "objection on no day": ("/opt-out", {**OPTED_OUT, "at": "yesterday"}),
    "objection to a number": ("/opt-out", {**OPTED_OUT, "scope": "0612345678"}),
    "complaint without number": ("/dossiers", {**CALLED, "number": "12"}),
    "complaint on no day": ("/dossiers", {**CALLED, "from": "yesterday"}),
    "complaint of a last day": ("/dossiers", {"number": "0612345678", "to": "2026-06-01"}),
    "complaint backwards": ("/dossiers", {**CALLED, "to": "2026-05-01"}),
    "complaint of years": ("/dossiers", {**CALLED, "to": "2090-05-01"}),
    "complaint of 1200": ("/dossiers", {**CALLED, "from": "1200-05-01"}),
    "complaint nowhere": ("/dossiers", {**CALLED, "region": "Atlantis"}),
    "no language": ("/language", {"language": "xx"}),
    "wrong token": ("/sign-in", {"token": "scrub_x"}),
}


def texts(page: str) -> list[str]:
    """What a reader of a page sees, without what stays English."""
    page = KEPT.sub(" ", re.sub(r"<style.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL))
    page = re.sub(r'lang="(?:en|fr|de|it|es)"(?: selected)?>[^<]*</option>', ">", page)
    shown = re.sub(r"<option[^>]*>[^<]*</option>", " ", page)
    return [html.unescape(text).strip() for text in re.findall(r">([^<]+)<", shown) if text.strip()]


@pytest.fixture(scope="module")
def shown(rules, tmp_path_factory):
    """A server, and who may do all but an operator's work."""
    folder = tmp_path_factory.mktemp("tokens")
    scopes = ["check", "history", "request", "file", "evidence"]
    token = tokens.add(folder / "tokens.json", "user", scopes, datetime.now(UTC)).token
    with starting(rules) as start, pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.Brokers, "requests_writer", lambda *_: Desk())
        server = start(make_lists(), http__tokens=str(folder / "tokens.json"), worker__state_dir=str(folder))
        server.client.cookies.set("scrub_token", token)
        yield server


def english_in(
    server: Served, language: str, method: str, path: str, form: dict[str, str] | None = None
) -> list[str]:
    headers = {"Accept-Language": language, "Accept": "text/html", "Origin": server.url}
    page = server.client.request(method, path, data=form, headers=headers)
    assert page.status_code != 303, path
    assert f'<html lang="{language}">' in page.text, page.text[:300]
    return [text for text in texts(page.text) if ENGLISH.search(text)]


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_no_page_and_no_refusal_is_in_english(shown, language):
    """An officer or a marketer would read a refusal in a language that she does not know, and give up."""
    found = {path: english_in(shown, language, "GET", path) for path in GETS}
    found |= {name: english_in(shown, language, "POST", path, form) for name, (path, form) in FORMS.items()}
    english = {name: said for name, said in found.items() if said}
    assert english == {}, str(english)
    other = shown.client.post("/check", data={"number": "1"}, headers={"Accept-Language": language})
    assert other.status_code == 403 and [text for text in texts(other.text) if ENGLISH.search(text)] == []


def test_what_the_server_cannot_do_now_is_told_in_the_readers_language(serve, lists, monkeypatch):
    """A clerk would not know whether the objection counts, or whom to ask."""

    class Silent(Desk):
        def send(self, *_):
            raise Unavailable("no broker answers")

    monkeypatch.setattr(clients.Brokers, "requests_writer", lambda *_: Silent())
    server = serve(lists, rules__index_lag_max_s="0.3")
    assert english_in(server, "fr", "POST", "/opt-out", OPTED_OUT) == []
    server.reader.silent = True
    server.until(lambda: server.check({"number": "0612345678"}).status_code == 503)
    assert english_in(server, "fr", "POST", "/check", {"number": "0612345678"}) == []


def test_the_test_finds_english(shown):
    """A page that lost its translation would pass."""
    headers = {"Accept-Language": "en", "Accept": "text/html"}
    assert all(
        any(ENGLISH.search(text) for text in texts(shown.client.get(path, headers=headers).text))
        for path in ("/check", "/opt-out", "/dossiers", "/chek")
    )
