"""The status page in a real browser: what axe finds in it, and what it asks for."""

from tests.support.running import browsing


def test_axe_finds_nothing(server, browser):
    """Who looks at the page with a screen reader would be lost on it."""
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    assert page.get_by_role("heading", level=1).text_content() == "Safe to dial: yes"
    assert browsing.faults(page) == []
    browsing.picture(page, "status")
    assert all(url.startswith((server.url, "data:")) for url in asked), "nothing from outside"
    page.close()
