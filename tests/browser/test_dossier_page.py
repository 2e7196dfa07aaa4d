"""The dossier in a real browser: on a phone, on a desk and on paper. Pictures are in `.cache/screenshots/`."""

import json
import re

import pytest

from stream_scrub.queries.dossier_files import dossier_page
from tests.support.golden import dossier as golden
from tests.support.running import browsing

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
A4 = {"width": 680, "height": 1000}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dossier")
    page = folder / "dossier.html"
    page.write_text(dossier_page.rendered(golden.made(golden.story(golden.with_rules(str(folder))))))
    return page


@pytest.mark.parametrize(
    ("name", "size", "scheme", "media"),
    [
        ("phone-light", PHONE, "light", "screen"),
        ("phone-dark", PHONE, "dark", "screen"),
        ("desk-light", DESK, "light", "screen"),
        ("paper", A4, "light", "print"),
    ],
)
def test_a_regulator_reads_the_dossier(file, browser, name, size, scheme, media):
    """An authority would get a page that is cut off on paper, or that a screen reader cannot read."""
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url) if "file:" not in request.url else None)
    page.emulate_media(media=media, color_scheme=scheme)
    page.goto(file.as_uri())

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert browsing.faults(page) == []
    assert faults == []
    first = page.locator(".answer").first
    assert first.bounding_box()["y"] < size["height"], "the answer is not on the first screen"
    assert json.loads(page.locator("#data").text_content())["number"] == f"+{golden.NUMBER}"
    assert page.locator("a[href='#law']").first.is_visible() and page.locator("#law").count() == 1
    browsing.picture(page, f"dossier-{name}")
    context.close()


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_answer_has_three_printed_pages_at_most(browser, tmp_path, language):
    """An officer would have to look for the answer among forty pages of rules and of calls."""
    story = golden.story(golden.with_rules(str(tmp_path)))
    attempts = [
        golden.attempt(40 + nth, f"2026-11-{25 + nth % 6}T10:{nth:02}", refused=nth % 7 == 0)
        for nth in range(50)
    ]
    story = story._replace(
        emitted=story.emitted._replace(found=story.emitted.found * 12),
        sides=story.sides._replace(
            attempts=sorted(attempts, key=lambda attempt: attempt.at), notices=story.sides.notices * 20
        ),
    )
    made = golden.made(story, first=golden.FIRST.replace(day=1), language=language, case="2026/117")
    file = tmp_path / "dossier.html"
    file.write_text(dossier_page.rendered(made))
    page = browser.new_page()
    page.goto(file.as_uri())
    whole = printed(page)
    rest = page.locator("p", has=page.locator("a[href='#all-calls']")).first
    assert "8" in rest.text_content() and "50" in rest.text_content() and " D " in rest.text_content()
    page.locator(".appendix").evaluate("appendix => appendix.remove()")
    assert printed(page) <= 3 < whole
    page.close()


def printed(page) -> int:
    """How many pages it prints on."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
