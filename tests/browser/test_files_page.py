"""A marketer in a real browser: she signs in, uploads her file, chooses what is not clear, reads the report in her language
and saves the results. Pictures of all of it are in `.cache/screenshots/`."""

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
import xlsxwriter

from stream_scrub.serve import tokens
from tests.support.running import browsing
from tests.unit.serve.conftest import CONSENTING, NOBODY, make_lists, starting

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MODES = [
    ("phone-light", PHONE, "light", True),
    ("phone-dark", PHONE, "dark", True),
    ("desk-light", DESK, "light", True),
    ("desk-dark", DESK, "dark", True),
    ("desk-light-no-script", DESK, "light", False),
]


@pytest.fixture(scope="module")
def marketer(rules, tmp_path_factory):
    """A server, and her token."""
    state = tmp_path_factory.mktemp("state")
    file = state / "tokens.json"
    token = tokens.add(file, "marketer", ["file"], datetime.now(UTC)).token
    with starting(rules) as start:
        server = start(make_lists(), worker__state_dir=str(state), http__tokens=str(file))
        yield server, token


@pytest.mark.parametrize(("name", "size", "scheme", "script"), MODES, ids=[mode[0] for mode in MODES])
def test_a_marketer_scrubs_her_file(marketer, browser, tmp_path, name, size, scheme, script):
    """Somebody without a terminal, on a phone or a desk, would need an engineer for each campaign."""
    server, token = marketer
    leads = tmp_path / "contacts.csv"
    rows = [f"Zoé;0612345678;+{CONSENTING}", f"Ann;+{CONSENTING};+{CONSENTING}"] * 500
    leads.write_text("\n".join(["name;first;second", *rows, ""]))
    with ExitStack() as stack:
        context = browser.new_context(
            viewport=size, color_scheme=scheme, java_script_enabled=script, locale="fr-FR"
        )
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(120_000)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)

        def seen(what):
            if script:
                assert browsing.faults(page) == []
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    "it scrolls sideways"
                )
            browsing.picture(page, f"{what}-{name}")

        page.goto(f"{server.url}/files")
        faults.clear()  # the browser tells of the 401 of the sign-in
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        assert page.get_by_role("heading", level=1).text_content() == "Scrub a file of leads"
        seen("files")
        page.get_by_label("File of leads").set_input_files(leads)
        page.get_by_role("button", name="Upload").click()
        page.get_by_role("heading", name="What each column holds").wait_for()
        seen("files-choice")
        page.locator("#column-2").select_option("none")
        page.get_by_label("What is the call for?").fill("insurance")
        page.get_by_role("button", name="Scrub", exact=True).click()
        page.get_by_role("heading", name="1,000 of 1,000 leads in contacts.csv may be called").wait_for()
        seen("files-done")
        with page.expect_download() as saved:
            page.get_by_role("link", name="blocked.csv").click()
        assert saved.value.suggested_filename == "blocked.csv"
        page.get_by_role("link", name="Read the report").click()
        assert "1\u202f000 contacts sur 1\u202f000" in page.get_by_role("heading", level=1).text_content()
        seen("files-report")
        with page.expect_download() as saved:
            page.get_by_role("link", name="allowed.csv").click()
        assert saved.value.suggested_filename == "allowed.csv"
        page.go_back()
        page.get_by_role("button", name="Delete it now").click()
        assert page.get_by_role("heading", level=1).text_content() == "Scrub a file of leads"
        assert page.get_by_role("heading", name="Earlier scrubs").count() == 1
        seen("files-history")
        assert faults == []


def test_from_the_sign_in_to_the_download_in_twelve_actions(marketer, browser, tmp_path):
    """Most people give up: their own lists would need an operator, and each word of the form an explanation."""
    server, token = marketer
    make_export(tmp_path / "export.xlsx")
    nobody = f"0{NOBODY - 33 * 10**9}"
    (tmp_path / "crm.csv").write_text(
        f"Mobile;Opt-in;Le\n{nobody};oui;2026-11-01\n0633333333;non;2026-11-01\n"
    )
    actions = 0

    def act(done):
        nonlocal actions
        actions += 1
        return done

    with ExitStack() as stack:
        context = browser.new_context(viewport=DESK, locale="fr-FR")
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{server.url}/files")
        act(page.get_by_label("Token").fill(token))
        act(page.get_by_role("button", name="Sign in").click())
        act(page.get_by_label("File of leads").set_input_files(tmp_path / "export.xlsx"))
        act(page.get_by_role("button", name="Upload").click())
        page.get_by_role("heading", name="What each column holds").wait_for()
        assert page.get_by_label("Sheet").input_value() == "Contacts"
        act(page.get_by_label("What is the call for?").fill("assurance"))
        act(page.get_by_label("Campaign (for whom").fill("acme"))
        act(page.get_by_label("or paste them").fill(f"+{CONSENTING}"))
        act(page.get_by_label("People who consented").set_input_files(tmp_path / "crm.csv"))
        act(page.get_by_role("button", name="Scrub", exact=True).click())
        page.get_by_role("heading", name="What each column of crm.csv holds").wait_for()
        assert browsing.faults(page) == []
        browsing.picture(page, "files-consents")
        assert page.get_by_label("Opt-in").input_value() == "consent", "suggested, and hers to confirm"
        act(page.get_by_role("button", name="Scrub", exact=True).click())
        page.get_by_role("heading", name="1 of 3,000 leads in export.xlsx may be called").wait_for()
        assert browsing.faults(page) == []
        browsing.picture(page, "files-own-lists")
        with page.expect_download() as saved:
            act(page.get_by_role("link", name="allowed.xlsx").click())
        assert saved.value.suggested_filename == "allowed.xlsx"
    assert actions <= 12


def make_export(path):
    """A CRM's export: a merged title row, numbers without their zeros, two columns of phones, and a second sheet."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Contacts")
        book.add_worksheet("Notes").write(0, 0, "internal")
        sheet.merge_range(0, 0, 0, 3, "Export of 1 December")
        sheet.write_row(2, 0, ["Nom", "Mobile", "Fixe", "Ville"])
        for place in range(3_000):
            number = (NOBODY if place == 0 else CONSENTING) - 33 * 10**9
            sheet.write_row(3 + place, 0, [f"Nom {place}", number, number, "Lyon"])


def test_each_fault_of_the_form_is_told_beside_its_field(marketer, browser, tmp_path):
    """She would guess what is wrong, and in which of twenty fields."""
    server, token = marketer
    (tmp_path / "leads.csv").write_text(f"phone\n+{CONSENTING}\n+442079460000\n")
    (tmp_path / "out.txt").write_text("+33633333333\n+3363333\n")
    with ExitStack() as stack:
        context = browser.new_context(viewport=PHONE, color_scheme="dark")
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{server.url}/files")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("File of leads").set_input_files(tmp_path / "leads.csv")
        page.get_by_role("button", name="Upload").click()
        page.get_by_label("or paste them").fill(
            "Please delete 06 11 11 11 11, our reference is 12345678901234"
        )
        page.get_by_role("button", name="Scrub", exact=True).click()
        assert page.get_by_label("or paste them").input_value() == f"+{CONSENTING}"
        told(page, "on line 1", "pasted")
        page.get_by_label("or paste them").fill("")
        page.get_by_label("People who asked you").set_input_files(tmp_path / "out.txt")
        page.get_by_role("button", name="Scrub", exact=True).click()
        page.get_by_label("Go on without these lines").wait_for()
        told(page, "1 of 2 lines have no valid number (line 2)", "line")
        page.get_by_label("Go on without these lines").check()
        page.get_by_role("button", name="Scrub", exact=True).click()
        page.get_by_role("heading", name="1 of 2 leads in leads.csv may be called").wait_for()
        page.get_by_role("link", name="Upload a current list").click()
        assert page.url.endswith("#national")
        assert page.get_by_label("List of the Telephone Preference Service").is_visible()
        assert browsing.faults(page) == []
        browsing.picture(page, "files-missing-list")


def told(page, why, name):
    """The fault is told beside the field, and the page is sound."""
    assert why in page.get_by_role("alert").all_text_contents()[-1]
    assert browsing.faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    browsing.picture(page, f"files-fault-{name}")
