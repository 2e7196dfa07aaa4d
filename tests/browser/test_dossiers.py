"""An officer in a real browser: she asks for a dossier, sees how far it is, and reads it. Pictures are in
`.cache/screenshots/`."""

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from stream_scrub.serve import tokens
from tests.support.running import browsing
from tests.unit.serve.conftest import make_lists, starting

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
MODES = [("phone-dark", PHONE, "dark", True), ("desk-no-script", DESK, "light", False)]


@pytest.mark.parametrize(("name", "size", "scheme", "script"), MODES, ids=[mode[0] for mode in MODES])
def test_an_officer_gets_a_dossier(rules, browser, tmp_path, name, size, scheme, script):
    """Somebody without a terminal could not answer a complaint, or a number would be in the browser's history."""
    file = tmp_path / "tokens.json"
    token = tokens.add(file, "officer", ["admin"], datetime.now(UTC)).token
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

        page.goto(f"{server.url}/dossiers")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Dossier").click()
        faults.clear()  # the browser tells of the 401 of the sign-in
        page.get_by_label("Number", exact=True).fill("06 12 34 56 78")
        page.get_by_label("First day").fill("2026-11-12")
        page.get_by_label("Last day").fill("2026-11-11")
        page.get_by_role("button", name="Make the dossier").click()
        assert "before that of" in page.get_by_role("alert").text_content()
        assert page.get_by_label("Number", exact=True).input_value() == "06 12 34 56 78"
        seen("dossiers")
        faults.clear()  # and of the 422
        page.get_by_label("Last day").fill("2026-11-14")
        page.get_by_role("button", name="Make the dossier").click()
        ready = page.get_by_role("heading", name="The dossier of 2026-11-12 to 2026-11-14 is ready")
        if not script:
            server.until(lambda: any(line["event"] == "dossier ended" for line in server.lines()))
            if look := page.get_by_role("link", name="Look again").all():
                look[0].click()
        ready.wait_for()
        seen("dossier")
        with page.expect_download() as download:
            page.get_by_role("link", name="dossier.json").click()
        assert download.value.suggested_filename == "dossier.json"
        page.get_by_role("link", name="Read or print it").click()
        assert page.get_by_role("heading", level=1).text_content() == "A dossier"
        page.go_back()
        page.get_by_role("button", name="Delete it now").click()
        assert page.get_by_role("heading", name="Your dossiers here").count() == 0
        assert faults == [] and not any("612345678" in each for each in addresses)
