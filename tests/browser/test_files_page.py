"""A marketer in a real browser: she signs in, uploads her file, chooses what is not clear, reads the report in her language
and saves the results. Pictures of all of it are in `.cache/screenshots/`."""

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from stream_scrub.serve import tokens
from tests.support.running import browsing
from tests.unit.serve.conftest import CONSENTING, make_lists, starting

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
        page.get_by_label("Purpose of the calls").select_option("insurance")
        page.get_by_role("button", name="Upload and scrub").click()
        seen("files-progress")
        wait_for(page, "The file needs a choice of yours", script)
        seen("files-choice")
        page.get_by_label("3 second").check()
        page.get_by_role("button", name="Scrub").click()
        wait_for(page, "1,000 of 1,000 leads in contacts.csv may be called", script)
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
        assert faults == []


def wait_for(page, title, script):
    if not script:
        for _ in range(100):
            if page.get_by_role("link", name="Look again").count() == 0:
                break
            page.get_by_role("link", name="Look again").click()
            page.wait_for_timeout(100)
    page.get_by_role("heading", name=title).wait_for()
