"""A marketer in a real browser: she signs in, uploads her file, chooses what is not clear, reads the report in her language
and saves the results. Pictures of all of it are in `.cache/screenshots/`."""

import time
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import xlsxwriter

from stream_scrub.languages import catalogue, count
from stream_scrub.serve import tokens
from tests.support.running import browsing
from tests.unit.serve.conftest import CONSENTING, NOBODY, make_lists, starting

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# Each language once, on a phone or a desk, in the light or the dark; the last one without scripts.
MODES = [
    ("fr", PHONE, "light", True),
    ("de", PHONE, "dark", True),
    ("it", DESK, "light", True),
    ("es", DESK, "dark", True),
    ("en", DESK, "light", False),
]
LOCALES = {"fr": "fr-FR", "de": "de-DE", "it": "it-IT", "es": "es-ES", "en": "en-GB"}


@pytest.fixture(scope="module")
def serving(rules, tmp_path_factory):
    """A server, and tokens enough for each test of this module."""
    state = tmp_path_factory.mktemp("state")
    file = state / "tokens.json"
    unused = [tokens.add(file, f"marketer-{i}", ["file"], datetime.now(UTC)).token for i in range(20)]
    with starting(rules) as start:
        yield start(make_lists(), worker__state_dir=str(state), http__tokens=str(file)), unused


@pytest.fixture
def marketer(serving):
    """The server, and a token of this test's own: a server keeps few files for each."""
    server, unused = serving
    return server, unused.pop()


@contextmanager
def opened(browser, **look):
    """A page of a browser that has just been started."""
    context = browser.new_context(**look)
    try:
        page = context.new_page()
        page.set_default_timeout(120_000)
        yield page
    finally:
        context.close()


@contextmanager
def signed_in(server, token, browser, **look):
    """The page of files, in English."""
    with opened(browser, **look) as page:
        page.goto(f"{server.url}/files")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        yield page


@pytest.mark.slow
@pytest.mark.parametrize(("language", "size", "scheme", "script"), MODES, ids=[mode[0] for mode in MODES])
def test_a_marketer_scrubs_her_file(marketer, browser, tmp_path, language, size, scheme, script):
    """Somebody without a terminal, on a phone or a desk, would need an engineer for each campaign."""
    server, token = marketer
    text = catalogue(language).gettext
    leads = tmp_path / "contacts.csv"
    rows = [f"Zoé;0612345678;+{CONSENTING}", f"Ann;+{CONSENTING};+{CONSENTING}"] * 500
    leads.write_text("\n".join(["name;first;second", *rows, ""]))
    look = {"viewport": size, "color_scheme": scheme, "locale": LOCALES[language]}
    with opened(browser, java_script_enabled=script, **look) as page:
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)

        def seen(what):
            if script:
                assert browsing.faults(page) == []
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    "it scrolls sideways"
                )
            browsing.picture(page, f"{what}-{language}")

        def heading(pattern, **values):
            return page.get_by_role("heading", name=text(pattern) % values)

        page.goto(f"{server.url}/files")
        faults.clear()  # the browser tells of the 401 of the sign-in
        page.get_by_label(text("Token")).fill(token)
        page.get_by_role("button", name=text("Sign in")).click()
        assert page.get_by_role("heading", level=1).text_content() == text("Scrub a file of leads")
        seen("files")
        page.get_by_label(text("File of leads")).set_input_files(leads)
        page.get_by_role("button", name=text("Upload")).click()
        heading("2. What each column holds").wait_for()
        seen("files-choice")
        page.locator("#column-2").select_option("none")
        page.get_by_label(text("What is the call for?")).fill(text("insurance"))
        page.get_by_role("button", name=text("Scrub"), exact=True).click()
        counted = count(1000, language)
        done = "%(allowed)s of %(rows)s leads in %(file)s may be called"
        heading(done, allowed=counted, rows=counted, file="contacts.csv").wait_for()
        seen("files-done")
        with page.expect_download() as saved:
            page.get_by_role("link", name="blocked.csv").click()
        assert saved.value.suggested_filename == "blocked.csv"
        page.get_by_role("link", name=text("Read the report")).click()
        heading(done, allowed=counted, rows=counted, file="contacts.csv").wait_for()
        seen("files-report")
        with page.expect_download() as saved:
            page.get_by_role("link", name="allowed.csv").click()
        assert saved.value.suggested_filename == "allowed.csv"
        page.goto(f"{server.url}/files")
        page.get_by_role("heading", name=text("Your files on the server")).wait_for()
        seen("files-kept")
        asking = page.get_by_label(text("Delete %(file)s") % {"file": "contacts.csv"})
        box = asking.bounding_box()
        assert box["x"] + box["width"] <= size["width"], "she would not see that there is more to the right"
        asking.click()
        seen("files-deletion")
        page.get_by_role("button", name=text("Delete now")).click()
        assert page.get_by_role("heading", level=1).text_content() == text("Scrub a file of leads")
        assert page.get_by_role("heading", name=text("Earlier scrubs")).count() == 1
        seen("files-history")
        assert faults == []


@pytest.mark.parametrize("language", ["de"])
def test_from_the_sign_in_to_the_download_by_keyboard(marketer, browser, tmp_path, language):
    """Most people give up: their own lists would need an operator, and each word of the form an explanation."""
    server, token = marketer
    text = catalogue(language).gettext
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

    with opened(browser, viewport=DESK, locale=LOCALES[language]) as page:
        page.goto(f"{server.url}/files")
        began = time.monotonic()
        act(page.get_by_label(text("Token")).fill(token))
        act(page.keyboard.press("Enter"))
        act(page.get_by_label(text("File of leads")).set_input_files(tmp_path / "export.xlsx"))
        act(page.get_by_role("button", name=text("Upload")).press("Enter"))
        page.get_by_role("heading", name=text("2. What each column holds")).wait_for()
        pressed = page.get_by_role("group", name=text("Sheet")).locator("[aria-pressed=true]")
        assert pressed.text_content() == "Contacts"
        act(page.get_by_label(text("Campaign (for whom the call is made)")).fill("acme"))
        act(page.get_by_label(text("Or paste them here: a whole e-mail will do")).fill(f"+{CONSENTING}"))
        act(
            page.get_by_label(text("People who consented to your calls")).set_input_files(
                tmp_path / "crm.csv"
            )
        )
        act(page.get_by_label(text("What is the call for?")).fill(text("insurance")))
        act(page.keyboard.press("Enter"))
        page.get_by_role(
            "heading", name=text("What each column of %(file)s holds") % {"file": "crm.csv"}
        ).wait_for()
        assert browsing.faults(page) == []
        browsing.picture(page, f"files-consents-{language}")
        assert page.get_by_label("Opt-in").input_value() == "consent", "suggested, and hers to confirm"
        act(page.get_by_label(text("What is the call for?")).press("Enter"))
        values = {"allowed": "1", "rows": count(3000, language), "file": "export.xlsx"}
        done = text("%(allowed)s of %(rows)s leads in %(file)s may be called") % values
        page.get_by_role("heading", name=done).wait_for()
        with page.expect_download() as saved:
            act(page.get_by_role("link", name=text("Download the leads that may be called")).press("Enter"))
        assert saved.value.suggested_filename == "allowed.xlsx"
        assert time.monotonic() - began <= 60
        assert browsing.faults(page) == []
        browsing.picture(page, f"files-own-lists-{language}")
        page.goto(f"{server.url}/files")
        row = page.get_by_role("row").filter(has_text="export.xlsx")
        again = row.get_by_role(
            "button", name=text("Scrub %(file)s again with today's lists") % {"file": "export.xlsx"}
        )
        browsing.picture(page, f"files-ends-{language}")
        again.click()
        page.get_by_role("heading", name=done).wait_for()
        page.get_by_text(text("Delete the file and its results")).click()
        page.get_by_role("button", name=text("Delete now")).click()
    assert actions <= 12


@pytest.mark.slow
def test_files_are_dropped_several_at_once(marketer, browser):
    """She would upload the files of a campaign one by one, and wait for each."""
    server, token = marketer
    with signed_in(server, token, browser, viewport=DESK, locale="en-GB") as page:
        page.get_by_text("Or drop files here").wait_for()
        dropped = page.evaluate_handle(
            """rows => {
                const dropped = new DataTransfer();
                for (const name of ["one.csv", "two.csv"]) dropped.items.add(new File([rows], name));
                return dropped;
            }""",
            f"phone\n+{CONSENTING}\n",
        )
        page.dispatch_event("#file", "drop", {"dataTransfer": dropped})
        for name in ("one.csv", "two.csv"):
            page.get_by_role("link", name=name).wait_for()
        assert browsing.faults(page) == []
        browsing.picture(page, "files-dropped")
        for name in ("one.csv", "two.csv"):
            page.get_by_label(f"Delete {name}").click()
            page.get_by_role("button", name="Delete now").click()


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


@pytest.mark.slow
def test_each_fault_of_the_form_is_told_beside_its_field(marketer, browser, tmp_path):
    """She would guess what is wrong, and in which of twenty fields."""
    server, token = marketer
    (tmp_path / "leads.csv").write_text(f"phone\n+{CONSENTING}\n+442079460000\n")
    (tmp_path / "out.txt").write_text("+33633333333\n+3363333\n")
    with signed_in(server, token, browser, viewport=PHONE, color_scheme="dark") as page:
        page.get_by_label("File of leads").set_input_files(tmp_path / "leads.csv")
        page.get_by_role("button", name="Upload").click()
        page.get_by_label("Or paste them").fill(
            "Please delete 06 11 11 11 11, our reference is 12345678901234"
        )
        page.get_by_role("button", name="Scrub", exact=True).click()
        assert page.get_by_label("Or paste them").input_value() == f"+{CONSENTING}"
        told(page, "not a phone number: 1", "pasted")
        page.get_by_label("Or paste them").fill("")
        page.get_by_label("People who asked you").set_input_files(tmp_path / "out.txt")
        page.get_by_role("button", name="Scrub", exact=True).click()
        page.get_by_label("Go on without these lines").wait_for()
        told(page, "1 of 2 lines have no valid number (line 2)", "line")
        page.get_by_label("Go on without these lines").check()
        page.get_by_role("button", name="Scrub", exact=True).click()
        page.get_by_role("heading", name="1 of 2 leads in leads.csv may be called").wait_for()
        page.get_by_role("link", name="Upload a current list").click()
        assert page.url.endswith("#national")
        assert page.get_by_label("Telephone Preference Service").is_visible()
        assert browsing.faults(page) == []
        browsing.picture(page, "files-missing-list")


def told(page, why, name):
    """The fault is told beside the field, and the page is sound."""
    assert why in page.get_by_role("alert").all_text_contents()[-1]
    assert browsing.faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    browsing.picture(page, f"files-fault-{name}")
