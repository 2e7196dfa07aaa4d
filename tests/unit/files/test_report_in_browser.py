"""`report.html` in a real browser: what axe finds in it, what it asks for, and pictures to look at."""

import pytest

from tests.support.running import browsing
from tests.support.running.files import FREE, OPPOSED

pytestmark = pytest.mark.slow

WIDE, NARROW = {"width": 1_100, "height": 900}, {"width": 360, "height": 740}
ROWS = [
    f"Ann;{FREE};press",
    f"Bob;{OPPOSED};press",
    f"Cid;{FREE};press",
    "Dan;12;",
    "Eve;6,12E+08;",
    '"Fay;x;',
    "Gus;+447400123456;",
]


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)])
def test_axe_finds_nothing(bureau, browser, scheme, size):
    """Whoever reads the page with a screen reader, in the dark or on a telephone would be lost on it."""
    done = bureau.scrub(
        "\n".join(["name;phone;purpose", *ROWS, ""]).encode(), "Leads of spring.csv", region="FR"
    )
    asked = []
    page = browser.new_page(color_scheme=scheme, viewport=size)
    page.on("request", lambda request: asked.append(request.url))
    page.goto((done.folder / "report.html").as_uri())

    assert browsing.faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "nothing is cut off at the side"
    )
    assert len(asked) == 1, "nothing from outside"
    browsing.picture(page, f"report-{scheme}-{size['width']}")
    page.close()


def test_the_page_prints_on_a4(bureau, browser):
    """The proof in the folder of a campaign would be cut off at the paper's side."""
    done = bureau.scrub("\n".join(["name;phone;purpose", *ROWS, ""]).encode(), region="FR")
    page = browser.new_page(viewport={"width": 680, "height": 1_000})  # 180 mm, at 96 dots an inch
    page.emulate_media(media="print")
    page.goto((done.folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    browsing.picture(page, "report-print")
    page.close()
