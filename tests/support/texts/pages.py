"""Takes apart the pages that users read: their code blocks, tables and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
USER_PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/reference").glob("*.md")),
]
ALL_PAGES = [
    *USER_PAGES,
    *(
        ROOT / name
        for name in ("DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "tests/README.md")
    ),
    *(
        ROOT / "kits" / name
        for name in ("README.md", "go/README.md", "java/README.md", "typescript/README.md")
    ),
    *(ROOT / "bench" / name for name in ("README.md", "latency/README.md", "under_load/README.md")),
]


class Block(NamedTuple):
    """A fenced block: the page it stands on, its language, and its text."""

    page: str
    language: str
    text: str

    @property
    def first(self) -> tuple[str, str]:
        """The name by which tests know it: its page and its first line."""
        return self.page, self.text.splitlines()[0]


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(path.relative_to(ROOT).as_posix(), language, text) for language, text in found]


def section(path: Path, title: str) -> str:
    """What stands under a heading, up to the next one of the same or a higher level."""
    text = path.read_text()
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found is not None, f"{path.name} has no section {title}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of a text's first table, without its head."""
    lines = re.search(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    assert lines is not None, "no table here"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[0].splitlines()[2:]]


def ticked(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(path: Path) -> set[str]:
    """The fragments by which a page's headings can be linked, as the usual renderers make them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
