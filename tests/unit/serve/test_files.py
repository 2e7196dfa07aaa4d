"""A file of leads on the server's page: uploaded, scrubbed in a process of its own, downloaded, and gone."""

import contextlib
import gzip
import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
import xlsxwriter

from stream_scrub.config import Settings
from stream_scrub.files.report import notes
from stream_scrub.imports.formats import BadList
from stream_scrub.imports.index_sources import IndexUsed
from stream_scrub.index.hashing import Hashing
from stream_scrub.languages import LANGUAGES, catalogue, read_in
from stream_scrub.rules.purposes import purposes_in, shipped
from stream_scrub.serve import tokens, uploads
from stream_scrub.serve.bodies import Kind, Problem
from stream_scrub.serve.files import jobs as kept
from stream_scrub.serve.files import process
from stream_scrub.serve.files.own_lists import OwnList, picked, with_list
from stream_scrub.serve.files.process import State
from stream_scrub.serve.files.words import PURPOSES
from stream_scrub.serve.guard import COOKIE
from stream_scrub.texts import plain
from tests.kafka.broker import free_ports
from tests.support.fakes import law
from tests.support.running import forked
from tests.support.running.server import publish
from tests.support.running.worker import SCRIPT, wait_until
from tests.unit.serve.conftest import CONSENTING, NOBODY, OPPOSED, make_lists, starting

pytestmark = pytest.mark.process
LEADS = f"name;phone\nAnn;+{OPPOSED}\nBob;+{CONSENTING}\nCid;+{NOBODY}\n"


def here(settings, usable, options, lists, seen, _why_end):
    """As `process.run`, without the seconds that a process costs."""
    progress = lambda *_: seen(State("working"))
    return process._outcome(settings, usable(), options, lists, progress, process.MEMORY_BYTES_MAX)


def look_here(settings, options, _why_end):
    return process.looked(settings, options, process.MEMORY_BYTES_MAX)


def begun(start, folder, log, **settings):
    """A server, and somebody who may scrub files there."""
    state, file = folder / "state", folder / "tokens.json"
    state.mkdir()
    scopes = {"marketer": "file", "other": "file", "dialler": "check"}
    made = {name: tokens.add(file, name, [scope], datetime.now(UTC)).token for name, scope in scopes.items()}
    server = start(log, worker__state_dir=str(state), http__tokens=str(file), **settings)
    server.folder, server.tokens = state / "leads", made
    sign_in(server, "marketer")
    return server


@pytest.fixture(scope="module", autouse=True)
def sweeping():
    """Old files are looked for all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "_SWEEP_S", 0.1)
        yield


@pytest.fixture
def own(serve, tmp_path, monkeypatch):
    """A server of the test's own."""

    def start(*, in_process=False, log=None, **settings):
        if not in_process:
            monkeypatch.setattr(process, "run", here)
            monkeypatch.setattr(process, "look", look_here)
        return begun(serve, tmp_path, log or make_lists(), **settings)

    return start


@pytest.fixture(scope="module")
def shared(rules, tmp_path_factory):
    """A server whose lists no test changes."""
    with starting(rules) as start:
        yield begun(start, tmp_path_factory.mktemp("shared"), make_lists())


@pytest.fixture
def server(shared, monkeypatch):
    """The shared server, without files of others."""
    monkeypatch.setattr(process, "run", here)
    monkeypatch.setattr(process, "look", look_here)
    sign_in(shared, "marketer")
    yield shared
    shared.client.headers.pop("Accept-Language", None)
    for name in ("other", "marketer"):
        sign_in(shared, name)
        for each in held(shared):
            post(shared, f"/files/{each}/delete")


def sign_in(server, name):
    server.client.cookies.set(COOKIE, server.tokens[name])


def upload(server, content=LEADS, name="leads.csv", origin=None):
    return server.client.post(
        "/files", files={"file": (name, content)}, headers={"Origin": origin or server.url}
    )


def scrub(server, path, files=None, origin=None, **fields):
    """Send the form of an uploaded file; `files` has the own lists, by their fields."""
    parts = {name: (None, value) for name, value in fields.items()} | (files or {})
    return server.client.post(
        f"{path}/scrub", files=parts or {"x": (None, "")}, headers={"Origin": origin or server.url}
    )


def send(server, content=LEADS, name="leads.csv", **fields):
    """Upload a file, and scrub it."""
    answer = upload(server, content, name)
    if answer.status_code != 303:
        return answer
    path = answer.headers["location"]
    server.until(lambda: stage(server, path) not in {"receiving", "waiting", "working"}, 60)
    return scrub(server, path, **fields) if stage(server, path) == "unclear" else answer


def post(server, path, origin=None, **fields):
    return server.client.post(path, data=fields, headers={"Origin": origin or server.url})


def stage(server, path):
    return server.client.get(f"{path}/state").json()["stage"]


def finished(server, answer):
    """The page of the job, when its file is scrubbed."""
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    server.until(lambda: stage(server, path) not in {"receiving", "waiting", "working"}, 60)
    return path, server.client.get(path).text


def is_blocked(server, number):
    answer = server.check({"number": f"+{number}"}, Authorization=f"Bearer {server.tokens['dialler']}")
    return answer.json()["verdict"] == "blocked"


def go_on(page):
    """The field that leaves out the lines that the page asks about."""
    return dict(re.findall(r'name="(go_on-[a-z_-]+)" value="([^"]+)"', page))


def shown(page):
    """The hidden fields of the page's form."""
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))


def held(server):
    folders = server.folder.iterdir() if server.folder.exists() else ()
    return [each.name for each in folders if len(each.name) == 32]


def test_a_file_comes_back_with_its_report_and_proof(own):
    """A marketer without a terminal could not find out whom she may call."""
    server = own(in_process=True)
    path, page = finished(server, send(server, purpose="insurance", name=f"{NOBODY}.csv"))
    assert "1 of 3 leads in" in page
    get = server.client.get
    allowed = get(f"{path}/allowed.csv")
    assert allowed.headers["content-disposition"] == 'attachment; filename="allowed.csv"'
    assert "Bob;" in allowed.text and "Ann;" not in allowed.text
    assert "Ann;" in get(f"{path}/blocked.csv").text
    report = get(f"{path}/report.html")
    assert 'href="allowed.csv"' in report.text and "script" not in report.headers["content-security-policy"]
    proof = get(f"{path}/proof.json")
    assert proof.json()["format"] == 1
    assert proof.json()["made_by"]["token"] == "marketer"
    assert get(f"{path}/summary.json").json()["source"] == "log"
    for name in ("job.json", "..%2fjob.json", "state.json", "secret.csv", "allowed.xlsx"):
        assert get(f"{path}/{name}").status_code == 404
    (folder,) = (server.folder / name for name in held(server))
    assert {each.stat().st_mode & 0o077 for each in (server.folder, folder, *folder.rglob("*/"))} == {0}
    (line,) = [line for line in server.lines() if line["event"] == "file scrubbed on the page"]
    assert (line["by"], line["rows"], line["allowed"]) == ("marketer", 3, 1) and ".csv" not in str(line)

    ledger = (server.folder.parent / "scrubbed-files.jsonl").read_text()
    (line,) = map(msgspec.json.decode, ledger.splitlines())
    assert (line["by"], line["purpose"], line["rows"], line["allowed"]) == ("marketer", "insurance", 3, 1)
    assert line["proof"] == hashlib.sha256(proof.content).hexdigest()
    assert not any(str(number)[2:] in ledger for number in (OPPOSED, CONSENTING, NOBODY))

    assert "Earlier scrubs" not in get("/files").text
    assert post(server, f"{path}/delete").headers["location"] == "/files"
    assert get(path).status_code == 404 and held(server) == []
    page = get("/files").text
    assert "Earlier scrubs" in page and "insurance" in page and str(NOBODY) not in page
    sign_in(server, "other")
    assert "Earlier scrubs" not in get("/files").text


def test_her_own_lists_count_for_this_scrub_alone(server):
    """She would call people who told her not to, or need the operator for every list of consents."""
    lists = {
        "opt_outs": ("opt-outs.txt", f"+{CONSENTING}\n"),
        "consents": ("consents.csv", f"phone,consented_on\n+{NOBODY},2026-11-01\n+{OPPOSED},2026-11-01\n"),
    }
    path, page = finished(server, send(server, purpose="insurance"))
    _, page = finished(server, scrub(server, path, lists, purpose="insurance"))
    assert "A consent is given to one campaign" in page
    _, page = finished(server, scrub(server, path, purpose="insurance", campaign="acme"))
    assert "1 of 3 leads" in page and "opt-outs.txt (opt-outs)" in page
    allowed = server.client.get(f"{path}/allowed.csv").text
    assert "Cid;" in allowed and "Bob;" not in allowed and "Ann;" not in allowed
    proof = server.client.get(f"{path}/proof.json").json()
    listed = {each["register"]: each["list"] for each in proof["registers"] if each["list"]}
    digest = hashlib.sha256(lists["opt_outs"][1].encode()).hexdigest()
    assert {*listed} == {"internal", "consent@acme"} and listed["internal"]["sha256"] == digest
    out = {"without-opt_outs": "1", "without-consents": "1"}
    _, page = finished(server, scrub(server, path, purpose="insurance", campaign="acme", **out))
    assert "Bob;" in server.client.get(f"{path}/allowed.csv").text and "opt-outs.txt" not in page
    assert "Bob;" in server.client.get(f"{finished(server, send(server))[0]}/allowed.csv").text


def test_numbers_in_a_pasted_mail_are_shown_before_they_count(server):
    """A reference number in the mail would pass for a person, or one who opted out would be missed."""
    mail = "Bonjour,\nmerci de retirer le 06 11 11 11 11 et 06.22.22.22.22.\nDossier 123456789012\n"
    path, page = finished(server, send(server, pasted=mail))
    assert "numbers in your text: 2." in page and "not a phone number: 3." in page
    assert f"+{CONSENTING}\n+{NOBODY}</textarea>" in page
    _, page = finished(server, scrub(server, path, pasted=f"+{CONSENTING}\r\n+{NOBODY}"))
    assert "0 of 3 leads" in page


@pytest.mark.parametrize(
    ("mail", "region", "lines"),
    [
        ("Mine is 06 11 1\n1 11 11.", "US", [1, 2]),
        ("Or call 1-800-FLOWERS", "US", [1]),
        ("Hi\n> 1234", "US", []),
        ("Thanks.\nMine is 06\u201333\u201333\u201333\u201333.", "FR", [2]),
        ("Thanks.\nMine is 06*33*33*33*33.", "FR", [2]),
    ],
)
def test_digits_that_may_be_a_number_are_asked_about(mail, region, lines):
    """A person's opt-out would be left out without a word, because the mail writes the number in an odd way."""
    assert picked(mail, region).unclear_lines == lines


def test_a_line_of_a_list_without_a_number_is_asked_about(server):
    """A person who opted out would be lost in a typo, without a word."""
    lines = [f"+336333333{place:02}" for place in range(20)]
    lines[6] = "+3363333"
    path, page = finished(server, send(server))
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", "\n".join(lines))}))
    assert "1 of 20 lines have no valid number (line 7)" in page and "Go on without" in page
    _, page = finished(server, scrub(server, path, **go_on(page)))
    assert "1 of 3 leads" in page
    assert "1 of 3 leads" in finished(server, scrub(server, path))[1], "the same lines are asked about once"
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", "\n".join(["+3361", *lines]))}))
    assert "2 of 21 lines have no valid number (line 1, 8)" in page


def test_each_list_asks_for_its_own_lines(server):
    """A click about her consents would drop a person from her opt-outs, whose line she has never seen."""
    lists = {
        "consents": ("yes.txt", f"+{CONSENTING}\n+3361\n"),
        "opt_outs": ("out.txt", f"+{NOBODY}\n+33 6 11 11 11\n"),
    }
    path, _ = finished(server, send(server, campaign="acme"))
    _, page = finished(server, scrub(server, path, lists, campaign="acme"))
    assert "yes.txt: 1 of 2 lines" in page
    _, page = finished(server, scrub(server, path, campaign="acme", **go_on(page)))
    assert "out.txt: 1 of 2 lines" in page
    _, page = finished(server, scrub(server, path, campaign="acme", **go_on(page)))
    assert "1 of 3 leads" in page


def test_a_click_is_good_for_the_list_that_it_was_about(server):
    """A mistyped opt-out of her next list would be dropped unseen, and its person called, because of a click for the first."""
    mistyped = f"+33 6 11 11 11 1l\n+{NOBODY}\n"
    path, _ = finished(server, send(server))
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", f"n/a\n+{NOBODY}\n")}))
    click = go_on(page)
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", mistyped)}, **click))
    assert "1 of 2 lines have no valid number (line 1)" in page
    _, page = finished(server, scrub(server, path, {"opt_outs": ("x --max-bad 1.txt", mistyped)}))
    assert "1 of 2 lines" in page and click != go_on(page)
    _, page = finished(server, scrub(server, path, **go_on(page)))
    assert "1 of 3 leads" in page


def test_no_other_country_drops_a_line_of_a_long_list_unseen(server):
    """Twenty lines are shown: a person on a later line would be dropped by a wrong country, in the same words."""
    lines = "".join(f"{word}\n" for word in ["n/a"] * 30 + ["07400 123456", "06 11 11 11 11"])
    path, _ = finished(server, send(server))
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", lines)}, region="FR"))
    _, page = finished(server, scrub(server, path, region="FR", **go_on(page)))
    assert "0 of 3 leads" in page
    _, page = finished(server, scrub(server, path, region="GB"))
    assert "30 of 31 lines have no valid number" in page and go_on(page)


def test_fields_that_no_form_has_are_not_kept(server):
    """The server's disk would fill with what somebody invents."""
    path, _ = finished(server, send(server))
    finished(server, scrub(server, path, {"opt_outs": ("out.txt", "n/a\n+33\n")}))
    finished(server, scrub(server, path, **{f"go_on-x{count}": "y" * 900 for count in range(90)}))
    (job,) = server.folder.parent.rglob("job.json")
    assert job.stat().st_size < 2_000


def test_consents_count_only_by_the_columns_that_she_names(server, tmp_path):
    """People who said no would count as consenting, because a list of names looks like one of consents."""
    rows = [["Tel", "Marketing"], [f"+{NOBODY}", "yes"], [f"+{CONSENTING}", "no"]]
    with xlsxwriter.Workbook(tmp_path / "crm.xlsx") as book:
        sheet = book.add_worksheet()
        for place, row in enumerate(rows):
            sheet.write_row(place, 0, row)
    workbook = ("crm.xlsx", (tmp_path / "crm.xlsx").read_bytes())
    path, _ = finished(server, send(server, campaign="acme"))
    assert "Bob;" in server.client.get(f"{path}/allowed.csv").text
    _, page = finished(server, scrub(server, path, {"consents": workbook}, campaign="acme"))
    assert "Say which columns of crm.xlsx state the consents" in page and f"<td>+{NOBODY}</td>" in page
    twice = shown(page) | {"consents-1": "phone", "consents-2": "phone"}
    _, page = finished(server, scrub(server, path, campaign="acme", **twice))
    assert "two columns of the consents hold the same" in page.lower()
    named = shown(page) | {"consents-1": "phone", "consents-2": "consent"}
    _, page = finished(server, scrub(server, path, campaign="acme", **named))
    allowed = server.client.get(f"{path}/allowed.csv").text
    assert "Cid;" in allowed and "Bob;" not in allowed and "1 of 3 leads" in page


def test_a_form_that_shows_an_earlier_list_names_no_columns_of_this_one(server):
    """A yes to a newsletter would count as one to calls, because she went back to a form of the list before, or sent two
    lists of which the second was empty."""
    first, second = (
        f"Tel;Calls\n+{NOBODY};yes\n+{CONSENTING};yes\n",
        f"Tel;Newsletter;Calls\n+{NOBODY};yes;no\n+{CONSENTING};yes;yes\n",
    )
    for files, status in (({}, 303), ({"list-bloctel": ("bloctel.csv", "")}, 422)):
        path, _ = finished(server, send(server, campaign="acme"))
        _, page = finished(server, scrub(server, path, {"consents": ("a.csv", first)}, campaign="acme"))
        named = shown(page) | {"consents-1": "phone", "consents-2": "consent"}
        _, page = finished(server, scrub(server, path, campaign="acme", **named))
        assert "2 of 3 leads" in page
        form = shown(page)
        answer = scrub(server, path, {"consents": ("b.csv", second), **files}, campaign="acme", **form)
        assert answer.status_code == status
        finished(server, httpx.Response(303, headers={"location": path}))
        for again in (form, {"again": "1"}, shown(server.client.get(path).text)):
            _, page = finished(server, scrub(server, path, campaign="acme", **again))
            assert "Say which columns of b.csv state the consents" in page


DAY, TPS, DNC = "2026-11-24", "+442079460000\n", "+12125550100\n"
HASHED = Hashing("sha256", "+", "", "")
UNCLEAR = [
    ("internal", "out.csv", "a;b\n+33655555555;+33611111111\n", [], "Keep one of them in the list"),
    ("tps", "tps.txt", TPS, [], "Put its date into the file"),
    ("tps", "tps-2030-01-01.txt", TPS, [], "Put its date into the file"),
    ("tps", f"tps-{DAY}.txt", "", [], "list is empty"),
    ("tps", f"tps-{DAY}.zip", "PK\3\4" + "\0" * 100, [], "damaged, or locked by a password"),
    (
        "tps",
        f"tps-{DAY}.txt",
        TPS,
        [law.register("tps", [7], days_old=-9_000)],
        "the server has a newer list",
    ),
    ("tps", f"tps-{DAY}.txt", TPS, [law.register("tps", [7, 8], days_old=40)], "yours lacks: 2 of 2. Upload"),
    ("us-dnc", f"us-dnc-{DAY}.txt", DNC, [], "sold by area"),
    ("us-dnc", f"us-dnc-{DAY}.txt", DNC, [law.register("us-dnc", [12125550100], days_old=9)], "sold by area"),
]
for hashed in ("internal", "tps", "consent@acme"):
    before = replace(law.register(hashed, [7], days_old=9_000), hashed=HASHED)
    UNCLEAR.append((hashed, f"tps-{DAY}.txt", TPS, [before], "does not state its numbers, so yours cannot"))


@pytest.mark.parametrize(("register", "name", "content", "before", "said"), UNCLEAR)
def test_an_own_list_that_cannot_count_as_it_is_is_told(tmp_path, register, name, content, before, said):
    """People who opposed would be missing from the scrub, or she be sent to a terminal to mend her list."""
    path = tmp_path / name
    path.write_text(content)
    used = IndexUsed(law.index(*before), "log")
    with read_in("en", UTC, on_page=True), pytest.raises(BadList) as error:
        with_list(used, OwnList("own", path, register), "GB", Settings())
    text = error.value.shown
    assert said in text and "--" not in text and "`" not in text


def test_a_missing_list_has_its_public_name_and_is_taken_from_her(server):
    """She would read of `tps`, and of nothing that she could do."""
    leads = "phone\n+442079460000\n+442079460001\n"
    path, page = finished(server, send(server, leads))
    assert (
        "0 of 2 leads" in page
        and "2 leads need this list: Telephone Preference Service. The server does not have it." in page
    )
    assert "tpsonline.org.uk" in page
    today = datetime.now(UTC).date()
    listed = {"list-tps": (f"tps-{today}.txt", "+442079460000\n")}
    _, page = finished(server, scrub(server, path, listed))
    assert "1 of 2 leads" in page and "+442079460001" in server.client.get(f"{path}/allowed.csv").text


def test_a_list_of_hers_takes_nobody_from_the_servers(own):
    """A list that lost half of its lines on the way would have opposed people called."""
    server = own()
    numbers = [442079460100 + place for place in range(20)]
    publish(server.log, "tps", [442079460001, *numbers], days_old=2)
    path, page = finished(server, send(server, "phone\n+442079460000\n+442079460001\n+442079460002\n"))
    assert "2 of 3 leads" in page
    name, lines = f"tps-{datetime.now(UTC).date()}.txt", "".join(f"+{number}\n" for number in numbers)
    _, page = finished(server, scrub(server, path, {"list-tps": (name, f"+442079460000\n{lines}")}))
    assert "1 of 3 leads" in page and "+442079460002" in server.client.get(f"{path}/allowed.csv").text


def test_the_columns_below_title_rows_are_shown_with_their_rows(server):
    """She would choose by the words of a letterhead, or scrub the wrong sheet."""
    leads = f"Export of today;;\n\nName;Phone;Country\nAnn;0612345678;FR\nBob;0{CONSENTING - 33 * 10**9};FR\n"
    answer = upload(server, leads)
    path, page = finished(server, answer)
    assert '<label for="column-2">Phone</label>' in page and "<td>0612345678</td>" in page
    assert page.count('<option value="phone" selected>') == 1
    assert page.count('<option value="region" selected>') == 1
    chosen = {"column-1": "none", "column-2": "phone", "column-3": "region", "titles": "2"}
    _, page = finished(server, scrub(server, path, **chosen))
    assert "1 of 2 leads" in page
    doubled = {"column-1": "region", "column-2": "phone", "column-3": "region"}
    _, page = finished(server, scrub(server, path, **doubled))
    assert "these columns hold the same".capitalize() in page


def test_no_result_is_released_that_the_ledger_lacks(own):
    """Leads would be called that no dossier knows of, because the disk was full for a moment."""
    server = own()
    (server.folder.parent / "scrubbed-files.jsonl").mkdir()
    path, page = finished(server, send(server, purpose="insurance"))
    assert "ledger of scrubbed files" in page
    assert server.client.get(f"{path}/allowed.csv").status_code == 404


def test_what_is_not_clear_is_chosen_on_the_page(server):
    """She would read of options that only a terminal has, and be stuck."""
    leads = f"first;second\n+{OPPOSED};+{CONSENTING}\n+{NOBODY};+{CONSENTING}\n"
    path, page = finished(server, send(server, leads))
    assert "not clear which columns" in page
    assert "choose them below" in page and "--column" not in page
    assert page.count("(please check)") == 2
    server.client.headers["Accept-Language"] = "fr"
    again = scrub(server, path, **{"column-2": "phone", "region": "FR"})
    _, page = finished(server, again)
    assert "2 contacts sur 2 dans leads.csv peuvent être appelés" in page
    assert '<html lang="fr">' in server.client.get(f"{path}/report.html").text


def test_odd_choices_are_told(server):
    """A form that somebody made up would end in a fault of ours, or record consents to any caller."""
    odd = {"sheet": "a\0b", "titles": "\u00b2" + "9" * 5000, "column-999": "1", "language": "xx", "job": "x"}
    path, page = finished(server, send(server, region="QQ", language="fr"))
    for name, value in odd.items():
        path, page = finished(server, scrub(server, path, **{"region": "QQ", name: value}))
        assert "“Country of numbers without a country code” is not known" in page and "--region" not in page
    assert not [line for line in server.lines() if line["level"] == "error"]
    _, page = finished(server, scrub(server, path, region="FR"))
    assert "1 of 3 leads" in page
    for register in ("internal", "consent"):
        answer = scrub(server, path, {f"list-{register}": ("yes.txt", f"+{NOBODY}\n")})
        assert answer.status_code == 422 and "1 of 3 leads" in server.client.get(path).text


def test_a_file_in_which_many_rows_have_no_number_needs_a_click(server):
    """She would need a terminal, because one column of hers is half empty."""
    path, page = finished(server, send(server, f"phone\n+{CONSENTING}\nx\ny\n"))
    assert "without a readable number: 2 of 3, the first on line 3" in page and "--max-bad" not in page
    _, page = finished(server, scrub(server, path, bad="1"))
    assert "1 of 3 leads" in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_on_the_page_is_for_its_reader(language):
    """She would choose one purpose from the list, and the file be scrubbed for another; or be sent to a terminal."""
    assert PURPOSES.keys() == purposes_in(shipped()).keys()
    words = [plain(catalogue(language).gettext(word)) for word in PURPOSES.values()]
    assert len({*words}) == len(words)
    names = (
        "said",
        "lists",
        "campaign",
        "list",
        "places",
        "word",
        "purposes",
        "countries",
        "taken",
        "others",
    )
    values = {"rows": 3, "day": date.max, "listed": date.max, **dict.fromkeys(names, "energy")}
    with read_in(language, UTC, on_page=True):
        told = [notes.Note(text, values).said() for text in notes.TEXTS]
    assert not [text for text in told if "--" in text or "`" in text]


HOSTILE = [
    ("one-line.csv.gz", gzip.compress(b"0" * 20_000_000, 1), "No column holds numbers"),
    ("rows.csv.gz", gzip.compress(b"phone\n" + b"+33611111111\n" * 1_000_000, 1), "take too much room"),
    ("empty.csv", b"", "File: it is empty"),
    ("leads.zip", b"PK\x03\x04" + b"\0" * 100, "locked by a password"),
    ("noise.csv", bytes(range(256)) * 100, ""),
]


def test_a_hostile_file_harms_itself_alone(own, monkeypatch):
    """One stranger's file could take the server's memory or disk, and with it the answers to all diallers."""
    monkeypatch.setattr(kept, "TOKEN_BYTES_MAX", 5_000_000)
    server = own(in_process=True)
    for name, content, said in HOSTILE:
        answer = send(server, content, name)
        page = answer.text
        if answer.status_code == 303:
            path, page = finished(server, answer)
            assert "may be called" not in page
            post(server, f"{path}/delete")
        assert said in page, page
        assert server.client.get("/readyz").status_code == 200
    server.until(lambda: held(server) == [])
    _, page = finished(server, send(server))
    assert "1 of 3 leads" in page


def test_one_tenant_never_sees_anothers(server):
    """A competitor could read somebody's leads, or delete them."""
    path, _ = finished(server, send(server))
    for name, status in (("other", 404), ("dialler", 403)):
        sign_in(server, name)
        for each in ("", "/state", "/report.html", "/allowed.csv", "/proof.json"):
            assert server.client.get(path + each).status_code == status, each
        assert post(server, f"{path}/delete").status_code == status
        assert scrub(server, path, region="FR").status_code == status
        assert path not in server.client.get("/files").text
    server.client.cookies.clear()
    assert server.client.get(path).headers["location"] == f"/sign-in?to={path}"
    assert upload(server).status_code == 401
    sign_in(server, "marketer")
    assert path in server.client.get("/files").text
    assert upload(server, origin="https://evil.example").status_code == 403
    for action in ("delete", "scrub"):
        assert post(server, f"{path}/{action}", origin="null", region="FR").status_code == 403
    assert server.client.get(f"{path}/allowed.csv").status_code == 200


def test_a_cancelled_file_is_scrubbed_no_more(own):
    """A wrong file of a million rows would keep the next one waiting."""
    server = own(in_process=True)
    rows = gzip.compress(b"phone\n" + b"+33611111111\n" * 2_000_000, 1)
    path = send(server, rows, "leads.csv.gz").headers["location"]
    second = upload(server)
    assert second.status_code == 429 and "wait for it, or cancel it" in second.text
    server.until(lambda: stage(server, path) == "working", 30)
    post(server, f"{path}/delete")
    server.until(lambda: not any(each.name == "scrub" for each in threading.enumerate()))
    server.until(lambda: held(server) == [])
    assert "1 of 3" in finished(server, send(server))[1]


def test_nothing_is_kept_longer_than_the_setting_says(own):
    """The promise that is made to people whose numbers are in the file would be broken."""
    server = own(files__keep_minutes=1)
    path, _ = finished(server, send(server))
    (folder,) = (server.folder / name for name in held(server))
    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=kept.Job)
    (folder / "job.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(job, at=time.time() - 61)))
    assert server.client.get(f"{path}/allowed.csv").status_code == 404
    server.until(lambda: held(server) == [], 15)


def test_a_server_that_is_killed_while_it_scrubs_leaves_nothing(tmp_path):
    """The process would go on with people's numbers for nobody, or the file would stay on the disk for ever."""
    (port,) = free_ports(1)
    command = [SCRIPT, "serve", "--trial", "--set", f"http.listen=127.0.0.1:{port}"]
    url, folder = f"http://127.0.0.1:{port}", tmp_path / f"stream-scrub-leads-{os.geteuid()}"
    rows = gzip.compress(b"phone\n" + b"+33612345678\n" * 3_000_000, 1)

    def start():
        return forked.Popen(
            command,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def is_ready():
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/readyz", timeout=60).status_code == 200

    with start() as first:
        try:
            wait_until(is_ready)
            answer = httpx.post(
                f"{url}/files", files={"file": ("leads.csv.gz", rows)}, headers={"Origin": url}
            )
            path = answer.headers["location"]
            wait_until(lambda: httpx.get(f"{url}{path}/state", timeout=60).json()["stage"] == "unclear")
            form = {"purpose": (None, "insurance")}
            httpx.post(f"{url}{path}/scrub", files=form, headers={"Origin": url})
            wait_until(lambda: httpx.get(f"{url}{path}/state", timeout=60).json()["share"] > 0)
            children = [int(each) for each in processes_of(first.pid)]
        finally:
            first.kill()
    assert children != [] and [*folder.glob("*/results/.*")] != []
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    with start() as second:
        try:
            wait_until(is_ready)
            assert [each.name for each in folder.iterdir() if each.is_dir()] == []
        finally:
            second.kill()


def processes_of(parent):
    return [
        child
        for each in Path(f"/proc/{parent}/task").glob("*/children")
        for child in each.read_text().split()
    ]


@contextlib.contextmanager
def cut_off(server, path, field):
    """A connection that ends in the middle of a file."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.url}\r\n"
        f"Cookie: {COOKIE}={server.tokens['marketer']}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="new.txt"\r\n\r\n+33699'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        yield


def test_a_cut_connection_leaves_nothing(server):
    """Half a file would stay; or her opt-outs would be cut off with the connection, and the people behind the cut be called."""
    with cut_off(server, "/files", "file"):
        server.until(lambda: held(server) != [])
    server.until(lambda: held(server) == [])
    path, _ = finished(server, send(server))
    whole = {"opt_outs": ("out.txt", f"+{CONSENTING}\n+{NOBODY}\n")}
    assert "0 of 3 leads" in finished(server, scrub(server, path, whole))[1]
    with cut_off(server, f"{path}/scrub", "opt_outs"):
        server.until(lambda: stage(server, path) == "receiving")
    _, page = finished(server, httpx.Response(303, headers={"location": path}))
    assert "out.txt" in page and "new.txt" not in page
    assert "0 of 3 leads" in finished(server, scrub(server, path))[1]


def test_a_full_disk_leaves_nothing(server, monkeypatch):
    """Her file would wait for nobody, and every other file of hers be refused, for an hour."""
    put = kept.Jobs.put

    def full(_jobs, _job):
        raise Problem(Kind.NOT_WRITTEN, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(kept.Jobs, "keep", full)
        assert upload(server).status_code == 503 and held(server) == []
    path, _ = finished(server, send(server))
    with monkeypatch.context() as patched:
        patched.setattr(kept.Jobs, "keep", full)
        patched.setattr(
            kept.Jobs, "put", lambda jobs, job, state: state.stage == "receiving" and put(jobs, job, state)
        )
        assert scrub(server, path, {"opt_outs": ("out.txt", f"+{CONSENTING}\n")}).status_code == 503
    assert server.client.get(path).status_code == 404 and held(server) == []
    finished(server, send(server))


def test_too_large_or_too_many_are_refused(own, monkeypatch):
    """One token could fill the disk for all."""
    monkeypatch.setattr(kept, "FILE_BYTES_MAX", 10_000)
    server = own()
    assert upload(server, "1" * 20_000).status_code == 413 and held(server) == []
    for _ in range(kept.TOKEN_JOBS_MAX):
        finished(server, send(server))
    refused = upload(server).text
    assert "delete one" in refused and '<a href="/files">Back to: Scrub a file</a>' in refused
    sign_in(server, "other")
    finished(server, send(server))


def test_the_page_goes_on_without_a_safe_index(own):
    """The file would be scrubbed by lists of yesterday, or be lost."""
    server = own(rules__index_lag_max_s="0.3")
    server.reader.silent = True
    server.until(lambda: server.client.get("/readyz").status_code == 503)
    path = send(server).headers["location"]
    server.until(lambda: "not up to date at the moment" in server.client.get(path).text)
    server.reader.silent = False
    server.until(lambda: stage(server, path) == "done", 30)


def test_a_file_is_scrubbed_again_with_one_click_by_the_lists_of_today(own):
    """She would fill in the form anew before each campaign, or call people who objected since."""
    server = own()
    path, page = finished(server, send(server, purpose="insurance"))
    assert "1 of 3 leads" in page
    assert "Scrub again with today's lists" in page
    publish(server.log, "internal", [CONSENTING])
    server.until(lambda: is_blocked(server, CONSENTING))
    _, page = finished(server, scrub(server, path, again="1"))
    assert "0 of 3 leads" in page


def test_a_server_that_stops_deletes_all(rules, tmp_path, monkeypatch):
    """The files of a server that is shut down would stay behind."""
    monkeypatch.setattr(process, "look", look_here)
    with starting(rules) as start:
        server = start(make_lists(), worker__state_dir=str(tmp_path))
        server.folder = tmp_path / "leads"
        finished(server, send(server))
        assert len(held(server)) == 1
    assert held(server) == []
