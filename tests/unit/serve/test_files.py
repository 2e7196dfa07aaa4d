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
from stream_scrub.serve.files.own_lists import OwnList, UnclearList, picked, with_list
from stream_scrub.serve.files.process import State
from stream_scrub.serve.files.words import PURPOSES
from stream_scrub.serve.guard import COOKIE
from stream_scrub.texts import plain
from tests.kafka.broker import free_ports
from tests.support.fakes import law
from tests.support.fakes.log import Log
from tests.support.running import forked
from tests.support.running.server import publish
from tests.support.running.worker import SCRIPT, wait_until
from tests.unit.serve.conftest import CONSENTING, NOBODY, OPPOSED, make_lists, starting

pytestmark = pytest.mark.process
LEADS = f"name;phone\nAnn;+{OPPOSED}\nBob;+{CONSENTING}\nCid;+{NOBODY}\n"


@pytest.fixture
def own(serve, tmp_path, monkeypatch):
    """A server, and somebody who may scrub files there."""
    file = tmp_path / "tokens.json"
    made = {
        name: tokens.add(file, name, [scope], datetime.now(UTC)).token
        for name, scope in (("marketer", "file"), ("other", "file"), ("dialler", "check"))
    }
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(uploads, "_SWEEP_S", 0.1)

    def here(settings, usable, options, lists, seen, _why_end):
        """As `process.run`, without the seconds that a process costs."""
        progress = lambda *_: seen(State("working"))
        return process._outcome(settings, usable(), options, lists, progress, process.MEMORY_BYTES_MAX)

    def look_here(settings, options, _why_end):
        return process.looked(settings, options, process.MEMORY_BYTES_MAX)

    def start(*, in_process=False, log=None, **settings):
        if not in_process:
            monkeypatch.setattr(process, "run", here)
            monkeypatch.setattr(process, "look", look_here)
        server = serve(
            log or make_lists(), worker__state_dir=str(tmp_path / "state"), http__tokens=str(file), **settings
        )
        server.folder, server.tokens = tmp_path / "state" / "leads", made
        sign_in(server, "marketer")
        return server

    return start


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
    path, page = finished(server, send(server, purpose="insurance"))
    assert "1 of 3 leads in leads.csv may be called" in page
    get = server.client.get
    allowed = get(f"{path}/allowed.csv")
    assert allowed.headers["content-disposition"] == 'attachment; filename="allowed.csv"'
    assert "Bob;" in allowed.text and "Ann;" not in allowed.text
    assert "Ann;" in get(f"{path}/blocked.csv").text
    report = get(f"{path}/report.html")
    assert 'href="allowed.csv"' in report.text and "script" not in report.headers["content-security-policy"]
    assert get(f"{path}/proof.json").json()["format"] == 1
    assert get(f"{path}/proof.json").json()["made_by"]["token"] == "marketer"
    assert get(f"{path}/summary.json").json()["source"] == "log"
    for name in ("job.json", "..%2fjob.json", "state.json", "secret.csv", "allowed.xlsx"):
        assert get(f"{path}/{name}").status_code == 404
    (folder,) = (server.folder / name for name in held(server))
    assert {each.stat().st_mode & 0o077 for each in (server.folder, folder, *folder.rglob("*/"))} == {0}
    assert (folder / "upload" / "leads.csv").exists(), "it can be scrubbed again"
    (line,) = [line for line in server.lines() if line["event"] == "file scrubbed on the page"]
    assert (line["by"], line["rows"], line["allowed"]) == ("marketer", 3, 1) and "leads.csv" not in str(line)


def test_her_own_lists_count_for_this_scrub_alone(own):
    """She would call people who told her not to, or need the operator for every list of consents."""
    server = own()
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


def test_numbers_in_a_pasted_mail_are_shown_before_they_count(own):
    """A reference number in the mail would pass for a person, or one who opted out would be missed."""
    server = own()
    mail = "Bonjour,\nmerci de retirer le 06 11 11 11 11 et 06.22.22.22.22.\nDossier 123456789012\n"
    path, page = finished(server, send(server, pasted=mail))
    assert "numbers in your text: 2." in page and "not a phone number: 3." in page
    assert f"+{CONSENTING}\n+{NOBODY}</textarea>" in page
    _, page = finished(server, scrub(server, path, pasted=f"+{CONSENTING}\r\n+{NOBODY}"))
    assert "0 of 3 leads" in page


@pytest.mark.parametrize(
    ("mail", "lines"),
    [("Mine is 06 11 1\n1 11 11.", [1, 2]), ("Or call 1-800-FLOWERS", [1]), ("Hi\n> 1234", [])],
)
def test_a_number_that_is_broken_or_in_letters_is_asked_about(mail, lines):
    """A person's opt-out would be left out without a word, because the mail breaks the number over two lines."""
    assert picked(mail, "US").unclear_lines == lines


@pytest.mark.parametrize("sign", ["\u2013", "_", "\t", "|", " - - ", "*"])
def test_digits_between_odd_signs_are_asked_about(own, sign):
    """A person's opt-out would be left out without a word, because a letter has long dashes in the number."""
    server = own()
    path, _ = finished(server, send(server))
    mail = f"Thanks for the call.\nMine is {sign.join(['06', '33', '33', '33', '33'])}.\n"
    _, page = finished(server, scrub(server, path, pasted=mail, region="FR"))
    assert "not a phone number: 2." in page


def test_a_line_of_a_list_without_a_number_is_asked_about(own):
    """A person who opted out would be lost in a typo, without a word."""
    server = own()
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


def test_each_list_asks_for_its_own_lines(own):
    """A click about her consents would drop a person from her opt-outs, whose line she has never seen."""
    server = own()
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


def test_lines_that_another_country_makes_unreadable_are_asked_about_again(own):
    """All her opt-outs would be dropped by a wrong country, because she once agreed to leave out a typo."""
    server = own()
    path, _ = finished(server, send(server))
    lists = {"opt_outs": ("out.txt", "06 11 11 11 11\n06 22\n")}
    _, page = finished(server, scrub(server, path, lists, region="FR"))
    assert "1 of 2 lines" in page
    _, page = finished(server, scrub(server, path, region="FR", **go_on(page)))
    assert "0 of 3 leads" in page
    _, page = finished(server, scrub(server, path, region="GB"))
    assert "2 of 2 lines have no valid number" in page


def test_a_click_is_good_for_the_list_that_it_was_about(own):
    """A mistyped opt-out of her next list would be dropped unseen, and its person called, because of a click for the first."""
    server = own()
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


def test_no_other_country_drops_a_line_of_a_long_list_unseen(own):
    """Twenty lines are shown: a person on a later line would be dropped by a wrong country, in the same words."""
    server = own()
    lines = "".join(f"{word}\n" for word in ["n/a"] * 30 + ["07400 123456", "06 11 11 11 11"])
    path, _ = finished(server, send(server))
    _, page = finished(server, scrub(server, path, {"opt_outs": ("out.txt", lines)}, region="FR"))
    _, page = finished(server, scrub(server, path, region="FR", **go_on(page)))
    assert "0 of 3 leads" in page
    _, page = finished(server, scrub(server, path, region="GB"))
    assert "30 of 31 lines have no valid number" in page and go_on(page)


def test_fields_that_no_form_has_are_not_kept(own):
    """The server's disk would fill with what somebody invents."""
    server = own()
    path, _ = finished(server, send(server))
    finished(server, scrub(server, path, {"opt_outs": ("out.txt", "n/a\n+33\n")}))
    finished(server, scrub(server, path, **{f"go_on-x{count}": "y" * 900 for count in range(90)}))
    (job,) = server.folder.parent.rglob("job.json")
    assert job.stat().st_size < 2_000


def test_consents_count_only_by_the_columns_that_she_names(own):
    """People who said no would count as consenting, because a list of names looks like one of consents."""
    server = own()
    rows = f"Tel;Marketing;Day\n+{NOBODY};yes;2026-11-01\n+{CONSENTING};no;2026-11-01\n"
    path, page = finished(server, send(server, campaign="acme"))
    assert "Bob;" in server.client.get(f"{path}/allowed.csv").text
    answer = scrub(server, path, {"consents": ("crm.csv", rows)}, campaign="acme")
    _, page = finished(server, answer)
    assert "Say which columns of crm.csv state the consents" in page
    named = shown(page) | {"consents-1": "phone", "consents-2": "consent", "consents-3": "given"}
    _, page = finished(server, scrub(server, path, campaign="acme", **named))
    allowed = server.client.get(f"{path}/allowed.csv").text
    assert "Cid;" in allowed and "Bob;" not in allowed, page


def test_the_columns_of_one_list_are_not_those_of_the_next(own):
    """A yes to a newsletter would count as one to calls, because the list before had its consents in that column."""
    server = own()
    first = f"Tel;Calls\n+{NOBODY};yes\n+{CONSENTING};yes\n"
    path, _ = finished(server, send(server, campaign="acme"))
    _, page = finished(server, scrub(server, path, {"consents": ("a.csv", first)}, campaign="acme"))
    named = shown(page) | {"consents-1": "phone", "consents-2": "consent"}
    _, page = finished(server, scrub(server, path, campaign="acme", **named))
    assert "2 of 3 leads" in page
    second = f"Tel;Newsletter;Calls\n+{NOBODY};yes;no\n+{CONSENTING};yes;yes\n"
    _, page = finished(server, scrub(server, path, {"consents": ("b.csv", second)}, campaign="acme", **named))
    assert "Say which columns of b.csv state the consents" in page
    named = shown(page) | {"consents-1": "phone", "consents-3": "consent"}
    _, page = finished(server, scrub(server, path, campaign="acme", **named))
    assert "1 of 3 leads" in page


def test_a_form_that_shows_an_earlier_list_names_no_columns_of_this_one(own):
    """A yes to a newsletter would count as one to calls, because she went back to a form of the list before, or sent two
    lists of which the second was empty."""
    server = own()
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


def test_consents_may_be_a_workbook(own, tmp_path):
    """Her customers in Excel would end in a fault of ours, where the same rows in CSV are asked about."""
    server = own()
    rows = [["Tel", "Marketing"], [f"+{NOBODY}", "yes"], [f"+{CONSENTING}", "no"]]
    with xlsxwriter.Workbook(tmp_path / "crm.xlsx") as book:
        sheet = book.add_worksheet()
        for place, row in enumerate(rows):
            sheet.write_row(place, 0, row)
    workbook = ("crm.xlsx", (tmp_path / "crm.xlsx").read_bytes())
    path, _ = finished(server, send(server, campaign="acme"))
    _, page = finished(server, scrub(server, path, {"consents": workbook}, campaign="acme"))
    assert "Say which columns of crm.xlsx state the consents" in page and f"<td>+{NOBODY}</td>" in page
    named = shown(page) | {"consents-1": "phone", "consents-2": "consent"}
    _, page = finished(server, scrub(server, path, campaign="acme", **named))
    assert "Cid;" in server.client.get(f"{path}/allowed.csv").text and "1 of 3 leads" in page


def test_what_is_wrong_with_a_list_is_mended_on_the_page(own, tmp_path):
    """She would be sent to a terminal, or to a field of the leads, for a list that only she can change."""
    server = own()
    with xlsxwriter.Workbook(tmp_path / "two.xlsx") as book:
        for name in ("a", "b"):
            book.add_worksheet(name).write_column(0, 0, ["Tel", f"+{NOBODY}"])
    path, _ = finished(server, send(server, f"{LEADS}Dan;+442079460000\n", campaign="acme"))
    phones = f"name;mobile;home\nA;+33655555555;+{CONSENTING}\nB;+33655555556;+{NOBODY}\n"
    wrong = {
        "two": ("opt_outs", "two.xlsx", (tmp_path / "two.xlsx").read_bytes(), "keep the one with the list"),
        "phones": ("opt_outs", "out.csv", phones, "Keep one of them in the list"),
        "undated": ("list-tps", "tps.txt", "+442079460000\n", "Put its date into the file&#39;s name"),
        "future": (
            "list-tps",
            "tps-2030-01-01.txt",
            "+442079460000\n",
            "Put its date into the file&#39;s name",
        ),
        "abroad": ("opt_outs", "out.txt", "0171 1234567\n+4917112345678\n0612345678\n", "country"),
    }
    for field, name, content, said in wrong.values():
        _, page = finished(server, scrub(server, path, {field: (name, content)}, campaign="acme"))
        alert = re.search(r'role="alert" class="alert"><strong>(.*?)</strong>', page)[1]
        assert said in alert and "--" not in alert and "`" not in alert and "What each column" not in alert
        finished(server, scrub(server, path, campaign="acme", **{f"without-{field}": "1"}))


def test_opt_outs_may_be_a_workbook(own, tmp_path):
    """The list that everybody has in Excel would be refused."""
    server = own()
    with xlsxwriter.Workbook(tmp_path / "out.xlsx") as book:
        book.add_worksheet().write_column(0, 0, ["Phone", 611111111, f"+{NOBODY}"])
    path, page = finished(server, send(server))
    workbook = ("out.xlsx", (tmp_path / "out.xlsx").read_bytes())
    _, page = finished(server, scrub(server, path, {"opt_outs": workbook}, region="FR"))
    assert "0 of 3 leads" in page and "out.xlsx (opt-outs)" in page


def test_a_missing_list_has_its_public_name_and_is_taken_from_her(own):
    """She would read of `tps`, and of nothing that she could do."""
    server = own()
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


def test_where_nobody_has_imported_consents_she_is_asked_for_hers(own):
    """She would be sent to a registry for a list that only she has, and its upload would open nothing."""
    log = Log()
    publish(log, "internal", [OPPOSED])
    server = own(log=log)
    path, page = finished(server, send(server, campaign="acme"))
    assert "0 of 3 leads" in page and 'name="list-consent"' not in page
    assert '<a href="#consents">Upload the list of the people who consented' in page
    consents = {"consents": ("yes.txt", f"+{CONSENTING}\n")}
    _, page = finished(server, scrub(server, path, consents, campaign="acme"))
    assert "1 of 3 leads" in page


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


def test_half_a_national_list_makes_no_old_one_current(own):
    """A list that was cut on the way would count as complete up to its day, and who opposed since would be called."""
    server = own()
    publish(server.log, "tps", [442079460100 + place for place in range(20)], days_old=40)
    path, _ = finished(server, send(server, "phone\n+442079460002\n"))
    listed = {"list-tps": (f"tps-{datetime.now(UTC).date()}.txt", "+442079460100\n")}
    _, page = finished(server, scrub(server, path, listed))
    assert "list that yours lacks: 19 of 20. Upload the whole list" in page


@pytest.mark.parametrize("before", [(), law.register("us-dnc", [12125550100], days_old=9)])
def test_a_list_that_is_sold_by_area_is_left_to_the_operator(tmp_path, before):
    """Her newer list would count for areas that she never bought, or block all leads without saying why."""
    path = tmp_path / "us-dnc-2026-11-24.txt"
    path.write_text("+12125550100\n")
    used = IndexUsed(law.index(*([before] if before else [])), "log")
    with pytest.raises(UnclearList, match="sold by area"):
        with_list(used, OwnList("list-us-dnc", path, "us-dnc"), "US", Settings())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tps.txt", "+442079460000\n", "die Liste hat kein Datum"),
        ("tps-2026-11-24.txt", "", "die Liste ist leer"),
        ("tps-2026-11-24.csv", "a;b\n+442079460000;+442079460001\n", "mehrere Spalten der Liste enthalten"),
        ("tps-2026-11-24.zip", "PK\3\4" + "\0" * 100, "die Datei ist beschädigt oder durch ein Passwort"),
    ],
    ids=["undated", "empty", "columns", "zip"],
)
def test_what_is_wrong_with_a_list_is_said_in_her_language(tmp_path, name, content, said):
    """She would get an English sentence with an option of the command, in the middle of a German page."""
    path = tmp_path / name
    path.write_text(content)
    used = IndexUsed(law.index(), "log")
    with read_in("de", UTC, on_page=True), pytest.raises(BadList) as error:
        with_list(used, OwnList("list-tps", path, "tps"), "GB", Settings())
    text = error.value.shown
    assert said in text and "--" not in text and "`" not in text


@pytest.mark.parametrize("register", ["internal", "consent"])
def test_only_a_national_list_is_taken_as_one(own, register):
    """A form that somebody made up would record consents to any caller, which the page never asks for."""
    server = own()
    path, _ = finished(server, send(server))
    answer = scrub(server, path, {f"list-{register}": ("yes.txt", f"+{NOBODY}\n")})
    assert answer.status_code == 422 and "1 of 3 leads" in server.client.get(path).text


@pytest.mark.parametrize("register", ["internal", "tps", "consent@acme"])
def test_no_list_is_added_to_one_of_hashes(tmp_path, register):
    """Her opt-outs would be looked up as digests, or the server's digests as numbers: neither would be found."""
    path = tmp_path / "tps-2026-11-24.txt"
    path.write_text("+442079460000\n")
    hashed = replace(law.register(register, [7], days_old=9_000), hashed=Hashing("sha256", "+", "", ""))
    used = IndexUsed(law.index(hashed), "log")
    with pytest.raises(UnclearList, match="does not state its numbers, so yours cannot be added"):
        with_list(used, OwnList("opt_outs", path, register), "GB", Settings())


def test_the_columns_below_title_rows_are_shown_with_their_rows(own):
    """She would choose by the words of a letterhead, or scrub the wrong sheet."""
    server = own()
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


def test_the_line_of_a_scrub_stays_when_its_file_is_gone(own):
    """She could not tell any more when she scrubbed, and with what result."""
    server = own()
    path, _ = finished(server, send(server, purpose="insurance"))
    assert "Earlier scrubs" not in server.client.get("/files").text
    post(server, f"{path}/delete")
    page = server.client.get("/files").text
    assert "Earlier scrubs" in page and "insurance" in page and "leads.csv" not in page
    sign_in(server, "other")
    assert "Earlier scrubs" not in server.client.get("/files").text


def test_each_scrub_is_in_the_ledger_without_a_number(own):
    """A dossier would say that no lead was released, an hour after the same server had released it in a file."""
    server = own()
    path, _ = finished(server, send(server, purpose="insurance", name=f"{NOBODY}.csv"))
    proof = server.client.get(f"{path}/proof.json").content
    ledger = (server.folder.parent / "scrubbed-files.jsonl").read_text()
    (line,) = map(msgspec.json.decode, ledger.splitlines())
    assert (line["by"], line["purpose"], line["rows"], line["allowed"]) == ("marketer", "insurance", 3, 1)
    assert line["proof"] == hashlib.sha256(proof).hexdigest()
    assert not any(str(number)[2:] in ledger for number in (OPPOSED, CONSENTING, NOBODY))


def test_no_result_is_released_that_the_ledger_lacks(own):
    """Leads would be called that no dossier knows of, because the disk was full for a moment."""
    server = own()
    (server.folder.parent / "scrubbed-files.jsonl").mkdir()
    path, page = finished(server, send(server, purpose="insurance"))
    assert "ledger of scrubbed files" in page
    assert server.client.get(f"{path}/allowed.csv").status_code == 404


def test_the_newest_list_decides(own):
    """Somebody who opted out a second ago would be in the file of allowed leads."""
    server = own(in_process=True)
    publish(server.log, "internal", [CONSENTING, NOBODY])
    server.until(lambda: is_blocked(server, NOBODY))
    path, page = finished(server, send(server))
    assert "0 of 3 leads" in page
    assert "the person does not want to be called" in page and "Do not call these people" in page
    assert '<option value="phone" selected>' in page
    _, page = finished(server, scrub(server, path, campaign="acme"))
    assert "0 of 3 leads" in page and 'value="acme"' in page


def test_what_is_not_clear_is_chosen_on_the_page(own):
    """She would read of options that only a terminal has, and be stuck."""
    server = own()
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


def test_odd_choices_are_told(own):
    """A form that somebody made up would end in a fault of ours, and her files would wait for it."""
    server = own()
    odd = {"sheet": "a\0b", "titles": "\u00b2" + "9" * 5000, "column-999": "1", "language": "xx", "job": "x"}
    path, page = finished(server, send(server, region="QQ", language="fr"))
    assert "“Country of numbers without a country code” is not known" in page and "--region" not in page
    for name, value in odd.items():
        answer = scrub(server, path, **{"region": "QQ", name: value})
        path, page = finished(server, answer)
        assert "“Country of numbers without a country code” is not known" in page
    assert not [line for line in server.lines() if line["level"] == "error"]
    _, page = finished(server, scrub(server, path, region="FR"))
    assert "1 of 3 leads" in page


def test_a_note_names_nothing_that_only_a_terminal_has():
    """She would be sent to a terminal for a list that the operator of the server imports."""
    values = {
        "rows": 3,
        "said": "acme",
        "lists": "",
        "campaign": "acme",
        "day": date.max,
        "list": "x",
        "listed": date.max,
    }
    values |= {"places": "3, 6 ..."} | dict.fromkeys(
        ("word", "purposes", "countries", "taken", "others"), "energy"
    )
    for text in notes.TEXTS:
        with read_in("en", UTC, on_page=True):
            said = notes.Note(text, values).said()
        assert "--" not in said and "`" not in said


def test_a_file_in_which_many_rows_have_no_number_needs_a_click(own):
    """She would need a terminal, because one column of hers is half empty."""
    server = own()
    path, page = finished(server, send(server, f"phone\n+{CONSENTING}\nx\ny\n"))
    assert "without a readable number: 2 of 3, the first on line 3" in page and "--max-bad" not in page
    _, page = finished(server, scrub(server, path, bad="1"))
    assert "1 of 3 leads" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("one-line.csv.gz", gzip.compress(b"0" * 20_000_000, 1), "No column holds numbers"),
        ("rows.csv.gz", gzip.compress(b"phone\n" + b"+33611111111\n" * 2_000_000, 1), "take too much room"),
        ("empty.csv", b"", "File: it is empty"),
        ("leads.zip", b"PK\x03\x04" + b"\0" * 100, "locked by a password"),
        ("leads.xlsx", b"\xd0\xcf\x11\xe0" + b"\xff" * 1000, "cannot be opened"),
        ("noise.csv", bytes(range(256)) * 100, ""),
    ],
    ids=["line", "rows", "empty", "zip", "workbook", "noise"],
)
def test_a_hostile_file_harms_itself_alone(own, monkeypatch, name, content, said):
    """One stranger's file could take the server's memory or disk, and with it the answers to all diallers."""
    monkeypatch.setattr(kept, "TOKEN_BYTES_MAX", 10_000_000)
    server = own(in_process=True)
    answer = send(server, content, name)
    page = answer.text
    if answer.status_code == 303:
        _, page = finished(server, answer)
        assert "may be called" not in page
    assert said in page, page
    assert server.client.get("/readyz").status_code == 200
    _, page = finished(server, send(server))
    assert "1 of 3 leads" in page


def test_one_tenant_never_sees_anothers(own):
    """A competitor could read somebody's leads, or delete them."""
    server = own()
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


def test_who_may_only_scrub_files_is_led_there(own):
    """She signs in, and reads that she may not see the page."""
    server = own()
    answer = server.client.get("/")
    assert answer.status_code == 303 and answer.headers["location"] == "/files"
    path, _ = finished(server, send(server))
    page = server.client.get(path, headers={"Accept-Language": "pt, de-AT;q=0.8, en;q=0.5"}).text
    assert '<option value="de" lang="de" selected>' in page


def test_a_deleted_file_is_gone(own):
    """People's numbers would lie about for an hour after she was done."""
    server = own()
    path, _ = finished(server, send(server))
    assert post(server, f"{path}/delete").headers["location"] == "/files"
    assert server.client.get(path).status_code == 404 and held(server) == []


@pytest.mark.slow
def test_a_cancelled_file_is_scrubbed_no_more(own):
    """A wrong file of a million rows would keep the next one waiting."""
    server = own(in_process=True)
    rows = gzip.compress(b"phone\n" + b"+33611111111\n" * 5_000_000, 1)
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


@pytest.mark.slow
def test_what_is_written_while_another_process_deletes_is_deleted_too(own):
    """Results would stay until the server ends, and nobody could find them any more to delete them."""
    server = own(in_process=True)
    rows = gzip.compress(b"phone\n" + b"+33611111111\n" * 5_000_000, 1)
    path = send(server, rows, "leads.csv.gz").headers["location"]
    server.until(lambda: stage(server, path) == "working", 30)
    (name,) = held(server)
    (
        server.folder / name / "job.json"
    ).unlink()  # another process has deleted all but a file that came meanwhile
    server.until(lambda: not any(each.name == "scrub" for each in threading.enumerate()))
    server.until(lambda: held(server) == [], 15)


def test_what_a_killed_server_left_is_deleted_by_the_next(own):
    """A crash would leave people's numbers on the disk for ever."""
    server = own()
    left = server.folder / ("ab" * 16)
    (left / "upload").mkdir(parents=True, mode=0o700)
    (left / "upload" / "leads.csv").write_text(LEADS)
    server.until(lambda: not left.exists(), 15)


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_scrubs_leaves_nothing(tmp_path):
    """The process would go on with people's numbers for nobody, or the file would stay on the disk for ever."""
    (port,) = free_ports(1)
    command = [SCRIPT, "serve", "--trial", "--set", f"http.listen=127.0.0.1:{port}"]
    url, folder = f"http://127.0.0.1:{port}", tmp_path / f"stream-scrub-leads-{os.geteuid()}"
    rows = gzip.compress(b"phone\n" + b"+33612345678\n" * 20_000_000, 1)

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


def test_a_cut_connection_leaves_nothing(own):
    """Half a file would stay, and the marketer's next one would have to wait for it."""
    server = own()
    head = (
        f"POST /files HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.url}\r\n"
        f"Cookie: {COOKIE}={server.tokens['marketer']}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="file"; filename="leads.csv"\r\n\r\n+33612'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        server.until(lambda: held(server) != [])
    server.until(lambda: held(server) == [])
    finished(server, send(server))


def test_half_a_list_never_takes_the_place_of_a_whole_one(own):
    """Her opt-outs would be cut off with the connection, and the people behind the cut be called."""
    server = own()
    path, _ = finished(server, send(server))
    whole = {"opt_outs": ("out.txt", f"+{CONSENTING}\n+{NOBODY}\n")}
    assert "0 of 3 leads" in finished(server, scrub(server, path, whole))[1]
    head = (
        f"POST {path}/scrub HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.url}\r\n"
        f"Cookie: {COOKIE}={server.tokens['marketer']}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="opt_outs"; filename="new.txt"\r\n\r\n+33699'
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        server.until(lambda: stage(server, path) == "receiving")
    _, page = finished(server, httpx.Response(303, headers={"location": path}))
    assert "out.txt" in page and "new.txt" not in page
    assert "0 of 3 leads" in finished(server, scrub(server, path))[1]


def test_a_full_disk_leaves_nothing(own, monkeypatch):
    """Her file would wait for nobody, and she for it, for an hour."""
    server = own()

    def full(_jobs, _job):
        raise Problem(Kind.NOT_WRITTEN, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(kept.Jobs, "keep", full)
        assert upload(server).status_code == 503 and held(server) == []
    finished(server, send(server))


def test_a_disk_that_fills_while_a_form_comes_keeps_no_file_waiting(own, monkeypatch):
    """Her file would stay among those that are being received, and every other file of hers be refused, for an hour."""
    server = own()
    path, _ = finished(server, send(server))
    put = kept.Jobs.put

    def full(_jobs, _job):
        raise Problem(Kind.NOT_WRITTEN, "No space left on device")

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


@pytest.mark.parametrize(
    ("language", "word"), [("fr", "assurance"), ("de", "Versicherung"), ("es", "seguros")]
)
def test_the_page_speaks_her_language(own, language, word):
    """She would read English sentences in the middle of her page, and enter purposes that nobody knows."""
    server = own()
    server.client.headers["Accept-Language"] = language
    path, page = finished(server, send(server, "phone\n+33611111111\n", purpose=word))
    assert f'value="{word}"' in page and f'<html lang="{language}">' in page
    assert server.client.get(f"{path}/summary.json").json()["facts"]["purpose"] == "insurance"
    assert "may be called" not in page and 'lang="en"' not in page.partition("<footer")[0]
    assert f'lang="{language}"' in server.client.get(f"{path}/report.html").text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_purpose_has_one_word_in_each_language(language):
    """She would choose one purpose from the list, and the file would be scrubbed for another."""
    assert PURPOSES.keys() == purposes_in(shipped()).keys()
    words = [plain(catalogue(language).gettext(word)) for word in PURPOSES.values()]
    assert len({*words}) == len(words)


def test_a_server_that_stops_deletes_all(rules, tmp_path):
    """The files of a server that is shut down would stay behind."""
    with starting(rules) as start:
        server = start(make_lists(), worker__state_dir=str(tmp_path))
        server.folder = tmp_path / "leads"
        finished(server, send(server))
        assert len(held(server)) == 1
    assert held(server) == []
