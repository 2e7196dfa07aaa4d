"""What a person and a screen reader meet on a page: what axe finds in it, and pictures to look at."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

PICTURES = Path(__file__).parents[3] / ".cache" / "screenshots"


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with the page, a line for each rule and place; its best practices are asked for as well."""
    found = Axe().run(page)
    return [
        f"{each['id']} ({each['help']}): {node['html'][:200]}"
        for each in found.response["violations"]
        for node in each["nodes"]
    ]


def picture(page: Page, name: str) -> None:
    """The whole page as `.cache/screenshots/NAME.png`, for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
