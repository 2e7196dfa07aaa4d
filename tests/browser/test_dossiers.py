"""An officer in a real browser answers a complaint: the answer, the dossier to print, the person's data, and the objection.
Pictures are in `.cache/screenshots/`."""

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from stream_scrub.kafka import clients
from stream_scrub.serve import tokens
from tests.support.fakes.desk import Desk
from tests.support.running import browsing
from tests.unit.serve.conftest import make_lists, starting

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MODES = [("phone-dark", PHONE, "dark", True), ("desk-no-script", DESK, "light", False)]


@pytest.mark.parametrize(("name", "size", "scheme", "script"), MODES, ids=[mode[0] for mode in MODES])
def test_an_officer_answers_a_complaint(rules, browser, tmp_path, monkeypatch, name, size, scheme, script):
    """Somebody without a terminal could not answer a complaint, or a number would be in the browser's history."""
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "officer", ["evidence"], datetime.now(UTC)).token
    monkeypatch.setattr(clients.Brokers, "requests_writer", lambda *_: Desk())
    with starting(rules) as start, ExitStack() as stack:
        server = start(make_lists(), worker__state_dir=str(tmp_path), http__tokens=str(file))
        context = browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script)
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(120_000)
        faults: list[str] = []
        addresses: list[str] = []
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: addresses.append(request.url))

        def seen(what):
            if script:
                assert browsing.faults(page) == []
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"
            browsing.picture(page, f"{what}-{name}")

        def ready(count):
            if not script:
                server.until(
                    lambda: [line["event"] for line in server.lines()].count("dossier ended") == count
                )
                if look := page.get_by_role("link", name="Refresh").all():
                    look[0].click()
            page.get_by_role("link", name="Read or print the dossier").wait_for()

        page.goto(server.url)
        # Six actions to a printed dossier.
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        seen("complaint")
        faults.clear()
        page.get_by_label("Number", exact=True).fill("06 12 34 56 78")
        page.get_by_label("Day of the call").fill("2026-11-12")
        page.get_by_role("button", name="Answer", exact=True).click()
        ready(1)
        assert page.get_by_role("heading", level=1).text_content() == "A call to +33612345678 was not lawful."
        assert "The person opted out." in page.get_by_role("row").nth(1).text_content()
        seen("answer")
        page.get_by_role("link", name="Read or print the dossier").click()
        assert page.get_by_role("heading", level=1).text_content() == "A dossier"
        assert page.pdf()
        page.go_back()

        page.get_by_text("Save the dossier").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="dossier.json").click()
        assert download.value.suggested_filename == "dossier.json"
        page.get_by_text("Delete this person").click()
        assert page.get_by_text("Delete the lead in your own systems.").is_visible()
        seen("answer-open")

        page.get_by_label("Day of the objection").fill("2026-11-30")
        page.get_by_label("How they objected").select_option("letter")
        page.get_by_role("button", name="Record the objection").click()
        assert page.get_by_role("heading", level=1).text_content() == "The objection is recorded"
        assert "opposition.requests/0/" in page.get_by_role("row", name="Reference").text_content()
        seen("receipt")
        page.go_back()

        page.get_by_role("button", name="Give the person their data").click()
        ready(2)
        assert page.get_by_role("button", name="Give the person their data").count() == 0
        page.get_by_text("Delete this answer").click()
        page.get_by_role("button", name="Delete now").click()
        page.get_by_role("listitem").filter(has_text="2026-11-12").wait_for()
        seen("complaints")

        page.get_by_label("Number", exact=True).fill("06 12 34 56 78")
        page.get_by_label("Day of the call").fill("2026-11-12")
        page.get_by_text("More options").click()
        page.get_by_label("Last day").fill("2026-11-11")
        page.get_by_role("button", name="Answer", exact=True).click()
        assert "before the first day" in page.get_by_role("alert").text_content()
        assert page.get_by_label("Number", exact=True).input_value() == "06 12 34 56 78"
        seen("complaint-wrong")
        faults = [line for line in faults if "422" not in line]
        assert faults == [] and not any("612345678" in address for address in addresses)


@pytest.mark.parametrize(("language", "size"), [("fr", PHONE), ("de", DESK)])
def test_the_pages_are_in_the_browsers_language_until_another_is_chosen(rules, browser, language, size):
    """An officer who reads no English could not answer a complaint, or a long word would not fit on her phone."""
    with starting(rules) as start, ExitStack() as stack:
        server = start(make_lists())
        context = browser.new_context(viewport=size, locale=language)
        stack.callback(context.close)
        page = context.new_page()
        for path in ("/check", "/opt-out"):
            page.goto(server.url + path)
            assert page.locator("html").get_attribute("lang") == language
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"
            assert browsing.faults(page) == []
        page.locator("footer select").select_option("it")
        page.locator("footer button").click()
        assert page.get_by_role("heading", level=1).text_content() == "Registra un'opposizione"
        assert page.url == f"{server.url}/opt-out"
